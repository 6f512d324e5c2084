/** Cards as ConfigMap `<group>-peers` holds them: one key a group. Pure. */
import { type GroupCard, parseGroupCard } from '../../api/group-card.ts';
import type { KnownCards } from './take-card.ts';

const KEY = /^[a-z][-a-z0-9]{0,39}\.json$/;

/** What cannot be read is passed over: its group tells it again. */
export function readCards(
  texts: Readonly<Record<string, string>>,
  ownName: string,
  globalCluster: string,
): { readonly own: GroupCard | null; readonly others: KnownCards } {
  const cards = Object.entries(texts).flatMap(([key, text]) => {
    const parsed = KEY.test(key) ? parseGroupCard(parseJson(text), globalCluster) : null;
    return parsed?.kind === 'card' ? [parsed.card] : [];
  });
  return {
    own: cards.find(({ group }) => group === ownName) ?? null,
    others: new Map(cards.filter(({ group }) => group !== ownName).map((card) => [card.group, card])),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
