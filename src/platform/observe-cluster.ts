/** Asks every agent and proxy of a global cluster how it is, all at once, and puts the answers together (core/status). */
import { nodeStatusSchema } from '../api/node-status.ts';
import {
  type ClusterStatus,
  type NodeObservation,
  type ProxyObservation,
  summarizeStatus,
} from '../core/status/cluster-status.ts';
import { withStoredStatus } from '../core/status/stored-status.ts';
import type { ClusterAccess, NodeAccess, ProxyAccess } from './ports.ts';

/** A node on the same machine answers in milliseconds, one across the ocean in a quarter of a second; longer is no answer. */
export const ASK_TIMEOUT_MS = 1500;

/** Never throws for a node that does not answer: that is what it reports. */
export async function observeCluster(access: ClusterAccess): Promise<ClusterStatus> {
  const [nodes, proxies] = await Promise.all([
    observeNodes(access),
    Promise.all(access.proxies.map((proxy) => observeProxy(proxy, access))),
  ]);
  const { plan } = access;
  const status = summarizeStatus({
    globalCluster: plan.globalCluster,
    nodes,
    proxies,
    minCopies: plan.replication.minCopies,
    memberTimeoutMs: plan.timing.memberTimeoutMs,
    scope: plan.replication.scope,
  });
  return withStoredStatus(status, access.stored, Date.now());
}

/** Every data node, as observeCluster asks them. */
export async function observeNodes(access: ClusterAccess): Promise<NodeObservation[]> {
  return await Promise.all(access.nodes.map((node) => observeNode(node, access)));
}

async function observeNode(node: NodeAccess, { vantage, startHint }: ClusterAccess): Promise<NodeObservation> {
  const { name, group, faults } = node;
  const silent = (why: string): NodeObservation => ({ name, group, faults, answer: { kind: 'silent', why } });
  if (node.absence !== null) return silent(`${node.absence}; ${startHint}`);
  try {
    const { status, body } = await vantage.ask({ target: node.agent, path: '/v1/status', timeoutMs: ASK_TIMEOUT_MS });
    if (status !== 200) return silent(`its agent answered ${status}`);
    return { name, group, faults, answer: { kind: 'answered', status: nodeStatusSchema.parse(body) } };
  } catch (error) {
    return silent((error as Error).message);
  }
}

async function observeProxy(proxy: ProxyAccess, { vantage, startHint }: ClusterAccess): Promise<ProxyObservation> {
  const { name, group, faults } = proxy;
  const unready = (reason: string): ProxyObservation => ({ name, group, faults, isReady: false, reason });
  if (proxy.absence !== null) return unready(`${proxy.absence}; ${startHint}`);
  try {
    const { status } = await vantage.ask({ target: proxy.health, path: '/readyz', timeoutMs: ASK_TIMEOUT_MS });
    return status === 200 ? { name, group, faults, isReady: true, reason: null } : unready(`it answered ${status}`);
  } catch (error) {
    return unready((error as Error).message);
  }
}
