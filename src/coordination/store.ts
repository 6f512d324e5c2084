/**
 * The port to the coordination service: one record, read linearizably, changed by compare-and-swap, watched.
 * Every store (memory, local server, etcd, Kubernetes Lease) passes test/conformance/store.ts.
 */
import type { ClusterRecord } from '../api/record.ts';

/** Opaque to all but the store that gave it: etcd's mod_revision, Kubernetes' resourceVersion. '' means "absent". */
export type StoreVersion = string;

export interface StoredRecord {
  readonly storeVersion: StoreVersion;
  /** null when there is no record yet. */
  readonly record: ClusterRecord | null;
}

export type SwapResult =
  /** `next` is there: written now, or already there because an earlier try of the same swap was carried out. */
  | { readonly kind: 'swapped'; readonly stored: StoredRecord }
  /**
   * `stored` is there now, another record than `next`. From now on this swap cannot be carried out; an earlier try of
   * it whose result was unknown may have been, and `stored` has followed it.
   */
  | { readonly kind: 'lost'; readonly stored: StoredRecord }
  /**
   * No answer, or one that does not tell whether it was carried out. A read that still shows `expected` settles nothing:
   * the swap may be under way and be carried out after it. Repeat the same swap (same `expected`, same `next`) until it is
   * 'swapped' or 'lost'.
   */
  | { readonly kind: 'unknown'; readonly error: Error };

export interface RecordStore {
  /** Linearizable: sees every swap that completed before this call was made. Throws StoreUnavailableError in at most `timeoutMs`. */
  read(options?: { timeoutMs?: number }): Promise<StoredRecord>;
  /** Writes `next` only if the present version is `expected`. Never throws for an unavailable store: answers 'unknown'.
   * Throws StoreContentError when something is there that is no record. */
  compareAndSwap(expected: StoreVersion, next: ClusterRecord, options?: { timeoutMs?: number }): Promise<SwapResult>;
  /**
   * Calls back with each change that becomes known, at least with the newest one, until `close`; reconnects by itself with
   * bounded back-off and calls back once after each reconnect. Not linearizable.
   */
  watch(onChange: (stored: StoredRecord) => void, onError?: (error: Error) => void): { close(): void };
  /** Present where the store has leases; needed by `scope: group` only. */
  readonly leases?: LeaseStore;
  close(): Promise<void>;
}

/** Proof that the record's leader was in touch with the store (leadership.md, the lease rule). */
export interface Lease {
  /** Node name: the leader of the record. */
  readonly holder: string;
  /** Counted by the store from when it carries a renewal out, so never shorter than counted by the holder from its sending. */
  readonly durationMs: number;
}

export type RenewResult =
  /** Held until `sentAtMs + durationMs` (performance.now() of this process when the request was sent). */
  | { readonly kind: 'held'; readonly sentAtMs: number }
  /** The record is no longer at `expected`; look whether it still names the holder. */
  | { readonly kind: 'stale'; readonly stored: StoredRecord }
  | { readonly kind: 'unknown'; readonly error: Error };

/**
 * At most one lease, beside the record. Until it has run out, swapUnlessLeased fails; after a swap, a renewal that expects
 * the record before it fails. A plain compareAndSwap ignores the lease: it is for the leader itself, for a successor to whom
 * the leader has promised, and for one whom the members have elected: without them the leader acknowledges nothing.
 */
export interface LeaseStore {
  /** Takes or prolongs the lease if the record is at `expected`. Only the leader that this record names may call it. */
  renew(lease: Lease, expected: StoreVersion, options?: { timeoutMs?: number }): Promise<RenewResult>;
  /** compareAndSwap, but only if no lease is running; `by` is the one that hinders. */
  swapUnlessLeased(
    expected: StoreVersion,
    next: ClusterRecord,
    options?: { timeoutMs?: number },
  ): Promise<SwapResult | LeasedResult>;
}

export interface LeasedResult {
  readonly kind: 'leased';
  readonly by: Lease;
}

/** How long a store may take to answer when the caller does not say. */
export const STORE_TIMEOUT_MS = 1000;

/** The store did not answer in time, or answered that it cannot serve. `code` is STORE_UNAVAILABLE. */
export class StoreUnavailableError extends Error {
  override name = 'StoreUnavailableError';
  readonly code = 'STORE_UNAVAILABLE';
}

/** The store holds something that is no record (foreign key, newer format). `code` is STORE_CONTENT_INVALID. */
export class StoreContentError extends Error {
  override name = 'StoreContentError';
  readonly code = 'STORE_CONTENT_INVALID';
}
