/**
 * The agents' files (src/api/agent-config.ts), from the plan and from what only the platform knows: where things run.
 * Both platforms call these and write the result; neither puts a name, a SAN or a setting together by itself.
 */
import type { Endpoint, InstanceConfig, Peer, ProxyConfig, StoreConfig } from '../../api/agent-config.ts';
import { parseEndpointUrl } from '../../api/postgres-group-values.ts';
import { planIdent } from '../postgresql/hba.ts';
import { dialHost } from './plan.ts';
import type { GlobalPlan, GroupPlan, NodePlan } from './plan-types.ts';

/** Where a node can be dialled. */
export interface NodePlacement {
  /** null: resolve its name. */
  readonly address: string | null;
  readonly postgresPort: number;
  readonly agentPort: number;
}

/** What every agent's file needs from the platform. */
export interface Placement {
  /** Grows with each change of what is rendered. */
  readonly generation: number;
  /** Every node of the plan, by name. */
  readonly nodes: Readonly<Record<string, NodePlacement>>;
}

export interface InstancePlacement extends Placement {
  readonly listen: InstanceConfig['listen'];
  readonly paths: InstanceConfig['paths'];
  readonly tls: InstanceConfig['tls'];
  readonly store: StoreConfig;
  /** System user as which the agent and PostgreSQL run: it gets in as superuser over the local socket. */
  readonly osUser: string;
  readonly ownerPasswordFile: string;
  /** Used only if the manifest enables superuser access. */
  readonly superuserPasswordFile: string | null;
  /** Folder with the passwords of the manifest's roles, one file each, by name. */
  readonly rolePasswordFolder: string;
}

export interface ProxyPlacement extends Placement {
  readonly listen: {
    readonly write: { readonly address: string | null; readonly port: number };
    /** Used only if the manifest enables read routing. */
    readonly read: { readonly address: string | null; readonly port: number };
    readonly health: { readonly address: string | null; readonly port: number };
  };
  readonly sourceAddress: string | null;
  readonly tls: ProxyConfig['tls'];
}

export function renderInstanceConfig(plan: GlobalPlan, nodeName: string, placement: InstancePlacement): InstanceConfig {
  const { group, node } = findNode(plan, nodeName);
  return {
    globalCluster: plan.globalCluster,
    group: group.name,
    node: node.name,
    generation: placement.generation,
    bootstraps: node.bootstraps,
    paths: placement.paths,
    listen: placement.listen,
    tls: placement.tls,
    sslMode: group.tlsMode,
    peers: renderPeers(plan, group, placement),
    store: placement.store,
    timing: {
      detectionMs: plan.timing.detectionMs,
      fenceMs: plan.timing.fenceMs,
      memberTimeoutMs: plan.timing.memberTimeoutMs,
    },
    replication: {
      minCopies: plan.replication.minCopies,
      siteMembersMax: plan.replication.siteMembersMax,
      scope: plan.replication.scope,
      maximumLagBytes: plan.replication.maximumLagBytes,
    },
    postgresql: {
      parameters: renderParameters(group, node, placement),
      hba: [...group.hba],
      ident: planIdent(group.userIdent, placement.osUser),
    },
    bootstrap: {
      database: group.bootstrap.database,
      owner: group.bootstrap.owner,
      ownerPasswordFile: placement.ownerPasswordFile,
      // There is one `postgres` in the global cluster: whichever group leads, its password is that of those that let it in.
      superuserPasswordFile: plan.groups.some((one) => one.bootstrap.superuserAccess)
        ? placement.superuserPasswordFile
        : null,
    },
    roles: group.roles.map(({ name, attributes, hasPassword }) => ({
      name,
      attributes: [...attributes],
      passwordFile: hasPassword ? `${placement.rolePasswordFolder}/${name}` : null,
    })),
  };
}

export function renderProxyConfig(plan: GlobalPlan, proxyName: string, placement: ProxyPlacement): ProxyConfig {
  const group = plan.groups.find((one) => one.proxies.some((proxy) => proxy.name === proxyName));
  const proxy = group?.proxies.find((one) => one.name === proxyName);
  if (group === undefined || proxy === undefined) throw new RangeError(`Cannot find proxy "${proxyName}" in the plan`);
  const { readFallsBackToLeader, proxyProtocolFrom, ...limits } = group.proxyLimits;
  return {
    globalCluster: plan.globalCluster,
    group: group.name,
    name: proxy.name,
    generation: placement.generation,
    listen: {
      write: placement.listen.write,
      read: proxy.read ? placement.listen.read : null,
      health: placement.listen.health,
      proxyProtocolFrom: [...proxyProtocolFrom],
    },
    sourceAddress: placement.sourceAddress,
    tls: placement.tls,
    peers: renderPeers(plan, group, placement),
    readFallsBackToLeader,
    limits,
  };
}

