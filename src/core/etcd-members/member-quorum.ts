/**
 * What a change of members leaves: n voting members need q = ⌊n/2⌋ + 1 that answer. A change is made only if those that answer
 * now are enough afterwards too, so that no quorum is lost by our own doing.
 */
import type { EtcdClusterSight, EtcdMemberSight } from './etcd-snapshot.ts';

export const quorumOf = (voters: number): number => Math.floor(voters / 2) + 1;

export function votersOf({ members }: Pick<EtcdClusterSight, 'members'>): EtcdMemberSight[] {
  return members.filter(({ isLearner }) => !isLearner);
}

/** It answers, and knows of a leader. */
export function isWell({ answer }: EtcdMemberSight): boolean {
  return answer !== null && answer.leaderId !== null;
}

/** May this member be taken out? True for one that has no vote. */
export function survivesRemoval(cluster: EtcdClusterSight, memberId: string): boolean {
  const voters = votersOf(cluster);
  const rest = voters.filter(({ id }) => id !== memberId);
  if (rest.length === voters.length) return true;
  return rest.length > 0 && rest.filter(isWell).length >= quorumOf(rest.length);
}

/** May this learner get a vote? */
export function survivesPromotion(cluster: EtcdClusterSight, memberId: string): boolean {
  const voters = votersOf(cluster);
  const learner = cluster.members.find(({ id }) => id === memberId);
  const answering = voters.filter(isWell).length + (learner !== undefined && learner.answer !== null ? 1 : 0);
  return learner !== undefined && learner.answer !== null && answering >= quorumOf(voters.length + 1);
}

/**
 * May this member be away for a moment? Of one or two none can without the record standing still meanwhile, which only delays
 * a change of leader: there it is allowed when all answer.
 */
export function survivesPause(cluster: EtcdClusterSight, memberId: string): boolean {
  const voters = votersOf(cluster);
  const rest = voters.filter(({ id }) => id !== memberId);
  if (rest.length === voters.length) return true;
  if (voters.length <= 2) return rest.every(isWell);
  return rest.filter(isWell).length >= quorumOf(voters.length);
}
