/**
 * The lease rule, for `scope: group` only: M is in the leader's group, so nobody outside of it can be elected without a
 * possible loss, and no promise of theirs keeps the old leader from acknowledging. What keeps it is time:
 *
 *   leader     renew      renew      renew  x            fence            last backend gone
 *              |---- fence ----------------------------->|---- stop ---->|
 *   store      |---- lease ------------------------------------------------------->| another may swap
 *
 * "fence + stop < lease", counted by the leader from the sending of its last renewal that was carried out, by the store from
 * the carrying out. Only such a renewal holds off this fence: it alone is a confirmed record *and* a lease that still runs.
 * The frozen agent is the watchdog's: it is fed only while the last renewal is young (`isLeaseFresh`), and stops PostgreSQL at most
 * one fence later. A watchdog that is frozen together with PostgreSQL does not fence (docs/decisions/lease-rule.md).
 */
import type { ClusterRecord } from '../../api/record.ts';
import type { Lsn } from '../../base/lsn.ts';
import { type AskAnswer, compareCandidates } from './candidacy.ts';
import { comparePositions, type Position } from './position.ts';
import { configurationOf, decideWriteQuorum, isMember, voteQuorum } from './quorum.ts';
import type { Reason } from './voter.ts';

/** Tries within one fence; each may take as long as the pause to the next. */
export const RENEWALS_PER_FENCE = 4;
/** From the decision to the end of the last backend; what has not obeyed SIGQUIT by then is killed. */
export const FENCE_STOP_MS = 2000;
/** The watchdog is fed while the newest renewal is younger than this part of the fence. */
const FEED_FENCE_FRACTION = 0.5;
/** Clocks that differ in speed by 1 %, and a timer that is late on a busy machine. */
const MARGIN_FRACTION = 0.01;
const MARGIN_MS = 250;

/** The agent's own fence comes first; a watchdog that was fed last at `FEED_FENCE_FRACTION` acts up to one fence later. */
export function leaseDurationMs(fenceMs: number): number {
  const longest = fenceMs * (1 + FEED_FENCE_FRACTION) + FENCE_STOP_MS;
  return Math.ceil(longest * (1 + MARGIN_FRACTION) + MARGIN_MS);
}

/** Members that could elect among themselves lose nothing by it; but for so many leases they were able to and did not. */
const MEMBERS_TIME_FACTOR = 2;

/** What a leader knows of its lease: when the newest renewal that was carried out was *sent*; -Infinity: none. */
export interface LeaseHolding {
  readonly nowMs: number;
  readonly heldSentAtMs: number;
  readonly fenceMs: number;
}

export type LeaseFenceDecision =
  | { readonly kind: 'hold'; readonly fenceAtMs: number }
  | { readonly kind: 'fence'; readonly reason: Reason };

/** Instead of decideFence: members that hear the leader do not hold it off, since none of them can refuse another group's swap. */
export function decideLeaseFence({ nowMs, heldSentAtMs, fenceMs }: LeaseHolding): LeaseFenceDecision {
  const fenceAtMs = heldSentAtMs + fenceMs;
  if (nowMs < fenceAtMs) return { kind: 'hold', fenceAtMs };
  const ageMs = Math.round(nowMs - heldSentAtMs);
  const age = Number.isFinite(ageMs) ? `for ${ageMs} ms` : 'yet';
  return { kind: 'fence', reason: { code: 'LeaseNotRenewed', message: `The lease could not be renewed ${age}` } };
}

/** Whether the watchdog may be told that all is well, and a server be opened to writes. */
export function isLeaseFresh({ nowMs, heldSentAtMs, fenceMs }: LeaseHolding): boolean {
  return nowMs - heldSentAtMs < fenceMs * FEED_FENCE_FRACTION;
}

/** What a voting node answers when it is asked, whether it is a member or not. */
export interface LeaseAnswer extends AskAnswer {
  readonly incarnation: string;
  /** The newest position of the leader that it has heard of; null: none. */
  readonly leaderLsn: Lsn | null;
}

export interface LeaseQuestion {
  readonly self: string;
  readonly record: ClusterRecord;
  readonly leaderGroup: string;
  /** All that answered and vote by the plan, of whatever group; this node's own answer included. */
  readonly answers: readonly LeaseAnswer[];
  /** How long the leader has been gone, as this node sees it. */
  readonly goneForMs: number;
  readonly leaseMs: number;
  readonly maximumLagBytes: number;
  readonly minCopies: number;
}

/** What may be gone with the leader, as far as anybody knows. */
export interface PossibleLoss {
  /** WAL of which the leader had told and which the new one does not hold. */
  readonly lagBytes: bigint;
}

export type LeaseCandidacyDecision =
  | { readonly kind: 'stand'; readonly loss: PossibleLoss; readonly reason: Reason }
  | { readonly kind: 'defer'; readonly rank: number; readonly to: string; readonly reason: Reason }
  /** `waitMs`: before that nothing can have changed; null: whenever something does. */
  | { readonly kind: 'refrain'; readonly waitMs: number | null; readonly reason: Reason };

