/**
 * The application's login is one for all groups. Its generation grows with each change of the password, wherever that was made, and
 * stands in the group's card; the login itself goes from operator to operator. Pure.
 */
import type { ApplicationLogin } from '../../api/invitation.ts';

export interface LoginFacts {
  readonly group: string;
  /** What this group has agreed to; null: it has not been asked before. */
  readonly agreed: ApplicationLogin | null;
  /** Password of the generation before: a Secret that was not written anew yet still shows it. */
  readonly previousPassword: string | null;
  /** What the group's Secret shows now, which its user may have changed. */
  readonly shown: { readonly username: string; readonly password: string };
  /** The manifest names the Secret: then only its user changes it. */
  readonly isGiven: boolean;
  /** Of the cards of the others. */
  readonly others: readonly { readonly group: string; readonly generation: number }[];
}

export type LoginDecision =
  | { readonly kind: 'keep' }
  /** Told to the others with the own card. */
  | { readonly kind: 'agree'; readonly login: ApplicationLogin; readonly reason: string }
  | { readonly kind: 'fetch'; readonly from: string; readonly generation: number };

/** More than groups: two that change the password in the same moment get different generations, and the higher one counts. */
const RANKS = 64;

function nextGeneration(highest: number, group: string, others: LoginFacts['others']): number {
  const rank = others.filter((other) => other.group < group).length;
  return (Math.floor(highest / RANKS) + 1) * RANKS + rank;
}

export function decideLogin({ group, agreed, previousPassword, shown, isGiven, others }: LoginFacts): LoginDecision {
  const [newest] = others.toSorted((a, b) => b.generation - a.generation || (a.group < b.group ? -1 : 1));
  const highest = newest?.generation ?? 0;
  if (agreed === null) {
    if (highest > 0 && newest !== undefined && !isGiven)
      return { kind: 'fetch', from: newest.group, generation: highest };
    return { kind: 'agree', login: { ...shown, generation: Math.max(1, highest) }, reason: 'the first one' };
  }
  const isChanged = shown.password !== agreed.password && (isGiven || shown.password !== previousPassword);
  if (isChanged) {
    const generation = nextGeneration(Math.max(agreed.generation, highest), group, others);
    return { kind: 'agree', login: { ...shown, generation }, reason: 'it was changed here' };
  }
  if (newest === undefined || highest <= agreed.generation) return { kind: 'keep' };
  // The same Secret everywhere: each user changes his own, and the generations meet.
  if (isGiven)
    return { kind: 'agree', login: { ...agreed, generation: highest }, reason: 'its generation grew elsewhere' };
  return { kind: 'fetch', from: newest.group, generation: highest };
}
