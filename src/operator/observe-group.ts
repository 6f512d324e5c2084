/** What the caches hold of one group. Nothing is asked. */
import { createHash, X509Certificate } from 'node:crypto';
import { LABEL } from '../api/labels.ts';
import { quantityBytes } from '../api/postgres-group-values.ts';
import { RETIRING_ANNOTATION } from '../core/rolling/plan-in-transition.ts';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';
import type { GroupSession } from './group-session.ts';
import { nodeOrdinal } from './objects/object-names.ts';
import { publishedNames, type ServiceWithStatus } from './objects/published-names.ts';
import type { OperatorContext, WatchedKind } from './operator-context.ts';
import { claimFacts, type PodFacts, podFacts, templateFacts } from './stored-object.ts';

export interface GroupSight {
  /** Pods of nodes; of two of one node, the one that is not going. */
  readonly pods: readonly PodFacts[];
  readonly proxyPods: readonly PodFacts[];
  readonly etcdPods: readonly PodFacts[];
  /** Ordinals of the nodes whose StatefulSets exist. */
  readonly existing: readonly number[];
  readonly retiring: readonly string[];
  readonly storedVolumes: Readonly<Record<string, { readonly size: string; readonly storageClass: string | null }>>;
  readonly claims: Readonly<Record<string, { readonly size: string; readonly canGrow: boolean }>>;
  /** The claims of nodes' volumes, those that a former group of this name left among them. */
  readonly volumes: readonly { readonly name: string; readonly uid: string }[];
  readonly published: Readonly<Record<string, readonly string[]>>;
  readonly proxies: { readonly instances: number; readonly ready: number };
}

export function observeGroup(
  context: OperatorContext,
  session: GroupSession,
  group: { readonly name: string; readonly namespace: string },
): GroupSight {
  const of = (kind: WatchedKind): KubeObject[] =>
    [...context.caches[kind].values()].filter(
      ({ metadata }) => metadata.namespace === group.namespace && metadata.labels?.[LABEL.group] === group.name,
    );
  const statefulSets = of('StatefulSet').filter(
    ({ metadata }) => metadata.ownerReferences?.some(({ uid }) => uid === session.uid) === true,
  );
  const nodeSets = statefulSets.filter(({ metadata }) => metadata.deletionTimestamp == null);
  const ordinals = nodeSets.flatMap(({ metadata }) => nodeOrdinal(group.name, metadata.name) ?? []);
  const pods = of('Pod').flatMap((pod) => podFacts(pod) ?? []);
  return {
    proxyPods: pods.filter(({ labels }) => labels[LABEL.workloadType] === 'proxy'),
    etcdPods: pods.filter(({ labels }) => labels[LABEL.workloadType] === 'etcd'),
    pods: pods
      .filter(({ labels }) => labels[LABEL.node] !== undefined)
      .toSorted((a, b) => Number(a.isTerminating) - Number(b.isTerminating)),
    existing: ordinals.toSorted((a, b) => a - b),
    retiring: [
      ...new Set([
        ...session.retiring,
        ...nodeSets
          .filter(({ metadata }) => metadata.annotations?.[RETIRING_ANNOTATION] === 'true')
          .map(({ metadata }) => metadata.name),
      ]),
    ],
    storedVolumes: Object.fromEntries(
      nodeSets.flatMap((one) => {
        const template = templateFacts(one);
        return template === null ? [] : [[one.metadata.name, template] as const];
      }),
    ),
    claims: Object.fromEntries(
      of('PersistentVolumeClaim').flatMap((claim) => {
        const node = claim.metadata.labels?.[LABEL.node];
        const { size } = claimFacts(claim);
        if (node === undefined || size === null || !isQuantity(size)) return [];
        return [[node, { size, canGrow: !session.refusedGrowth.has(`${claim.metadata.uid}`) }] as const];
      }),
    ),
    volumes: of('PersistentVolumeClaim').flatMap(({ metadata: { name, uid, labels, deletionTimestamp } }) =>
      labels?.[LABEL.node] === undefined || uid === undefined || deletionTimestamp != null ? [] : [{ name, uid }],
    ),
    published: publishedNames(of('Service') as unknown as ServiceWithStatus[]),
    proxies: proxyCount(of('Deployment')),
  };
}

function proxyCount(deployments: readonly KubeObject[]): { instances: number; ready: number } {
  const [deployment] = deployments;
  const { replicas } = (deployment?.spec ?? {}) as { replicas?: unknown };
  const { readyReplicas } = (deployment?.status ?? {}) as { readyReplicas?: unknown };
  return { instances: countOf(replicas), ready: countOf(readyReplicas) };
}

function countOf(value: unknown): number {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : 0;
}

/** Kubernetes knows forms that manifests of ours do not (`1e9`). */
function isQuantity(size: string): boolean {
  try {
    return quantityBytes(size) > 0;
  } catch {
    return false;
  }
}

/** SHA-256 of the leaf, as agents report it. */
export function certificateFingerprint(pem: string): string {
  return createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');
}
