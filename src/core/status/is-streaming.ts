/** Whether a node receives WAL: by what the leader's (or the relay's) PostgreSQL says of its walsenders, not by what the standby hopes. */
import type { NodeStatus } from '../../api/node-status.ts';
import { applicationName } from '../leadership/quorum.ts';
import type { NodeObservation } from './cluster-status.ts';

/** @param leader name of the leader; null: nobody leads. @param status what the node itself says. */
export function isStreaming(
  leader: string | null,
  observations: readonly NodeObservation[],
  { node, activity, incarnation, path }: NodeStatus,
): boolean {
  if (node === leader) return activity === 'leading';
  if (activity !== 'following' || incarnation === undefined) return false;
  const upstream = path?.node ?? leader;
  const answer = observations.find(({ name }) => name === upstream)?.answer;
  if (answer?.kind !== 'answered') return false;
  const expected = applicationName({ node, incarnation });
  const { members, cascade } = answer.status;
  const standbys = (upstream === leader ? members?.standbys : cascade) ?? [];
  return standbys.some(({ applicationName: name, state }) => name === expected && state === 'streaming');
}
