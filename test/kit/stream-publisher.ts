/**
 * An instance agent's stream without an instance: the real server (agents/instance/peer-server.ts) on a real certificate,
 * saying what a test wants said. For tests of those who listen.
 */
import { STATE_INTERVAL_MS, type StateMessage } from '../../src/api/peer-stream.ts';
import { createReloadableTls } from '../../src/base/mutual-tls.ts';
import { createJoinRoutes } from '../../src/agents/instance/join-routes.ts';
import { PeerServer } from '../../src/agents/instance/peer-server.ts';
import type { TestPki } from './certificates.ts';

export interface StreamPublisher {
  readonly node: string;
  /** Changes parts of the state and sends it at once. */
  say(change: Partial<StateMessage>): void;
  /** Silent, but still connected: what a frozen agent is. */
  mute(): void;
  readonly subscriberCount: number;
  close(): Promise<void>;
}

export async function startStreamPublisher(
  pki: TestPki,
  options: {
    readonly globalCluster?: string;
    readonly node: string;
    readonly group?: string;
    readonly address: string;
    readonly port: number;
    readonly state?: Partial<StateMessage>;
  },
): Promise<StreamPublisher> {
  const { globalCluster = 'orders', node, group = 'leo', address, port } = options;
  const credentials = await createReloadableTls(await pki.issue(node, { ipAddresses: [address] }));
  let state: StateMessage = { ...followingState(node, group), ...options.state };
  const server = new PeerServer({
    globalCluster,
    credentials,
    handlers: {
      state: () => state,
      onEcho: () => {},
      onRequest: async () => ({ error: 'this is a test' }),
      isLive: () => true,
      isReady: () => true,
      status: async () => ({}),
      edges: async () => ({}),
      metrics: async () => ({ contentType: 'text/plain', body: '' }),
      order: async () => null,
      cards: async () => ({ status: 404, body: {} }),
      joining: createJoinRoutes({ group: 'leo', caBundle: async () => '' }),
      onError: () => {},
    },
  });
  await server.listen(address, port);
  const timer = setInterval(() => server.publish(state), STATE_INTERVAL_MS);
  return {
    node,
    say(change) {
      state = { ...state, ...change };
      server.publish(state);
    },
    mute: () => clearInterval(timer),
    get subscriberCount() {
      return server.subscriberCount;
    },
    async close() {
      clearInterval(timer);
      await server.close();
    },
  };
}

/** A level read node that knows of no leader. */
export function followingState(node: string, group: string): StateMessage {
  return {
    type: 'state',
    node,
    group,
    incarnation: '0123456789ab',
    leaderView: { term: 0, version: 0, leader: null, phase: 'none' },
    promisedTerm: 0,
    activity: 'following',
    reason: { code: 'Streaming', message: 'Streams from the leader' },
    acceptsReads: true,
    timeline: 1,
    flushLsn: '0/3000000',
    replayLsn: '0/3000000',
    lagBytes: 0,
    serverVersion: 150018,
  };
}
