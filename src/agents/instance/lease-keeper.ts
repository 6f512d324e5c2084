/**
 * The leader's lease in the record's store, where the lease rule holds (core/leadership/lease.ts): renewed for as long as
 * PostgreSQL may be a primary, and the fence when it could not be. Elsewhere it does nothing, and writes nothing.
 */
import { delay } from '../../base/wait-until.ts';
import {
  decideLeaseFence,
  isLeaseFresh,
  type LeaseHolding,
  leaseDurationMs,
  RENEWALS_PER_FENCE,
} from '../../core/leadership/lease.ts';
import type { LeaseStore, RecordStore } from '../../coordination/store.ts';
import type { NodeContext } from './node-context.ts';

/** Code STORE_WITHOUT_LEASES. */
export class LeaseError extends Error {
  override name = 'LeaseError';
  readonly code = 'STORE_WITHOUT_LEASES';
}

/** Throws LeaseError for a store that has none. */
export function assertLeases(store: RecordStore): LeaseStore {
  if (store.leases !== undefined) return store.leases;
  throw new LeaseError(
    "Cannot lead with `replication.scope: group`: the record's store has no leases; use etcd, or `scope: global`",
  );
}

export interface LeaseHooks {
  /** PostgreSQL may be a primary, or becomes one: the lease is wanted. */
  isWanted(): boolean;
  /** The lease can no longer be relied on: whatever may be a primary is stopped. */
  onLapse(reason: string): Promise<void>;
}

export class LeaseKeeper {
  readonly #node: NodeContext;
  readonly #hooks: LeaseHooks;
  #heldSentAtMs = Number.NEGATIVE_INFINITY;
  #isKeeping = false;
  #isStopped = false;
  #renewing: Promise<void> | null = null;
  #fenceTimer: NodeJS.Timeout | null = null;

  constructor(node: NodeContext, hooks: LeaseHooks) {
    this.#node = node;
    this.#hooks = hooks;
  }

  /** The lease rule holds. */
  get isNeeded(): boolean {
    return this.#node.config.replication.scope === 'group';
  }

  get durationMs(): number {
    return leaseDurationMs(this.#node.config.timing.fenceMs);
  }

  get isHeld(): boolean {
    return decideLeaseFence(this.#holding()).kind === 'hold';
  }

  /** Renewed just now: a server may be opened, and the watchdog be fed. */
  get isFresh(): boolean {
    return isLeaseFresh(this.#holding());
  }

  #holding(): LeaseHolding {
    return {
      nowMs: performance.now(),
      heldSentAtMs: this.#heldSentAtMs,
      fenceMs: this.#node.config.timing.fenceMs,
    };
  }

  /** One try, for the record as it is known; resolves when its outcome is known or it has taken its time. */
  async renew(): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
    await this.#renewing;
  }

  /** Renews from now on while it is wanted. */
  keep(): void {
    if (this.#isKeeping || this.#isStopped || !this.isNeeded || !this.#hooks.isWanted()) return;
    this.#isKeeping = true;
    void this.#keep().finally(() => {
      this.#isKeeping = false;
    });
  }

  /** The agent ends. What it holds runs out by itself. */
  stop(): void {
    this.#isStopped = true;
    if (this.#fenceTimer !== null) clearTimeout(this.#fenceTimer);
  }

  get #intervalMs(): number {
    return this.#node.config.timing.fenceMs / RENEWALS_PER_FENCE;
  }

  async #keep(): Promise<void> {
    while (!this.#isStopped && this.isNeeded && this.#hooks.isWanted()) {
      const startedAtMs = performance.now();
      await this.renew();
      await delay(Math.max(0, this.#intervalMs - (performance.now() - startedAtMs)));
    }
  }

  async #renew(): Promise<void> {
    const node = this.#node;
    const leases = assertLeases(node.store);
    // A change of members may have swapped the record under our feet: then the next one is tried at once.
    for (let tries = 0; tries < 2; tries++) {
      if (!node.isLeaderByRecord) return;
      const lease = { holder: node.config.node, durationMs: this.durationMs };
      const result = await leases.renew(lease, node.storeVersion, { timeoutMs: this.#intervalMs });
      if (result.kind === 'held') return this.#held(result.sentAtMs);
      if (result.kind === 'unknown') {
        node.log.warn({ error: result.error.message }, 'lease not renewed');
        return;
      }
      await node.acceptRecord(result.stored, { isLinearizable: true });
    }
  }

  #held(sentAtMs: number): void {
    this.#heldSentAtMs = Math.max(this.#heldSentAtMs, sentAtMs);
    this.#node.recordConfirmedSentAtMs = Math.max(this.#node.recordConfirmedSentAtMs, sentAtMs);
    this.#watch();
  }

  /** Looks at the moment at which the lease could lapse; a renewal meanwhile has moved it. */
  #watch(): void {
    if (this.#fenceTimer !== null || this.#isStopped) return;
    const decision = decideLeaseFence(this.#holding());
    const dueMs = decision.kind === 'hold' ? decision.fenceAtMs - performance.now() : 0;
    this.#fenceTimer = setTimeout(
      () => {
        this.#fenceTimer = null;
        const now = decideLeaseFence(this.#holding());
        if (now.kind === 'hold') this.#watch();
        else if (this.isNeeded && this.#hooks.isWanted()) void this.#hooks.onLapse(now.reason.message);
      },
      Math.max(0, dueMs),
    );
  }
}
