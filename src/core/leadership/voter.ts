/**
 * The voter: what a data node keeps in an fsynced file outside its data directory, and how a promise and a follow change it.
 * The order of effects (write, close the path, end the receiver, read the position, answer) is the agent's; what may be
 * written is decided here.
 */
import type { ClusterRecord } from '../../api/record.ts';
import { formatLsn, type Lsn } from '../../base/lsn.ts';
import { divergenceLsn, isPrefixOf, type Lineage } from './position.ts';

export interface VoterState {
  readonly incarnation: string;
  /** Highest term promised; a leader of a lower one is not followed and gets no acknowledgement. */
  readonly promisedTerm: number;
  /** Highest (term, version) of the record seen: an older record is a restored backup. */
  readonly seen: { readonly term: number; readonly version: number };
  /** What the WAL on disk is; null without data. */
  readonly lineage: Lineage | null;
  /** Term of the leader that was last followed (or of the own leadership). */
  readonly followedTerm: number;
  /** A rewind has begun and is not done: PostgreSQL must not be started on what is on the disk. */
  readonly rewinding: boolean;
  /**
   * The disk holds a rewound copy of `lineage` that may need more of the leader's WAL before it is consistent: it must follow
   * before PostgreSQL accepts connections, and has no known position until then.
   */
  readonly rewound?: boolean;
}

export interface Reason {
  /** A constant word, for machines. */
  readonly code: string;
  /** A whole sentence with the values, for people. */
  readonly message: string;
}

export type PromiseDecision =
  | { readonly kind: 'grant'; readonly next: VoterState; readonly reason: Reason }
  | { readonly kind: 'refuse'; readonly reason: Reason };

/** A promise is given only to a term above every term promised or seen. The caller fsyncs `next` before anything else. */
export function decidePromise(
  voter: VoterState,
  request: { readonly term: number; readonly candidate: string },
): PromiseDecision {
  if (request.term <= voter.promisedTerm)
    return refuse('TermPromised', `Term ${request.term} is not above ${voter.promisedTerm}, which is promised`);
  if (request.term <= voter.seen.term)
    return refuse('TermPassed', `Term ${request.term} is not above ${voter.seen.term}, which the record had`);
  return {
    kind: 'grant',
    next: { ...voter, promisedTerm: request.term },
    reason: { code: 'Promised', message: `Promised term ${request.term} to "${request.candidate}"` },
  };
}

function refuse(code: string, message: string): { kind: 'refuse'; reason: Reason } {
  return { kind: 'refuse', reason: { code, message } };
}

export type RecordCheck =
  | { readonly kind: 'current'; readonly next: VoterState }
  | { readonly kind: 'older'; readonly reason: Reason };

/** A record older than one this node has seen is refused: somebody restored a backup of the coordination service. */
export function decideRecordSeen(
  voter: VoterState,
  record: Pick<ClusterRecord, 'term' | 'version'> | null,
): RecordCheck {
  const { seen } = voter;
  if (record === null) {
    if (seen.version === 0) return { kind: 'current', next: voter };
    return {
      kind: 'older',
      reason: {
        code: 'RecordMissing',
        message: `The coordination service has no record, but this node has seen version ${seen.version} of term ${seen.term}: \`pgspan record restore\` puts it back`,
      },
    };
  }
  if (record.version < seen.version || record.term < seen.term)
    return {
      kind: 'older',
      reason: {
        code: 'RecordOlder',
        message: `The record has version ${record.version} of term ${record.term}, but this node has seen version ${seen.version} of term ${seen.term}: \`pgspan record restore\` puts that one back`,
      },
    };
  if (record.version === seen.version && record.term === seen.term) return { kind: 'current', next: voter };
  return { kind: 'current', next: { ...voter, seen: { term: record.term, version: record.version } } };
}

/**
 * Whether an agent that finds its PostgreSQL running as a primary may go on leading by a record that the agent before it has
 * remembered, while the coordination service is away. Nothing is taken up anew: it is the newest record that this node has seen,
 * the promises of the others are the fence, and an older swap that may still land is dealt with before any change of members.
 */
