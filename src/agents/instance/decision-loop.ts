/**
 * Runs an agent's round of observe, decide, apply: at once when it is woken, at the moment that the last round has asked for, and
 * after a growing pause when a round failed. One round at a time; a wake during a round is followed by another one.
 */
import type { Pulse } from '../../base/pulse.ts';

/** Doubled up to the maximum: a broken disk is not asked a hundred times a second. */
const FAILURE_PAUSE_MS = 200;
const FAILURE_PAUSE_MS_MAX = 10_000;

/** How long to wait after so many failures in a row, the first being 1. */
export function failurePauseMs(failures: number): number {
  return Math.min(FAILURE_PAUSE_MS * 2 ** (failures - 1), FAILURE_PAUSE_MS_MAX);
}

/** The latest moment of the next round, of performance.now(). */
export interface NextLook {
  readonly atMs: number;
  /** What is looked for is there at that moment and not before. */
  readonly isPunctual: boolean;
}

export interface DecisionRound {
  /** @returns null: the moment that was asked for before stays */
  run(): Promise<NextLook | null>;
  onFailure(error: Error & { code?: string }, retryMs: number): void;
}

export class DecisionLoop {
  readonly #pulse: Pulse;
  readonly #round: DecisionRound;
  #isRunning = false;
  #isWoken = false;
  #isStopped = false;
  #failures = 0;
  #callOffSleep: () => void = () => {};

  constructor(pulse: Pulse, round: DecisionRound) {
    this.#pulse = pulse;
    this.#round = round;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** No round begins any more. */
  stop(): void {
    this.#isStopped = true;
  }

  wake(): void {
    this.#isWoken = true;
    if (this.#isRunning || this.#isStopped) return;
    this.#isRunning = true;
    setImmediate(() => void this.#runWhileWoken());
  }

  async #runWhileWoken(): Promise<void> {
    try {
      while (this.#isWoken && !this.#isStopped) {
        this.#isWoken = false;
        await this.#runOnce();
      }
    } finally {
      this.#isRunning = false;
      if (this.#isWoken) this.wake();
    }
  }

  async #runOnce(): Promise<void> {
    try {
      const next = await this.#round.run();
      if (next === null) return;
      this.#failures = 0;
      this.#sleepUntil(next);
    } catch (error) {
      this.#failures++;
      const pauseMs = failurePauseMs(this.#failures);
      this.#round.onFailure(error as Error, pauseMs);
      this.#sleepUntil({ atMs: performance.now() + pauseMs, isPunctual: false });
    }
  }

  #sleepUntil({ atMs, isPunctual }: NextLook): void {
    this.#callOffSleep();
    this.#callOffSleep = this.#pulse.once(atMs, () => this.wake(), { isPunctual });
  }
}
