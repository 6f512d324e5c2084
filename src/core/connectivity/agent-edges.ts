/** The edges of one agent: what it dials by its own configuration, or would dial after a change of leader. */
import type { Endpoint, InstanceConfig, Peer, ProxyConfig } from '../../api/agent-config.ts';
import type { EdgePurpose, EdgeQuestion } from '../../api/edge-facts.ts';

/** To every other node, since any may lead, and to the store of the record. @param api the Kubernetes API, where the record is a Lease and the configuration leaves its place to the environment. */
export function edgesOfInstance(config: InstanceConfig, api: Endpoint | null): EdgeQuestion[] {
  const others = config.peers.filter(({ node }) => node !== config.node);
  return [
    ...others.flatMap((peer) => [postgresEdge('replication', peer), agentEdge(peer)]),
    ...recordEndpoints(config, api).map((endpoint) => ({ purpose: 'record' as const, target: 'record', ...endpoint })),
  ];
}

/** To every node: its PostgreSQL, to which clients' connections are passed, and its agent, which says who leads. */
export function edgesOfProxy({ peers }: ProxyConfig): EdgeQuestion[] {
  return peers.flatMap((peer) => [postgresEdge('relay', peer), agentEdge(peer)]);
}

function recordEndpoints({ store }: InstanceConfig, api: Endpoint | null): readonly Endpoint[] {
  switch (store.kind) {
    case 'local':
      return [store.endpoint];
    case 'etcd':
      return store.endpoints;
    case 'lease': {
      const endpoint = store.endpoint ?? api;
      return endpoint === null ? [] : [endpoint];
    }
  }
}

const postgresEdge = (purpose: EdgePurpose, { node, postgres }: Peer): EdgeQuestion => ({
  purpose,
  target: node,
  ...postgres,
});

const agentEdge = ({ node, agent }: Peer): EdgeQuestion => ({ purpose: 'agent', target: node, ...agent });
