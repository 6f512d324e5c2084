/**
 * The edges that a plan has, so that it can be said whether all were tried:
 *
 *   server → server    PostgreSQL and agent of every other node, since any may lead, in whichever group
 *   server → record    each endpoint of the store
 *   proxy → server     PostgreSQL and agent of every node
 *   client → proxy     each name that is published for its routes; and its health
 *   client → server    PostgreSQL and agent of every node
 *   outside → entry    each load balancer, by the name that clients are given for it
 */
import type { GlobalPlan, GroupPlan, ServiceKind } from '../topology/plan-types.ts';

const ROUTE_SERVICES: Readonly<Record<'write' | 'read', readonly ServiceKind[]>> = {
  write: ['write', 'global-write'],
  read: ['read', 'global-read'],
};

/** Names by which clients reach a route of the group's proxies. @param vantagePlan the plan with the names that clients at the vantage dial. */
export function routeNames(vantagePlan: GlobalPlan, group: string, route: 'write' | 'read'): string[] {
  const own = vantagePlan.groups.find(({ name }) => name === group);
  const told = [...vantagePlan.connections, ...(own?.connections ?? [])]
    .filter(({ purpose }) => purpose === route)
    .flatMap(({ hosts }) => hosts);
  const published = (own?.services ?? [])
    .filter(({ kind }) => ROUTE_SERVICES[route].includes(kind))
    .flatMap(({ fqdns }) => fqdns);
  return [...new Set([...told, ...published])];
}

/** Services that get a load balancer and that a plan gives a name outside. */
export function balancedServices(group: GroupPlan): GroupPlan['services'] {
  return group.services.filter(({ type }) => type === 'LoadBalancer');
}

export interface PlannedEdgesInput {
  readonly plan: GlobalPlan;
  /** With the names that clients at the vantage dial. */
  readonly vantagePlan: GlobalPlan;
  /** Groups whose cluster is looked at: the proxies of the others are theirs alone. */
  readonly groups: readonly string[];
  /** How many load balancers are dialled from outside of the clusters; 0 where there is no such place. */
  readonly entries: number;
}

export function countPlannedEdges({ plan, vantagePlan, groups, entries }: PlannedEdgesInput): number {
  const here = plan.groups.filter(({ name }) => groups.includes(name));
  const nodes = plan.groups.flatMap((group) => group.nodes).length;
  const records = nodes * recordEndpoints(plan);
  const servers = nodes * (nodes - 1) * 2;
  const proxies = here.flatMap((group) => group.proxies).length * nodes * 2;
  const clients = here.map((group) => {
    const routes = group.proxies.map(
      ({ read }) =>
        routeNames(vantagePlan, group.name, 'write').length +
        (read ? routeNames(vantagePlan, group.name, 'read').length : 0) +
        1,
    );
    return sum(routes);
  });
  return servers + records + proxies + sum(clients) + nodes * 2 + entries;
}

function recordEndpoints({ coordination, groups }: GlobalPlan): number {
  if (coordination.store !== 'etcd') return 1;
  return coordination.etcdEndpoints.length || groups.length;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
