/** Who votes, and how many must hold a commit (leadership.md "State"): w + v = |M| + 1. */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { decideWriteQuorum } from '../leadership/quorum.ts';
import { nodeName } from './names.ts';
import type { ReplicationPlan } from './plan-types.ts';
import type { SharedSettings } from './shared-settings.ts';
import { planSurvival } from './survival.ts';

export function planReplication(
  groups: readonly PostgresGroup[],
  shared: SharedSettings['replication'],
  primaryGroup: string,
): ReplicationPlan {
  const allByGroup = groups
    .filter((group) => group.spec.role === 'readWrite' && group.spec.instances > 0)
    .map((group) => ({
      group: group.metadata.name,
      voters: Array.from({ length: votingNodes(group) }, (_, index) => nodeName(group.metadata.name, index + 1)),
    }));
  const relayGroups = groups.filter(hasRelay).map((group) => group.metadata.name);
  // With one group both are the same, and need no lease.
  const isInGroup = shared.scope === 'group' && allByGroup.length > 1;
  const scope = isInGroup ? 'group' : 'global';
  const votersByGroup = allByGroup.filter(({ group }) => !isInGroup || group === primaryGroup);
  const voters = votersByGroup.flatMap((group) => group.voters);
  // M is in one group, whichever leads: what is asked for must be possible in the smallest.
  const smallest = Math.min(...allByGroup.map((group) => group.voters.length));
  const minCopies = shared.minCopies ?? ((isInGroup ? smallest : voters.length) >= 3 ? 2 : 1);
  const survivesSite = shared.surviveSiteLoss ?? votersByGroup.length >= 2;
  const largestSite = Math.max(0, ...votersByGroup.map((group) => group.voters.length));
  const siteMembersMax = survivesSite && votersByGroup.length >= 2 ? largestSite : 0;
  const writeQuorum = decideWriteQuorum(voters.length, { minCopies, siteMembersMax });
  const electionQuorum = voters.length + 1 - writeQuorum;
  const survives = planSurvival({
    votersByGroup,
    siteCount: groups.length,
    writeQuorum,
    electionQuorum,
    minCopies,
    memberTimeout: shared.memberTimeout,
    scope,
  });
  const { maximumLagBytes } = shared;
  return {
    scope,
    minCopies,
    siteMembersMax,
    maximumLagBytes,
    voters,
    relayGroups,
    writeQuorum,
    electionQuorum,
    survives,
  };
}

/** A group of one node is its own relay. */
function hasRelay({ spec }: PostgresGroup): boolean {
  return spec.replication.relay === true && spec.instances > 1;
}

/** How many of its nodes vote when all are there: of a group with a relay the relay alone (core/leadership/relay.ts). */
export function votingNodes(group: PostgresGroup): number {
  if (group.spec.role !== 'readWrite') return 0;
  return hasRelay(group) ? 1 : group.spec.instances;
}
