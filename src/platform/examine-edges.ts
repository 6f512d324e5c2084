/**
 * Every edge of a global cluster, tried: by each node and proxy from where it runs (`GET /v1/edges`), and from the vantage and
 * this machine as clients do. `pgspan doctor` prints what core/connectivity says of it.
 */
import { lookup } from 'node:dns/promises';
import {
  type EdgeFacts,
  type EdgeQuestion,
  EDGES_PATH,
  edgeReportSchema,
  EXAMINATION_TIMEOUT_MS,
} from '../api/edge-facts.ts';
import { isIP } from 'node:net';
import type { DialTarget } from '../base/mutual-tls.ts';
import type { BalancerFacts, DoctorFacts, SourceFacts } from '../core/connectivity/doctor-facts.ts';
import { countPlannedEdges, routeNames } from '../core/connectivity/plan-edges.ts';
import type { ClusterAccess, NodeAccess, ProxyAccess } from './ports.ts';

const HERE = 'here';
const QUESTIONS_AT_ONCE = 64;

/** Never throws for what does not answer. */
export async function examineEdges(access: ClusterAccess): Promise<DoctorFacts> {
  const { plan, vantage } = access;
  const [nodes, proxies] = await Promise.all([
    Promise.all(access.nodes.map((node) => askAbout(access, node, 'node', node.agent))),
    Promise.all(access.proxies.map((proxy) => askAbout(access, proxy, 'proxy', proxy.health))),
  ]);
  // After the programs' own, so that they do not measure each other's work.
  const own = await examineFrom(access, clientQuestions(access));
  const entries = await access.examineEntries();
  const client = (name: string, edges: readonly EdgeFacts[] | string): SourceFacts => ({
    name,
    kind: 'client',
    group: null,
    silence: typeof edges === 'string' ? edges : null,
    clockAheadMs: null,
    resolvers: [],
    edges: typeof edges === 'string' ? [] : edges,
  });
  return {
    globalCluster: plan.globalCluster,
    domains: [...new Set(plan.groups.flatMap(({ dns }) => dns.map(({ domain }) => domain)))],
    nodes: plan.groups.flatMap((group) => group.nodes.map(({ name }) => ({ name, group: group.name }))),
    sources: [
      ...nodes,
      ...proxies,
      client(vantage.name === HERE ? HERE : `client beside ${vantage.name}`, own),
      ...(entries.length === 0 ? [] : [client(HERE, entries)]),
    ],
    balancers: await Promise.all(access.balancers.map(withAddresses)),
    plannedEdges: countPlannedEdges({
      plan,
      vantagePlan: access.vantagePlan,
      groups: access.groups.map(({ metadata }) => metadata.name),
      entries: access.entries.length,
    }),
    nowMs: Date.now(),
  };
}

/** Some at a time, so that one line holds the answer; or why the vantage cannot be asked. */
async function examineFrom(
  { vantage }: ClusterAccess,
  questions: readonly EdgeQuestion[],
): Promise<EdgeFacts[] | string> {
  const found: EdgeFacts[] = [];
  try {
    for (let first = 0; first < questions.length; first += QUESTIONS_AT_ONCE)
      found.push(...(await vantage.examine(questions.slice(first, first + QUESTIONS_AT_ONCE))));
    return found;
  } catch (error) {
    return (error as Error).message.slice(0, 500);
  }
}

/** What a program finds of its own edges. */
async function askAbout(
  { vantage }: ClusterAccess,
  { name, group, absence, faults }: NodeAccess | ProxyAccess,
  kind: 'node' | 'proxy',
  target: DialTarget,
): Promise<SourceFacts> {
  const silent = (why: string): SourceFacts => {
    const known = [absence, ...faults].filter((one) => one !== null);
    const silence = known.length === 0 ? why : `${why} (${known.join(', ')})`;
    return { name, kind, group, silence, clockAheadMs: null, resolvers: [], edges: [] };
  };
  const askedAtMs = Date.now();
  try {
    const { status, body } = await vantage.ask({ target, path: EDGES_PATH, timeoutMs: EXAMINATION_TIMEOUT_MS });
    const answeredAtMs = Date.now();
    if (status !== 200) return silent(`it answered ${status}`);
    const { clockMs, resolvers, edges } = edgeReportSchema.parse(body);
    const clockAheadMs = { least: clockMs - answeredAtMs, most: clockMs - askedAtMs };
    return { name, kind, group, silence: null, clockAheadMs, resolvers, edges };
  } catch (error) {
    return silent((error as Error).message.slice(0, 500));
  }
}

/** What clients dial, and people with the rights of a node. */
function clientQuestions({ groups, nodes, proxies, plan, vantagePlan }: ClusterAccess): EdgeQuestion[] {
  return [
    ...proxies.flatMap((proxy) => [
      ...routeQuestions(proxy, 'write', proxy.write, routeNames(vantagePlan, proxy.group, 'write')),
      ...routeQuestions(proxy, 'read', proxy.read, routeNames(vantagePlan, proxy.group, 'read')),
      { purpose: 'health' as const, target: proxy.name, ...proxy.health },
    ]),
    ...nodes.flatMap((node) => {
      const group = vantagePlan.groups.find(({ name }) => name === node.group);
      const planned = group?.nodes.find(({ name }) => name === node.name);
      const strategy = plan.groups.find(({ name }) => name === node.group)?.clientTrafficStrategy ?? 'FQDN';
      // A node of another cluster has the name that servers here dial.
      const isHere = groups.some(({ metadata }) => metadata.name === node.group);
      const host = (isHere ? planned?.addresses[strategy] : undefined) ?? node.postgres.host;
      return [
        { purpose: 'client' as const, target: node.name, ...node.postgres, host },
        { purpose: 'agent' as const, target: node.name, ...node.agent },
      ];
    }),
  ];
}

function routeQuestions(
  { name }: ProxyAccess,
  route: 'write' | 'read',
  target: DialTarget | null,
  names: readonly string[],
): EdgeQuestion[] {
  if (target === null) return [];
  return names.map((host) => ({ purpose: 'client', target: `${name} ${route}`, ...target, host }));
}

/** Clouds give a load balancer an address or a host name. */
async function withAddresses(balancer: Omit<BalancerFacts, 'addresses'>): Promise<BalancerFacts> {
  const found = await Promise.all(
    balancer.hosts.map(async (host) =>
      isIP(host) !== 0 ? [host] : (await lookup(host, { all: true }).catch(() => [])).map(({ address }) => address),
    ),
  );
  return { ...balancer, addresses: found.flat() };
}
