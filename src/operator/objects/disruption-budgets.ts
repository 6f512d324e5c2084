/**
 * How many pods may be evicted at once (drained machines, autoscalers): so many that the write quorum is kept.
 *
 *   k = |M| - max(w, v)          nodes that may be away at once while writes go on and a leader can be elected
 *   evictable = max(1, k - 1)    one loss more is kept in hand where there are enough nodes
 *
 * Budgets count pods that are there (`minAvailable`): with `maxUnavailable` Kubernetes would compare with the pods that it
 * finds, and a node whose pod is lost would allow the eviction of another.
 */
import { workloadLabels } from '../../api/labels.ts';
import type { ReplicationPlan } from '../../core/topology/plan-types.ts';
import type { PodDisruptionBudget } from '../../platform/kubernetes/object-types.ts';
import { ownedMetadata } from './metadata.ts';
import { proxyWorkload } from './object-names.ts';
import type { RenderInput } from './render-input.ts';

export function renderDisruptionBudgets(input: RenderInput): PodDisruptionBudget[] {
  const { plan, groupPlan } = input;
  const budgets: PodDisruptionBudget[] = [];
  const count = groupPlan.nodes.length;
  // A budget of one pod would forbid its machine's drain for ever, or allow everything.
  if (count > 1) budgets.push(budget(input, groupPlan.name, 'postgres', count - evictableNodes(plan.replication)));
  if (groupPlan.proxies.length > 1)
    budgets.push(budget(input, proxyWorkload(groupPlan.name), 'proxy', groupPlan.proxies.length - 1));
  return budgets;
}

/**
 * At least one: of two nodes none may be away without a pause of writes, yet a budget of none would block the drain of their
 * machines for ever.
 */
export function evictableNodes({ voters, writeQuorum, electionQuorum }: ReplicationPlan): number {
  return Math.max(1, voters.length - Math.max(writeQuorum, electionQuorum) - 1);
}

function budget(
  input: RenderInput,
  name: string,
  workload: 'postgres' | 'proxy',
  minAvailable: number,
): PodDisruptionBudget {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: ownedMetadata(input, name, { workload }),
    spec: {
      minAvailable: Math.max(1, minAvailable),
      selector: { matchLabels: workloadLabels({ group: input.groupPlan.name, workload }) },
    },
  };
}
