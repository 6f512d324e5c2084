/**
 * Every edge of a global cluster, examined: from here to each proxy route, PostgreSQL and agent; and from node to node as
 * the agents themselves see it. `pgspan doctor` prints it.
 */
import { nodeStatusSchema } from '../api/node-status.ts';
import { STATE_INTERVAL_MS } from '../api/peer-stream.ts';
import type { DialTarget } from '../base/mutual-tls.ts';
import type { GroupPlan } from '../core/topology/plan-types.ts';
import type { ClusterAccess, NodeAccess } from './ports.ts';
import type { StepResult } from './probe.ts';

export interface EdgeReport {
  /** `here`, or a node. */
  readonly from: string;
  /** Such as `ait-1 postgres`, `leo-proxy-1 write`. */
  readonly to: string;
  /** Name that is dialled and verified. */
  readonly name: string;
  readonly address: string | null;
  readonly port: number;
  readonly ok: boolean;
  /** Milliseconds to the end of connect; null: unknown. */
  readonly roundTripMs: number | null;
  readonly steps: readonly StepResult[];
  /** The failure, or what was reached. */
  readonly result: string;
}

const HERE = 'here';
const STATUS_TIMEOUT_MS = 2000;
/** A publisher says something every STATE_INTERVAL_MS (api/peer-stream.ts); after ten of them in silence the stream is dead, open or not. */
const STREAM_SILENCE_MS_MAX = 10 * STATE_INTERVAL_MS;

export async function examineEdges(access: ClusterAccess): Promise<EdgeReport[]> {
  const fromHere = await Promise.all(
    [...entryEdges(access), ...clientEdges(access), ...agentEdges(access)].map((edge) => edge()),
  );
  const betweenNodes = await Promise.all(access.nodes.map((node) => edgesSeenBy(access, node)));
  // All at once they measured each other's work: the round trips once more, one after the other.
  const measured: EdgeReport[] = [];
  for (const edge of fromHere) {
    const target = { host: edge.name, address: edge.address, port: edge.port };
    const isMeasured = edge.ok && edge.from === access.vantage.name;
    measured.push(isMeasured ? { ...edge, roundTripMs: await access.vantage.measureConnect(target) } : edge);
  }
  return [...measured, ...betweenNodes.flat()];
}

type Examination = () => Promise<EdgeReport>;

function clientEdges(access: ClusterAccess): Examination[] {
  const { vantagePlan: plan, vantage } = access;
  const groupOf = (name: string) => plan.groups.find((group) => group.name === name);
  const edges: { to: string; name: string | undefined; target: DialTarget }[] = [];
  for (const proxy of access.proxies) {
    const routes = [
      ['write', proxy.write],
      ['read', proxy.read],
    ] as const;
    for (const [purpose, target] of routes) {
      if (target === null) continue;
      for (const connections of [plan.connections, groupOf(proxy.group)?.connections ?? []]) {
        const name = connections.find((connection) => connection.purpose === purpose)?.hosts[0];
        edges.push({ to: `${proxy.name} ${purpose}`, name, target });
      }
    }
  }
  for (const node of access.nodes) {
    edges.push({ to: `${node.name} postgres`, name: nodeName(groupOf(node.group), node.name), target: node.postgres });
  }
  return edges.map(({ to, name, target }) => async () => {
    const dialled = { ...target, host: name ?? target.host };
    return report(vantage.name, to, dialled, await vantage.probePostgres(dialled));
  });
}

/** Through load balancers, as this machine sees them. */
function entryEdges({ entries, probeEntry }: ClusterAccess): Examination[] {
  return entries.map(
    ({ to, target }) =>
      async () =>
        report(HERE, to, target, await probeEntry(target)),
  );
}

function nodeName(group: GroupPlan | undefined, node: string): string | undefined {
  return group?.nodes.find(({ name }) => name === node)?.addresses[group.clientTrafficStrategy];
}

function agentEdges(access: ClusterAccess): Examination[] {
  const { vantage, nodes, proxies } = access;
  return [
    ...nodes.map(({ name, agent }) => ({ to: `${name} agent`, target: agent, path: '/v1/status' })),
    ...proxies.map(({ name, health }) => ({ to: `${name} health`, target: health, path: '/livez' })),
  ].map(
    ({ to, target, path }) =>
      async () =>
        report(vantage.name, to, target, await vantage.probeAgent(target, path)),
  );
}

function report(from: string, to: string, target: DialTarget, steps: readonly StepResult[]): EdgeReport {
  const failure = steps.find(({ ok }) => !ok);
  return {
    from,
    to,
    name: target.host,
    address: target.address,
    port: target.port,
    ok: failure === undefined,
    roundTripMs: steps.find(({ step, ok }) => step === 'connect' && ok)?.ms ?? null,
    steps,
    result: failure === undefined ? (steps.at(-1)?.found ?? '') : `${failure.step}: ${failure.found}`,
  };
}

/** A node that does not answer has been reported as an edge from here. */
async function edgesSeenBy(access: ClusterAccess, node: NodeAccess): Promise<EdgeReport[]> {
  const ask = { target: node.agent, path: '/v1/status', timeoutMs: STATUS_TIMEOUT_MS };
  const answer = await access.vantage.ask(ask).catch(() => null);
  const parsed = nodeStatusSchema.safeParse(answer?.body);
  if (!parsed.success) return [];
  return parsed.data.peers.map((peer) => ({
    from: node.name,
    to: `${peer.node} agent`,
    name: peer.node,
    address: access.nodes.find(({ name }) => name === peer.node)?.agent.address ?? null,
    port: node.agent.port,
    ok: peer.isConnected && (peer.heardAgeMs ?? 0) < STREAM_SILENCE_MS_MAX,
    roundTripMs: null,
    steps: [],
    result: peer.isConnected
      ? `stream open, last heard ${peer.heardAgeMs ?? '?'} ms ago`
      : (peer.lastError ?? 'not connected'),
  }));
}
