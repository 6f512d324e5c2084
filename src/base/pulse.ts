/**
 * One timer for all that a process does again and again, so that an idle one wakes up seldom: what falls due at nearly the same
 * time is done in one go, and so is what falls due soon after something else has woken the process (`nudge`).
 *
 * A wake-up of an idle Node costs some 50 microseconds before anything is done; an agent with a dozen timers of its own had thirty
 * a second (docs/decisions/agent-memory.md).
 */

/** A task may run this part of its interval before it is due, if the process is awake. More, and it could run twice in one go. */
const EARLY_FRACTION = 0.5;
/** Just above the interval of heartbeats: whoever hears or sends them needs no wake-up of its own for anything else. */
const EARLY_MS_MAX = 260;

export interface PulseOptions {
  /** Never before it is due. Default false. */
  readonly isPunctual?: boolean;
}

interface Task {
  readonly intervalMs: number | null;
  readonly earlyMs: number;
  readonly run: () => void;
  dueMs: number;
}

export class Pulse {
  readonly #tasks = new Set<Task>();
  #isStopped = false;
  #timer: NodeJS.Timeout | null = null;
  #timerAtMs = Number.POSITIVE_INFINITY;

  /** Runs `run` each `intervalMs`, for the first time after one interval. @returns ends it */
  every(intervalMs: number, run: () => void, options: PulseOptions = {}): () => void {
    return this.#add(intervalMs, intervalMs, run, options);
  }

  /** Runs `run` once, at `atMs` of performance.now() or a little before. @returns calls it off */
  once(atMs: number, run: () => void, options: PulseOptions = {}): () => void {
    return this.#add(Math.max(0, atMs - performance.now()), null, run, options);
  }

  /** The process is awake: what is nearly due is done now. */
  nudge(): void {
    this.#runDue();
  }

  /** Nothing runs any more, also nothing that is asked for later. */
  stop(): void {
    this.#isStopped = true;
    this.#tasks.clear();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }

  #add(waitMs: number, intervalMs: number | null, run: () => void, { isPunctual }: PulseOptions): () => void {
    const task: Task = {
      intervalMs,
      earlyMs: isPunctual === true ? 0 : Math.min(waitMs * EARLY_FRACTION, EARLY_MS_MAX),
      run,
      dueMs: performance.now() + waitMs,
    };
    if (this.#isStopped) return () => {};
    this.#tasks.add(task);
    if (task.dueMs < this.#timerAtMs) this.#arm(task.dueMs);
    return () => {
      this.#tasks.delete(task);
    };
  }

  #runDue(): void {
    const nowMs = performance.now();
    try {
      for (const task of [...this.#tasks]) {
        if (task.dueMs - task.earlyMs > nowMs || !this.#tasks.has(task)) continue;
        if (task.intervalMs === null) this.#tasks.delete(task);
        // In rhythm; but what was missed while the process stood still is not made up for.
        else task.dueMs = (nowMs - task.dueMs > task.intervalMs / 2 ? nowMs : task.dueMs) + task.intervalMs;
        task.run();
      }
    } finally {
      this.#armNext();
    }
  }

  #armNext(): void {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { dueMs } of this.#tasks) nextMs = Math.min(nextMs, dueMs);
    if (nextMs !== this.#timerAtMs) this.#arm(nextMs);
  }

  #arm(atMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAtMs = atMs;
    if (atMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(
      () => {
        this.#timer = null;
        this.#timerAtMs = Number.POSITIVE_INFINITY;
        this.#runDue();
      },
      Math.max(0, atMs - performance.now()),
    );
  }
}
