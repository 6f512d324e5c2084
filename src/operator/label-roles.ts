/** The label pgspan.io/role on pods of nodes (requirement A8): for people and tools, no route of ours depends on it. */
import { LABEL } from '../api/labels.ts';
import type { ClusterStatus } from '../core/status/cluster-status.ts';
import { isNotFound } from '../platform/kubernetes/api-error.ts';
import { KUBE_KINDS } from '../platform/kubernetes/kube-object.ts';
import type { OperatorContext } from './operator-context.ts';
import type { PodFacts } from './stored-object.ts';

/** A node that neither leads nor follows keeps the label that it has, unless that says `primary` while another leads. */
export async function labelRoles(
  { client, caches }: OperatorContext,
  pods: readonly PodFacts[],
  { nodes, leader }: ClusterStatus,
): Promise<void> {
  for (const { name, namespace, labels } of pods) {
    const node = nodes.find((one) => one.name === labels[LABEL.node]);
    const isLeader = node !== undefined && node.name === leader;
    const role = isLeader ? 'primary' : 'replica';
    const isKnown = leader !== null && node !== undefined;
    if (!isKnown || labels[LABEL.role] === role) continue;
    try {
      const patch = { metadata: { labels: { [LABEL.role]: role } } };
      caches.Pod.put(await client.mergePatch({ kind: KUBE_KINDS.Pod, namespace, name }, patch));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}
