/**
 * One StatefulSet for each node: a lost pod comes back without the operator, with its volume; a changed template waits until
 * the operator deletes the pod (OnDelete), because the order of that is a matter of replication (core/rolling).
 */
import { LABEL, workloadLabels } from '../../api/labels.ts';
import { RETIRING_ANNOTATION } from '../../core/rolling/plan-in-transition.ts';
import { headlessService } from '../../core/topology/names.ts';
import type { StatefulSet, VolumeClaimTemplate } from '../../platform/kubernetes/object-types.ts';
import { groupLabels, ownedMetadata } from './metadata.ts';
import { nodeStatefulSet, VOLUME_CLAIM_TEMPLATE } from './object-names.ts';
import { renderInstancePod } from './instance-pod.ts';
import type { RenderInput } from './render-input.ts';

export function renderStatefulSets(input: RenderInput): StatefulSet[] {
  return input.groupPlan.nodes.map(({ name }) => renderStatefulSet(input, name));
}

function renderStatefulSet(input: RenderInput, node: string): StatefulSet {
  const { groupPlan, group, facts } = input;
  const annotations = facts.retiring.includes(node) ? { [RETIRING_ANNOTATION]: 'true' } : {};
  const ofNode = { [LABEL.node]: node };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: ownedMetadata(input, nodeStatefulSet(node), { labels: ofNode, annotations }),
    spec: {
      replicas: 1,
      serviceName: headlessService(groupPlan.name),
      // With OrderedReady a pod that never becomes ready would not be replaced by one of the next revision.
      podManagementPolicy: 'Parallel',
      revisionHistoryLimit: 1,
      updateStrategy: { type: 'OnDelete' },
      persistentVolumeClaimRetentionPolicy: {
        whenDeleted: group.spec.storage.retain ? 'Retain' : 'Delete',
        whenScaled: 'Retain',
      },
      selector: { matchLabels: { ...workloadLabels({ group: groupPlan.name, workload: 'postgres' }), ...ofNode } },
      template: renderInstancePod(input, node),
      volumeClaimTemplates: [volumeClaimTemplate(input, node)],
    },
  };
}

function volumeClaimTemplate(input: RenderInput, node: string): VolumeClaimTemplate {
  const { storage } = input.group.spec;
  const stored = input.facts.storedVolumes[node];
  const storageClass = stored === undefined ? (storage.storageClass ?? null) : stored.storageClass;
  return {
    metadata: { name: VOLUME_CLAIM_TEMPLATE, labels: { ...groupLabels(input, 'postgres'), [LABEL.node]: node } },
    spec: {
      accessModes: ['ReadWriteOnce'],
      ...(storageClass === null ? {} : { storageClassName: storageClass }),
      resources: { requests: { storage: stored?.size ?? storage.size } },
    },
  };
}
