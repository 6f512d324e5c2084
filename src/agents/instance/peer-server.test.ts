/** The agent's port over real mutual TLS: who may do what, and bytes that nobody of ours would send. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { BeatMessage, EchoMessage, RequestMessage, StateMessage } from '../../api/peer-stream.ts';
import { LINE_BYTES_MAX } from '../../api/peer-stream.ts';
import { createReloadableTls, type ReloadableTls } from '../../base/mutual-tls.ts';
import { formatSpiffeIdentity } from '../../base/spiffe-identity.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { createJoinRoutes } from './join-routes.ts';
import { PeerServer } from './peer-server.ts';

const ADDRESS = '127.66.4.1';
const PORT = 7440;
const LIMIT = { timeoutMs: 5000 };
/** The server's own limits are 5 s, looked at each second. */
const SLOW_LIMIT = { timeoutMs: 9000 };

const state: StateMessage = {
  type: 'state',
  node: 'leo-1',
  group: 'leo',
  incarnation: '0123456789ab',
  leaderView: { term: 3, version: 7, leader: 'leo-1', phase: 'published' },
  promisedTerm: 3,
  activity: 'leading',
  reason: { code: 'Leading', message: 'Leading term 3' },
  serverVersion: 150018,
  acceptsReads: true,
  timeline: 3,
  flushLsn: '0/3000000',
  replayLsn: '0/3000000',
  lagBytes: 0,
  leading: null,
};
const beat: BeatMessage = { type: 'beat', nonce: 5, term: 3, flushLsn: '0/3000000', probeAgeMs: 10 };
const echo: EchoMessage = {
  type: 'echo',
  nonce: 5,
  promisedTerm: 3,
  incarnation: '0123456789ab',
  flushLsn: null,
  replayLsn: null,
};

/** Everybody who may come to this port. */
const identities = {
  'another node': 'orders/ait/ait-1',
  'a proxy': 'orders/ait/ait-proxy-1',
  'the operator': 'orders/ait/ait-operator',
  'a person': 'orders/leo/leo-cli',
  'a node of another global cluster': 'billing/leo/leo-1',
} as const;
type Visitor =
  | keyof typeof identities
  | 'nobody'
  | 'a node of a CA that we do not trust'
  | 'a node with an expired certificate';

