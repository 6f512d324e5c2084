/**
 * Changing M and w: the leader only, one node at a time, in four steps. From C = (M, w) to C' = (M', w'):
 *   (a) PostgreSQL requires both;  (b) everything up to the LSN of the moment from which all senders use that is on a write
 *   quorum of C';  (c) compare-and-swap;  (d) relax to C'.
 * Without (b) a write that was acknowledged under C alone may be on no vote quorum of C'.
 */
import type { ClusterRecord, Member } from '../../api/record.ts';
import { formatLsn, type Lsn } from '../../base/lsn.ts';
import {
  type Configuration,
  configurationOf,
  decideWriteQuorum,
  isMember,
  isSameMember,
  jointSynchronousStandbyNames,
  type QuorumPolicy,
  synchronousStandbyNames,
} from './quorum.ts';
import type { Reason } from './voter.ts';

/** One node that may be or become a member, as the leader sees it. */
export interface MemberView {
  readonly member: Member;
  /** It streams directly from the leader under this incarnation's application name. */
  readonly isStreaming: boolean;
  /** Flushed position that its receiver reported; null when it does not stream. */
  readonly flushLsn: Lsn | null;
  /** How long the leader has neither heard it nor seen it stream, in ms. */
  readonly lostForMs: number;
  /** It votes by the plan (no read-only group, not behind a relay). */
  readonly votes: boolean;
}

/** A joining node may be at most this far behind, so that step (b) is short. */
export const JOIN_LAG_BYTES_MAX = 16n * 1024n * 1024n;

/** A change whose new members have been away for this long is given up; a sender that was ended is back within one of its retries. */
export const ABANDON_AFTER_MS = 2000;

export type ChangeDecision =
  | { readonly kind: 'none'; readonly reason: Reason }
  | { readonly kind: 'change'; readonly to: Configuration; readonly reason: Reason }
  /** A change is wanted and may not be made yet. */
  | { readonly kind: 'wait'; readonly reason: Reason };

/** Which C' the leader should go to next, if any. */
export function decideChange(input: {
  readonly record: ClusterRecord;
  readonly self: Member;
  readonly views: readonly MemberView[];
  readonly policy: QuorumPolicy;
  readonly memberTimeoutMs: number;
  readonly leaderFlushLsn: Lsn;
}): ChangeDecision {
  const { record, self, views, policy, leaderFlushLsn } = input;
  const from = configurationOf(record);
  const none = (code: string, message: string): ChangeDecision => ({ kind: 'none', reason: { code, message } });
  if (record.paused) return none('Paused', 'Changes of members are paused');
  const to = (members: readonly Member[], writeQuorum: number, code: string, message: string): ChangeDecision => ({
    kind: 'change',
    to: { members, writeQuorum },
    reason: { code, message },
  });

  const joining = views.find(
    (view) =>
      view.votes &&
      !isMember(from, view.member) &&
      view.isStreaming &&
      view.flushLsn !== null &&
      leaderFlushLsn - view.flushLsn <= JOIN_LAG_BYTES_MAX,
  );
  const leaving = from.members.filter((member) => !isSameMember(member, self) && isGone(member, views, input));
  // A node that lost its promise file or data comes back as another incarnation; the old one can never answer again.
  const replaced = leaving.find((member) => views.some((view) => view.member.node === member.node));
  for (const member of replaced === undefined ? leaving : [replaced, ...leaving]) {
    const members = from.members.filter((one) => !isSameMember(one, member));
    const writeQuorum = reachableWriteQuorum(members, self, views, policy);
    if (writeQuorum >= policy.minCopies)
      return to(members, writeQuorum, 'MemberLost', `"${member.node}" is lost and is taken out so that writes go on`);
  }
  if (joining !== undefined) {
    const members = [...from.members, joining.member];
    return to(
      members,
      reachableWriteQuorum(members, self, views, policy),
      'MemberCaughtUp',
      `"${joining.member.node}" streams and has caught up: it becomes a member`,
    );
  }
  const writeQuorum = decideWriteQuorum(from.members.length, policy);
  if (writeQuorum !== from.writeQuorum && canSatisfy({ members: from.members, writeQuorum }, self, views))
    return to(
      from.members,
      writeQuorum,
      'WriteQuorum',
      `The write quorum becomes ${writeQuorum} of ${from.members.length}`,
    );
  if (leaving[0] !== undefined)
    return {
      kind: 'wait',
      reason: {
        code: 'MinCopies',
        message: `"${leaving[0].node}" is lost, but ${policy.minCopies} copies are asked for and must be kept`,
      },
    };
  return none('Converged', `${from.members.length} members, write quorum ${from.writeQuorum}`);
}

