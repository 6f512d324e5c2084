/**
 * What one node does next: the level-triggered half of the agent. From a snapshot of the record, the promise, the data and
 * PostgreSQL to one step; deciding again after any interrupted step leads to the same end.
 *
 * Elections, switchovers and changes of members are conversations with others and are decided in their own files; this one
 * brings the node itself in line with what the record says.
 */
import type { ClusterRecord } from '../../api/record.ts';
import { configurationOf, isMember } from './quorum.ts';
import { decideUpstream } from './relay.ts';
import { type FollowDecision, decideFollow, type LeaderTimeline, type Reason, type VoterState } from './voter.ts';
import type { Lsn } from '../../base/lsn.ts';

/** The data directory: absent or whole. One that is being made has another name until it is whole. */
export type DataState = 'none' | 'present';

export type PostgresState =
  | { readonly kind: 'stopped'; readonly sinceMs: number }
  /** Started, not yet accepting connections. */
  | { readonly kind: 'starting'; readonly as: 'primary' | 'standby' }
  | { readonly kind: 'standby'; readonly flushLsn: Lsn | null; readonly isReplayedToEnd: boolean }
  | { readonly kind: 'primary' };

/** What the leader of the record told about itself. */
export interface KnownLeader extends LeaderTimeline {
  readonly isPublished: boolean;
  readonly isRewindable: boolean;
  /** By group: the relay that its nodes stream from; absent or without the group: from the leader. */
  readonly relays?: Readonly<Record<string, string>>;
}

export type RecordView =
  | { readonly kind: 'unread' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'present'; readonly record: ClusterRecord }
  | { readonly kind: 'refused'; readonly reason: Reason };

export interface NodeSnapshot {
  readonly nowMs: number;
  readonly self: string;
  /** This node's group, if it has `replication.relay`; null or absent: it has not. */
  readonly relayGroup?: string | null;
  /** The relay was tried a moment ago and passed nothing on: this node streams from the leader for a while. */
  readonly isRelayStalled?: boolean;
  /** The one node of the global cluster that may make the first database. */
  readonly bootstraps: boolean;
  readonly voter: VoterState;
  readonly record: RecordView;
  readonly data: DataState;
  /** Of the data directory's control file; null without data. */
  readonly systemIdentifier: string | null;
  /** Why the data directory cannot be used by this node's PostgreSQL (another version, an unreadable control file); null: it can. */
  readonly dataProblem: Reason | null;
  /** A peer says that it has seen a record or holds data: then there is a database already, whatever the store says. */
  readonly peersKnowDatabase: boolean;
  readonly postgres: PostgresState;
  /** A leader of the record's term or above, if one has told. */
  readonly leader: KnownLeader | null;
  /** Where the path leads; null: closed. */
  readonly path: { readonly node: string; readonly term: number } | null;
  /** A crashed leader gives the others this long to take over before it restarts in place; 0 where nobody can. */
  readonly handOverMs: number;
  /** The volume has no room for WAL; `mayHandOver`: somebody else with room could lead, and this was not tried just now. */
  readonly disk?: { readonly problem: Reason; readonly mayHandOver: boolean } | null;
  /** It fenced itself and has had no confirmed record since: it must not lead again before. */
  readonly isFenced: boolean;
  /**
   * The lease rule holds (`scope: group`): only a leader whose lease runs may have a primary, and only one that was renewed just
   * now may open it (the watchdog counts from then). Null or absent: it does not hold.
   */
  readonly lease?: { readonly isHeld: boolean; readonly isFresh: boolean } | null;
}

