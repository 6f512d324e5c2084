/**
 * Where everything of a site runs: one loopback address for each node, one for each route of a proxy, one for the record or for
 * each member of the site's own etcd.
 * An address is given once and kept: it is in certificates, and in connection strings that people have copied.
 */
import type { StoreConfig } from '../../api/agent-config.ts';
import { UserError } from '../../base/user-error.ts';
import { renderEtcdStore } from '../../core/topology/agent-config.ts';
import { recordService } from '../../core/topology/names.ts';
import type { GlobalPlan } from '../../core/topology/plan-types.ts';
import { hostAddresses } from './addresses.ts';
import type { SiteEtcdMember, SiteNode, SiteProxy, SiteState } from './site-state.ts';
import type { VolumeKind } from './volumes.ts';

/** PostgreSQL's own port everywhere; the others are not registered with IANA and seldom used. */
export const PORTS: SiteState['ports'] = {
  postgres: 5432,
  agent: 7440,
  path: 7441,
  health: 7442,
  record: 7443,
  etcdClient: 2379,
  etcdPeer: 2380,
};
const { etcdClient, etcdPeer, ...programPorts } = PORTS;
/** Of nodes, proxies and the record; of members of etcd. Somebody else may have an etcd where the site has none. */
export const PROGRAM_PORTS: readonly number[] = Object.values(programPorts);
export const ETCD_PORTS: readonly number[] = [etcdClient, etcdPeer];

export interface SitePlacement {
  readonly nodes: readonly SiteNode[];
  readonly proxies: readonly SiteProxy[];
  readonly recordAddress: string | null;
  readonly etcd: readonly SiteEtcdMember[];
}

/** How many addresses the plan needs at most. */
export function addressCount(plan: GlobalPlan): number {
  return 1 + plan.groups.reduce((sum, group) => sum + 1 + group.nodes.length + 2 * group.proxies.length, 0);
}

/**
 * Gives every server of the plan an address, and leaves what has one as it is.
 * Throws UserError SITE_SHRINKS when the plan no longer has a node that the site has, SITE_OTHER_STORE when the record would move.
 */
export function placeServers(
  plan: GlobalPlan,
  subnet: string,
  former: SitePlacement,
  options: { readonly volume: VolumeKind; readonly etcdUid: number | null },
): SitePlacement {
  const planned = plan.groups.flatMap((group) => [...group.nodes, ...group.proxies].map(({ name }) => name));
  const gone = [...former.nodes, ...former.proxies].find(({ name }) => !planned.includes(name));
  if (gone !== undefined) throw shrinks(gone.name);
  const isNew = former.nodes.length === 0;
  if (!isNew) refuseOtherStore(plan, former);
  const taken = new Set([
    former.recordAddress,
    ...former.etcd.map(({ address }) => address),
    ...former.nodes.map(({ address }) => address),
    ...former.proxies.flatMap(({ writeAddress, readAddress }) => [writeAddress, readAddress]),
  ]);
  const free = hostAddresses(subnet).filter((address) => !taken.has(address));
  const next = (): string => {
    const address = free.shift();
    if (address === undefined) throw new RangeError(`Cannot place all servers in "${subnet}.0/24"`);
    return address;
  };
  const recordAddress = keepsOwnRecord(plan) ? (former.recordAddress ?? next()) : null;
  const etcd =
    keepsOwnEtcd(plan) && isNew
      ? plan.groups
          .flatMap(({ etcd: member }) => (member === null ? [] : [member]))
          .map(({ name, group }, index) => ({
            name,
            group,
            address: next(),
            uid: options.etcdUid === null ? null : options.etcdUid + index,
          }))
      : [...former.etcd];
  const nodes: SiteNode[] = [];
  const proxies: SiteProxy[] = [];
  for (const group of plan.groups) {
    for (const { name } of group.nodes) {
      const known = former.nodes.find((node) => node.name === name);
      nodes.push(known ?? { name, group: group.name, address: next(), volume: options.volume });
    }
    for (const { name, read } of group.proxies) {
      const known = former.proxies.find((proxy) => proxy.name === name);
      const writeAddress = known?.writeAddress ?? next();
      proxies.push({
        name,
        group: group.name,
        writeAddress,
        readAddress: read ? (known?.readAddress ?? next()) : null,
      });
    }
  }
  return { nodes, proxies, recordAddress, etcd };
}