function isGone(member: Member, views: readonly MemberView[], input: { readonly memberTimeoutMs: number }): boolean {
  const view = views.find((one) => one.member.node === member.node);
  if (view === undefined) return true;
  if (view.member.incarnation !== member.incarnation) return true;
  if (!view.votes) return true;
  return !view.isStreaming && view.lostForMs >= input.memberTimeoutMs;
}

/**
 * w for `members`: the policy's, or as many as stream now where a whole site is lost and fewer are left than that. v is the higher
 * for it, so every election still meets every commit; w comes back up when the rest of the lost ones is out, or is back.
 */
function reachableWriteQuorum(
  members: readonly Member[],
  self: Member,
  views: readonly MemberView[],
  policy: QuorumPolicy,
): number {
  const present = countHolders({ members, writeQuorum: 1 }, self, views, 0n);
  return Math.min(decideWriteQuorum(members.length, policy), present);
}

/** Whether the members that stream now are a write quorum: a set that could not commit is not changed to. */
function canSatisfy(configuration: Configuration, self: Member, views: readonly MemberView[]): boolean {
  return countHolders(configuration, self, views, 0n) >= configuration.writeQuorum;
}

/** How many members of `configuration` hold everything up to `lsn`, the leader included. */
function countHolders(configuration: Configuration, self: Member, views: readonly MemberView[], lsn: Lsn): number {
  return configuration.members.filter(
    (member) =>
      isSameMember(member, self) ||
      views.some(
        (view) =>
          isSameMember(view.member, member) && view.isStreaming && view.flushLsn !== null && view.flushLsn >= lsn,
      ),
  ).length;
}

/** How many members of `configuration` stream, or did so a moment ago: the change itself ends senders, which come back. */
function countPresent(configuration: Configuration, self: Member, views: readonly MemberView[]): number {
  return configuration.members.filter(
    (member) =>
      isSameMember(member, self) ||
      views.some(
        (view) => isSameMember(view.member, member) && (view.isStreaming || view.lostForMs < ABANDON_AFTER_MS),
      ),
  ).length;
}

/** A change under way, as far as the leader's agent has carried it out. */
export interface ChangeProgress {
  readonly from: Configuration;
  readonly to: Configuration;
  /** The joint setting is loaded and every sender uses it since this LSN; null: not yet. */
  readonly armedLsn: Lsn | null;
  /** What came of step (c). 'unknown': repeat the same swap until it is known. */
  readonly swap: 'not-tried' | 'unknown' | 'swapped' | 'lost';
}

export type ChangeStep =
  | { readonly kind: 'require-both'; readonly setting: string; readonly reason: Reason }
  | { readonly kind: 'wait-covered'; readonly lsn: Lsn; readonly reason: Reason }
  | { readonly kind: 'swap'; readonly next: ClusterRecord; readonly reason: Reason }
  /** The change is over: done, lost to another swap, or given up. */
  | { readonly kind: 'relax'; readonly setting: string; readonly reason: Reason };

/** The next step of a change; `record` is the one that `from` was read from (for a lost swap: the one that is there now). */
export function decideChangeStep(
  progress: ChangeProgress,
  record: ClusterRecord,
  self: Member,
  views: readonly MemberView[],
): ChangeStep {
  const { from, to, armedLsn, swap } = progress;
  if (swap === 'swapped' || swap === 'lost') {
    // After a lost swap the record decides which configuration holds; both were required until now.
    const setting = synchronousStandbyNames(configurationOf(record), self.node);
    return {
      kind: 'relax',
      setting,
      reason: { code: 'Relax', message: 'Only the new members are required from now on' },
    };
  }
  if (armedLsn === null)
    return {
      kind: 'require-both',
      setting: jointSynchronousStandbyNames(from, to, self.node),
      reason: { code: 'RequireBoth', message: 'Every commit must satisfy the old and the new members' },
    };
  const holders = countHolders(to, self, views, armedLsn);
  if (swap === 'not-tried' && countPresent(to, self, views) < to.writeQuorum)
    // No swap was sent, so the old members hold alone; with both required, no commit would be acknowledged until these came back.
    return {
      kind: 'relax',
      setting: synchronousStandbyNames(configurationOf(record), self.node),
      reason: { code: 'Abandoned', message: 'The change is given up: its new members are no longer there' },
    };
  if (swap === 'not-tried' && holders < to.writeQuorum)
    return {
      kind: 'wait-covered',
      lsn: armedLsn,
      reason: {
        code: 'WaitCovered',
        message: `${holders} of ${to.writeQuorum} new members hold everything up to ${formatLsn(armedLsn)}`,
      },
    };
  return {
    kind: 'swap',
    next: { ...record, version: record.version + 1, members: [...to.members], writeQuorum: to.writeQuorum },
    reason: { code: 'SwapMembers', message: `${to.members.length} members, write quorum ${to.writeQuorum}` },
  };
}
