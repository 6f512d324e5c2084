/** A node's stream to another node's agent: against the real port, and against agents that misbehave. Real mutual TLS. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, type TestContext, test } from 'node:test';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Peer } from '../../api/agent-config.ts';
import {
  type BeatMessage,
  type EchoMessage,
  LINE_BYTES_MAX,
  type RequestMessage,
  type ResponseMessage,
} from '../../api/peer-stream.ts';
import { createReloadableTls, type ReloadableTls } from '../../base/mutual-tls.ts';
import { delay, waitUntil } from '../../base/wait-until.ts';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { followingState } from '../../../test/kit/stream-publisher.ts';
import { createJoinRoutes } from './join-routes.ts';
import { PeerLink, type PeerView } from './peer-links.ts';
import { PeerServer } from './peer-server.ts';

const HOST = '127.66.5.1';
const LIMIT = { timeoutMs: 10_000 };
const UPGRADED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: pgspan-stream/1\r\n\r\n';
const line = (message: object): string => `${JSON.stringify(message)}\n`;
const state = followingState('leo-1', 'leo');
const beat: BeatMessage = { type: 'beat', nonce: 1, term: 2, flushLsn: '0/3000000', probeAgeMs: 4 };

describe('a link to another node', () => {
  let pki: TestPki;
  let own: ReloadableTls;
  let peers: ReloadableTls;
  before(async () => {
    pki = await createTestPki({ globalCluster: 'orders', group: 'leo' });
    const uris = ['spiffe://orders/ait/ait-1'];
    own = await createReloadableTls(await pki.issue('ait-1', { uris }));
    peers = await createReloadableTls(await pki.issue('leo-1', { ipAddresses: [HOST] }));
  });
  after(() => pki?.[Symbol.asyncDispose]());

  const peerAt = (port: number): Peer => ({
    node: 'leo-1',
    group: 'leo',
    postgres: { host: 'leo-1', address: HOST, port: 5432 },
    agent: { host: 'leo-1', address: HOST, port },
    priority: 100,
    votes: true,
  });

  interface Heard {
    readonly states: PeerView[];
    readonly links: { isConnected: boolean; isRefused: boolean; error: string | null }[];
  }

  function aLink(
    context: TestContext,
    port: number,
    echo: EchoMessage | null = null,
  ): { link: PeerLink; heard: Heard } {
    const heard: Heard = { states: [], links: [] };
    const link = new PeerLink(peerAt(port), {
      globalCluster: 'orders',
      credentials: own,
      sourceAddress: '127.66.5.9',
      events: {
        onState: (view) => heard.states.push({ ...view }),
        onBeat: () => echo,
        onLink: ({ isConnected, isRefused, lastError: error }) => heard.links.push({ isConnected, isRefused, error }),
      },
    });
    context.after(() => link.close());
    return { link, heard };
  }

  async function realAgent(
    context: TestContext,
    port: number,
    onRequest: (from: string, request: RequestMessage) => Promise<Omit<ResponseMessage, 'type' | 'id'>> = async () => ({
      accepted: true,
    }),
  ): Promise<{ server: PeerServer; echoes: EchoMessage[]; close(): Promise<void> }> {
    const echoes: EchoMessage[] = [];
    const server = new PeerServer({
      globalCluster: 'orders',
      credentials: peers,
      handlers: {
        state: () => state,
        onEcho: (_node, echo) => echoes.push(echo),
        onRequest,
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
    await server.listen(HOST, port);
    let isOpen = true;
    const close = async (): Promise<void> => {
      if (isOpen) await server.close();
      isOpen = false;
    };
    context.after(close);
    return { server, echoes, close };
  }

  /** A TLS server that does what it likes with each connection. */
  async function misbehaving(
    context: TestContext,
    port: number,
    behave: (socket: TLSSocket) => void,
    credentials = peers,
  ): Promise<{ connections(): number; server: Server }> {
    let connections = 0;
    const sockets = new Set<TLSSocket>();
    const server = createServer(credentials.serverOptions(), (socket) => {
      connections++;
      sockets.add(socket);
      socket.on('error', () => {});
      behave(socket);
    });
    server.on('tlsClientError', () => connections++);
    server.listen(port, HOST);
    await once(server, 'listening');
    context.after(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    return { connections: () => connections, server };
  }

  test('takes states and beats, echoes, and asks with an answer, an error or none', async (context) => {
    const { server, echoes } = await realAgent(context, 7501, async (from, request) => {
      if (request.method === 'ask') throw new Error(`Cannot answer "${from}"`);
      if (request.method === 'promise') await new Promise(() => {});
      return { accepted: true };
    });
    const echo = {
      type: 'echo',
      nonce: 1,
      promisedTerm: 2,
      incarnation: '0123456789ab',
      flushLsn: null,
      replayLsn: null,
    } as const;
    const { link, heard } = aLink(context, 7501, echo);
    await waitUntil('the state came', LIMIT, () => heard.states.length === 1);
    assert.equal(link.view.state?.node, 'leo-1');
    assert.deepEqual(heard.links.at(-1), { isConnected: true, isRefused: false, error: null });
    server.beat(beat);
    await waitUntil('the echo came back', LIMIT, () => echoes.length === 1);
    assert.equal(link.view.beat?.nonce, 1);
    const promise = { node: 'ait-1', incarnation: '0123456789ab', granted: true, term: 4, position: null, reason: '' };
    assert.equal((await link.request({ method: 'take-over', term: 4, promise }, 5000)).accepted, true);
    await assert.rejects(link.request({ method: 'ask', leader: 'x', term: 1 }, 5000), {
      message: 'Cannot ask "leo-1" to ask: Cannot answer "ait-1"',
    });
    await assert.rejects(link.request({ method: 'promise', term: 9 }, 50), /no answer within 50 ms/);
  });

  test('tells at once that its agent is gone, fails what waits for it, and comes back with it', async (context) => {
    const first = await realAgent(context, 7502, () => new Promise(() => {}));
    const { link, heard } = aLink(context, 7502);
    await waitUntil('it is connected', LIMIT, () => link.view.isConnected);
    const asked = assert.rejects(link.request({ method: 'promise', term: 9 }, 60_000), { code: 'PEER_REQUEST_FAILED' });
    await first.close();
    await asked;
    await waitUntil('it is refused', LIMIT, () => link.view.isRefused);
    await assert.rejects(link.request({ method: 'promise', term: 9 }, 60_000), /Cannot ask "leo-1" to promise: /);
    await realAgent(context, 7502);
    await waitUntil('it is connected again', LIMIT, () => link.view.isConnected);
    assert.ok(heard.links.some(({ isConnected, isRefused }) => !isConnected && isRefused));
    assert.equal(link.view.isRefused, false);
  });

  test('keeps a bounded number of requests', async (context) => {
    await realAgent(context, 7503, () => new Promise(() => {}));
    const { link } = aLink(context, 7503);
    await waitUntil('it is connected', LIMIT, () => link.view.isConnected);
    const asked = Array.from({ length: 70 }, (_, term) => link.request({ method: 'promise', term: term + 1 }, 60_000));
    const ends = asked.map((one) =>
      one.then(
        () => 'answered',
        (error: Error) => error.message,
      ),
    );
    assert.ok((await Promise.all(ends.slice(64))).every((end) => end.includes('too many requests wait')));
    link.close();
    await Promise.all(ends);
  });

  const misbehaviours: Record<string, readonly [(socket: TLSSocket) => void, RegExp]> = {
    'says that it is another node': [
      (socket) => socket.write(UPGRADED + line({ ...state, node: 'leo-2' })),
      /it says that it is "leo-2"/,
    ],
    'says that it is of another group': [
      (socket) => socket.write(UPGRADED + line({ ...state, group: 'pit' })),
      /it says that it is of "pit"/,
    ],
    'tells a state of another form': [
      (socket) => socket.write(UPGRADED + line({ ...state, timeline: -1 })),
      /timeline/,
    ],
    'tells no state': [(socket) => socket.write(UPGRADED + line(beat)), /it sent a beat before its state/],
    'sends a line without end': [
      (socket) => socket.write(UPGRADED + ' '.repeat(LINE_BYTES_MAX + 1)),
      /longer than 65536 bytes/,
    ],
    'sends no JSON': [(socket) => socket.write(`${UPGRADED}hello\n`), /is not JSON/],
    'answers with an error': [
      (socket) => socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 25\r\n\r\n{"error":"it is expired"}'),
      /it answered 403: it is expired/,
    ],
    'answers with something else': [
      (socket) => socket.end('SSH-2.0-OpenSSH_9.6\r\n\r\n'),
      /it answered "SSH-2.0-OpenSSH/,
    ],
    'answers without end': [(socket) => socket.write('x'.repeat(20_000)), /is no HTTP response/],
    'closes at once': [(socket) => socket.end(), /ended|closed/],
    'closes after its first state': [(socket) => socket.end(UPGRADED + line(state)), /ended|closed/],
    'says nothing': [() => {}, /the stream fell silent/],
  };
  describe('to an agent that misbehaves', { concurrency: true }, () => {
    let port = 7510;
    for (const [name, [behave, words]] of Object.entries(misbehaviours)) {
      const at = port++;
      test(`${name} is given up with the reason, and tried again with pauses`, async (context) => {
        const { connections } = await misbehaving(context, at, behave);
        const startedAtMs = performance.now();
        const { link, heard } = aLink(context, at);
        await waitUntil(`the reason is told (${link.view.lastError})`, LIMIT, () =>
          words.test(link.view.lastError ?? ''),
        );
        await waitUntil('it was tried again', LIMIT, () => connections() >= 3);
        await delay(300);
        const elapsedMs = performance.now() - startedAtMs;
        assert.ok(connections() <= 4 + elapsedMs / 100, `${connections()} connections in ${elapsedMs} ms`);
        if (name !== 'closes after its first state') {
          assert.ok(!heard.links.some(({ isConnected }) => isConnected), 'it never counted as connected');
          assert.equal(link.view.state, null);
        }
      });
    }
  });

  test('trusts no other certificate than that of the node, whatever name it is valid for', async (context) => {
    const others: Record<string, string[]> = {
      'another node': ['spiffe://orders/leo/leo-2'],
      'another global cluster': ['spiffe://billing/leo/leo-1'],
      'a proxy': ['spiffe://orders/leo/leo-proxy-1'],
      nobody: [],
      'two at one time': ['spiffe://orders/leo/leo-1', 'spiffe://orders/leo/leo-2'],
    };
    let port = 7530;
    for (const [name, uris] of Object.entries(others)) {
      const files = await pki.issue(`cert-${++port}`, { dnsNames: ['leo-1'], ipAddresses: [HOST], uris });
      await misbehaving(
        context,
        port,
        (socket) => socket.write(UPGRADED + line(state)),
        await createReloadableTls(files),
      );
      const { link, heard } = aLink(context, port);
      await waitUntil(`${name} is refused`, LIMIT, () =>
        /not "spiffe:\/\/orders\/leo\/leo-1"/.test(link.view.lastError ?? ''),
      );
      assert.equal(heard.states.length, 0, name);
    }
  });
});
