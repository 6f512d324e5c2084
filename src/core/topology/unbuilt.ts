/**
 * Fields of the contract whose feature is not built yet. They are accepted, so that a manifest can be written once; `pgspan
 * plan` marks them, and whatever would have to act on one refuses. A line goes when its feature comes.
 */
import type { GroupSpec, PostgresGroup } from '../../api/postgres-group.ts';

export interface UnbuiltField {
  /** Path in the manifest, such as `spec.pooler`. */
  readonly path: string;
  /** What does not happen; a sentence without a final period. */
  readonly reason: string;
  /** `kubernetes`: nothing elsewhere would have to act on it, so that other platforms may pass over it. */
  readonly actor: 'every platform' | 'kubernetes';
}

/** Those that this group asks for: set, and not to what happens anyway. */
export function unbuiltFields(group: PostgresGroup): UnbuiltField[] {
  return UNBUILT.filter(({ isAsked }) => isAsked(group.spec)).map(({ path, reason }) => ({
    path: `spec.${path}`,
    reason,
    actor: reason === KUBERNETES ? 'kubernetes' : 'every platform',
  }));
}

interface UnbuiltRule {
  readonly path: string;
  readonly reason: string;
  readonly isAsked: (spec: GroupSpec) => boolean;
}

const KUBERNETES = 'it is for Kubernetes, which is not built yet';
const OBJECTS = 'Secrets and ConfigMaps are objects of Kubernetes, which is not built yet';

export const UNBUILT: readonly UnbuiltRule[] = [
  { path: 'instances', reason: 'witness groups are not built yet', isAsked: (spec) => spec.instances === 0 },
  { path: 'role', reason: 'read-only groups are not built yet', isAsked: (spec) => spec.role === 'readOnly' },
  { path: 'storage.storageClass', reason: KUBERNETES, isAsked: (spec) => spec.storage.storageClass !== undefined },
  { path: 'storage.retain', reason: KUBERNETES, isAsked: (spec) => !spec.storage.retain },
  {
    path: 'globalCluster.peers',
    reason: 'joining by manifests is not built yet',
    isAsked: (spec) => spec.globalCluster.peers.length > 0,
  },
  {
    path: 'globalCluster.join',
    reason: 'joining by invitation is not built yet',
    isAsked: (spec) => spec.globalCluster.join !== undefined,
  },
  {
    path: 'globalCluster.discovery',
    reason: 'discovery of groups is not built yet',
    isAsked: (spec) => spec.globalCluster.discovery.length > 0,
  },
  {
    path: 'globalCluster.credentialsSecretRef',
    reason: OBJECTS,
    isAsked: (spec) => spec.globalCluster.credentialsSecretRef !== undefined,
  },
  {
    path: 'coordination.store',
    reason: "the Lease of Kubernetes as the record's store is not built yet",
    isAsked: (spec) => spec.coordination.store === 'kubernetes',
  },
  {
    path: 'coordination.store',
    reason:
      'members of etcd that pgspan runs are not built yet; name those of an etcd of yours in coordination.etcd.endpoints',
    isAsked: (spec) => spec.coordination.store === 'etcd' && spec.coordination.etcd === undefined,
  },
  {
    path: 'coordination.etcd.secretRef',
    reason: OBJECTS,
    isAsked: (spec) => spec.coordination.etcd?.secretRef !== undefined,
  },
  {
    path: 'replication.scope',
    reason: "commits within the leader's group, and the lease that they need, are not built yet",
    isAsked: (spec) => spec.replication.scope === 'group',
  },
  { path: 'bootstrap.secretRef', reason: OBJECTS, isAsked: (spec) => spec.bootstrap.secretRef !== undefined },
  { path: 'roles', reason: 'declared roles are not built yet', isAsked: (spec) => spec.roles.length > 0 },
  {
    path: 'postgresql.configMapRef',
    reason: OBJECTS,
    isAsked: (spec) => spec.postgresql.configMapRef !== undefined,
  },
  {
    path: 'connectivity.internodeTrafficStrategy',
    reason: 'the resolver beside each server is not built yet',
    isAsked: (spec) => spec.connectivity.internodeTrafficStrategy === 'SplitDNS',
  },
  { path: 'connectivity.loadBalancer', reason: KUBERNETES, isAsked: (spec) => spec.connectivity.loadBalancer.enabled },
  {
    path: 'connectivity.nodeServiceTemplate',
    reason: KUBERNETES,
    isAsked: (spec) => spec.connectivity.nodeServiceTemplate !== undefined,
  },
  {
    path: 'connectivity.groupServiceTemplate',
    reason: KUBERNETES,
    isAsked: (spec) => spec.connectivity.groupServiceTemplate !== undefined,
  },
  {
    path: 'connectivity.proxyServiceTemplate',
    reason: KUBERNETES,
    isAsked: (spec) => spec.connectivity.proxyServiceTemplate !== undefined,
  },
  {
    path: 'connectivity.proxyReadServiceTemplate',
    reason: KUBERNETES,
    isAsked: (spec) => spec.connectivity.proxyReadServiceTemplate !== undefined,
  },
  {
    path: 'connectivity.tls.serverCert',
    reason: 'certificates of other sources than the built-in CA are not built yet',
    isAsked: (spec) => spec.connectivity.tls.serverCert.certManager !== undefined,
  },
  {
    path: 'connectivity.tls.clientCert',
    reason: 'certificates of other sources than the built-in CA are not built yet',
    isAsked: ({ connectivity: { tls } }) =>
      tls.clientCert.certManager !== undefined || tls.clientCert.preProvisioned !== undefined,
  },
  {
    path: 'connectivity.tls.entryCert',
    reason: 'certificates of other sources than the built-in CA are not built yet',
    isAsked: (spec) => spec.connectivity.tls.entryCert !== undefined,
  },
  { path: 'pooler', reason: 'Pgpool-II is not built yet', isAsked: (spec) => spec.pooler !== undefined },
];
