/**
 * The plan while a group still has more nodes than its manifest asks for. A node must be known to all others until it is
 * gone: it may lead, or be one of the members without which nothing is acknowledged.
 *
 *   existing, no longer wanted     planned like any other
 *   retiring                       planned without a vote and without priority: the leader takes it out of the members
 *   removed                        not planned
 */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { nodeName } from '../topology/names.ts';
import { type PlanOptions, planGlobalCluster } from '../topology/plan.ts';
import type { GlobalPlan } from '../topology/plan-types.ts';

/** On the StatefulSet of a node that has been told to give up its vote (step `retire-node`), with the value `true`. */
export const RETIRING_ANNOTATION = 'pgspan.io/retiring';

export interface Transition {
  readonly group: string;
  /** Ordinals of the nodes whose StatefulSets exist. */
  readonly existing: readonly number[];
  /** Names of those that retire; one that the manifest asks for again does not count. */
  readonly retiring: readonly string[];
}

/** Throws as planGlobalCluster. */
export function planInTransition(
  groups: readonly PostgresGroup[],
  { group, existing, retiring }: Transition,
  options: PlanOptions = {},
): GlobalPlan {
  const wanted = groups.find(({ metadata }) => metadata.name === group)?.spec.instances ?? 0;
  const highest = Math.max(wanted, ...existing);
  const plan = planGlobalCluster(withInstances(groups, group, highest), options);
  const isRetiring = ({ name, ordinal }: { readonly name: string; readonly ordinal: number }) =>
    ordinal > wanted && retiring.includes(name);
  const voting = firstRetiring(group, { wanted, highest, retiring }) - 1;
  if (voting === highest) return plan;
  // Quorums, and with them how many copies are asked for, are those of the nodes that stay.
  const { replication } = planGlobalCluster(withInstances(groups, group, voting), options);
  return {
    ...plan,
    replication,
    groups: plan.groups.map((one) => ({
      ...one,
      nodes:
        one.name === group
          ? one.nodes.map((node) => (isRetiring(node) ? { ...node, votes: false, priority: 0 } : node))
          : one.nodes,
    })),
  };
}

/** The lowest ordinal from which on all retire, since nodes go from the top; highest + 1 if none does. */
function firstRetiring(
  group: string,
  {
    wanted,
    highest,
    retiring,
  }: { readonly wanted: number; readonly highest: number; readonly retiring: readonly string[] },
): number {
  let first = highest + 1;
  while (first > wanted + 1 && retiring.includes(nodeName(group, first - 1))) first--;
  return first;
}

function withInstances(groups: readonly PostgresGroup[], name: string, instances: number): PostgresGroup[] {
  return groups.map((group) =>
    group.metadata.name === name ? { ...group, spec: { ...group.spec, instances } } : group,
  );
}
