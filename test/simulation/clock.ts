/**
 * A virtual clock and processes on it. Time passes only from event to event, so a minute takes milliseconds, and the same seed
 * gives the same order of events.
 *
 * A process runs tasks: generators that yield how long to sleep, or a future to wait for. Killing a process ends its tasks where
 * they stand, between two effects; freezing it holds everything that happens to it until it is thawed.
 */
export class Clock {
  nowMs = 0;
  /** Events handled so far. */
  events = 0;
  readonly #heap: Event[] = [];
  #sequence = 0;

  /** Runs `action` at `atMs`, or now if that has passed. */
  at(atMs: number, action: () => void): void {
    const event: Event = { atMs: Math.max(atMs, this.nowMs), sequence: this.#sequence++, action };
    const heap = this.#heap;
    heap.push(event);
    let index = heap.length - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(event, heap[parent] as Event)) break;
      heap[index] = heap[parent] as Event;
      index = parent;
    }
    heap[index] = event;
  }

  after(delayMs: number, action: () => void): void {
    this.at(this.nowMs + delayMs, action);
  }

  /** Handles events up to and including `untilMs`; ends early if `isDone` says so after an event. */
  run(untilMs: number, isDone: () => boolean = () => false): void {
    for (;;) {
      const event = this.#heap[0];
      if (event === undefined || event.atMs > untilMs) break;
      this.#pop();
      this.nowMs = event.atMs;
      this.events++;
      event.action();
      if (isDone()) return;
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Event;
    if (heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++;
      if (!isBefore(heap[child] as Event, last)) break;
      heap[index] = heap[child] as Event;
      index = child;
    }
    heap[index] = last;
  }
}

interface Event {
  readonly atMs: number;
  readonly sequence: number;
  readonly action: () => void;
}
const isBefore = (a: Event, b: Event): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);

/** A value that comes later, once. */
export class Future<T> {
  #state: { readonly value: T } | null = null;
  #waiters: ((value: T) => void)[] = [];

  get isSettled(): boolean {
    return this.#state !== null;
  }
  settle(value: T): void {
    if (this.#state !== null) return;
    this.#state = { value };
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter(value);
  }
  then(waiter: (value: T) => void): void {
    if (this.#state !== null) waiter(this.#state.value);
    else this.#waiters.push(waiter);
  }
}

/** Yields a number of ms to sleep, or a future whose value comes back. */
// biome-ignore lint/suspicious/noExplicitAny: what comes back depends on what was yielded; `wait` gives it its type.
export type Task<T = void> = Generator<number | Future<any>, T, any>;

/** Waits for a future inside a task. */
export function* wait<T>(future: Future<T>): Task<T> {
  return (yield future) as T;
}

export class Process {
  readonly clock: Clock;
  isAlive = true;
  isFrozen = false;
  /** When it last became able to run: started or thawed. */
  runsSinceMs: number;
  #held: (() => void)[] = [];

  constructor(clock: Clock) {
    this.clock = clock;
    this.runsSinceMs = clock.nowMs;
  }

  /** Something happens to this process: now, when it is thawed, or never. */
  deliver(action: () => void): void {
    if (!this.isAlive) return;
    if (this.isFrozen) this.#held.push(action);
    else action();
  }
  after(delayMs: number, action: () => void): void {
    this.clock.after(delayMs, () => this.deliver(action));
  }
  kill(): void {
    this.isAlive = false;
    this.#held = [];
  }
  freeze(): void {
    this.isFrozen = true;
  }
  thaw(): void {
    if (!this.isFrozen) return;
    this.isFrozen = false;
    this.runsSinceMs = this.clock.nowMs;
    const held = this.#held;
    this.#held = [];
    for (const action of held) this.deliver(action);
  }

  /** Runs a task until its next yield, and on from there as this process lives; the future is its result. */
  spawn<T>(task: Task<T>): Future<T> {
    const result = new Future<T>();
    const step = (value: unknown): void => {
      const yielded = task.next(value);
      if (yielded.done === true) result.settle(yielded.value);
      else if (typeof yielded.value === 'number') this.after(yielded.value, () => step(undefined));
      else yielded.value.then((settled) => this.deliver(() => step(settled)));
    };
    step(undefined);
    return result;
  }

  /** Null when `future` has not come after `timeoutMs`. */
  within<T>(future: Future<T>, timeoutMs: number): Future<T | null> {
    const result = new Future<T | null>();
    future.then((value) => result.settle(value));
    this.after(timeoutMs, () => result.settle(null));
    return result;
  }
}

/** One task at a time, in the order of asking. */
export class TaskMutex {
  #last: Future<void> | null = null;

  *run<T>(body: () => Task<T>): Task<T> {
    const before = this.#last;
    const mine = new Future<void>();
    this.#last = mine;
    if (before !== null && !before.isSettled) yield before;
    const result = yield* body();
    mine.settle(undefined);
    return result;
  }
}
