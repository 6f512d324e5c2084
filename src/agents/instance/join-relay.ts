/**
 * Requests to join the global cluster, on their way to the operator. An agent holds no invitation and judges none: it keeps what a
 * stranger sent until the operator of its group fetches it, and hands the answer back.
 *
 *   stranger --POST /v1/join--> waiting --GET /v1/join-requests--> operator --POST /v1/join-answers--> stranger
 *
 * What a stranger can cost: one of REQUESTS_MAX places for JOIN_WAIT_MS, a body of JOIN_BODY_BYTES_MAX, and the rate below. Without
 * an operator that listens (it does while an invitation is open) he is refused at once.
 */
import { randomUUID } from 'node:crypto';
import {
  JOIN_POLL_MS,
  JOIN_WAIT_MS,
  type JoinRefusal,
  type RelayedAnswer,
  type RelayedRequests,
} from '../../api/invitation.ts';

export const REQUESTS_MAX = 8;
/** Of one address: others must find a place beside somebody who floods. Behind a proxy all have one address, and share these. */
export const REQUESTS_PER_ADDRESS_MAX = 4;
/** A join takes three requests; several clusters may join at once, and try again. */
export const RATE: AdmissionRate = { burst: 16, perSecond: 2 };

export interface AdmissionRate {
  readonly burst: number;
  readonly perSecond: number;
}
/** An operator that has not asked for so long is gone. Longer than one poll. */
const LISTENER_FRESH_MS = JOIN_POLL_MS + 10_000;

export interface RelayAnswer {
  readonly status: number;
  readonly body: unknown;
}

interface Waiting {
  readonly id: string;
  readonly from: string;
  readonly message: unknown;
  isDelivered: boolean;
  readonly resolve: (answer: RelayAnswer) => void;
}

export interface JoinRelayOptions {
  readonly group: string;
  /** By performance.now(), for tests. */
  readonly nowMs?: () => number;
  readonly waitMs?: number;
  /** Default RATE. */
  readonly rate?: AdmissionRate;
}

export class JoinRelay {
  readonly #group: string;
  readonly #nowMs: () => number;
  readonly #waitMs: number;
  readonly #waiting = new Map<string, Waiting>();
  /** Places that are taken, by address: from before the body is read. */
  readonly #places = new Map<string, number>();
  readonly #rate: AdmissionRate;
  #tokens: number;
  #filledAtMs: number;
  #heardAtMs = Number.NEGATIVE_INFINITY;
  #wakeListener: (() => void) | null = null;

  constructor({ group, nowMs = () => performance.now(), waitMs = JOIN_WAIT_MS, rate = RATE }: JoinRelayOptions) {
    this.#group = group;
    this.#nowMs = nowMs;
    this.#waitMs = waitMs;
    this.#filledAtMs = nowMs();
    this.#rate = rate;
    this.#tokens = rate.burst;
  }

  get placeCount(): number {
    return [...this.#places.values()].reduce((sum, count) => sum + count, 0);
  }

  /** One request of a stranger. False: too many; nothing of it may be read. */
  admit(): boolean {
    const nowMs = this.#nowMs();
    this.#tokens = Math.min(
      this.#rate.burst,
      this.#tokens + ((nowMs - this.#filledAtMs) / 1000) * this.#rate.perSecond,
    );
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /**
   * The operator's answer to it, or a refusal. @param read called once a place is taken: reads the body, throws when there is none.
   * @param signal aborted when the stranger is gone.
   */
  async relay(from: string, read: () => Promise<unknown>, signal: AbortSignal): Promise<RelayAnswer> {
    if (this.#nowMs() - this.#heardAtMs > LISTENER_FRESH_MS)
      return refusal(
        503,
        'JOIN_UNHEARD',
        `Group "${this.#group}" has no open invitation, or its operator does not run: look at its events`,
      );
    const taken = this.#places.get(from) ?? 0;
    if (this.placeCount >= REQUESTS_MAX || taken >= REQUESTS_PER_ADDRESS_MAX) return busyRefusal();
    this.#places.set(from, taken + 1);
    try {
      return await this.#wait(from, await read(), signal);
    } finally {
      const left = (this.#places.get(from) ?? 1) - 1;
      if (left === 0) this.#places.delete(from);
      else this.#places.set(from, left);
    }
  }

  /** What waits, as soon as something does; nothing after JOIN_POLL_MS, or when another asks. */
  async next(signal: AbortSignal, pollMs: number = JOIN_POLL_MS): Promise<RelayedRequests> {
    this.#heardAtMs = this.#nowMs();
    this.#wakeListener?.();
    if (this.#undelivered().length === 0) await this.#untilWoken(signal, pollMs);
    // What is handed to somebody who is gone would be lost.
    const requests = signal.aborted ? [] : this.#undelivered();
    for (const waiting of requests) waiting.isDelivered = true;
    return { requests: requests.map(({ id, from, message }) => ({ id, from, message })) };
  }

  /** False: nobody waits for it any more. */
  answer({ id, status, body }: RelayedAnswer): boolean {
    this.#heardAtMs = this.#nowMs();
    const waiting = this.#waiting.get(id);
    waiting?.resolve({ status, body });
    return waiting !== undefined;
  }

  #undelivered(): Waiting[] {
    return [...this.#waiting.values()].filter(({ isDelivered }) => !isDelivered);
  }

  async #wait(from: string, message: unknown, signal: AbortSignal): Promise<RelayAnswer> {
    const id = randomUUID();
    const { promise, resolve } = Promise.withResolvers<RelayAnswer>();
    const timer = setTimeout(
      () =>
        resolve(
          refusal(
            503,
            'JOIN_UNHEARD',
            `The operator of group "${this.#group}" has not answered within ${this.#waitMs} ms`,
          ),
        ),
      this.#waitMs,
    );
    const onGone = (): void => resolve(busyRefusal());
    signal.addEventListener('abort', onGone, { once: true });
    this.#waiting.set(id, { id, from, message, isDelivered: false, resolve });
    this.#wakeListener?.();
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', onGone);
      this.#waiting.delete(id);
    }
  }

  async #untilWoken(signal: AbortSignal, pollMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, pollMs);
    signal.addEventListener('abort', () => resolve(), { once: true });
    this.#wakeListener = resolve;
    await promise;
    clearTimeout(timer);
    if (this.#wakeListener === resolve) this.#wakeListener = null;
  }
}

export function busyRefusal(): RelayAnswer {
  return refusal(429, 'JOIN_BUSY', 'Too many requests to join come in: try again in some seconds');
}

function refusal(status: number, code: JoinRefusal['code'], message: string): RelayAnswer {
  return { status, body: { code, message } satisfies JoinRefusal };
}
