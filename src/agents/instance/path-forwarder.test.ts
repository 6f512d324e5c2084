import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { waitUntil } from '../../base/wait-until.ts';
import { PathForwarder, type PathTarget } from './path-forwarder.ts';

const ADDRESS = '127.66.2.1';
const LIMIT = { timeoutMs: 5000 };
const always = async (): Promise<boolean> => true;

/** A leader: keeps what arrives and how each connection ended. */
interface Leader {
  readonly server: Server;
  readonly port: number;
  readonly connections: { readonly socket: Socket; received: string; end: 'open' | 'end' | 'reset' }[];
}

describe('the path', () => {
  const leaders: Leader[] = [];
  let path: PathForwarder;
  before(async () => {
    leaders.push(await aLeader(), await aLeader());
    path = await PathForwarder.listen({ address: ADDRESS, port: 0, sourceAddress: '127.66.2.9' });
  });
  after(async () => {
    await path.stop();
    for (const { server, connections } of leaders) {
      for (const { socket } of connections) socket.destroy();
      server.close();
    }
  });

  const leader = (index: number): Leader => leaders[index] as Leader;
  const to = (index: number, term = 1): PathTarget => ({
    node: `n${index}`,
    term,
    endpoint: { host: `n${index}`, address: '127.66.2.2', port: leader(index).port },
    verify: always,
  });
  /** A receiver's connection, once it reaches leader `index`. */
  async function receiverAt(index: number): Promise<{ receiver: Receiver; number: number }> {
    const number = leader(index).connections.length;
    const receiver = dial(path.port);
    await waitUntil('the leader is reached', LIMIT, () => leader(index).connections.length > number);
    return { receiver, number };
  }

  test('carries bytes both ways, from the address of this node', async () => {
    path.open(to(0));
    const { receiver, number } = await receiverAt(0);
    const there = leader(0).connections[number] as Leader['connections'][number];
    assert.equal(there.socket.remoteAddress, '127.66.2.9');
    receiver.socket.write('status');
    await waitUntil('the status arrived', LIMIT, () => there.received === 'status');
    there.socket.write('wal');
    await waitUntil('the WAL arrived', LIMIT, () => receiver.received === 'wal');
    receiver.socket.destroy();
    await waitUntil('the leader saw the end', LIMIT, () => there.end !== 'open');
  });

  test('that is closed while it is idle resets both ends', async () => {
    path.open(to(0));
    const { receiver, number } = await receiverAt(0);
    const there = leader(0).connections[number] as Leader['connections'][number];
    there.socket.write('wal');
    await waitUntil('the WAL arrived', LIMIT, () => receiver.received === 'wal');
    path.close();
    await waitUntil('both ends saw it', LIMIT, () => receiver.end !== 'open' && there.end !== 'open');
    assert.deepEqual([receiver.end, there.end], ['reset', 'reset']);
  });

  test('that is closed takes back an acknowledgement that the kernel could not deliver yet', async () => {
    path.open(to(0));
    const { receiver, number } = await receiverAt(0);
    const there = leader(0).connections[number] as Leader['connections'][number];
    there.socket.pause();
    // The leader reads nothing, as behind a cut: what is written now stays in the kernel.
    await waitUntil('the kernel takes no more', LIMIT, () => {
      receiver.socket.write('x'.repeat(256 * 1024));
      return receiver.socket.writableLength > 0 && receiver.socket.writableLength > 2 * 1024 * 1024;
    });
    receiver.socket.write('acknowledged');
    path.close();
    there.socket.resume();
    await waitUntil('the leader saw the end', LIMIT, () => there.end !== 'open');
    assert.equal(there.end, 'reset');
    assert.ok(!there.received.includes('acknowledged'));
  });

  test('that is closed brings no later byte to either side, and refuses new connections', async () => {
    path.open(to(0));
    const { receiver, number } = await receiverAt(0);
    const there = leader(0).connections[number] as Leader['connections'][number];
    there.socket.write('before');
    await waitUntil('WAL arrived', LIMIT, () => receiver.received === 'before');
    // On their way when the path closes: in the forwarder's own sockets and in the kernel's buffers.
    for (let count = 0; count < 50; count++) {
      there.socket.write('x'.repeat(10_000));
      receiver.socket.write('acknowledged');
    }
    path.close();
    const receivedAtClose = receiver.received.length;
    const acknowledgedAtClose = there.received.length;
    assert.equal(path.target, null);
    there.socket.write('after');
    receiver.socket.write('after');
    await waitUntil('both ends saw it', LIMIT, () => receiver.end !== 'open' && there.end !== 'open');
    assert.equal(receiver.received.length, receivedAtClose, 'no WAL after the path was closed');
    assert.equal(there.received.length, acknowledgedAtClose, 'no acknowledgement after the path was closed');

    const late = dial(path.port);
    await waitUntil('a new connection is refused', LIMIT, () => late.end !== 'open');
    assert.equal(late.received, '');
    assert.equal(leader(0).connections.length, number + 1);
  });

  test('that opens to another leader ends what went to the first one', async () => {
    path.open(to(0));
    const first = await receiverAt(0);
    path.open(to(1));
    await waitUntil('the first ends', LIMIT, () => first.receiver.end !== 'open');
    const second = await receiverAt(1);
    assert.deepEqual(path.target, to(1));
    assert.equal(second.receiver.end, 'open');
  });

  test('that opens to the same leader in another term keeps the connection', async () => {
    path.open(to(0, 3));
    const { receiver, number } = await receiverAt(0);
    path.open(to(0, 4));
    const there = leader(0).connections[number] as Leader['connections'][number];
    there.socket.write('more');
    await waitUntil('WAL goes on', LIMIT, () => receiver.received === 'more');
    assert.equal(path.target?.term, 4);
  });

  test('carries nothing before the server that was reached is confirmed', async () => {
    const asked: ((isMeant: boolean) => void)[] = [];
    path.open({ ...to(0), verify: () => new Promise((resolve) => asked.push(resolve)) });
    const { receiver, number } = await receiverAt(0);
    const there = leader(0).connections[number] as Leader['connections'][number];
    receiver.socket.write('status');
    there.socket.write('wal');
    await waitUntil('it is asked about', LIMIT, () => asked.length === 1);
    assert.deepEqual([there.received, receiver.received], ['', '']);
    asked[0]?.(true);
    await waitUntil('both arrived', LIMIT, () => there.received === 'status' && receiver.received === 'wal');

    const second = await receiverAt(0);
    second.receiver.socket.write('status');
    await waitUntil('it is asked about', LIMIT, () => asked.length === 2);
    asked[1]?.(false);
    await waitUntil('it has ended', LIMIT, () => second.receiver.end !== 'open');
    assert.equal(leader(0).connections[second.number]?.received, '');
    path.close();
  });

  test('confirms anew what has become of the node while it was asked', async () => {
    const answers: string[] = [];
    const former = new Promise<boolean>((resolve) => setTimeout(() => resolve(true), 100));
    path.open({ ...to(0, 3), verify: () => former });
    const { receiver } = await receiverAt(0);
    path.open({
      ...to(0, 4),
      verify: async () => {
        answers.push('term 4');
        return false;
      },
    });
    await waitUntil('it has ended', LIMIT, () => receiver.end !== 'open');
    assert.deepEqual(answers, ['term 4']);
  });

  test('ends a connection that finds nobody, and serves the next one', async () => {
    const { port } = await closedPort();
    path.open({ node: 'gone', term: 1, endpoint: { host: 'gone', address: '127.66.2.2', port }, verify: always });
    const receiver = dial(path.port);
    await waitUntil('it ends', LIMIT, () => receiver.end !== 'open');
    path.open(to(0));
    await receiverAt(0);
  });

  test('that is closed while a connection is being made leaves none behind', async () => {
    path.open(to(0));
    const known = leader(0).connections.length;
    const receiver = dial(path.port);
    await once(receiver.socket, 'connect');
    path.close();
    await waitUntil('it ends', LIMIT, () => receiver.end !== 'open');
    path.open(to(1));
    await receiverAt(1);
    assert.ok(
      leader(0)
        .connections.slice(known)
        .every(({ received }) => received === ''),
    );
  });

  test('takes a bounded number of connections', async () => {
    path.open(to(0));
    const before = leader(0).connections.length;
    const many = Array.from({ length: 40 }, () => dial(path.port));
    await waitUntil('the rest is refused', LIMIT, () => many.filter(({ end }) => end !== 'open').length >= 24);
    assert.ok(leader(0).connections.length - before <= 16);
    for (const { socket } of many) socket.destroy();
  });

  test('needs its own port, and says so', async () => {
    await assert.rejects(PathForwarder.listen({ address: ADDRESS, port: path.port, sourceAddress: null }), {
      code: 'EADDRINUSE',
    });
  });
});

interface Receiver {
  readonly socket: Socket;
  received: string;
  end: 'open' | 'end' | 'reset';
}

function dial(port: number): Receiver {
  const receiver: Receiver = { socket: connect({ host: ADDRESS, port }), received: '', end: 'open' };
  return watch(receiver);
}

function watch<T extends Receiver>(one: T): T {
  one.socket
    .on('data', (bytes) => {
      one.received += bytes.toString('latin1');
    })
    .on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNRESET') one.end = 'reset';
    })
    .on('close', () => {
      if (one.end === 'open') one.end = 'end';
    });
  return one;
}

async function aLeader(): Promise<Leader> {
  const connections: Leader['connections'] = [];
  const server = createServer((socket) => connections.push(watch({ socket, received: '', end: 'open' })));
  server.listen(0, '127.66.2.2');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port, connections };
}

async function closedPort(): Promise<{ port: number }> {
  const server = createServer();
  server.listen(0, '127.66.2.2');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return { port };
}
