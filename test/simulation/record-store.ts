/**
 * The coordination service: one linearizable record with compare-and-swap, behind the network. Requests may be slow, answers may be
 * lost, so that a swap's outcome is unknown; it may be away, and an old one may be put in its place.
 */
import type { ClusterRecord } from '../../src/api/record.ts';
import { type Clock, Future } from './clock.ts';
import type { Network } from './network.ts';
import type { Random } from './random.ts';

export interface Stored {
  readonly storeVersion: number;
  readonly record: ClusterRecord | null;
}
export type SwapOutcome =
  | { readonly kind: 'swapped'; readonly stored: Stored }
  | { readonly kind: 'lost'; readonly stored: Stored }
  | { readonly kind: 'unknown' };

export const STORE_PLACE = 'record';

const WATCH_RETRY_MS = 700;

export class SimulatedStore {
  readonly #clock: Clock;
  readonly #network: Network;
  readonly #random: Random;
  #stored: Stored = { storeVersion: 0, record: null };
  readonly #watchers = new Map<string, (stored: Stored) => void>();
  /** Called with each change, before anybody hears of it. */
  onChange: (before: ClusterRecord | null, record: ClusterRecord) => void = () => {};
  /** Requests of before a replacement never arrive. */
  #epoch = 0;
  isAway = false;
  /** Added to the handling of each request. */
  slownessMs = 0;

  constructor(clock: Clock, network: Network, random: Random) {
    this.#clock = clock;
    this.#network = network;
    this.#random = random;
  }

  get stored(): Stored {
    return this.#stored;
  }

  set(record: ClusterRecord): void {
    const before = this.#stored.record;
    this.#stored = { storeVersion: this.#stored.storeVersion + 1, record };
    this.onChange(before, record);
    this.#notify();
  }

  /** Puts another record in the place of the present one, as from a backup. */
  replace(record: ClusterRecord): void {
    this.#epoch++;
    this.#stored = { storeVersion: this.#stored.storeVersion + 1, record };
    this.#notify();
  }

  /** Settles with null when no answer comes in time. */
  read(from: string, timeoutMs: number): Future<Stored | null> {
    return this.#request(from, timeoutMs, () => this.#stored);
  }

  compareAndSwap(from: string, expected: number, next: ClusterRecord, timeoutMs: number): Future<SwapOutcome> {
    const result = new Future<SwapOutcome>();
    const answer = this.#request(from, timeoutMs, (): SwapOutcome => {
      if (this.#stored.storeVersion !== expected) return { kind: 'lost', stored: this.#stored };
      this.set(next);
      return { kind: 'swapped', stored: this.#stored };
    });
    answer.then((outcome) => result.settle(outcome ?? { kind: 'unknown' }));
    return result;
  }

  watch(place: string, onChange: (stored: Stored) => void): void {
    this.#watchers.set(place, onChange);
    this.#push(place);
  }

  #request<T>(from: string, timeoutMs: number, handle: () => T): Future<T | null> {
    const result = new Future<T | null>();
    const epoch = this.#epoch;
    this.#network.send(from, STORE_PLACE, () => {
      this.#clock.after(this.#random.between(0.3, 2) + this.slownessMs * this.#random.next(), () => {
        if (this.isAway || epoch !== this.#epoch) return;
        const answer = handle();
        this.#network.send(STORE_PLACE, from, () => result.settle(answer));
      });
    });
    this.#clock.after(timeoutMs, () => result.settle(null));
    return result;
  }

  #notify(): void {
    for (const place of this.#watchers.keys()) this.#push(place);
  }

  /** A watch that breaks is made anew, and then tells the newest. */
  #push(place: string): void {
    const stored = this.#stored;
    if (this.isAway) return;
    if (this.#network.isCut(STORE_PLACE, place)) return this.#clock.after(WATCH_RETRY_MS, () => this.#push(place));
    this.#network.send(STORE_PLACE, place, () => {
      if (this.#network.isCut(STORE_PLACE, place)) return;
      this.#watchers.get(place)?.(stored);
    });
  }

  /** What watchers missed while the store was away. */
  comeBack(): void {
    this.isAway = false;
    this.#notify();
  }
}
