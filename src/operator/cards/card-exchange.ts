/**
 * One loop a place: asks for cards, hands them on, asks again; after a failure it waits, longer each time. Places that are no longer
 * wanted are left at once.
 */
import { delay } from '../../base/wait-until.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';
import { askCards, type CardPlace, type CardsAnswer } from './ask-cards.ts';

export interface CardExchangeOptions {
  readonly globalCluster: string;
  readonly onCards: (answer: CardsAnswer) => void;
  /** Whether a place answers changed. */
  readonly onStatus: () => void;
}

const RETRY_MS = 1000;
const RETRY_MS_MAX = 15_000;
/** An agent that answers at once all the time (a broken clock, a broken etag) costs this much at most. */
const PAUSE_MS = 200;

interface Loop {
  readonly place: CardPlace;
  readonly stop: AbortController;
  error: string | null;
}

export class CardExchange {
  readonly #options: CardExchangeOptions;
  readonly #loops = new Map<string, Loop>();
  #tls: ReloadableTls | null = null;

  constructor(options: CardExchangeOptions) {
    this.#options = options;
  }

  /** @param places those wanted from now on. */
  follow(places: readonly CardPlace[], tls: ReloadableTls): void {
    this.#tls = tls;
    const wanted = new Map(places.map((place) => [JSON.stringify([place.group, place.host, place.port]), place]));
    for (const [key, loop] of this.#loops) {
      if (wanted.has(key)) continue;
      loop.stop.abort();
      this.#loops.delete(key);
    }
    for (const [key, place] of wanted) {
      if (this.#loops.has(key)) continue;
      const loop: Loop = { place, stop: new AbortController(), error: null };
      this.#loops.set(key, loop);
      void this.#run(loop);
    }
  }

  /** Places that do not answer, with the reason. */
  get errors(): readonly { readonly place: CardPlace; readonly error: string }[] {
    return [...this.#loops.values()].flatMap(({ place, error }) => (error === null ? [] : [{ place, error }]));
  }

  close(): void {
    for (const { stop } of this.#loops.values()) stop.abort();
    this.#loops.clear();
  }

  async #run(loop: Loop): Promise<void> {
    const { place, stop } = loop;
    let etag: string | null = null;
    let retryMs = RETRY_MS;
    while (!stop.signal.aborted) {
      try {
        const tls = this.#tls as ReloadableTls;
        const { globalCluster } = this.#options;
        const answer = await askCards({ globalCluster, tls, place, etag, signal: stop.signal });
        if (stop.signal.aborted) return;
        etag = answer.etag;
        retryMs = RETRY_MS;
        this.#say(loop, null);
        this.#options.onCards(answer);
        await delay(PAUSE_MS);
      } catch (error) {
        if (stop.signal.aborted) return;
        // Another agent may be behind the same Service by now: it is asked for everything.
        etag = null;
        this.#say(loop, (error as Error).message);
        await delay(retryMs);
        retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
      }
    }
  }

  #say(loop: Loop, error: string | null): void {
    if (loop.error === error) return;
    loop.error = error;
    this.#options.onStatus();
  }
}
