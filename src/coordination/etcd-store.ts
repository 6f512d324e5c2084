/**
 * The record as one key of etcd, by the JSON gateway (docs/decisions/etcd-json-gateway.md).
 *
 *   store version = the key's mod_revision, '' while it is absent
 *   swap  = transaction: if mod_revision(key) = expected then put
 *   lease = key `<key>.lease`, attached to an etcd lease that is new with each renewal. Grant and put go through Raft, and
 *           every member's clock for it starts with its grant, so none can end it too early. Prolonging one lease is not
 *           as safe: a member that was the leader may answer a keep-alive after the cluster has gone on
 *           (https://github.com/etcd-io/etcd/pull/4778), or revoke what the new leader has prolonged (issue 15247).
 */
import { isDeepStrictEqual } from 'node:util';
import type { ClusterRecord } from '../api/record.ts';
import { createEtcdClient, type EtcdClientOptions } from './etcd-client.ts';
import {
  decodeText,
  encodeRange,
  encodeTxn,
  encodeWatch,
  GRANT_PATH,
  grantAnswerSchema,
  type KeyValue,
  RANGE_PATH,
  rangeAnswerSchema,
  TXN_PATH,
  txnAnswerSchema,
  WATCH_PATH,
  watchLineSchema,
} from './etcd-messages.ts';
import {
  type Lease,
  type LeasedResult,
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

/** What a read saw, and as of which revision of the whole of etcd. */
interface Snapshot {
  readonly stored: StoredRecord;
  readonly revision: bigint;
}

/**
 * For the watch, which holds nobody up. Longer than STORE_TIMEOUT_MS, so that a member whose answers take up to a second is heard at all: a
 * new connection needs two of them, for TLS and for the request. The one that the watch's reads have opened is kept, and then
 * serves those that must be quick. With more, a member that is cut off would be given up so much later.
 */
const WATCH_TIMEOUT_MS = 3000;

/** As mod_revision, etcd's word for "the key does not exist". */
const ABSENT = '0';

export function openEtcdStore(options: EtcdClientOptions & { readonly key: string }): RecordStore {
  const { key } = options;
  const leaseKey = `${key}.lease`;
  const client = createEtcdClient(options);
  const where = `${client.where}, key ${key}`;
  const watches = new Set<{ close(): void }>();

  const readSnapshot = async (timeoutMs: number): Promise<Snapshot> => {
    try {
      const body = await client.request(RANGE_PATH, encodeRange(key), { timeoutMs });
      const { header, kvs } = rangeAnswerSchema.parse(body);
      return { stored: decodeStored(kvs[0], where), revision: BigInt(header.revision) };
    } catch (error) {
      if (error instanceof StoreContentError) throw error;
      throw new StoreUnavailableError(`Cannot read the record: ${(error as Error).message}`, { cause: error });
    }
  };

  /** The transaction's outcome, or why nobody knows it. */
  const transact = async (
    txn: ReturnType<typeof encodeTxn>,
    timeoutMs: number,
  ): Promise<{ succeeded: boolean; revision: string; found: (KeyValue | undefined)[] } | Error> => {
    try {
      const body = await client.request(TXN_PATH, txn, { timeoutMs });
      const { header, succeeded, responses } = txnAnswerSchema.parse(body);
      return { succeeded, revision: header.revision, found: responses.map((of) => of.response_range?.kvs[0]) };
    } catch (error) {
      return new StoreUnavailableError(`Cannot change the record: ${(error as Error).message}`, { cause: error });
    }
  };

  const swap = async (
    expected: StoreVersion,
    next: ClusterRecord,
    unlessLeased: boolean,
    timeoutMs: number,
  ): Promise<SwapResult | LeasedResult> => {
    const ifRevision = [[key, expected === '' ? ABSENT : expected] as const, [leaseKey, ABSENT] as const];
    const txn = encodeTxn({
      ifRevision: unlessLeased ? ifRevision : ifRevision.slice(0, 1),
      put: { key, value: encodeRecord(next) },
    });
    const outcome = await transact(txn, timeoutMs);
    if (outcome instanceof Error) return { kind: 'unknown', error: outcome };
    if (outcome.succeeded) return { kind: 'swapped', stored: { storeVersion: outcome.revision, record: next } };
    const [found, lease] = outcome.found;
    const stored = decodeStored(found, where);
    // An earlier try, or another member that was asked as well, has carried it out.
    if (isDeepStrictEqual(stored.record, next)) return { kind: 'swapped', stored };
    if (stored.storeVersion === expected && lease !== undefined)
      return { kind: 'leased', by: decodeLease(lease, where) };
    return { kind: 'lost', stored };
  };

  const watchSource = (): WatchSource => {
    let revision = 0n;
    return {
      async read() {
        const snapshot = await readSnapshot(WATCH_TIMEOUT_MS);
        revision = snapshot.revision;
        return snapshot.stored;
      },
      stream(_from, onStored, onEnd) {
        // From the revision of the read, not of the record: that of an old record is compacted away one day.
        const from = encodeWatch(key, revision + 1n);
        const onLine = (line: unknown): void => decodeWatchLine(line, where).forEach(onStored);
        return client.lines(WATCH_PATH, from, { onLine, onEnd }, { timeoutMs: WATCH_TIMEOUT_MS });
      },
    };
  };

  return {
    read: async ({ timeoutMs = STORE_TIMEOUT_MS } = {}) => (await readSnapshot(timeoutMs)).stored,
    compareAndSwap: async (expected, next, { timeoutMs = STORE_TIMEOUT_MS } = {}) =>
      (await swap(expected, next, false, timeoutMs)) as SwapResult,
    watch(onChange, onError) {
      const watch = runWatch(watchSource(), onChange, onError);
      watches.add(watch);
      return watch;
    },
    leases: {
      swapUnlessLeased: (expected, next, { timeoutMs = STORE_TIMEOUT_MS } = {}) =>
        swap(expected, next, true, timeoutMs),
      async renew(lease, expected, { timeoutMs = STORE_TIMEOUT_MS } = {}) {
        const sentAtMs = performance.now();
        // Whole seconds, rounded up; etcd makes it longer where it is below its own least.
        const ttl = String(Math.ceil(lease.durationMs / 1000));
        let id: string;
        try {
          const body = await client.request(GRANT_PATH, { TTL: ttl }, { timeoutMs });
          id = grantAnswerSchema.parse(body).ID;
        } catch (error) {
          return { kind: 'unknown', error: error as Error };
        }
        const put = { key: leaseKey, value: JSON.stringify(lease), lease: id };
        const timeLeftMs = Math.max(1, sentAtMs + timeoutMs - performance.now());
        const outcome = await transact(encodeTxn({ ifRevision: [[key, expected]], put }), timeLeftMs);
        if (outcome instanceof Error) return { kind: 'unknown', error: outcome };
        if (outcome.succeeded) return { kind: 'held', sentAtMs };
        return { kind: 'stale', stored: decodeStored(outcome.found[0], where) };
      },
    },
    async close() {
      for (const watch of watches) watch.close();
      client.close();
    },
  };
}

function decodeStored(found: KeyValue | undefined, where: string): StoredRecord {
  if (found === undefined) return { storeVersion: '', record: null };
  return { storeVersion: found.mod_revision, record: parseRecordText(decodeText(found.value), where) };
}

function decodeLease(found: KeyValue, where: string): Lease {
  try {
    const { holder, durationMs } = JSON.parse(decodeText(found.value)) as Lease;
    return { holder: String(holder), durationMs: Number(durationMs) };
  } catch (error) {
    throw new StoreContentError(`Cannot read the lease at "${where}": it is no JSON`, { cause: error });
  }
}

/** Throws what ends the watch: an error of etcd, or its end by compaction, or for want of a leader. */
function decodeWatchLine(line: unknown, where: string): StoredRecord[] {
  const { result, error } = watchLineSchema.parse(line);
  if (error !== undefined || result === undefined || result.canceled) {
    const why = error?.message ?? result?.cancel_reason ?? '';
    const compacted =
      result?.compact_revision === undefined ? '' : `compacted up to revision ${result.compact_revision}`;
    throw new StoreUnavailableError(`Cannot watch "${where}": etcd ended it: ${why || compacted || 'no reason given'}`);
  }
  return result.events.map(({ type, kv: { mod_revision = ABSENT, value = '' } }) =>
    decodeStored(type === 'DELETE' ? undefined : { mod_revision, value }, where),
  );
}
