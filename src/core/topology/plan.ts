/**
 * From the groups' manifests to the one plan that everything else follows (design.md section 3). Pure.
 *
 *   manifests --validateGroups--> resolve what holds for all --> groups: services, nodes, proxies --> certificates, settings
 *
 * Names come from names.ts, SANs from certificate-names.ts, quorums from core/leadership/quorum.ts, settings from core/postgresql.
 */
import { globalClusterName, type PostgresGroup } from '../../api/postgres-group.ts';
import { durationMs } from '../../api/postgres-group-values.ts';
import { planHba, planIdent } from '../postgresql/hba.ts';
import { planSettings } from '../postgresql/settings.ts';
import { type NamingContext, nodeCertificate, proxyCertificate, replicationCertificate } from './certificate-names.ts';
import { planEtcdMember } from './etcd-plan.ts';
import { globalConnections, groupConnections } from './connections.ts';
import { fqdn, nodeName, POSTGRES_PORT, proxyName, REPLICATION_USER, slotName, SUPERUSER } from './names.ts';
import type {
  GlobalPlan,
  GroupPlan,
  NodeAddresses,
  NodePlan,
  ProxyLimitsPlan,
  ProxyPlan,
  RolePlan,
} from './plan-types.ts';
import { planWarnings } from './plan-warnings.ts';
import { planReplication } from './replication-plan.ts';
import { planServices } from './services.ts';
import { globalSettingsInput, settingsInput } from './settings-input.ts';
import { groupsByBootstrap, resolveShared } from './shared-settings.ts';
import { unbuiltFields } from './unbuilt.ts';
import { validateGroups } from './validate.ts';

export interface PlanOptions {
  /** Domain of the Services of every Kubernetes cluster. Default `cluster.local`. */
  readonly clusterDomain?: string;
  /** Major version that runs. Default: the highest that an imageName of the groups tells, else 18. */
  readonly postgresMajor?: number;
  /**
   * Addresses and host names that a node, a proxy or a service got from the platform, by its name: loopback addresses,
   * what load balancers were given. They become SANs.
   */
  readonly published?: Readonly<Record<string, readonly string[]>>;
  /** System user of agents and PostgreSQL, for pg_ident. Default `postgres`. */
  readonly osUser?: string;
}

export const CLUSTER_DOMAIN_DEFAULT = 'cluster.local';

/**
 * @param groups all groups of one global cluster, at least one; their order decides ties.
 * @throws UserError MANIFEST_INVALID with every contradiction found.
 */
export function planGlobalCluster(groups: readonly PostgresGroup[], options: PlanOptions = {}): GlobalPlan {
  validateGroups(groups, options.postgresMajor === undefined ? {} : { postgresMajor: options.postgresMajor });
  const shared = resolveShared(groups);
  const first = groupsByBootstrap(groups)[0] ?? (groups[0] as PostgresGroup);
  const naming: NamingContext = {
    globalCluster: globalClusterName(first),
    groups,
    clusterDomain: options.clusterDomain ?? CLUSTER_DOMAIN_DEFAULT,
    published: options.published ?? {},
  };
  const dataGroups = groups.filter((group) => group.spec.instances > 0);
  const global = globalSettingsInput(groups, options.postgresMajor);
  const settings = planSettings(dataGroups.map(settingsInput), global);
  const bootstrapNode = nodeName(first.metadata.name, 1);
  const planned = groups.map((group): GroupPlan => {
    const nodes = planNodes(group, naming, bootstrapNode);
    return {
      name: group.metadata.name,
      namespace: group.metadata.namespace,
      role: group.spec.instances === 0 ? 'witness' : group.spec.role,
      imageName: group.spec.imageName,
      priority: group.spec.coordination.priority,
      tlsMode: group.spec.connectivity.tls.mode,
      internodeTrafficStrategy: group.spec.connectivity.internodeTrafficStrategy,
      clientTrafficStrategy: group.spec.connectivity.clientTrafficStrategy,
      dns: dnsEntries(group),
      services: planServices(group, shared.coordination),
      nodes,
      proxies: planProxies(group, naming),
      etcd: planEtcdMember(group, naming, shared.coordination),
      proxyLimits: planProxyLimits(group),
      settings: settings[dataGroups.indexOf(group)] ?? [],
      hba: planHba({
        userLines: group.spec.postgresql.pg_hba,
        enableSuperuserAccess: group.spec.enableSuperuserAccess,
      }),
      userIdent: group.spec.postgresql.pg_ident,
      ident: planIdent(group.spec.postgresql.pg_ident, options.osUser ?? SUPERUSER),
      bootstrap: { ...shared.bootstrap, superuserAccess: group.spec.enableSuperuserAccess },
      roles: planRoles(groups),
      connections: groupConnections(group, groups, naming),
    };
  });
  return {
    globalCluster: naming.globalCluster,
    primaryGroup: first.metadata.name,
    bootstrapNode,
    postgresMajor: global.postgresMajor,
    timing: shared.timing,
    replication: planReplication(groups, shared.replication, first.metadata.name),
    coordination: { ...shared.coordination, key: `${shared.etcdKeyPrefix}/${naming.globalCluster}/record` },
    groups: withSlots(planned),
    connections: globalConnections(groups, naming),
    warnings: planWarnings(groups),
    notBuilt: groups.flatMap((group) =>
      unbuiltFields(group).map(({ path, reason, actor }) => ({
        group: group.metadata.name,
        path,
        message: reason,
        actor,
      })),
    ),
  };
}

