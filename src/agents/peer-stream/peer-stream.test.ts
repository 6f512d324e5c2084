/** The subscriber against the real server of the stream, and against servers that misbehave. Real mutual TLS everywhere. */
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { after, before, suite, test } from 'node:test';
import * as tls from 'node:tls';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { followingState, type StreamPublisher, startStreamPublisher } from '../../../test/kit/stream-publisher.ts';
import type { Peer } from '../../api/agent-config.ts';
import { LINE_BYTES_MAX, type StateMessage } from '../../api/peer-stream.ts';
import { createReloadableTls, type ReloadableTls } from '../../base/mutual-tls.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { PeerStream } from './peer-stream.ts';
import { PeerWatch } from './peer-watch.ts';

const HOST = '127.62.6.1';
const SOON = { timeoutMs: 10_000 } as const;
const UPGRADED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: pgspan-stream/1\r\n\r\n';

let pki: TestPki;
let credentials: ReloadableTls;
before(async () => {
  pki = await createTestPki();
  credentials = await createReloadableTls(await pki.issue('leo-proxy-1'));
});
after(() => pki?.[Symbol.asyncDispose]());

const peerAt = (port: number, node = 'leo-1'): Peer => ({
  node,
  group: 'leo',
  postgres: { host: node, address: HOST, port: 5432 },
  agent: { host: node, address: HOST, port },
  priority: 1,
  votes: true,
});

interface Heard {
  readonly states: StateMessage[];
  readonly errors: string[];
  opened: number;
}

function subscribe(port: number, silenceMs?: number): { stream: PeerStream; heard: Heard } {
  const heard: Heard = { states: [], errors: [], opened: 0 };
  const stream = new PeerStream({
    globalCluster: 'orders',
    peer: peerAt(port),
    tls: credentials,
    sourceAddress: null,
    onState: (state, isNew) => {
      if (isNew) heard.states.push(state);
    },
    onStatus: (open, error) => {
      if (open) heard.opened += 1;
      if (error !== null) heard.errors.push(error.message);
    },
    ...(silenceMs === undefined ? {} : { silenceMs }),
  });
  return { stream, heard };
}

