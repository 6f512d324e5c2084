/**
 * What is written on pods: the label pgspan.io/role (requirement A8), for people and tools, no route of ours depends on it; and
 * which configuration and certificate are wanted. A kubelet looks for changed ConfigMaps and Secrets about once a minute, but at
 * once when the pod itself changes: so a changed parameter arrives in a second.
 */
import { createHash } from 'node:crypto';
import { LABEL } from '../api/labels.ts';
import type { ClusterStatus } from '../core/status/cluster-status.ts';
import { isNotFound } from '../platform/kubernetes/api-error.ts';
import { KUBE_KINDS } from '../platform/kubernetes/kube-object.ts';
import { nodeConfigMap, nodeTlsSecret, proxyConfigMap, proxyTlsSecret } from './objects/object-names.ts';
import type { DesiredObject } from './objects/render-group.ts';
import type { OperatorContext } from './operator-context.ts';
import type { PodFacts } from './stored-object.ts';

/** Digest of what is mounted. Not in the template: the pod need not be made again for it. */
export const FILES_ANNOTATION = 'pgspan.io/files';

export interface PodMarks {
  readonly pods: readonly PodFacts[];
  readonly cluster: ClusterStatus;
  readonly desired: readonly DesiredObject[];
  readonly group: string;
}

export async function markPods({ client, caches }: OperatorContext, marks: PodMarks): Promise<void> {
  for (const pod of marks.pods) {
    if (pod.isTerminating) continue;
    const role = roleOf(pod, marks.cluster);
    const files = digestOf(pod, marks);
    const labels = role === null || pod.labels[LABEL.role] === role ? {} : { [LABEL.role]: role };
    // A pod that has just been made mounts what is there now; the note is for later changes.
    const annotations = pod.annotations[FILES_ANNOTATION] === files ? {} : { [FILES_ANNOTATION]: files };
    if (Object.keys(labels).length + Object.keys(annotations).length === 0) continue;
    try {
      const ref = { kind: KUBE_KINDS.Pod, namespace: pod.namespace, name: pod.name };
      caches.Pod.put(await client.mergePatch(ref, { metadata: { labels, annotations } }));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
}

/** Null: nothing to say. */
function roleOf({ labels }: PodFacts, { nodes, leader }: ClusterStatus): 'primary' | 'replica' | null {
  const node = nodes.find((one) => one.name === labels[LABEL.node]);
  if (leader === null || node === undefined) return null;
  return node.name === leader ? 'primary' : 'replica';
}

function digestOf({ labels }: PodFacts, { desired, group }: PodMarks): string {
  const node = labels[LABEL.node];
  const [configMap, secret] =
    node === undefined ? [proxyConfigMap(group), proxyTlsSecret(group)] : [nodeConfigMap(node), nodeTlsSecret(node)];
  const hash = createHash('sha256');
  for (const { object } of desired) {
    const { name } = object.metadata;
    if ((object.kind === 'ConfigMap' && name === configMap) || (object.kind === 'Secret' && name === secret))
      hash.update(JSON.stringify(object.data));
  }
  return hash.digest('hex').slice(0, 16);
}
