/**
 * Where everything of a site runs: one loopback address for each node, one for each route of a proxy, one for the record.
 * An address is given once and kept: it is in certificates, and in connection strings that people have copied.
 */
import type { StoreConfig } from '../../api/agent-config.ts';
import { UserError } from '../../base/user-error.ts';
import { recordService } from '../../core/topology/names.ts';
import type { GlobalPlan } from '../../core/topology/plan-types.ts';
import { hostAddresses } from './addresses.ts';
import type { SiteNode, SiteProxy, SiteState } from './site-state.ts';
import type { VolumeKind } from './volumes.ts';

/** PostgreSQL's own port everywhere; the others are not registered with IANA and seldom used. */
export const PORTS: SiteState['ports'] = { postgres: 5432, agent: 7440, path: 7441, health: 7442, record: 7443 };

export interface SitePlacement {
  readonly nodes: readonly SiteNode[];
  readonly proxies: readonly SiteProxy[];
  readonly recordAddress: string | null;
}

/** How many addresses the plan needs at most. */
export function addressCount(plan: GlobalPlan): number {
  return 1 + plan.groups.reduce((sum, group) => sum + group.nodes.length + 2 * group.proxies.length, 0);
}

/**
 * Gives every server of the plan an address, and leaves what has one as it is.
 * Throws UserError SITE_SHRINKS when the plan no longer has a node that the site has.
 */
export function placeServers(
  plan: GlobalPlan,
  subnet: string,
  former: SitePlacement,
  volume: VolumeKind,
): SitePlacement {
  const planned = plan.groups.flatMap((group) => [...group.nodes, ...group.proxies].map(({ name }) => name));
  const gone = [...former.nodes, ...former.proxies].find(({ name }) => !planned.includes(name));
  if (gone !== undefined) throw shrinks(gone.name);
  const taken = new Set([
    former.recordAddress,
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
  const nodes: SiteNode[] = [];
  const proxies: SiteProxy[] = [];
  for (const group of plan.groups) {
    for (const { name } of group.nodes) {
      const known = former.nodes.find((node) => node.name === name);
      nodes.push(known ?? { name, group: group.name, address: next(), volume });
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
  return { nodes, proxies, recordAddress };
}

export function placedAddresses({ nodes, proxies, recordAddress }: SitePlacement): string[] {
  return [
    recordAddress,
    ...nodes.map(({ address }) => address),
    ...proxies.flatMap(({ writeAddress, readAddress }) => [writeAddress, readAddress]),
  ].filter((address) => address !== null);
}

/** For PlanOptions.published: addresses by the name of what answers there; they become SANs. */
export function publishedAddresses({ nodes, proxies }: SitePlacement): Record<string, string[]> {
  return Object.fromEntries([
    ...nodes.map(({ name, address }) => [name, [address]] as const),
    ...proxies.map(
      ({ name, writeAddress, readAddress }) =>
        [name, readAddress === null ? [writeAddress] : [writeAddress, readAddress]] as const,
    ),
  ]);
}

/** Where the agents find the record. Throws UserError STORE_NOT_LOCAL for an etcd that pgspan would have to run. */
export function storeConfig(plan: GlobalPlan, placement: SitePlacement): StoreConfig {
  const { globalCluster, coordination } = plan;
  if (placement.recordAddress !== null) {
    return {
      kind: 'local',
      endpoint: { host: recordService(globalCluster), address: placement.recordAddress, port: PORTS.record },
    };
  }
  if (coordination.etcdEndpoints.length === 0) {
    throw new UserError({
      code: 'STORE_NOT_LOCAL',
      kind: 'usage',
      message:
        'Cannot keep the record in etcd: the manifest names no endpoints, and a local site runs no etcd of its own',
      todo: 'Leave `.spec.coordination.store` out, then a small process keeps the record; or give `.spec.coordination.etcd.endpoints`.',
    });
  }
  const urls = coordination.etcdEndpoints.map((text) => new URL(text));
  return {
    kind: 'etcd',
    endpoints: urls.map(({ hostname, port }) => ({ host: hostname, address: null, port: Number(port || '2379') })),
    key: coordination.key,
    tls: null,
    secure: urls.every(({ protocol }) => protocol === 'https:'),
  };
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