/** A TLS server with the certificate of `name` that does what it likes with each connection. */
async function startMisbehaving(
  behave: (socket: tls.TLSSocket) => void,
  name = 'leo-1',
): Promise<{ port: number; connections: () => number; close(): void }> {
  const own = await createReloadableTls(await pki.issue(name, { ipAddresses: [HOST] }));
  let connections = 0;
  const sockets = new Set<tls.TLSSocket>();
  const server = tls.createServer(own.serverOptions(), (socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    behave(socket);
  });
  server.on('tlsClientError', () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

const line = (message: object): string => `${JSON.stringify(message)}\n`;

suite('a peer stream', () => {
  test('hears each new state once, and repetitions as such', async () => {
    const agent = await startStreamPublisher(pki, { node: 'leo-1', address: HOST, port: 8441 });
    const { stream, heard } = subscribe(8441);
    await waitUntil('the first state', SOON, () => heard.states.length === 1);
    agent.say({});
    agent.say({ lagBytes: 42 });
    await waitUntil('the new state', SOON, () => heard.states.at(-1)?.lagBytes === 42);
    assert.equal(heard.states.length, 2);
    stream.close();
    await agent.close();
  });

  test('comes back after its agent was away', async () => {
    const first = await startStreamPublisher(pki, { node: 'leo-1', address: HOST, port: 8442 });
    const { stream, heard } = subscribe(8442);
    await waitUntil('the stream is open', SOON, () => heard.opened === 1);
    await first.close();
    await waitUntil('two attempts have failed', SOON, () => heard.errors.length >= 3);
    const second = await startStreamPublisher(pki, { node: 'leo-1', address: HOST, port: 8442 });
    await waitUntil('the stream is open again', SOON, () => heard.opened === 2);
    stream.close();
    await second.close();
  });

  test('takes silence for loss, and dials again', async () => {
    const agent: StreamPublisher = await startStreamPublisher(pki, { node: 'leo-1', address: HOST, port: 8443 });
    agent.mute();
    const { stream, heard } = subscribe(8443, 200);
    await waitUntil('the stream was opened twice', SOON, () => heard.opened === 2);
    assert.match(heard.errors[0] ?? '', /silence/);
    stream.close();
    await agent.close();
  });

  const state = followingState('leo-1', 'leo');
  const misbehaviours: Record<string, readonly [(socket: tls.TLSSocket) => void, RegExp]> = {
    'a state of another node': [
      (socket) => socket.write(UPGRADED + line({ ...state, node: 'leo-2' })),
      /Cannot take a state of "leo-2" in "leo" from the agent of "leo-1"/,
    ],
    'a state of another form': [
      (socket) => socket.write(UPGRADED + line({ ...state, timeline: -1 })),
      /Cannot take a message of "leo-1": it has not the agreed form/,
    ],
    'a line without end': [
      (socket) => socket.write(UPGRADED + ' '.repeat(LINE_BYTES_MAX + 1)),
      /it is longer than 65536 bytes/,
    ],
    'a line that is not JSON': [(socket) => socket.write(`${UPGRADED}{"type"\n`), /is not JSON/],
    'a message without a type': [(socket) => socket.write(`${UPGRADED}[]\n`), /it has no type/],
    'another protocol': [(socket) => socket.write('SSH-2.0-x\r\n'), /Cannot open the stream to "leo-1": "SSH-2\.0-x"/],
    'a refusal': [
      (socket) => socket.write('HTTP/1.1 403 Forbidden\r\n\r\n'),
      /Cannot open the stream to "leo-1": "HTTP\/1\.1 403 Forbidden"/,
    ],
    'an end before the answer': [(socket) => socket.end(), /closed the connection/],
  };
  for (const [name, [behave, expected]] of Object.entries(misbehaviours)) {
    test(`is dropped for ${name}`, async () => {
      const server = await startMisbehaving(behave);
      const { stream, heard } = subscribe(server.port);
      await waitUntil('it is dropped', SOON, () => heard.errors.length > 0);
      assert.match(heard.errors[0] ?? '', expected);
      assert.equal(heard.states.length, 0);
      stream.close();
      server.close();
    });
  }

  test('gives up an agent that takes the connection and never answers', async () => {
    const server = await startMisbehaving(() => {});
    const { stream, heard } = subscribe(server.port);
    await waitUntil('it is given up', SOON, () => heard.errors.length > 0);
    assert.match(heard.errors[0] ?? '', /no answer/);
    stream.close();
    server.close();
  });

  test('does not speak with another node that has that address, and dials it ever more rarely', async () => {
    const server = await startMisbehaving(() => assert.fail('it must not get as far'), 'leo-2');
    const { stream, heard } = subscribe(server.port);
    const begun = performance.now();
    await waitUntil('it was tried six times', SOON, () => heard.errors.length >= 6);
    assert.match(heard.errors[0] ?? '', /leo-1/);
    // 50, 100, 200, 400, 800 ms, each at least half of it.
    assert.ok(performance.now() - begun > 700, `six attempts in ${performance.now() - begun} ms`);
    stream.close();
    server.close();
  });
});

suite('a watch over peers', () => {
  test('opens and closes streams with the configuration, and keeps the last state of a silent node', async () => {
    const agents = await Promise.all(
      ['leo-1', 'leo-2'].map((node, index) =>
        startStreamPublisher(pki, { node, address: HOST, port: 8451 + index, state: { flushLsn: `0/${index + 1}` } }),
      ),
    );
    let changes = 0;
    const watch = new PeerWatch({
      globalCluster: 'orders',
      tls: credentials,
      sourceAddress: null,
      onChange: () => {
        changes += 1;
      },
    });
    watch.follow([peerAt(8451, 'leo-1'), peerAt(8452, 'leo-2')]);
    await waitUntil('both are heard', SOON, () => [...watch.sights.values()].every((sight) => sight.live));
    assert.equal(watch.sights.get('leo-2')?.state?.flushLsn, '0/2');
    await agents[1]?.close();
    await waitUntil('one is silent', SOON, () => watch.sights.get('leo-2')?.live === false);
    assert.equal(watch.sights.get('leo-2')?.state?.flushLsn, '0/2');
    const changesBefore = changes;
    watch.follow([peerAt(8451, 'leo-1')]);
    assert.deepEqual([...watch.sights.keys()], ['leo-1']);
    assert.equal(changes, changesBefore + 1);
    watch.close();
    await agents[0]?.close();
  });
});
