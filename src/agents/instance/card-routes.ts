/**
 * `/v1/cards` of an agent:
 *
 *   PUT              the operator of the agent's own group, nobody else: all cards that it knows, its own included
 *   GET ?etag=...    anybody of the global cluster: the cards, when they are other ones than those of the etag (long poll)
 *
 * They are kept in memory and in the state folder, so that a restart of the agent takes nothing from the others.
 */
import { join } from 'node:path';
import { CARDS_BYTES_MAX, cardsSchema, type GroupCard, readGroupCard } from '../../api/group-card.ts';
import { readFileIfPresent, writeFileAtomically } from '../../base/durable-file.ts';
import type { SpiffeIdentity } from '../../base/spiffe-identity.ts';
import { CardShelf } from './card-shelf.ts';

export interface CardRequest {
  readonly method: string;
  readonly query: URLSearchParams;
  readonly identity: SpiffeIdentity;
  /** Reads and parses the body; throws if it is larger, or no JSON. */
  body(bytesMax: number): Promise<unknown>;
  /** Aborted when whoever asked is gone. */
  readonly signal: AbortSignal;
}

export interface CardAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface CardRoutes {
  readonly shelf: CardShelf;
  answer(request: CardRequest): Promise<CardAnswer>;
}

/** Cards that were kept and cannot be read any more are dropped: the operator brings them again. */
export async function openCardRoutes(options: {
  readonly group: string;
  readonly stateDirectory: string;
}): Promise<CardRoutes> {
  const file = join(options.stateDirectory, 'cards.json');
  const shelf = new CardShelf();
  const stored = parseJson(await readFileIfPresent(file));
  const parsed = readCards(stored);
  if (parsed.kind === 'cards') shelf.put(parsed.cards);
  return {
    shelf,
    async answer(request) {
      if (request.method === 'GET') return await giveCards(shelf, request);
      if (request.method === 'PUT') return await takeCards(shelf, file, options.group, request);
      return refused(405, `There is no ${request.method} here: GET and PUT are answered`);
    },
  };
}

async function giveCards(shelf: CardShelf, { query, signal }: CardRequest): Promise<CardAnswer> {
  const content = await shelf.next(query.get('etag'), { signal });
  return content === null
    ? refused(503, 'Too many wait for cards already; ask again later')
    : { status: 200, body: content };
}

async function takeCards(shelf: CardShelf, file: string, group: string, request: CardRequest): Promise<CardAnswer> {
  const { identity } = request;
  if (identity.group !== group || identity.name !== `${group}-operator`)
    return refused(403, `Cards are put by the operator of group "${group}", and this is "${identity.name}"`);
  const parsed = readCards(await request.body(CARDS_BYTES_MAX));
  if (parsed.kind === 'refused') return refused(400, `Cannot take the cards: ${parsed.why}`);
  if (shelf.put(parsed.cards)) await writeFileAtomically(file, `${JSON.stringify({ cards: shelf.content.cards })}\n`);
  return { status: 200, body: { etag: shelf.content.etag } };
}

/** All or none: an operator gives only what it could read itself. */
function readCards(
  value: unknown,
): { readonly kind: 'cards'; readonly cards: GroupCard[] } | { readonly kind: 'refused'; readonly why: string } {
  const parsed = cardsSchema.safeParse(value);
  if (!parsed.success) return { kind: 'refused', why: parsed.error.issues[0]?.message ?? 'no cards' };
  const cards: GroupCard[] = [];
  for (const one of parsed.data.cards) {
    const read = readGroupCard(one, 'the pod of this agent');
    if (read.kind === 'refused') return read;
    cards.push(read.card);
  }
  return { kind: 'cards', cards };
}

function refused(status: number, error: string): CardAnswer {
  return { status, body: { error } };
}

function parseJson(text: string | null): unknown {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
