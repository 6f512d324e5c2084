/** The client of the record server (record-server.ts). */

import type { ClusterRecord } from '../api/record.ts';
import {
  LEASE_PATH,
  leasedAnswerSchema,
  RECORD_PATH,
  SWAP_PATH,
  storedSchema,
  WATCH_BEAT_MS,
  WATCH_PATH,
} from '../api/record-server-config.ts';
import { createJsonHttpClient, type JsonAnswer, type JsonHttpOptions } from './json-http.ts';
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
import { runWatch } from './watch-loop.ts';

export function openLocalStore(options: JsonHttpOptions): RecordStore {
  const client = createJsonHttpClient(options);
  const where = `${client.origin}${RECORD_PATH}`;
  const watches = new Set<{ close(): void }>();

  const read: RecordStore['read'] = async ({ timeoutMs = STORE_TIMEOUT_MS } = {}) => {
    let answer: JsonAnswer;
    try {
      answer = await client.request({ method: 'GET', path: RECORD_PATH, repeatable: true }, { timeoutMs });
    } catch (error) {
      throw new StoreUnavailableError(`Cannot read the record: ${(error as Error).message}`, { cause: error });
    }
    if (answer.status !== 200) throw new StoreUnavailableError(`Cannot read the record: ${describeAnswer(answer)}`);
    return parseStored(answer.body, where);
  };

  /** The answer, or why there is none that tells. */
  const change = async (path: string, body: unknown, timeoutMs: number): Promise<JsonAnswer | Error> => {
    try {
      const answer = await client.request({ method: 'POST', path, body, repeatable: true }, { timeoutMs });
      if ([200, 409, 423].includes(answer.status)) return answer;
      return new StoreUnavailableError(`Cannot change the record: ${describeAnswer(answer)}`);
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
    const answer = await change(SWAP_PATH, { expected, next, unlessLeased }, timeoutMs);
    if (answer instanceof Error) return { kind: 'unknown', error: answer };
    if (answer.status === 423) return { kind: 'leased', by: parseLeased(answer.body, where).by };
    return { kind: answer.status === 200 ? 'swapped' : 'lost', stored: parseStored(answer.body, where) };
  };

  return {
    read,
    compareAndSwap: async (expected, next, { timeoutMs = STORE_TIMEOUT_MS } = {}) =>
      (await swap(expected, next, false, timeoutMs)) as SwapResult,
    watch(onChange, onError) {
      const watch = runWatch(
        {
          read: () => read(),
          stream: (_from, onStored, onEnd) =>
            client.lines(
              { method: 'GET', path: WATCH_PATH },
              { onLine: (value) => onStored(parseStored(value, where)), onEnd },
              { timeoutMs: STORE_TIMEOUT_MS, silenceMsMax: 3 * WATCH_BEAT_MS },
            ),
        },
        onChange,
        onError,
      );
      watches.add(watch);
      return watch;
    },
    leases: {
      async renew(lease, expected, { timeoutMs = STORE_TIMEOUT_MS } = {}) {
        const sentAtMs = performance.now();
        const answer = await change(LEASE_PATH, { expected, lease }, timeoutMs);
        if (answer instanceof Error) return { kind: 'unknown', error: answer };
        if (answer.status === 200) return { kind: 'held', sentAtMs };
        return { kind: 'stale', stored: parseStored(answer.body, where) };
      },
      swapUnlessLeased: (expected, next, { timeoutMs = STORE_TIMEOUT_MS } = {}) =>
        swap(expected, next, true, timeoutMs),
    },
    async close() {
      for (const watch of watches) watch.close();
      client.close();
    },
  };
}

function parseStored(value: unknown, where: string): StoredRecord {
  const parsed = storedSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new StoreContentError(
    `Cannot read the record at "${where}": ${parsed.error.issues[0]?.message ?? 'it is none'}`,
  );
}

function parseLeased(value: unknown, where: string): { by: Lease } {
  const parsed = leasedAnswerSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new StoreContentError(
    `Cannot read the lease at "${where}": ${parsed.error.issues[0]?.message ?? 'it is none'}`,
  );
}

function describeAnswer({ status, body }: JsonAnswer): string {
  const message = typeof body === 'object' && body !== null && 'message' in body ? String(body.message) : '';
  return `it answered ${status}${message === '' ? '' : ` (${message.slice(0, 300)})`}`;
}