export type NodeStep =
  | { readonly kind: 'wait'; readonly untilMs: number | null; readonly reason: Reason }
  | { readonly kind: 'blocked'; readonly reason: Reason }
  | { readonly kind: 'bootstrap'; readonly reason: Reason }
  | { readonly kind: 'clone'; readonly from: KnownLeader; readonly reason: Reason }
  | { readonly kind: 'start'; readonly as: 'primary' | 'standby'; readonly reason: Reason }
  | { readonly kind: 'stop'; readonly mode: 'immediate' | 'fast'; readonly reason: Reason }
  | { readonly kind: 'promote'; readonly record: ClusterRecord; readonly reason: Reason }
  /** Take up (or go on with) the leadership that the record gives. */
  | { readonly kind: 'lead'; readonly record: ClusterRecord; readonly reason: Reason }
  | {
      readonly kind: 'follow';
      readonly leader: KnownLeader;
      /** Whom it streams from: the leader itself, or a relay. */
      readonly upstream: string;
      readonly decision: Extract<FollowDecision, { kind: 'stream' }>;
      readonly reason: Reason;
    }
  | {
      readonly kind: 'rewind';
      readonly leader: KnownLeader;
      readonly decision: Extract<FollowDecision, { kind: 'rewind' }>;
      readonly reason: Reason;
    };

export function decideNodeStep(snapshot: NodeSnapshot): NodeStep {
  const { record } = snapshot;
  if (snapshot.dataProblem !== null) return { kind: 'blocked', reason: snapshot.dataProblem };
  if (!holdsDatabase(snapshot) && snapshot.postgres.kind !== 'stopped')
    return stop(
      'DataUnknown',
      snapshot.data === 'none'
        ? 'PostgreSQL runs, but its data directory is gone'
        : "PostgreSQL runs on data that the promise file does not know: the file was lost, and with it this node's word",
    );
  if (record.kind === 'unread') return wait('RecordUnread', 'Waiting for the coordination service');
  if (record.kind === 'refused') return { kind: 'blocked', reason: record.reason };
  if (record.kind === 'absent') return decideWithoutRecord(snapshot);
  const { record: value } = record;
  if (
    snapshot.data === 'present' &&
    snapshot.systemIdentifier !== null &&
    snapshot.systemIdentifier !== value.systemIdentifier
  )
    return blocked(
      'SystemIdentifierMismatch',
      `The data directory has system identifier ${snapshot.systemIdentifier}, the record has ${value.systemIdentifier}: it belongs to another database; give this node an empty volume, or name the right global cluster`,
    );
  return value.leader === snapshot.self ? decideAsLeader(snapshot, value) : decideAsFollower(snapshot, value);
}

/** Data, and a promise file that says what it is. Without the file the data may hold anything: it is copied anew. */
function holdsDatabase({ data, voter }: NodeSnapshot): boolean {
  return data === 'present' && voter.lineage !== null;
}

function isPrimary(postgres: PostgresState): boolean {
  return postgres.kind === 'primary' || (postgres.kind === 'starting' && postgres.as === 'primary');
}

function decideWithoutRecord(snapshot: NodeSnapshot): NodeStep {
  // An interrupted bootstrap: the database was made, the record was not, and nobody has seen either.
  const { voter } = snapshot;
  const isUnrecorded =
    snapshot.bootstraps &&
    voter.seen.version === 0 &&
    voter.lineage?.timeline === 1 &&
    snapshot.postgres.kind === 'stopped';
  if (snapshot.data === 'present' && !isUnrecorded)
    return blocked(
      'RecordMissing',
      'This node has data but the coordination service has no record: put it back with `pgspan record restore`, or remove the data',
    );
  if (!snapshot.bootstraps) return wait('WaitingForBootstrap', 'Waiting until the first node has made the database');
  if (snapshot.peersKnowDatabase)
    return blocked(
      'RecordMissing',
      'Other nodes hold a database but the coordination service has no record: put it back with `pgspan record restore`',
    );
  return { kind: 'bootstrap', reason: { code: 'Bootstrap', message: 'Making the first database' } };
}