const ETCD_PORT = 2379;

/**
 * Where the record is, for a plan whose store is etcd: the user's, or pgspan's own members, that of the asking group first.
 * @param tls null: the agents' own certificates.
 */
export function renderEtcdStore(
  plan: GlobalPlan,
  tls: Extract<StoreConfig, { kind: 'etcd' }>['tls'],
  from?: GroupPlan,
): StoreConfig {
  const members = from === undefined ? [] : ownMembers(plan, from);
  if (plan.coordination.etcdEndpoints.length === 0 && members.length > 0)
    return { kind: 'etcd', endpoints: members, key: plan.coordination.key, tls: null, secure: true };
  const endpoints = plan.coordination.etcdEndpoints.map(parseEndpointUrl);
  return {
    kind: 'etcd',
    endpoints: endpoints.map(({ host, port }) => ({ host, address: null, port: port ?? ETCD_PORT })),
    key: plan.coordination.key,
    tls,
    secure: endpoints.every(({ secure }) => secure),
  };
}

/** So many voting members are of use, and so many endpoints an agent's file takes. */
const MEMBERS_MAX = 9;

function ownMembers({ groups }: GlobalPlan, from: GroupPlan): Endpoint[] {
  return groups
    .toSorted((a, b) => Number(b.name === from.name) - Number(a.name === from.name))
    .flatMap(({ etcd }) => (etcd === null ? [] : [etcd]))
    .slice(0, MEMBERS_MAX)
    .map(({ addresses, clientPort }) => ({
      host: addresses[from.internodeTrafficStrategy],
      address: null,
      port: clientPort,
    }));
}

function renderPeers(plan: GlobalPlan, from: GroupPlan, placement: Placement): Peer[] {
  return plan.groups.flatMap((group) =>
    group.nodes.map((node): Peer => {
      const where = placement.nodes[node.name];
      if (where === undefined) throw new RangeError(`Cannot find node "${node.name}" in the placement`);
      const host = dialHost(from, node);
      const at = { host, address: where.address, ...otherwise(from, group, node, where) };
      return {
        node: node.name,
        group: group.name,
        postgres: { ...at, port: where.postgresPort },
        agent: { ...at, port: where.agentPort },
        priority: node.priority,
        votes: node.votes,
        ...(plan.replication.relayGroups.includes(group.name) ? { relay: true } : {}),
      };
    }),
  );
}

/**
 * Under SplitDNS a node's name leads to its pod, whose address changes with the pod, and resolvers on the way keep the old one for a
 * while (CoreDNS: 30 s by default). Its Service has one address for good.
 */
function otherwise(from: GroupPlan, group: GroupPlan, node: NodePlan, { address }: NodePlacement) {
  const isOwn = group.name === from.name && from.internodeTrafficStrategy === 'SplitDNS';
  return isOwn && address === null ? { otherwise: node.addresses.ServiceName } : {};
}

/** The plan's settings and those whose values are places. What changes with the leader is the agent's. */
function renderParameters(
  group: GroupPlan,
  node: NodePlan,
  { listen, paths, tls }: InstancePlacement,
): Record<string, string> {
  const parameters: Record<string, string> = {};
  for (const { name, value } of group.settings) if (value !== null) parameters[name] = value;
  return {
    ...parameters,
    cluster_name: node.name,
    listen_addresses: listen.address ?? '*',
    port: String(listen.postgresPort),
    unix_socket_directories: paths.runtimeDirectory,
    ssl_cert_file: tls.certFile,
    ssl_key_file: tls.keyFile,
    ssl_ca_file: tls.caFile,
  };
}

function findNode(plan: GlobalPlan, name: string): { group: GroupPlan; node: NodePlan } {
  for (const group of plan.groups) {
    const node = group.nodes.find((one) => one.name === name);
    if (node !== undefined) return { group, node };
  }
  throw new RangeError(`Cannot find node "${name}" in the plan`);
}
