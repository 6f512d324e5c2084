/**
 * Keeps a watch alive: read, follow the store's stream, and when that ends begin again, with bounded back-off.
 * A stream that says nothing proves nothing (a frozen server, one cut off from its quorum), so the record is read
 * linearizably every `recheckIntervalMs` as well; a read that fails ends the stream too.
 *
 *   connecting --read ok--> tell, open stream --end | failed recheck--> wait --> connecting
 */
import type { StoredRecord } from './store.ts';

export interface WatchSource {
  /** Linearizable; rejects within a bounded time. */
  read(): Promise<StoredRecord>;
  /** Streams what comes after `from`. `onEnd` is called at most once, and not after close(). */
  stream(
    from: StoredRecord,
    onStored: (stored: StoredRecord) => void,
    onEnd: (error: Error) => void,
  ): { close(): void };
}

/** A hint that came late costs at most this long; a read every 10 s of each node is no load on any store. */
export const RECHECK_INTERVAL_MS = 10_000;
const RETRY_DELAY_MS_MIN = 100;
/** Short enough that a store which is back is used again within two detections. */
const RETRY_DELAY_MS_MAX = 2000;

export function runWatch(
  source: WatchSource,
  onChange: (stored: StoredRecord) => void,
  onError: (error: Error) => void = () => {},
  { recheckIntervalMs = RECHECK_INTERVAL_MS }: { readonly recheckIntervalMs?: number } = {},
): { close(): void } {
  let closed = false;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  let stream: { close(): void } | undefined;

  const retry = (error: Error): void => {
    if (closed) return;
    stream?.close();
    stream = undefined;
    clearTimeout(timer);
    onError(error);
    timer = setTimeout(connect, retryDelayMs(failures));
    failures += 1;
  };

  const connect = async (): Promise<void> => {
    let last: StoredRecord;
    try {
      last = await source.read();
    } catch (error) {
      return retry(error as Error);
    }
    if (closed) return;
    onChange(last);
    const follow = (stored: StoredRecord): void => {
      if (closed || stored.storeVersion === last.storeVersion) return;
      failures = 0;
      last = stored;
      onChange(stored);
    };
    const opened = source.stream(last, follow, retry);
    stream = opened;
    const recheck = async (): Promise<void> => {
      const lastAtStart = last;
      try {
        const stored = await source.read();
        if (stream !== opened) return;
        // What the stream has told meanwhile may be newer than this.
        if (last === lastAtStart) follow(stored);
        failures = 0;
        timer = setTimeout(recheck, recheckIntervalMs);
      } catch (error) {
        if (stream === opened) retry(error as Error);
      }
    };
    timer = setTimeout(recheck, recheckIntervalMs);
  };

  void connect();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      stream?.close();
      stream = undefined;
    },
  };
}

/** Doubles, with jitter, so that the nodes of a cluster do not come back all at once. */
function retryDelayMs(failures: number): number {
  const ceiling = Math.min(RETRY_DELAY_MS_MAX, RETRY_DELAY_MS_MIN * 2 ** Math.min(failures, 10));
  return ceiling * (0.5 + Math.random() / 2);
}
