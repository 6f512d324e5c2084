/** Which cards are believed, and which generation the own one gets. Pure. */
import { cardText, type GroupCard } from '../../api/group-card.ts';

/** Cards of the other groups, by group. The last one that was known counts until a newer one comes: a silent group stays. */
export type KnownCards = ReadonlyMap<string, GroupCard>;

/**
 * A card of a group counts from the group itself. From another one it counts if nothing is known of the group yet, and if it says
 * that the group has left: a group that is gone cannot say so any more. So does one of a group that had left, and came again.
 *
 * @param from the group that gave it, as its certificate says.
 * @returns `known` itself if nothing is new.
 */
export function takeCard(known: KnownCards, card: GroupCard, { from, own }: { from: string; own: string }): KnownCards {
  if (card.group === own) return known;
  const present = known.get(card.group);
  if (present !== undefined) {
    if (card.generation <= present.generation) return known;
    // A group that left and was invited again cannot be asked before it is trusted again.
    if (from !== card.group && !card.left && !present.left) return known;
  }
  return new Map([...known, [card.group, card]]);
}

/**
 * @param fresh what the card should say now
 * @param stored the last one that was told
 * @param seenGeneration the highest one of the own group that others hold: one whose store was lost goes on above it.
 */
export function nextCard(
  fresh: Omit<GroupCard, 'generation'>,
  stored: GroupCard | null,
  seenGeneration: number,
): GroupCard {
  const present = stored?.generation ?? 0;
  if (stored !== null && present >= seenGeneration && cardText(stored) === cardText({ ...fresh, generation: present }))
    return stored;
  return { ...fresh, generation: Math.max(present, seenGeneration) + 1 };
}
