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
  /** Who would have to act on it and cannot: `local`: Kubernetes can; `kubernetes`: the local platform can. */
  readonly actor: 'every platform' | 'local' | 'kubernetes';
}

/** Those that this group asks for: set, and not to what happens anyway. */
export function unbuiltFields(group: PostgresGroup): UnbuiltField[] {
  return UNBUILT.filter(({ isAsked }) => isAsked(group.spec)).map((rule) => ({
    path: `spec.${rule.path}`,
    reason: rule.reason,
    actor: actorOf(rule),
  }));
}

/** Paths below `.spec` that no platform acts on yet. */
export function pathsUnbuiltEverywhere(): string[] {
  return UNBUILT.filter((rule) => actorOf(rule) === 'every platform').map(({ path }) => path);
}

function actorOf({ reason, actor }: UnbuiltRule): UnbuiltField['actor'] {
  return actor ?? (reason === KUBERNETES ? 'local' : 'every platform');
}

interface UnbuiltRule {
  readonly path: string;
  readonly reason: string;
  readonly isAsked: (spec: GroupSpec) => boolean;
  /** Default: by the reason. */
  readonly actor?: UnbuiltField['actor'];
}

const KUBERNETES = 'it names an object of Kubernetes, which the local platform does not have';

const UNBUILT: readonly UnbuiltRule[] = [
  {
    path: 'globalCluster.join',
    reason: 'the local platform is given all groups at once',
    isAsked: (spec) => spec.globalCluster.join !== undefined,
    actor: 'local',
  },
  {
    path: 'globalCluster.discovery',
    reason: 'the local platform is given all groups at once',
    isAsked: (spec) => spec.globalCluster.discovery.length > 0,
    actor: 'local',
  },
  {
    path: 'globalCluster.preferredLeader',
    reason: 'no operator runs on the local platform that would order the switchover; use `pgspan switchover`',
    isAsked: (spec) => spec.globalCluster.preferredLeader !== undefined,
    actor: 'local',
  },
  {
    path: 'coordination.store',
    reason: KUBERNETES,
    isAsked: (spec) => spec.coordination.store === 'kubernetes',
  },
  {
    path: 'coordination.etcd.secretRef',
    reason: KUBERNETES,
    isAsked: (spec) => spec.coordination.etcd?.secretRef !== undefined,
  },
  { path: 'bootstrap.secretRef', reason: KUBERNETES, isAsked: (spec) => spec.bootstrap.secretRef !== undefined },
  {
    path: 'roles[].secretRef',
    reason: KUBERNETES,
    isAsked: (spec) => spec.roles.some(({ secretRef }) => secretRef !== undefined),
  },
  {
    path: 'postgresql.configMapRef',
    reason: KUBERNETES,
    isAsked: (spec) => spec.postgresql.configMapRef !== undefined,
  },
  {
    path: 'connectivity.internodeTrafficStrategy',
    reason: 'the local platform knows every address and runs no resolver; use FQDN',
    isAsked: (spec) => spec.connectivity.internodeTrafficStrategy === 'SplitDNS',
    actor: 'local',
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
