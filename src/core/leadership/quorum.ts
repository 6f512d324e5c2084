/**
 * Write quorum and vote quorum: "w + v = |M| + 1", where M is the set of data members that vote, an acknowledged commit is
 * on w of them, and a new leader has heard from v of them. So every election meets every acknowledged commit.
 *
 * Also the text of PostgreSQL's synchronous_standby_names that makes the server wait for w: the leader itself is one of the
 * w, so `ANY w-1 (M without the leader)`.
 */
import type { ClusterRecord, Member } from '../../api/record.ts';

/** The two numbers and the set that a commit or a vote is counted against. */
export interface Configuration {
  readonly members: readonly Member[];
  readonly writeQuorum: number;
}

export interface QuorumPolicy {
  /** Copies that an acknowledged commit must have at least, the leader's included (1 or more). */
  readonly minCopies: number;
  /** Members of the largest site if the loss of a whole site must be survived, else 0. */
  readonly siteMembersMax: number;
}

export function majority(count: number): number {
  return Math.floor(count / 2) + 1;
}

/** w for a number of members; never above that number, so that a set that is still being built up can write. */
export function decideWriteQuorum(memberCount: number, policy: QuorumPolicy): number {
  const siteQuorum = policy.siteMembersMax > 0 ? policy.siteMembersMax + 1 : 0;
  return Math.min(memberCount, Math.max(majority(memberCount), policy.minCopies, siteQuorum));
}

/** v = |M| + 1 - w. */
export function voteQuorum(configuration: Configuration): number {
  return configuration.members.length + 1 - configuration.writeQuorum;
}

export function isMember(configuration: Configuration, member: Member): boolean {
  return configuration.members.some((one) => isSameMember(one, member));
}

export function isSameMember(a: Member, b: Member): boolean {
  return a.node === b.node && a.incarnation === b.incarnation;
}

/** Longest `application_name` that PostgreSQL keeps; a longer one is cut and then never counts. */
export const APPLICATION_NAME_BYTES_MAX = 63;
const INCARNATION_DIGITS_IN_NAME = 8;

/** What a member's WAL receiver calls itself: of another incarnation another name, so that an old life cannot acknowledge for the new. */
export function applicationName(member: Member): string {
  const suffix = `_${member.incarnation.slice(0, INCARNATION_DIGITS_IN_NAME)}`;
  return member.node.slice(0, APPLICATION_NAME_BYTES_MAX - suffix.length) + suffix;
}

/** `ANY count ("a", "b")`; '' for a count of 0, since the server rejects `ANY 0`. Names are sorted, so equal sets give equal text. */
export function formatSynchronousStandbyNames(count: number, members: readonly Member[]): string {
  if (count <= 0) return '';
  const names = members.map((member) => `"${applicationName(member).replaceAll('"', '""')}"`).sort();
  return `ANY ${count} (${names.join(', ')})`;
}

/** The setting for `self` as the leader of `configuration`; standbys carry it too, so that it is armed before a promotion. */
export function synchronousStandbyNames(configuration: Configuration, self: string): string {
  const others = configuration.members.filter((member) => member.node !== self);
  return formatSynchronousStandbyNames(configuration.writeQuorum - 1, others);
}

/**
 * Step (a) of a change from C = (M, w) to C' = (M', w'): a setting under which every commit satisfies both.
 * The two differ by one member, or in w only.
 * - w = 1: C asks for nothing beside the leader, so C' alone does.
 * - adding: any max(w, w') of M are w of M and w' of M'; M may have fewer than w' members, then w' = |M'| and C' alone does.
 * - removing: w' < w: w of M are at least w - 1 of M'; w' = w: w of M' are w of M; w' > w: w' of M' are w of M, and more.
 */
export function jointSynchronousStandbyNames(from: Configuration, to: Configuration, self: string): string {
  if (from.writeQuorum === 1) return synchronousStandbyNames(to, self);
  const isRemoval = to.members.length < from.members.length;
  if (isRemoval) {
    if (to.writeQuorum < from.writeQuorum) return synchronousStandbyNames(from, self);
    return synchronousStandbyNames(to, self);
  }
  const count = Math.max(from.writeQuorum, to.writeQuorum);
  if (count > from.members.length) return synchronousStandbyNames(to, self);
  return synchronousStandbyNames({ members: from.members, writeQuorum: count }, self);
}

export function configurationOf(record: ClusterRecord): Configuration {
  return { members: record.members, writeQuorum: record.writeQuorum };
}
