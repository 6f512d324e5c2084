/**
 * The records for the zone outside, where no external-dns writes them: the global names lead to the proxies of every group,
 * a group's own names to its own, a node's name to its load balancer (requirement A11).
 */
import { isIP } from 'node:net';
import type { GlobalPlan, GroupPlan, ServicePlan } from '../topology/plan-types.ts';

export interface ZoneRecord {
  /** Without a final dot. */
  readonly name: string;
  readonly type: 'A' | 'AAAA' | 'CNAME';
  readonly ttl: number;
  /** Address, or name without a final dot. */
  readonly data: string;
}

export interface ZoneRecords {
  readonly records: readonly ZoneRecord[];
  /** Names without a record, and why: sentences. */
  readonly missing: readonly { readonly name: string; readonly reason: string }[];
}

/** Addresses and host names that a Service of a group has outside; none: []. */
export type PublishedHosts = (group: string, service: string) => readonly string[];

/** @param ttl seconds */
export function zoneRecords(plan: GlobalPlan, hostsOf: PublishedHosts, ttl: number): ZoneRecords {
  const byName = new Map<string, Set<string>>();
  for (const group of plan.groups) {
    for (const service of group.services) {
      for (const fqdn of service.fqdns) {
        const hosts = byName.get(fqdn) ?? new Set();
        for (const host of hostsFor(service, group, hostsOf)) hosts.add(host);
        byName.set(fqdn, hosts);
      }
    }
  }
  // A name of no load balancer is no mistake unless clients are given it.
  const wanted = new Set(plan.groups.flatMap(({ services }) => services.filter(isEntry).flatMap(({ fqdns }) => fqdns)));
  const records: ZoneRecord[] = [];
  const missing: { name: string; reason: string }[] = [];
  for (const [name, hosts] of byName) {
    const made = recordsOf(name, [...hosts], ttl);
    records.push(...made.records);
    if (made.reason !== null && (hosts.size > 0 || wanted.has(name))) missing.push({ name, reason: made.reason });
  }
  return { records, missing };
}

function isEntry({ kind }: ServicePlan): boolean {
  return ['global-write', 'global-read', 'write', 'read'].includes(kind);
}

/** The global names are on the same proxies as the group's own: where only one of the two has a load balancer, it serves both. */
function hostsFor(service: ServicePlan, group: GroupPlan, hostsOf: PublishedHosts): readonly string[] {
  const own = hostsOf(group.name, service.name);
  if (own.length > 0) return own;
  const other = OTHER_KIND[service.kind];
  const name = group.services.find(({ kind }) => kind === other)?.name;
  return name === undefined ? [] : hostsOf(group.name, name);
}

const OTHER_KIND: Readonly<Partial<Record<ServicePlan['kind'], ServicePlan['kind']>>> = {
  'global-write': 'write',
  'global-read': 'read',
  write: 'global-write',
  read: 'global-read',
};

/** RFC 1034 section 3.6.2: a CNAME stands alone at its name. */
function recordsOf(
  name: string,
  hosts: readonly string[],
  ttl: number,
): { readonly records: ZoneRecord[]; readonly reason: string | null } {
  const names = hosts.filter((host) => isIP(host) === 0);
  const [first] = names;
  if (hosts.length === 0) return { records: [], reason: 'no load balancer has an address for it' };
  if (first === undefined) return { records: addressRecords(name, hosts, ttl), reason: null };
  if (hosts.length === 1) return { records: [{ name, type: 'CNAME', ttl, data: first }], reason: null };
  const reason = `its load balancers are called ${names.join(', ')}, and a name takes one CNAME and nothing beside it: use your provider's ALIAS or weighted records`;
  return {
    records: addressRecords(
      name,
      hosts.filter((host) => isIP(host) !== 0),
      ttl,
    ),
    reason,
  };
}

function addressRecords(name: string, addresses: readonly string[], ttl: number): ZoneRecord[] {
  return addresses.map((data) => ({ name, type: isIP(data) === 4 ? 'A' : 'AAAA', ttl, data }));
}

/** In the form of a zone file (RFC 1035 section 5), with what is missing as comments. */
export function formatZone({ records, missing }: ZoneRecords): string {
  const width = Math.max(0, ...records.map(({ name }) => name.length)) + 1;
  return [
    ...records.map(
      ({ name, type, ttl, data }) =>
        `${`${name}.`.padEnd(width)} ${ttl} IN ${type.padEnd(5)} ${type === 'CNAME' ? `${data}.` : data}\n`,
    ),
    ...missing.map(({ name, reason }) => `; ${name}: ${reason}\n`),
  ].join('');
}