function decideAsLeader(snapshot: NodeSnapshot, record: ClusterRecord): NodeStep {
  const { voter, postgres } = snapshot;
  if (snapshot.data === 'none' || voter.lineage === null)
    return blocked(
      'LeaderWithoutData',
      `The record names "${snapshot.self}" as leader, but its data is gone: waiting for another member to take over`,
    );
  // A swap that was on its way when the disk was lost: this life has promised nothing and was not elected.
  if (!isMember(configurationOf(record), { node: snapshot.self, incarnation: voter.incarnation })) {
    const message = `The record names "${snapshot.self}" as leader in a former life: waiting for another member to take over`;
    if (isPrimary(postgres)) return stop('OtherIncarnation', message);
    return blocked('OtherIncarnation', message);
  }
  // A node that rewinds has no vote, so nobody elected it; whatever made the record so, half of its data is somebody else's.
  if (voter.rewinding) {
    const message = `The record names "${snapshot.self}" as leader, but its rewind is not finished: waiting for another member to take over`;
    return postgres.kind === 'stopped' ? blocked('RewindUnfinished', message) : stop('RewindUnfinished', message);
  }
  const hasPromisedAway = voter.promisedTerm > record.term;
  const isOfThisTimeline = voter.lineage.timeline === record.timeline;
  if (hasPromisedAway) {
    if (isPrimary(postgres))
      return stop('PromisedAway', `Term ${voter.promisedTerm} is promised: this node no longer leads`);
    if (postgres.kind === 'stopped')
      return start('standby', 'PromisedAway', 'Starting as a standby: another term is promised');
    return wait('PromisedAway', `Term ${voter.promisedTerm} is promised: waiting for its leader`);
  }
  if (snapshot.isFenced) {
    if (postgres.kind === 'stopped')
      return start('standby', 'Fenced', 'Fenced: a standby until the record is confirmed');
    if (isPrimary(postgres)) return stop('Fenced', 'Fenced: no write quorum and no confirmed record');
    return wait('Fenced', 'Fenced: waiting for the coordination service');
  }
  const lacksLease = snapshot.lease?.isFresh === false;
  if (snapshot.lease?.isHeld === false && isPrimary(postgres))
    return stop('LeaseNotHeld', 'The lease does not run: another group may lead');
  switch (postgres.kind) {
    case 'primary':
      if (!isOfThisTimeline) return stop('WrongTimeline', `PostgreSQL writes a timeline other than ${record.timeline}`);
      if (snapshot.disk?.mayHandOver === true)
        return stop(snapshot.disk.problem.code, snapshot.disk.problem.message, 'fast');
      return { kind: 'lead', record, reason: { code: 'Leading', message: `Leading term ${record.term}` } };
    case 'standby':
      if (lacksLease) return wait('WaitingForLease', 'Leader by the record, but its lease is not renewed yet');
      if (!isOfThisTimeline)
        return { kind: 'promote', record, reason: { code: 'Elected', message: `Elected for term ${record.term}` } };
      return stop('RestartAsPrimary', 'Leader by the record, but PostgreSQL runs as a standby', 'fast');
    case 'starting':
      return wait('Starting', 'PostgreSQL starts');
    case 'stopped': {
      if (!isOfThisTimeline) return start('standby', 'Elected', 'Elected, PostgreSQL must run before it is promoted');
      const untilMs = postgres.sinceMs + snapshot.handOverMs;
      if (snapshot.nowMs < untilMs)
        return wait('HandingOver', 'PostgreSQL is gone: another member may take over', untilMs);
      if (lacksLease) return wait('WaitingForLease', 'Leader by the record, but its lease is not renewed yet');
      return start('primary', 'RestartInPlace', 'Nobody took over: restarting in place');
    }
  }
}

