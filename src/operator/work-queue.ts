/**
 * Which groups are due. One key is worked on by one worker at a time, several keys by several; a key that comes while it is
 * worked on is due again afterwards. A failed one comes again after a pause that doubles.
 */
export interface WorkQueueOptions {
  /** @returns ms until it is due again by itself; null: not before somebody adds it. A throw is a failure. */
  readonly work: (key: string) => Promise<number | null>;
  /** Logged there; the queue tries again after `retryMs`. */
  readonly onFailure: (key: string, error: Error, retryMs: number) => void;
  /** Keys at one time. Default 4. */
  readonly workersMax?: number;
}

const RETRY_MS_MIN = 500;
/** Long enough to be no load, short enough that what was repaired elsewhere is soon seen. */
const RETRY_MS_MAX = 60_000;

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  /** When each waiting key is due, by performance.now(). */
  readonly #dueAtMs = new Map<string, number>();
  readonly #running = new Set<string>();
  readonly #failures = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** The earlier of two times counts. */
  add(key: string, delayMs = 0): void {
    if (this.#isClosed) return;
    const dueAtMs = performance.now() + delayMs;
    if ((this.#dueAtMs.get(key) ?? Number.POSITIVE_INFINITY) <= dueAtMs) return;
    this.#dueAtMs.set(key, dueAtMs);
    this.#schedule();
  }

  /** Waits for what is being worked on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#dueAtMs.clear();
    while (this.#running.size > 0) await new Promise((resolve) => setTimeout(resolve, CLOSE_CHECK_MS));
  }

  get waiting(): number {
    return this.#dueAtMs.size;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#isClosed || this.#running.size >= (this.#options.workersMax ?? WORKERS_MAX)) return;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [key, dueAtMs] of this.#dueAtMs) if (!this.#running.has(key)) nextMs = Math.min(nextMs, dueAtMs);
    if (!Number.isFinite(nextMs)) return;
    this.#timer = setTimeout(() => this.#start(), Math.min(TIMER_MS_MAX, Math.max(0, nextMs - performance.now())));
  }

  #start(): void {
    const nowMs = performance.now();
    for (const [key, dueAtMs] of [...this.#dueAtMs].toSorted((a, b) => a[1] - b[1])) {
      if (this.#running.size >= (this.#options.workersMax ?? WORKERS_MAX)) break;
      if (dueAtMs > nowMs || this.#running.has(key)) continue;
      this.#dueAtMs.delete(key);
      this.#running.add(key);
      void this.#work(key);
    }
    this.#schedule();
  }

  async #work(key: string): Promise<void> {
    try {
      const againMs = await this.#options.work(key);
      this.#failures.delete(key);
      if (againMs !== null) this.add(key, againMs);
    } catch (error) {
      const failures = this.#failures.get(key) ?? 0;
      this.#failures.set(key, failures + 1);
      const retryMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(failures, 20));
      this.#options.onFailure(key, error as Error, retryMs);
      this.add(key, retryMs);
    } finally {
      this.#running.delete(key);
      this.#schedule();
    }
  }
}

const WORKERS_MAX = 4;
const CLOSE_CHECK_MS = 20;
/** setTimeout takes 31 bits. */
const TIMER_MS_MAX = 2 ** 30;
