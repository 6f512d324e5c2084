/**
 * How a leader stays, and when it stops: the fence, and rule 7 (a false alarm).
 */
import type { ClusterRecord } from '../../api/record.ts';
import type { Configuration } from './quorum.ts';
import type { Reason, VoterState } from './voter.ts';

/** What the leader knows of its members; times of one monotonic clock in ms. */
export interface Hearing {
  readonly nowMs: number;
  readonly self: string;
  /**
   * By node name: when the newest nonce that came back was *sent*. Counting from the sending is what makes buffered
   * heartbeats after a thaw prove nothing.
   */
  readonly echoedSentAtMs: ReadonlyMap<string, number>;
  /** When the newest request that confirmed the record (linearizable read or swap) was sent; -Infinity if none. */
  readonly recordConfirmedSentAtMs: number;
  /** When this leadership began: nothing is missing before. */
  readonly sinceMs: number;
}

/** The moment up to which w members, the leader included, are known to have heard it. */
export function quorumHeardAtMs(hearing: Hearing, configuration: Configuration): number {
  const times = configuration.members
    .filter((member) => member.node !== hearing.self)
    .map((member) => hearing.echoedSentAtMs.get(member.node) ?? Number.NEGATIVE_INFINITY)
    .sort((a, b) => b - a);
  const othersNeeded = configuration.writeQuorum - 1;
  if (othersNeeded === 0) return hearing.nowMs;
  return Math.max(times[othersNeeded - 1] ?? Number.NEGATIVE_INFINITY, hearing.sinceMs);
}

export type FenceDecision =
  | { readonly kind: 'hold'; readonly reason: Reason }
  /** The quorum is missing: confirm the record now. `fenceAtMs` is when the fence falls unless that or an echo succeeds. */
  | { readonly kind: 'confirm'; readonly fenceAtMs: number; readonly reason: Reason }
  | { readonly kind: 'fence'; readonly reason: Reason };

/** The record is asked for after this part of the fence has passed in silence: early enough for two tries. */
export const CONFIRM_AFTER_FRACTION = 0.4;

/**
 * A leader fences when for `fenceMs` both are missing: w members that echo its nonce, and a confirmed record.
 * It cannot acknowledge a commit then anyway; the fence bounds stale reads and hanging clients.
 */
export function decideFence(hearing: Hearing, configuration: Configuration, fenceMs: number): FenceDecision {
  const heardAtMs = quorumHeardAtMs(hearing, configuration);
  const confirmedAtMs = Math.max(hearing.recordConfirmedSentAtMs, hearing.sinceMs);
  const silenceMs = hearing.nowMs - heardAtMs;
  if (silenceMs < fenceMs * CONFIRM_AFTER_FRACTION)
    return { kind: 'hold', reason: { code: 'QuorumHears', message: 'A write quorum hears the leader' } };
  const fenceAtMs = Math.max(heardAtMs, confirmedAtMs) + fenceMs;
  if (hearing.nowMs >= fenceAtMs)
    return {
      kind: 'fence',
      reason: {
        code: 'Isolated',
        message: `No write quorum and no confirmed record for ${Math.round(hearing.nowMs - Math.max(heardAtMs, confirmedAtMs))} ms`,
      },
    };
  return {
    kind: 'confirm',
    fenceAtMs,
    reason: { code: 'QuorumSilent', message: `No write quorum has answered for ${Math.round(silenceMs)} ms` },
  };
}

export type ReaffirmDecision =
  | { readonly kind: 'none' }
  | { readonly kind: 'swap'; readonly next: ClusterRecord; readonly reason: Reason };

/**
 * Rule 7: a leader that is still in the record, hears w members, has promised nothing above its term and learns of higher
 * promises swaps the record to a term above them. Nothing was replaced; its timeline stays.
 */
export function decideReaffirm(input: {
  readonly record: ClusterRecord;
  readonly voter: Pick<VoterState, 'promisedTerm'>;
  readonly self: string;
  readonly hearsQuorum: boolean;
  /** Highest promise told by any node. */
  readonly highestPromise: number;
}): ReaffirmDecision {
  const { record, voter, self, hearsQuorum, highestPromise } = input;
  if (record.leader !== self || record.paused || !hearsQuorum) return { kind: 'none' };
  if (voter.promisedTerm > record.term || highestPromise <= record.term) return { kind: 'none' };
  return {
    kind: 'swap',
    next: { ...record, version: record.version + 1, term: highestPromise + 1 },
    reason: {
      code: 'FalseAlarm',
      message: `A term up to ${highestPromise} was promised, but "${self}" still leads: term ${highestPromise + 1}`,
    },
  };
}
