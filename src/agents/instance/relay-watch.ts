/**
 * Whether the relay that this node streams from passes anything on. The leader judges a relay by what it sees of it; that this
 * node cannot reach it, or finds no WAL there any more, only this node sees.
 */
import type { Lsn } from '../../base/lsn.ts';

/** Longer than a relay needs to come back, or to be replaced by the leader. */
const STALLED_AFTER_MS = 15_000;
/** Then it is tried again. */
const DIRECT_FOR_MS = 60_000;

export class RelayWatch {
  #relay: string | null = null;
  #flushLsn: Lsn | null = null;
  #movedAtMs = 0;
  #directUntilMs = Number.NEGATIVE_INFINITY;

  /** @param sight `relay`: whom the path leads to, null: to no relay; `leaderLsn`: as far as the leader is known to be */
  look(sight: {
    readonly relay: string | null;
    readonly flushLsn: Lsn | null;
    readonly leaderLsn: Lsn | null;
    readonly nowMs: number;
  }): void {
    const { relay, flushLsn, leaderLsn, nowMs } = sight;
    const isLevel = flushLsn !== null && (leaderLsn === null || flushLsn >= leaderLsn);
    if (relay === null || relay !== this.#relay || flushLsn !== this.#flushLsn || isLevel) this.#movedAtMs = nowMs;
    this.#relay = relay;
    this.#flushLsn = flushLsn;
    if (nowMs - this.#movedAtMs >= STALLED_AFTER_MS) this.#directUntilMs = nowMs + DIRECT_FOR_MS;
  }

  /** For DIRECT_FOR_MS after nothing has come for STALLED_AFTER_MS. */
  isStalled(nowMs: number): boolean {
    return nowMs < this.#directUntilMs;
  }
}