/** Of nodes, proxies and the record. */
export function placedAddresses({ nodes, proxies, recordAddress }: Omit<SitePlacement, 'etcd'>): string[] {
  return [
    recordAddress,
    ...nodes.map(({ address }) => address),
    ...proxies.flatMap(({ writeAddress, readAddress }) => [writeAddress, readAddress]),
  ].filter((address) => address !== null);
}

/** For PlanOptions.published: addresses by the name of what answers there; they become SANs. */
export function publishedAddresses({
  nodes,
  proxies,
}: Pick<SitePlacement, 'nodes' | 'proxies'>): Record<string, string[]> {
  return Object.fromEntries([
    ...nodes.map(({ name, address }) => [name, [address]] as const),
    ...proxies.map(
      ({ name, writeAddress, readAddress }) =>
        [name, readAddress === null ? [writeAddress] : [writeAddress, readAddress]] as const,
    ),
  ]);
}

/** Where the agents find the record. Throws UserError STORE_NOT_LOCAL for a store that no local site can have. */
export function storeConfig(plan: GlobalPlan, placement: SitePlacement): StoreConfig {
  const { globalCluster, coordination } = plan;
  if (placement.recordAddress !== null) {
    return {
      kind: 'local',
      endpoint: { host: recordService(globalCluster), address: placement.recordAddress, port: PORTS.record },
    };
  }
  if (placement.etcd.length > 0) {
    return {
      kind: 'etcd',
      endpoints: placement.etcd.map(({ name, address }) => ({ host: name, address, port: PORTS.etcdClient })),
      key: coordination.key,
      tls: null,
      secure: true,
    };
  }
  if (coordination.store === 'etcd') return renderEtcdStore(plan, null);
  throw new UserError({
    code: 'STORE_NOT_LOCAL',
    kind: 'usage',
    message: `Cannot keep the record in "${coordination.store}": a local site has none`,
    todo: 'Leave `.spec.coordination.store` out, then a small process keeps the record; or set it to `etcd`.',
  });
}

/** Etcd that pgspan runs: one member for each group. */
export function keepsOwnEtcd({ coordination }: GlobalPlan): boolean {
  return coordination.store === 'etcd' && coordination.etcdEndpoints.length === 0;
}

/** The record does not move by itself: without it, the nodes of a site with data refuse to start. */
function refuseOtherStore(plan: GlobalPlan, former: SitePlacement): void {
  const kind = (own: boolean, etcd: boolean) =>
    own ? 'a process of the site' : etcd ? "the site's own etcd" : 'an etcd of yours';
  const was = kind(former.recordAddress !== null, former.etcd.length > 0);
  const is = kind(keepsOwnRecord(plan), keepsOwnEtcd(plan));
  if (was === is) return;
  throw new UserError({
    code: 'SITE_OTHER_STORE',
    kind: 'unsafe',
    message: `Cannot bring the site up with the record in ${is}: it is in ${was}`,
    todo: 'Leave `.spec.coordination.store` as it was, or remove the site with `pgspan local down` and start a new one.',
  });
}

function keepsOwnRecord({ coordination }: GlobalPlan): boolean {
  return coordination.store === 'platform' || coordination.store === 'local';
}

function shrinks(name: string): UserError {
  return new UserError({
    code: 'SITE_SHRINKS',
    kind: 'unsafe',
    message: `Cannot bring the site up with these manifests: they no longer have "${name}", which the site has`,
    todo: 'Put it back into the manifests, or remove the whole site with `pgspan local down` and start a new one.',
  });
}
