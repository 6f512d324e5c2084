/**
 * The record as an annotation of one Lease of Kubernetes.
 *
 *   store version = the Lease's resourceVersion, '' while it has no record
 *   swap  = replace the Lease as it was at that version; the API server refuses if it is at another one by now
 *
 * The operator makes the Lease: an agent that might create one could create any. Whatever else changes the Lease (its labels)
 * changes the version too; such a swap is lost like any other and is decided anew. Nothing is written but swaps: the Lease's own
 * times mean nothing here. holderIdentity and leaseTransitions are for people who list Leases.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ClusterRecord } from '../api/record.ts';
import { createLeaseClient, type LeaseClientOptions, type LeaseObject } from './lease-client.ts';
import {
  type RecordStore,
  STORE_TIMEOUT_MS,
  StoreContentError,
  type StoredRecord,
  StoreUnavailableError,
  type StoreVersion,
  type SwapResult,
} from './store.ts';
import { encodeRecord, parseRecordText } from './stored-text.ts';
import { runWatch, type WatchSource } from './watch-loop.ts';

export const RECORD_ANNOTATION = 'pgspan.io/record';

/** While the record is absent, changes of the Lease's labels may come between; more than this many are somebody's mistake. */
const TRIES_MAX = 3;
/**
 * The API server is shared with others, and agents tell each other of changes as well: a hint that comes this late costs nothing
 * that an election waits for.
 */
const RECHECK_INTERVAL_MS = 30_000;

interface Seen {
  readonly lease: LeaseObject | null;
  readonly stored: StoredRecord;
}

export function openLeaseStore(options: LeaseClientOptions): RecordStore {
  const client = createLeaseClient(options);
  const watches = new Set<{ close(): void }>();
  /** The newest Lease that a read, a watch or a swap has shown: most swaps need no read before them. */
  let latest: LeaseObject | null = null;

  const decode = (lease: LeaseObject | null): StoredRecord => {
    latest = lease;
    const text = lease?.metadata.annotations?.[RECORD_ANNOTATION];
    if (lease === null || text === undefined) return { storeVersion: '', record: null };
    return { storeVersion: lease.metadata.resourceVersion, record: parseRecordText(text, client.where) };
  };

  const read = async (deadlineMs: number): Promise<Seen> => {
    try {
      const lease = await client.get(deadlineMs);
      return { lease, stored: decode(lease) };
    } catch (error) {
      if (error instanceof StoreContentError) throw error;
      throw new StoreUnavailableError(`Cannot read the record: ${(error as Error).message}`, { cause: error });
    }
  };

  /** What is there instead of `expected`: `next` all the same, or another. */
  const settle = (stored: StoredRecord, next: ClusterRecord): SwapResult =>
    isDeepStrictEqual(stored.record, next) ? { kind: 'swapped', stored } : { kind: 'lost', stored };

  const swap = async (expected: StoreVersion, next: ClusterRecord, deadlineMs: number): Promise<SwapResult> => {
    let base = expected !== '' && latest?.metadata.resourceVersion === expected ? latest : null;
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      if (base === null) {
        const { lease, stored } = await read(deadlineMs);
        if (stored.storeVersion !== expected) return settle(stored, next);
        if (lease === null) {
          throw new StoreUnavailableError(
            `Cannot change the record: there is no ${client.where}; the operator makes it, see whether it runs`,
          );
        }
        base = lease;
      }
      const result = await client.replace(withRecord(base, next), deadlineMs);
      if (result.kind === 'replaced') return { kind: 'swapped', stored: decode(result.lease) };
      base = null;
    }
    throw new StoreUnavailableError(`Cannot change the record: "${client.where}" is changed all the time`);
  };

  const source: WatchSource = {
    read: async () => (await read(performance.now() + STORE_TIMEOUT_MS)).stored,
    stream: (_from, onStored, onEnd) =>
      client.watch(
        (event) => {
          if ('error' in event) throw new StoreUnavailableError(`Cannot watch "${client.where}": ${event.error}`);
          onStored(decode(event.lease));
        },
        onEnd,
        STORE_TIMEOUT_MS,
      ),
  };

  return {
    read: async ({ timeoutMs = STORE_TIMEOUT_MS } = {}) => (await read(performance.now() + timeoutMs)).stored,
    async compareAndSwap(expected, next, { timeoutMs = STORE_TIMEOUT_MS } = {}) {
      try {
        return await swap(expected, next, performance.now() + timeoutMs);
      } catch (error) {
        if (error instanceof StoreContentError) throw error;
        return { kind: 'unknown', error: error as Error };
      }
    },
    watch(onChange, onError) {
      const watch = runWatch(source, onChange, onError, { recheckIntervalMs: RECHECK_INTERVAL_MS });
      watches.add(watch);
      return watch;
    },
    async close() {
      for (const watch of watches) watch.close();
      client.close();
    },
  };
}

function withRecord(lease: LeaseObject, record: ClusterRecord): LeaseObject {
  return {
    ...lease,
    metadata: {
      ...lease.metadata,
      annotations: { ...lease.metadata.annotations, [RECORD_ANNOTATION]: encodeRecord(record) },
    },
    spec: { ...lease.spec, holderIdentity: record.leader, leaseTransitions: record.term },
  };
}