function decideAsFollower(snapshot: NodeSnapshot, record: ClusterRecord): NodeStep {
  const { voter, postgres, leader, path } = snapshot;
  if (isPrimary(postgres)) return stop('Deposed', `"${record.leader}" leads term ${record.term}`);
  const usable = leader !== null && leader.term >= record.term && leader.node !== snapshot.self ? leader : null;
  if (!holdsDatabase(snapshot)) {
    // A leader that is not published may be waiting for this very node; its first write is left in peace until its checkpoint.
    if (usable === null || !(usable.isPublished || usable.isRewindable))
      return wait('WaitingForLeader', `Waiting for "${record.leader}" to copy the database from it`);
    return {
      kind: 'clone',
      from: usable,
      reason: { code: 'Clone', message: `Copying the database from "${usable.node}"` },
    };
  }
  if (postgres.kind === 'stopped' && !voter.rewinding)
    return start('standby', 'StartStandby', 'Starting as a standby without a leader');
  // A rewound copy is not consistent before it has more of the leader's WAL: it follows while it starts.
  if (postgres.kind === 'starting' && voter.rewound !== true) return wait('Starting', 'PostgreSQL starts');
  if (usable === null) return wait('WaitingForLeader', `Waiting for "${record.leader}" of term ${record.term}`);
  const wal =
    postgres.kind === 'standby'
      ? { flushLsn: postgres.flushLsn, isReplayedToEnd: postgres.isReplayedToEnd }
      : { flushLsn: null, isReplayedToEnd: false };
  const decision = decideFollow(voter, usable, wal);
  if (decision.kind === 'wait') return { kind: 'wait', untilMs: null, reason: decision.reason };
  if (decision.kind === 'rewind') {
    if (!usable.isRewindable)
      return wait('WaitingForCheckpoint', `Waiting for the checkpoint of "${usable.node}" before the rewind`);
    return { kind: 'rewind', leader: usable, decision, reason: decision.reason };
  }
  const upstream = decideUpstream({
    self: snapshot.self,
    leader: usable,
    relay: relayOf(usable, snapshot.relayGroup),
    record,
    voter,
    flushLsn: wal.flushLsn,
    isRelayStalled: snapshot.isRelayStalled === true,
  });
  const reason = reasonToFollow(snapshot, { leader: usable, upstream, reason: decision.reason });
  if (path?.node === upstream && path.term === usable.term) return { kind: 'wait', untilMs: null, reason };
  return { kind: 'follow', leader: usable, upstream, decision, reason };
}

/** Named by the leader for a group; null: none. */
export function relayOf({ relays }: KnownLeader, group: string | null | undefined): string | null {
  return group === null || group === undefined ? null : (relays?.[group] ?? null);
}

/** Of a group with a relay: why it does not vote. */
function reasonToFollow(
  { relayGroup, record, self, voter }: NodeSnapshot,
  follow: { readonly leader: KnownLeader; readonly upstream: string; readonly reason: Reason },
): Reason {
  const { leader, upstream, reason } = follow;
  const because = (why: string): Reason => ({ code: reason.code, message: `${reason.message}, ${why}` });
  if (upstream !== leader.node) return because(`behind relay "${upstream}" and therefore no voting member`);
  const relay = relayOf(leader, relayGroup);
  if (relayGroup === null || relayGroup === undefined || record.kind !== 'present' || relay === self) return reason;
  if (isMember(configurationOf(record.record), { node: self, incarnation: voter.incarnation })) return reason;
  return because('no voting member, since of a group with a relay one node votes');
}

function wait(code: string, message: string, untilMs: number | null = null): NodeStep {
  return { kind: 'wait', untilMs, reason: { code, message } };
}

function blocked(code: string, message: string): NodeStep {
  return { kind: 'blocked', reason: { code, message } };
}

function stop(code: string, message: string, mode: 'immediate' | 'fast' = 'immediate'): NodeStep {
  return { kind: 'stop', mode, reason: { code, message } };
}

function start(as: 'primary' | 'standby', code: string, message: string): NodeStep {
  return { kind: 'start', as, reason: { code, message } };
}
