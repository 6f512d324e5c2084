/**
 * The record and its lease in the memory of one process: the rules of RecordStore, without any transport.
 * The memory store is this alone; the record server puts files below it and HTTP above it.
 *
 *   state = (counter, record, lease); a swap makes (counter + 1, next, lease)
 *   answered => persisted: nothing is shown to anybody before `persist` has returned
 */
import { EventEmitter } from 'node:events';
import { isDeepStrictEqual } from 'node:util';
import type { ClusterRecord } from '../api/record.ts';
import {
  type Lease,
  type LeasedResult,
  type StoredRecord,
  StoreUnavailableError,
  type StoreVersion,
  type SwapResult,
} from './store.ts';

export interface CellState {
  /** Number of swaps so far: the store version. 0: no record yet. */
  readonly counter: number;
  readonly record: ClusterRecord | null;
  /** The last lease given, running or not. */
  readonly lease: Lease | null;
}

export const EMPTY_CELL: CellState = { counter: 0, record: null, lease: null };

/** Changes that wait for the disk. There is one writer at a time, so a longer queue means that the disk hangs. */
const PENDING_CHANGES_MAX = 64;

/** What a change makes of the state (null: nothing), and what its caller is told once that is durable. */
interface CellChange<Result> {
  readonly next: CellState | null;
  readonly result: Result;
}

/** What the cell answers when it answers at all. */
type Settled = Exclude<SwapResult, { kind: 'unknown' }>;

export class RecordCell {
  #state: CellState;
  readonly #persist: (state: CellState) => Promise<void>;
  readonly #changes = new EventEmitter<{ change: [StoredRecord] }>().setMaxListeners(0);
  #queue: Promise<unknown> = Promise.resolve();
  #pending = 0;
  /** The last write failed: disk and memory may differ until the present state has been written again. */
  #doubtful = false;
  /** performance.now() of the end of the lease. */
  #leaseEndsAtMs: number;

  /** A lease found in `state` runs from now on: when it was last renewed, nobody has written down. */
  constructor(state: CellState = EMPTY_CELL, persist: (state: CellState) => Promise<void> = async () => {}) {
    this.#state = state;
    this.#persist = persist;
    this.#leaseEndsAtMs = performance.now() + (state.lease?.durationMs ?? 0);
  }

  /** The newest state that is durable, for a watcher; read() is the linearizable one. */
  get stored(): StoredRecord {
    return storedOf(this.#state);
  }

  /** Calls back with each change from now on; returns the way to end it. */
  subscribe(onChange: (stored: StoredRecord) => void): () => void {
    this.#changes.on('change', onChange);
    return () => this.#changes.off('change', onChange);
  }

  async read(): Promise<StoredRecord> {
    if (this.#doubtful) await this.#change(() => ({ next: null, result: null }));
    return this.stored;
  }

  /** This and the next two throw StoreUnavailableError when it may or may not have been carried out. */
  swap(expected: StoreVersion, next: ClusterRecord): Promise<Settled> {
    return this.#change((state) => swapIn(state, expected, next));
  }

  swapUnlessLeased(expected: StoreVersion, next: ClusterRecord): Promise<Settled | LeasedResult> {
    return this.#change<Settled | LeasedResult>((state) => {
      const change = swapIn(state, expected, next);
      if (change.next === null || state.lease === null || performance.now() >= this.#leaseEndsAtMs) return change;
      return { next: null, result: { kind: 'leased', by: state.lease } };
    });
  }

  async renew(
    lease: Lease,
    expected: StoreVersion,
  ): Promise<{ kind: 'held' } | { kind: 'stale'; stored: StoredRecord }> {
    const held = await this.#change((state) => {
      if (versionOf(state) !== expected || state.record?.leader !== lease.holder) return { next: null, result: false };
      this.#leaseEndsAtMs = performance.now() + lease.durationMs;
      // Only the first of many renewals is written; after a restart it runs for its whole duration again.
      return { next: isSameLease(state.lease, lease) ? null : { ...state, lease }, result: true };
    });
    return held ? { kind: 'held' } : { kind: 'stale', stored: this.stored };
  }

  /** One change at a time, each decided on the state that the one before has left. */
  #change<Result>(decide: (state: CellState) => CellChange<Result>): Promise<Result> {
    if (this.#pending >= PENDING_CHANGES_MAX) {
      return Promise.reject(
        new StoreUnavailableError(`Cannot change the record: ${this.#pending} changes wait for the disk`),
      );
    }
    this.#pending += 1;
    const outcome = this.#queue.then(() => this.#carryOut(decide));
    const settled = (): void => {
      this.#pending -= 1;
    };
    this.#queue = outcome.then(settled, settled);
    return outcome;
  }

  async #carryOut<Result>(decide: (state: CellState) => CellChange<Result>): Promise<Result> {
    if (this.#doubtful) await this.#write(this.#state);
    const before = this.#state;
    const { next, result } = decide(before);
    if (next !== null) {
      await this.#write(next);
      this.#state = next;
      if (next.counter !== before.counter) this.#changes.emit('change', this.stored);
    }
    return result;
  }

  async #write(state: CellState): Promise<void> {
    this.#doubtful = true;
    try {
      await this.#persist(state);
    } catch (error) {
      throw new StoreUnavailableError(`Cannot write the record: ${(error as Error).message}`, { cause: error });
    }
    this.#doubtful = false;
  }
}

export function versionOf(state: CellState): StoreVersion {
  return state.counter === 0 ? '' : String(state.counter);
}

function storedOf(state: CellState): StoredRecord {
  return { storeVersion: versionOf(state), record: state.record };
}

function swapIn(state: CellState, expected: StoreVersion, record: ClusterRecord): CellChange<Settled> {
  if (versionOf(state) !== expected) {
    const kind = isDeepStrictEqual(state.record, record) ? 'swapped' : 'lost';
    return { next: null, result: { kind, stored: storedOf(state) } };
  }
  const next = { ...state, counter: state.counter + 1, record };
  return { next, result: { kind: 'swapped', stored: storedOf(next) } };
}

function isSameLease(a: Lease | null, b: Lease): boolean {
  return a !== null && a.holder === b.holder && a.durationMs === b.durationMs;
}