export function mayLeadByRemembered(voter: VoterState, record: ClusterRecord, self: string): boolean {
  return (
    record.leader === self &&
    record.term === voter.seen.term &&
    record.version === voter.seen.version &&
    record.timeline === voter.lineage?.timeline &&
    voter.promisedTerm <= record.term &&
    !voter.rewinding
  );
}

/** What a follower must know of the leader before it may connect. */
export interface LeaderTimeline {
  readonly term: number;
  readonly node: string;
  readonly lineage: Lineage;
}

export type FollowDecision =
  /** Write `next`, then open the path to the leader. */
  | { readonly kind: 'stream'; readonly next: VoterState; readonly reason: Reason }
  /** The node holds WAL that the leader's history does not: write `next` (rewinding), then rewind. */
  | { readonly kind: 'rewind'; readonly next: VoterState; readonly forkLsn: Lsn; readonly reason: Reason }
  | { readonly kind: 'wait'; readonly reason: Reason };

/**
 * Rule 6: follow a leader only if its term is not below the promise, and write term and fork before connecting.
 * `flushLsn` is the end of this node's WAL; null when it is not known yet (then nothing may be decided).
 */
export function decideFollow(
  voter: VoterState,
  leader: LeaderTimeline,
  own: { readonly flushLsn: Lsn | null; readonly isReplayedToEnd: boolean },
): FollowDecision {
  const wait = (code: string, message: string): FollowDecision => ({ kind: 'wait', reason: { code, message } });
  if (leader.term < voter.promisedTerm)
    return wait(
      'TermBelowPromise',
      `"${leader.node}" leads term ${leader.term}, but term ${voter.promisedTerm} is promised`,
    );
  if (leader.term < voter.followedTerm)
    return wait(
      'TermBelowFollowed',
      `"${leader.node}" leads term ${leader.term}, but term ${voter.followedTerm} was followed`,
    );
  if (voter.lineage === null) return wait('NoData', 'This node holds no database yet');
  const next: VoterState = { ...voter, lineage: leader.lineage, followedTerm: leader.term };
  if (voter.rewinding)
    return {
      kind: 'rewind',
      next,
      forkLsn: divergenceLsn(voter.lineage, leader.lineage) ?? 0n,
      reason: { code: 'RewindUnfinished', message: 'A rewind began and did not finish' },
    };
  if (voter.rewound === true) {
    // What was copied is the leader's only as far as both never part: a leader that has parted since has other pages.
    if (divergenceLsn(voter.lineage, leader.lineage) === null)
      return { kind: 'stream', next, reason: followingReason(leader) };
    return {
      kind: 'rewind',
      next: { ...voter, followedTerm: leader.term, rewinding: true },
      forkLsn: divergenceLsn(voter.lineage, leader.lineage) ?? 0n,
      reason: { code: 'LeaderChanged', message: `The copy is of a leader that "${leader.node}" has parted from` },
    };
  }
  if (own.flushLsn === null || !own.isReplayedToEnd)
    return wait('PositionUnknown', 'Waiting until PostgreSQL has replayed its own WAL');
  if (isPrefixOf({ lineage: voter.lineage, lsn: own.flushLsn }, leader.lineage))
    return {
      kind: 'stream',
      next,
      reason: followingReason(leader),
    };
  const forkLsn = divergenceLsn(voter.lineage, leader.lineage) ?? 0n;
  return {
    kind: 'rewind',
    forkLsn,
    // The lineage stays the old one until the rewind is done: it describes what is on the disk.
    next: { ...voter, followedTerm: leader.term, rewinding: true },
    reason: {
      code: 'Diverged',
      message: `This node's WAL ends at ${formatLsn(own.flushLsn)} and parts from "${leader.node}" at ${formatLsn(forkLsn)}`,
    },
  };
}

function followingReason(leader: LeaderTimeline): Reason {
  return {
    code: 'Following',
    message: `Following "${leader.node}" on timeline ${leader.lineage.timeline} in term ${leader.term}`,
  };
}
