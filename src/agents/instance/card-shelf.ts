/**
 * The cards that an agent keeps for the operators of other groups (api/group-card.ts). It judges nothing but their size: who may
 * write is decided by the routes (card-routes.ts), what a card means by the operators.
 *
 * Whoever knows the present state waits for the next one. Waiting is bounded in number and time.
 */
import { createHash } from 'node:crypto';
import { CARDS_WAIT_MS, cardText, type GroupCard } from '../../api/group-card.ts';

/** Every operator of the largest global cluster, two replicas each. */
export const WAITERS_MAX = 64;

export interface ShelfContent {
  /** Equal on all agents that keep the same cards. */
  readonly etag: string;
  readonly cards: readonly GroupCard[];
}

export class CardShelf {
  readonly #waiters = new Set<() => void>();
  #content: ShelfContent = contentOf([]);

  get content(): ShelfContent {
    return this.#content;
  }

  /** @returns whether anything is new. */
  put(cards: readonly GroupCard[]): boolean {
    const next = contentOf(cards);
    if (next.etag === this.#content.etag) return false;
    this.#content = next;
    this.#wakeAll();
    return true;
  }

  /**
   * The content as soon as it is another than `etag`, else the present one after the time.
   * @returns null: too many wait already.
   */
  async next(
    etag: string | null,
    options: { readonly waitMs?: number; readonly signal: AbortSignal },
  ): Promise<ShelfContent | null> {
    const isKnown = etag === this.#content.etag;
    if (!isKnown || options.signal.aborted) return this.#content;
    if (this.#waiters.size >= WAITERS_MAX) return null;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, options.waitMs ?? CARDS_WAIT_MS);
    this.#waiters.add(resolve);
    options.signal.addEventListener('abort', () => resolve(), { once: true });
    await promise;
    clearTimeout(timer);
    this.#waiters.delete(resolve);
    return this.#content;
  }

  get waiterCount(): number {
    return this.#waiters.size;
  }

  close(): void {
    this.#wakeAll();
  }

  #wakeAll(): void {
    for (const wake of this.#waiters) wake();
  }
}

function contentOf(cards: readonly GroupCard[]): ShelfContent {
  const inOrder = cards.toSorted((a, b) => (a.group < b.group ? -1 : 1));
  const etag = createHash('sha256').update(inOrder.map(cardText).join('\n')).digest('base64url').slice(0, 32);
  return { etag, cards: inOrder };
}
