/** What the pods of nodes and of proxies have in common. They pass the Pod Security Standard `restricted`. */
import { createHash } from 'node:crypto';
import { type WorkloadType, workloadLabels } from '../../api/labels.ts';
import type { Container, PodSpec, PodTemplate, Probe } from '../../platform/kubernetes/object-types.ts';
import { POD_UID } from './pod-places.ts';
import type { RenderInput } from './render-input.ts';

/** On a pod: digest of the template that it was made from; another one on the template says that it must be made again. */
export const REVISION_ANNOTATION = 'pgspan.io/revision';

/** The volume's files belong to the group 999, so that any uid of it can read them; made so once, not at each start. */
export const POD_SECURITY: PodSpec['securityContext'] = {
  runAsNonRoot: true,
  runAsUser: POD_UID,
  runAsGroup: POD_UID,
  fsGroup: POD_UID,
  fsGroupChangePolicy: 'OnRootMismatch',
  seccompProfile: { type: 'RuntimeDefault' },
};

export const CONTAINER_SECURITY: Container['securityContext'] = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
};

/** PostgreSQL and libpq take a key of another owner only if nobody beyond its group may read it: root's, with our group. */
export const SECRET_FILE_MODE = 0o440;

export type Scheduling = Pick<
  PodSpec,
  'affinity' | 'topologySpreadConstraints' | 'priorityClassName' | 'nodeSelector' | 'tolerations'
>;

/**
 * Apart from each other where the cluster can, by machine and by zone. Preferred and not required: a group of three must
 * start on a cluster of one machine, and a lost pod must come back where there is room.
 */
export function schedulingOf({ groupPlan, group }: RenderInput, workload: WorkloadType): Scheduling {
  const { priorityClassName, nodeSelector, tolerations } = group.spec.scheduling;
  const labelSelector = { matchLabels: workloadLabels({ group: groupPlan.name, workload }) };
  return {
    ...(priorityClassName === undefined ? {} : { priorityClassName }),
    ...(Object.keys(nodeSelector).length === 0 ? {} : { nodeSelector }),
    ...(tolerations.length === 0 ? {} : { tolerations }),
    affinity: {
      podAntiAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 100, podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector } },
        ],
      },
    },
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: 'topology.kubernetes.io/zone', whenUnsatisfiable: 'ScheduleAnyway', labelSelector },
    ],
  };
}

/**
 * "Has been ready once": until then the pod is looked at each second, so that it counts as ready soon, and later seldom, so that
 * an idle group costs little. It never gives up: a clone or a recovery of days is no reason to kill anything.
 */
export function untilReady(port: string): Probe {
  return probe('/readyz', port, { periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 2 ** 31 - 1 });
}

/** Kubelet verifies no certificate of a probe and shows none. */
export function probe(path: string, port: string, times: Omit<Probe, 'httpGet'>): Probe {
  return { httpGet: { path, port, scheme: 'HTTPS' }, ...times };
}

/** Adds the digest of everything that only a new pod can take over: its spec, not its labels. */
export function withRevision(template: PodTemplate): PodTemplate {
  const annotations = { ...template.metadata.annotations, [REVISION_ANNOTATION]: revisionOf(template.spec) };
  return { ...template, metadata: { ...template.metadata, annotations } };
}

function revisionOf(spec: PodSpec): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(spec)))
    .digest('hex')
    .slice(0, 16);
}

/** Keys in one order, so that equal values give equal texts. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, one]) => [key, sorted(one)]));
}
