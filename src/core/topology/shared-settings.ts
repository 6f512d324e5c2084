/**
 * What must be the same in all groups of a global cluster. A group that says nothing takes what another says; two that
 * say different things contradict each other (validate.ts refuses them). Defaults are here, once.
 */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { durationMs, quantityBytes } from '../../api/postgres-group-values.ts';
import type { CoordinationPlan, TimingPlan } from './plan-types.ts';

/** design.md section 5: detection and fence, in milliseconds. */
export const PRESETS = {
  lan: { detectionMs: 1000, fenceMs: 3000 },
  wan: { detectionMs: 3000, fenceMs: 9000 },
} as const;

/**
 * Writes wait for this long when a standby without a spare is lost. 30 s: longer than a restart of a pod or of PostgreSQL
 * (after which the member is simply there again, and no redundancy was given up), shorter than clients' usual patience.
 */
export const MEMBER_TIMEOUT_DEFAULT = '30s';

/** One WAL segment: a standby that streams is seldom further behind, and a leader tells where it is once a second. */
const MAXIMUM_LAG_DEFAULT = '16Mi';

/** Longer than a machine that comes and goes, or an upgrade of it, takes; each way back costs a short hold of writes. */
const SWITCH_BACK_AFTER_DEFAULT = '10m';

export interface SharedField {
  /** Below `.spec`, as in a manifest. */
  readonly path: string;
  /** undefined: this group says nothing. */
  readonly of: (spec: PostgresGroup['spec']) => string | number | boolean | undefined;
}

export const SHARED_FIELDS = [
  { path: 'globalCluster.primaryGroup', of: (spec) => spec.globalCluster.primaryGroup },
  { path: 'globalCluster.preferredLeader.name', of: (spec) => spec.globalCluster.preferredLeader?.name },
  { path: 'globalCluster.preferredLeader.switchBack', of: (spec) => spec.globalCluster.preferredLeader?.switchBack },
  { path: 'globalCluster.preferredLeader.after', of: (spec) => spec.globalCluster.preferredLeader?.after },
  { path: 'coordination.store', of: (spec) => spec.coordination.store },
  { path: 'coordination.preset', of: (spec) => spec.coordination.preset },
  { path: 'coordination.detectionMs', of: (spec) => spec.coordination.detectionMs },
  { path: 'coordination.fenceMs', of: (spec) => spec.coordination.fenceMs },
  { path: 'coordination.etcd.endpoints', of: (spec) => spec.coordination.etcd?.endpoints.join(' ') },
  { path: 'coordination.etcd.keyPrefix', of: (spec) => spec.coordination.etcd?.keyPrefix },
  { path: 'replication.minCopies', of: (spec) => spec.replication.minCopies },
  { path: 'replication.memberTimeout', of: (spec) => spec.replication.memberTimeout },
  { path: 'replication.scope', of: (spec) => spec.replication.scope },
  { path: 'replication.surviveSiteLoss', of: (spec) => spec.replication.surviveSiteLoss },
  { path: 'replication.maximumLag', of: (spec) => spec.replication.maximumLag },
  { path: 'bootstrap.database', of: (spec) => spec.bootstrap.database },
  { path: 'bootstrap.owner', of: (spec) => spec.bootstrap.owner },
] as const satisfies readonly SharedField[];

export interface SharedSettings {
  readonly timing: TimingPlan;
  readonly coordination: Omit<CoordinationPlan, 'key'>;
  readonly etcdKeyPrefix: string;
  readonly replication: {
    readonly scope: 'global' | 'group';
    readonly minCopies: number | undefined;
    readonly surviveSiteLoss: boolean | undefined;
    /** As written: `30s`. */
    readonly memberTimeout: string;
    readonly maximumLagBytes: number;
  };
  readonly bootstrap: { readonly database: string; readonly owner: string };
}

export function resolveShared(groups: readonly PostgresGroup[]): SharedSettings {
  const specs = groups.map((group) => group.spec);
  const first = <T>(of: (spec: PostgresGroup['spec']) => T | undefined): T | undefined =>
    specs.map(of).find((value) => value !== undefined);
  const memberTimeout = first((spec) => spec.replication.memberTimeout) ?? MEMBER_TIMEOUT_DEFAULT;
  const preset = first((spec) => spec.coordination.preset) ?? 'lan';
  return {
    timing: {
      preset,
      detectionMs: first((spec) => spec.coordination.detectionMs) ?? PRESETS[preset].detectionMs,
      fenceMs: first((spec) => spec.coordination.fenceMs) ?? PRESETS[preset].fenceMs,
      memberTimeoutMs: durationMs(memberTimeout),
    },
    coordination: {
      store: first((spec) => spec.coordination.store) ?? 'platform',
      etcdEndpoints: first((spec) => spec.coordination.etcd?.endpoints) ?? [],
    },
    etcdKeyPrefix: first((spec) => spec.coordination.etcd?.keyPrefix) ?? '/pgspan',
    replication: {
      scope: first((spec) => spec.replication.scope) ?? 'global',
      minCopies: first((spec) => spec.replication.minCopies),
      surviveSiteLoss: first((spec) => spec.replication.surviveSiteLoss),
      memberTimeout,
      maximumLagBytes: quantityBytes(first((spec) => spec.replication.maximumLag) ?? MAXIMUM_LAG_DEFAULT),
    },
    bootstrap: {
      database: first((spec) => spec.bootstrap.database) ?? 'app',
      owner: first((spec) => spec.bootstrap.owner) ?? 'app',
    },
  };
}

export interface PreferredLeader {
  /** Of a node, or of a group. */
  readonly name: string;
  readonly switchBack: 'Never' | 'WhenHealthy';
  /** With `WhenHealthy`: so long the preferred node is well before it leads again, in milliseconds. */
  readonly afterMs: number;
}

/** Who shall lead while all is well; null: nobody says. */
export function resolvePreferredLeader(groups: readonly PostgresGroup[]): PreferredLeader | null {
  const said = groups.flatMap(({ spec }) => spec.globalCluster.preferredLeader ?? []);
  const [first] = said;
  if (first === undefined) return null;
  const after = said.find((one) => one.after !== undefined)?.after ?? SWITCH_BACK_AFTER_DEFAULT;
  return {
    name: first.name,
    switchBack: said.find((one) => one.switchBack !== undefined)?.switchBack ?? 'Never',
    afterMs: durationMs(after),
  };
}

/** Groups that may make the first database, the one that does first: the declared one, then by priority, then as given. */
export function groupsByBootstrap(groups: readonly PostgresGroup[]): PostgresGroup[] {
  const declared = groups.find((group) => group.spec.globalCluster.primaryGroup !== undefined)?.spec.globalCluster
    .primaryGroup;
  const rank = (group: PostgresGroup) =>
    group.metadata.name === declared ? Infinity : group.spec.coordination.priority;
  return groups
    .filter((group) => group.spec.instances > 0 && group.spec.role === 'readWrite' && rank(group) > 0)
    .toSorted((a, b) => (rank(a) === rank(b) ? 0 : rank(b) - rank(a)));
}