describe('the port of an agent', () => {
  let pki: TestPki;
  let otherPki: TestPki;
  let server: PeerServer;
  const visitors = new Map<Visitor, ReloadableTls>();
  const echoes: { node: string; echo: EchoMessage }[] = [];
  const orders: string[] = [];
  const errors: string[] = [];
  const open = new Set<Socket>();

  before(async () => {
    pki = await createTestPki({ globalCluster: 'orders', group: 'leo' });
    otherPki = await createTestPki({ globalCluster: 'orders', group: 'leo' });
    const credentials = await createReloadableTls(await pki.issue('leo-1', { ipAddresses: [ADDRESS] }));
    for (const [visitor, path] of Object.entries(identities)) {
      const files = await pki.issue(path.replaceAll('/', '.'), { uris: [`spiffe://${path}`] });
      visitors.set(visitor as Visitor, await createReloadableTls(files));
    }
    const uris = [formatSpiffeIdentity({ globalCluster: 'orders', group: 'ait', name: 'ait-1' })];
    visitors.set(
      'a node of a CA that we do not trust',
      await createReloadableTls(await otherPki.issue('foreign', { uris, caFile: pki.caFile })),
    );
    visitors.set(
      'a node with an expired certificate',
      await createReloadableTls(await pki.issue('expired', { uris, now: new Date(Date.now() - 7_200_000) })),
    );
    server = new PeerServer({
      globalCluster: 'orders',
      credentials,
      handlers: {
        state: () => state,
        onEcho: (node, one) => echoes.push({ node, echo: one }),
        onRequest: answer,
        isLive: () => true,
        isReady: () => false,
        status: async () => ({ node: 'leo-1' }),
        edges: async () => ({ edges: [] }),
        metrics: async () => ({ contentType: 'text/plain', body: 'pgspan_term 3\n' }),
        order: async (path, body) => {
          orders.push(`${path} ${JSON.stringify(body)}`);
          return path === '/v1/switchover' ? { status: 200, body: { to: 'ait-1' } } : null;
        },
        joining: createJoinRoutes({ group: 'leo', caBundle: async () => pki.ca.authorityPem }),
        cards: async ({ method, query, identity }) => ({
          status: 200,
          body: { method, etag: query.get('etag'), by: identity.name },
        }),
        onError: (error, context) => errors.push(`${context}: ${error.message}`),
      },
    });
    await server.listen(ADDRESS, PORT);
  });
  after(async () => {
    for (const socket of open) socket.destroy();
    await server.close();
    await pki[Symbol.asyncDispose]();
    await otherPki[Symbol.asyncDispose]();
  });

  /** `promise` waits for ever: it is for the limit of requests. */
  async function answer(from: string, one: RequestMessage): Promise<{ accepted: boolean }> {
    if (one.method === 'ask') throw new Error(`Cannot answer "${from}"`);
    if (one.method === 'promise') await new Promise(() => {});
    return { accepted: true };
  }

  const tlsOptions = (visitor: Visitor) => {
    const target = { host: 'leo-1', address: ADDRESS, port: PORT };
    const own = visitors.get(visitor);
    const someone = visitors.get('another node') as ReloadableTls;
    // Without a certificate: a secure context of its own.
    return own === undefined
      ? { ...someone.connectOptions(target), secureContext: undefined, rejectUnauthorized: false }
      : own.connectOptions(target);
  };

  function ask(visitor: Visitor, method: string, path: string, body = ''): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ ...tlsOptions(visitor), agent: false, method, path } as object, (response) => {
        let text = '';
        response
          .on('data', (chunk) => (text += chunk))
          .once('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
        response.once('error', reject);
      });
      outgoing.once('error', reject).end(body);
    });
  }

  /** A stream, or what the server answered instead. */
  async function subscribe(visitor: Visitor): Promise<Subscriber> {
    const socket = connectTls(tlsOptions(visitor));
    open.add(socket);
    const subscriber: Subscriber = { socket, text: '', isClosed: false };
    socket.on('data', (chunk: Buffer) => (subscriber.text += chunk.toString()));
    socket.on('error', () => {}).on('close', () => (subscriber.isClosed = true));
    await once(socket, 'secureConnect');
    socket.write('GET /v1/stream HTTP/1.1\r\nHost: leo-1\r\nConnection: Upgrade\r\nUpgrade: pgspan-stream/1\r\n\r\n');
    await waitUntil('the server answered', LIMIT, () => /\r\n\r\n/.test(subscriber.text) || subscriber.isClosed);
    return subscriber;
  }

  const STRANGERS: readonly Visitor[] = [
    'nobody',
    'a node of another global cluster',
    'a node of a CA that we do not trust',
    'a node with an expired certificate',
  ];

  describe('used by many at one time', { concurrency: true }, () => {
    test('tells its health to everybody, its status only to the own global cluster', async () => {
      for (const visitor of ['nobody', ...visitors.keys()] as Visitor[]) {
        const isStranger = STRANGERS.includes(visitor);
        assert.equal((await ask(visitor, 'GET', '/livez')).status, 200, visitor);
        assert.equal((await ask(visitor, 'GET', '/readyz?verbose')).status, 503, visitor);
        assert.equal((await ask(visitor, 'GET', '/metrics')).body, 'pgspan_term 3\n', visitor);
        assert.equal((await ask(visitor, 'GET', '/v1/status')).status, isStranger ? 403 : 200, visitor);
      }
    });

    test('asks for cards everybody of the own global cluster, and tells the routes who it is', async () => {
      for (const visitor of ['nobody', ...visitors.keys()] as Visitor[]) {
        const { status, body } = await ask(visitor, 'GET', '/v1/cards?etag=abc');
        assert.equal(status, STRANGERS.includes(visitor) ? 403 : 200, visitor);
        if (status === 200)
          assert.deepEqual(JSON.parse(body), {
            method: 'GET',
            etag: 'abc',
            by: identities[visitor as keyof typeof identities].split('/')[2],
          });
      }
    });

    test('tries its edges for those whom it obeys, since that makes connections', async () => {
      const allowed: Visitor[] = ['another node', 'the operator', 'a person'];
      for (const visitor of ['nobody', ...visitors.keys()] as Visitor[]) {
        const { status } = await ask(visitor, 'GET', '/v1/edges');
        assert.equal(status, allowed.includes(visitor) ? 200 : STRANGERS.includes(visitor) ? 403 : 404, visitor);
      }
    });

    test('takes requests to join from nobody in particular, and shows them, and the login, to operators alone', async () => {
      for (const visitor of ['nobody', ...visitors.keys()] as Visitor[]) {
        assert.equal((await ask(visitor, 'POST', '/v1/join')).status, 503, visitor);
        // Ours is of group leo, this operator of ait: he may know the login, which nobody has given yet.
        assert.equal((await ask(visitor, 'GET', '/v1/join-requests')).status, 403, visitor);
        assert.equal((await ask(visitor, 'POST', '/v1/join-answers')).status, 403, visitor);
        const login = await ask(visitor, 'GET', '/v1/credentials');
        assert.equal(login.status, visitor === 'the operator' ? 404 : 403, visitor);
      }
    });

    test('takes orders from nodes, the operator and people; not from proxies, strangers or nobody', async () => {
      const allowed: Visitor[] = ['another node', 'the operator', 'a person'];
      for (const visitor of ['nobody', ...visitors.keys()] as Visitor[]) {
        const { status } = await ask(visitor, 'POST', '/v1/switchover', `{"to":"${visitor}"}`);
        assert.equal(status, allowed.includes(visitor) ? 200 : STRANGERS.includes(visitor) ? 403 : 404, visitor);
        const isTaken = orders.includes(`/v1/switchover {"to":"${visitor}"}`);
        assert.equal(isTaken, allowed.includes(visitor), visitor);
      }
      assert.equal((await ask('a person', 'POST', '/v1/destroy')).status, 404);
      assert.equal((await ask('a person', 'DELETE', '/v1/status')).status, 404);
    });

    test('says to a stranger why it is refused', async () => {
      const words: [Visitor, RegExp][] = [
        ['nobody', /client certificate of global cluster \\?"orders\\?" is needed/],
        ['a node of another global cluster', /is of global cluster \\?"billing\\?", this is \\?"orders\\?"/],
        ['a node of a CA that we do not trust', /not signed by a CA of our trust bundle/],
        ['a node with an expired certificate', /has expired/],
      ];
      for (const [visitor, pattern] of words) {
        assert.match((await ask(visitor, 'GET', '/v1/status')).body, pattern, visitor);
        const subscriber = await subscribe(visitor);
        assert.match(subscriber.text, /^HTTP\/1\.1 403 /, visitor);
        await waitUntil('the reason has come', LIMIT, () => pattern.test(subscriber.text));
        await waitUntil('the connection is closed', LIMIT, () => subscriber.isClosed);
      }
    });

    test('streams states to nodes and proxies, beats to nodes only', async () => {
      const node = await subscribe('another node');
      const proxy = await subscribe('a proxy');
      for (const one of [node, proxy]) {
        assert.match(one.text, /^HTTP\/1\.1 101 /);
        await waitUntil('the first state came', LIMIT, () => one.text.includes('"node":"leo-1"'));
      }
      server.beat(beat);
      server.publish({ ...state, promisedTerm: 4 });
      await waitUntil('the beat came', LIMIT, () => node.text.includes('"type":"beat"'));
      await waitUntil('the state came', LIMIT, () => proxy.text.includes('"promisedTerm":4'));
      assert.ok(!proxy.text.includes('"type":"beat"'));
    });

    test("takes a node's echoes and requests as those of its certificate, and answers each request", async () => {
      const node = await subscribe('another node');
      const { socket } = node;
      socket.write(`${JSON.stringify({ ...echo, nonce: 77 })}\n`);
      await waitUntil('the echo arrived', LIMIT, () => echoes.some(({ echo: one }) => one.nonce === 77));
      assert.equal(echoes.find(({ echo: one }) => one.nonce === 77)?.node, 'ait-1');
      socket.write(`${JSON.stringify({ type: 'request', id: 1, method: 'ask', leader: 'leo-1', term: 3 })}\n`);
      await waitUntil('the failure is told', LIMIT, () => node.text.includes('"error":"Cannot answer \\"ait-1\\""'));
      const promise = {
        node: 'ait-1',
        incarnation: '0123456789ab',
        granted: true,
        term: 4,
        position: null,
        reason: '',
      };
      socket.write(`${JSON.stringify({ type: 'request', id: 2, method: 'take-over', term: 4, promise })}\n`);
      await waitUntil('the answer came', LIMIT, () => node.text.includes('{"type":"response","id":2,"accepted":true}'));
    });

    test('passes over the fields of a newer version, and answers its requests with an error', async () => {
      const node = await subscribe('another node');
      node.socket.write(`${JSON.stringify({ type: 'request', id: 4, method: 'divine', omen: 'bird' })}\n`);
      await waitUntil('the answer came', LIMIT, () =>
        node.text.includes('Cannot answer \\"divine\\": this agent does not'),
      );
      node.socket.write(`${JSON.stringify({ ...echo, nonce: 99, mood: 'good' })}\n`);
      await waitUntil('the echo arrived', LIMIT, () => echoes.some(({ echo: one }) => one.nonce === 99));
      assert.ok(!node.isClosed);
    });

    test('closes the stream of a proxy that says anything, and counts no echo of it', async () => {
      const proxy = await subscribe('a proxy');
      proxy.socket.write(`${JSON.stringify({ ...echo, nonce: 88 })}\n`);
      await waitUntil('the stream is closed', LIMIT, () => proxy.isClosed);
      assert.ok(!echoes.some(({ echo: one }) => one.nonce === 88));
    });

    test('closes the stream of a node that sends what no agent sends, and says so once', async () => {
      const request = (id: number) => ({ type: 'request', id, method: 'ask', leader: 'x', term: 1 });
      const hostile: Record<string, string> = {
        'no JSON': 'hello\n',
        'no object': '[]\n',
        'nothing that is known': '{"type":"order","path":"/v1/failover"}\n',
        'a term below zero': `${JSON.stringify({ ...request(1), term: -1 })}\n`,
        'a term beyond numbers': `{"type":"request","id":1,"method":"promise","term":1e400}\n`,
        'a name too long': `${JSON.stringify({ ...request(1), leader: 'x'.repeat(64) })}\n`,
        'a prototype': '{"__proto__":{"type":"echo"},"constructor":1}\n',
        'bytes that are no text': '\xff\xfe\n',
        'a line without end': 'x'.repeat(LINE_BYTES_MAX + 1),
        'a line beyond the limit': `"${'x'.repeat(LINE_BYTES_MAX)}"\n`,
      };
      for (const [what, bytes] of Object.entries(hostile)) {
        const node = await subscribe('another node');
        const before = errors.length;
        node.socket.write(Buffer.from(bytes, 'latin1'));
        await waitUntil(`the stream is closed after ${what}`, LIMIT, () => node.isClosed);
        assert.ok(errors.length > before && errors.some((one) => one.startsWith('stream of "ait-1": ')), what);
      }
    });

    test('closes the stream of a node that asks without end, and serves the others', async () => {
      const greedy = await subscribe('another node');
      for (let id = 0; id < 65; id++)
        greedy.socket.write(`${JSON.stringify({ type: 'request', id, method: 'promise', term: 9 })}\n`);
      await waitUntil('the stream is closed', LIMIT, () => greedy.isClosed);
      assert.ok(errors.some((one) => one.includes('too many requests')));
      assert.match((await subscribe('another node')).text, /^HTTP\/1\.1 101 /);
    });

    test('survives bytes that are no TLS, and ends a handshake and a request that do not go on', async () => {
      const ends: Promise<number>[] = [];
      for (const bytes of ['GET / HTTP/1.1\r\n\r\n', '\x16\x03\x01\xff\xff', '\0'.repeat(4096), ''])
        ends.push(endOf(connectTcp(PORT, ADDRESS), bytes));
      const drips = [
        'GET /livez HTTP/1.1\r\nHo',
        'POST /v1/switchover HTTP/1.1\r\nHost: leo-1\r\nContent-Length: 9\r\n\r\n{',
        '',
      ];
      for (const bytes of drips) ends.push(endOf(connectTls(tlsOptions('a person')), bytes));
      const slowest = Math.max(...(await Promise.all(ends)));
      assert.ok(slowest < SLOW_LIMIT.timeoutMs, `the slowest stayed for ${slowest} ms`);
      assert.equal((await ask('nobody', 'GET', '/livez')).status, 200);
    });

    test('refuses headers and bodies beyond its limits, and bodies that are no JSON, as the fault of the sender', async () => {
      const long = await ask('a person', 'GET', `/${'x'.repeat(10_000)}`).catch(() => ({ status: 431, body: '' }));
      assert.equal(long.status, 431);
      const bodies: [string, RegExp][] = [
        [`"${'x'.repeat(20_000)}"`, /more than 16384 bytes/],
        ['{"to": ', /no JSON/],
      ];
      for (const [body, pattern] of bodies) {
        const answered = await ask('a person', 'POST', '/v1/switchover', body);
        assert.equal(answered.status, 400, answered.body);
        assert.match(answered.body, pattern);
        assert.ok(!orders.some((one) => one.includes('xxx')));
      }
    });

    test('other upgrades than the stream are refused', async () => {
      const socket = connectTls(tlsOptions('another node'));
      open.add(socket);
      await once(socket, 'secureConnect');
      socket.write('GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      assert.match(chunk.toString(), /^HTTP\/1\.1 400 /);
    });
  });

  test('closes the stream of a subscriber that does not read, and keeps no more for it than the limit', async () => {
    const lazy = await subscribe('a proxy');
    lazy.socket.pause();
    const long = { ...state, reason: { code: 'Long', message: 'x'.repeat(1000) } };
    const count = server.subscriberCount;
    await waitUntil('the server gave it up', { timeoutMs: 10_000, intervalMs: 1 }, () => {
      for (let n = 0; n < 200; n++) server.publish(long);
      return server.subscriberCount < count;
    });
  });

  /** Sends bytes and then nothing; how long the server kept the connection. */
  async function endOf(socket: Socket, bytes: string): Promise<number> {
    open.add(socket);
    const startedAtMs = performance.now();
    let isClosed = false;
    socket
      .on('error', () => {})
      .on('close', () => (isClosed = true))
      .resume();
    socket.write(Buffer.from(bytes, 'latin1'));
    await waitUntil(
      `the server ends a connection that sent ${JSON.stringify(bytes.slice(0, 30))}`,
      SLOW_LIMIT,
      () => isClosed,
    );
    return performance.now() - startedAtMs;
  }
});

interface Subscriber {
  readonly socket: TLSSocket;
  text: string;
  isClosed: boolean;
}
