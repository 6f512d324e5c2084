/**
 * What a client that writes must remember to say afterwards how long it could not write, and whether a write is gone:
 * which keys were acknowledged, and when. No I/O and no clock: times are passed in, in milliseconds of one monotonic clock.
 *
 * Keys only ever grow, so the acknowledged ones are kept as ranges: an hour without an error is one range.
 * A window is the time between two questions; its longest gap may begin at the last acknowledgement before it.
 */

/** Both ends included. */
export type KeyRange = readonly [first: number, last: number];

export interface Gap {
  /** The acknowledgement before the gap, or the start of the ledger if there was none. */
  readonly startMs: number;
  /** The acknowledgement that ended it, or the time of the question if `open`. */
  readonly endMs: number;
  readonly ms: number;
  /** Nothing has been acknowledged since `startMs`. */
  readonly open: boolean;
}

export interface WriteSummary {
  readonly acknowledged: number;
  readonly acknowledgedRanges: readonly KeyRange[];
  readonly longestGapMs: number;
  readonly longestGap: Gap;
  readonly errors: number;
  /** By PostgreSQL's SQLSTATE, or the operating system's or this client's own code. */
  readonly errorsByCode: Readonly<Record<string, number>>;
  readonly reconnects: number;
}

export class WriteLedger {
  readonly #ranges: [number, number][] = [];
  readonly #errorsByCode = new Map<string, number>();
  #lastAckMs: number;
  #acknowledged = 0;
  #reconnects = 0;
  #longest: Gap;

  /** The first window begins at `startMs`. */
  constructor(startMs: number) {
    this.#lastAckMs = startMs;
    this.#longest = { startMs, endMs: startMs, ms: 0, open: false };
  }

  /** Counts from here on: a new window. Ranges of acknowledged keys are kept, since a loss may show later. */
  beginWindow(nowMs: number): void {
    this.#acknowledged = 0;
    this.#reconnects = 0;
    this.#errorsByCode.clear();
    this.#longest = { startMs: nowMs, endMs: nowMs, ms: 0, open: false };
  }

  acknowledge(key: number, nowMs: number): void {
    const last = this.#ranges.at(-1);
    if (last !== undefined && last[1] + 1 === key) last[1] = key;
    else this.#ranges.push([key, key]);
    this.#acknowledged += 1;
    const ms = nowMs - this.#lastAckMs;
    if (ms > this.#longest.ms) this.#longest = { startMs: this.#lastAckMs, endMs: nowMs, ms, open: false };
    this.#lastAckMs = nowMs;
  }

  fail(code: string): void {
    this.#errorsByCode.set(code, (this.#errorsByCode.get(code) ?? 0) + 1);
  }

  reconnect(): void {
    this.#reconnects += 1;
  }

  summary(nowMs: number): WriteSummary {
    const openMs = nowMs - this.#lastAckMs;
    const longestGap =
      openMs > this.#longest.ms ? { startMs: this.#lastAckMs, endMs: nowMs, ms: openMs, open: true } : this.#longest;
    const errorsByCode = Object.fromEntries(this.#errorsByCode);
    return {
      acknowledged: this.#acknowledged,
      acknowledgedRanges: this.#ranges.map(([first, last]) => [first, last] as const),
      longestGapMs: longestGap.ms,
      longestGap,
      errors: Object.values(errorsByCode).reduce((sum, count) => sum + count, 0),
      errorsByCode,
      reconnects: this.#reconnects,
    };
  }
}