export function planNodesOf(plan: GlobalPlan): NodePlan[] {
  return plan.groups.flatMap((group) => group.nodes);
}

/** The host that a program in `fromGroup` dials for `node`, and verifies. */
export function dialHost(fromGroup: GroupPlan, node: NodePlan): string {
  return node.addresses[fromGroup.internodeTrafficStrategy];
}

function planNodes(group: PostgresGroup, naming: NamingContext, bootstrapNode: string): NodePlan[] {
  const { spec, metadata } = group;
  return ordinals(spec.instances).map((ordinal) => {
    const name = nodeName(metadata.name, ordinal);
    const votes = spec.role === 'readWrite';
    return {
      name,
      group: metadata.name,
      ordinal,
      votes,
      priority: votes ? spec.coordination.priority : 0,
      bootstraps: name === bootstrapNode,
      addresses: nodeAddresses(group, name),
      certificate: nodeCertificate(group, name, naming),
      replicationCertificate: replicationCertificate(),
      slot: slotName(name),
      slotsKept: [],
      conninfo: nodeConninfo(group, name),
    };
  });
}

function nodeAddresses(group: PostgresGroup, name: string): NodeAddresses {
  const outside = fqdn(name, group.spec.connectivity.dns);
  return { ServiceName: name, FQDN: outside, SplitDNS: outside };
}

function nodeConninfo(group: PostgresGroup, name: string): string {
  const { internodeTrafficStrategy, tls } = group.spec.connectivity;
  const host = nodeAddresses(group, name)[internodeTrafficStrategy];
  return `host=${host} port=${POSTGRES_PORT} user=${REPLICATION_USER} sslmode=${tls.mode} sslsni=1`;
}

/** Every node keeps a slot for every other: whoever leads next finds the WAL that its followers still need. */
function withSlots(groups: readonly GroupPlan[]): GroupPlan[] {
  const slots = groups.flatMap((group) => group.nodes.map((node) => node.slot));
  return groups.map((group) => ({
    ...group,
    nodes: group.nodes.map((node) => ({ ...node, slotsKept: slots.filter((slot) => slot !== node.slot) })),
  }));
}

function planProxies(group: PostgresGroup, naming: NamingContext): ProxyPlan[] {
  if (group.spec.instances === 0) return [];
  return ordinals(group.spec.proxySettings.instances).map((ordinal) => {
    const name = proxyName(group.metadata.name, ordinal);
    return {
      name,
      group: group.metadata.name,
      ordinal,
      read: group.spec.proxySettings.enableReadNodeRouting,
      certificate: proxyCertificate(group, name, naming),
    };
  });
}

/** Any node may lead, so each knows the roles of all groups; of one name the first group's counts. */
function planRoles(groups: readonly PostgresGroup[]): RolePlan[] {
  const roles = groups.flatMap(({ spec }) => spec.roles);
  return roles
    .filter(({ name }, index) => roles.findIndex((other) => other.name === name) === index)
    .map(({ name, attributes, secretRef }) => ({ name, attributes, hasPassword: secretRef !== undefined }));
}

/** A client that has not said what it wants after so long is a port scan, or an attack. */
const FIRST_BYTES_TIMEOUT_MS = 10_000;

function planProxyLimits({ spec: { proxySettings } }: PostgresGroup): ProxyLimitsPlan {
  return {
    connectionsMax: proxySettings.connectionsMax,
    holdMs: durationMs(proxySettings.holdTimeout),
    heldConnectionsMax: proxySettings.heldConnectionsMax,
    connectTimeoutMs: durationMs(proxySettings.connectTimeout),
    firstBytesTimeoutMs: FIRST_BYTES_TIMEOUT_MS,
    drainMs: durationMs(proxySettings.drainTimeout),
    readFallsBackToLeader: proxySettings.allowLeaderReads,
    proxyProtocolFrom: proxySettings.proxyProtocolFrom,
  };
}

export function dnsEntries({ spec: { connectivity } }: PostgresGroup): { domain: string; hostSuffix: string }[] {
  const { domain, hostSuffix, additional } = connectivity.dns;
  return [{ domain, hostSuffix }, ...additional];
}

function ordinals(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}
