/**
 * Every name that pgspan gives to something, and nothing else: nobody else makes one by joining texts.
 *
 *   group leo, n from 1:   leo (write) · leo-r (read) · leo-group (discovery) · leo-pods (headless) · leo-pooler
 *                          leo-1 … leo-n (nodes) · leo-proxy-1 … (proxies)
 *   global cluster orders: orders (write) · orders-r (read) · orders-record (the record's server, local) · orders-etcd
 */
import { formatSpiffeIdentity } from '../../base/spiffe-identity.ts';
import type { DnsEntry } from '../../api/postgres-group.ts';

/** Database user of every connection between nodes; CN of its client certificate. */
export const REPLICATION_USER = 'streaming_replica';
export const SUPERUSER = 'postgres';
export const POSTGRES_PORT = 5432;
/** Where agents listen in pods: a free one beside PostgreSQL's; the local platform has a choice of its own. */
export const AGENT_PORT = 5480;
/** etcd's own. */
export const ETCD_CLIENT_PORT = 2379;
export const ETCD_PEER_PORT = 2380;

export const nodeName = (group: string, ordinal: number): string => `${group}-${ordinal}`;
export const proxyName = (group: string, ordinal: number): string => `${group}-proxy-${ordinal}`;
/** Write and read names of a group or of a global cluster. */
export const writeService = (name: string): string => name;
export const readService = (name: string): string => `${name}-r`;
export const discoveryService = (group: string): string => `${group}-group`;
export const headlessService = (group: string): string => `${group}-pods`;
export const poolerService = (group: string): string => `${group}-pooler`;
/** The process that serves the record on the local platform. */
export const recordService = (globalCluster: string): string => `${globalCluster}-record`;
export const etcdMember = (group: string): string => `${group}-etcd`;

export const appSecret = (group: string): string => `${group}-app`;
export const superuserSecret = (group: string): string => `${group}-superuser`;
export const caConfigMap = (group: string): string => `${group}-ca`;
/** The cards of the other groups, and the own one. */
export const peersConfigMap = (group: string): string => `${group}-peers`;

/** Physical slot through which `node` streams, on whichever node leads. Slot names have no "-", node names no "_": one to one. */
export const slotName = (node: string): string => `pgspan_${node.replaceAll('-', '_')}`;

/** What the names of all slots of cascades begin with. */
export const RELAY_SLOT_PREFIX = 'relay_';

/** Slot through which `node` streams from a relay that is on `timeline`: it is gone before the relay takes up another one. */
export const relaySlotName = (timeline: number, node: string): string =>
  `${RELAY_SLOT_PREFIX}${timeline}_${node.replaceAll('-', '_')}`;

/** The one rule of design.md section 4. */
export const fqdn = (service: string, dns: DnsEntry): string => `${service}${dns.hostSuffix}.${dns.domain}`;

/** URI SAN of a node, a proxy or another program of a group. */
export const identityUri = (globalCluster: string, group: string, name: string): string =>
  formatSpiffeIdentity({ globalCluster, group, name });

/** What a Service is called inside of its Kubernetes cluster, shortest first. */
export function serviceNames(service: string, namespace: string, clusterDomain: string): string[] {
  return [
    service,
    `${service}.${namespace}`,
    `${service}.${namespace}.svc`,
    `${service}.${namespace}.svc.${clusterDomain}`,
  ];
}