/** Whether this node goes on to take over without the members' votes. */
export function decideLeaseCandidacy(question: LeaseQuestion): LeaseCandidacyDecision {
  const { record, self, answers } = question;
  const refrain = (code: string, message: string, waitMs: number | null = null): LeaseCandidacyDecision => ({
    kind: 'refrain',
    waitMs,
    reason: { code, message },
  });
  const veto = answers.find((answer) => answer.vetoes);
  if (veto !== undefined) return refrain('LeaderVetoes', `"${veto.node}" hears "${record.leader}", which leads`);
  const members = answers.filter((answer) => isMember(configurationOf(record), answer) && answer.position !== null);
  const needed = voteQuorum(configurationOf(record));
  const hasTime = question.goneForMs < question.leaseMs * MEMBERS_TIME_FACTOR;
  if (hasTime && members.length >= needed && members.some(isAble))
    return refrain('MembersElect', `${members.length} members are there and elect without a loss`);
  const waitMs = question.leaseMs - question.goneForMs;
  if (waitMs > 0) return refrain('LeaseRuns', `The lease of "${record.leader}" may still run`, waitMs);
  const able = answers
    .filter((answer) => isAble(answer) && answer.position?.timeline === record.timeline)
    .sort(compareCandidates(question.leaderGroup));
  const rank = able.findIndex((answer) => answer.node === self);
  const [own, best] = [able[rank], able[0]];
  if (own === undefined || best === undefined) return refrain('NotAble', `"${self}" cannot lead now`);
  const lagBytes = lagOf(own.position, answers);
  if (lagBytes === null)
    return refrain('LagUnknown', `Nobody here has heard how far "${record.leader}" was: a person must decide`);
  if (lagBytes > BigInt(question.maximumLagBytes))
    return refrain(
      'LagTooLarge',
      `"${self}" lacks ${lagBytes} bytes of what "${record.leader}" had, ${question.maximumLagBytes} are allowed`,
    );
  const copies = able.filter((answer) => answer.group === own.group).length;
  if (copies < question.minCopies)
    return refrain(
      'TooFewCopies',
      `${copies} nodes of group "${own.group}" are there, ${question.minCopies} are asked for`,
    );
  if (rank > 0)
    return {
      kind: 'defer',
      rank,
      to: best.node,
      reason: { code: 'BetterCandidate', message: `"${best.node}" is better placed than "${self}"` },
    };
  return {
    kind: 'stand',
    loss: { lagBytes },
    reason: { code: 'LeaseOver', message: `"${self}" is the best of ${able.length}, ${lagBytes} bytes may be gone` },
  };
}

function isAble(answer: AskAnswer): boolean {
  return answer.position !== null && answer.canLead && answer.priority > 0;
}

function lagOf(own: Position | null, answers: readonly LeaseAnswer[]): bigint | null {
  const told = answers.flatMap(({ leaderLsn }) => (leaderLsn === null ? [] : [leaderLsn]));
  if (own === null || told.length === 0) return null;
  const highest = told.reduce((a, b) => (a > b ? a : b));
  return highest > own.lsn ? highest - own.lsn : 0n;
}

/** The record after a change of leader that no vote of M decided: M becomes the new leader alone, others enter as they catch up. */
export function replaceMembers(
  record: ClusterRecord,
  candidate: { readonly node: string; readonly incarnation: string; readonly term: number },
): ClusterRecord {
  const members = [{ node: candidate.node, incarnation: candidate.incarnation }];
  return {
    ...record,
    version: record.version + 1,
    term: candidate.term,
    leader: candidate.node,
    timeline: candidate.term,
    members,
    writeQuorum: decideWriteQuorum(members.length, { minCopies: 1, siteMembersMax: 0 }),
    switchover: null,
  };
}

export type LeaseSwapDecision =
  | { readonly kind: 'swap'; readonly next: ClusterRecord; readonly reason: Reason }
  | { readonly kind: 'refuse'; readonly reason: Reason };

interface Promised {
  readonly node: string;
  readonly incarnation: string;
  readonly term: number;
  readonly position: Position | null;
}

/**
 * After the candidate's own promise, which closed its path: its position is final and not behind what the others answered. The
 * swap itself is conditional on the record and on no lease running (LeaseStore.swapUnlessLeased).
 */
export function decideLeaseSwap(
  record: ClusterRecord,
  own: Promised,
  answers: readonly LeaseAnswer[],
): LeaseSwapDecision {
  const refuse = (code: string, message: string): LeaseSwapDecision => ({ kind: 'refuse', reason: { code, message } });
  const { position } = own;
  if (position === null) return refuse('NoOwnPosition', `"${own.node}" has no known position`);
  if (position.timeline !== record.timeline)
    return refuse(
      'OtherTimeline',
      `"${own.node}" is on timeline ${position.timeline}, the leader wrote ${record.timeline}`,
    );
  const better = answers.find(
    (answer) =>
      answer.node !== own.node && isAble(answer) && comparePositions(answer.position as Position, position) > 0,
  );
  if (better !== undefined) return refuse('Behind', `"${better.node}" holds more: it should lead`);
  return {
    kind: 'swap',
    next: replaceMembers(record, own),
    reason: { code: 'LeaseOver', message: `"${own.node}" leads term ${own.term} when no lease hinders` },
  };
}

/**
 * A planned switchover to a node outside of M. The leader has promised `term` and ended cleanly at its position, so it can
 * acknowledge no more, and whoever holds that position holds every acknowledged commit; a plain swap is enough.
 */
export function decideHandOverSwap(
  record: ClusterRecord,
  leader: Promised | undefined,
  own: Promised,
): LeaseSwapDecision {
  const refuse = (code: string, message: string): LeaseSwapDecision => ({ kind: 'refuse', reason: { code, message } });
  if (
    leader === undefined ||
    leader.node !== record.leader ||
    leader.term !== own.term ||
    !isMember(configurationOf(record), leader) ||
    leader.position === null
  )
    return refuse('NoHandOver', `"${record.leader}" has not handed over to "${own.node}"`);
  if (own.position === null || comparePositions(own.position, leader.position) < 0)
    return refuse('Behind', `"${own.node}" does not hold all that "${record.leader}" wrote`);
  return {
    kind: 'swap',
    next: replaceMembers(record, own),
    reason: { code: 'HandedOver', message: `"${record.leader}" has handed over to "${own.node}" in term ${own.term}` },
  };
}
