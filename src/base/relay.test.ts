/** The relay between real TCP connections: nothing lost, nothing kept, each direction ends by itself. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import { suite, test } from 'node:test';
import { DirectReadSocket } from './direct-read-socket.ts';
import { relay } from './relay.ts';
import { waitUntil } from './wait-until.ts';

const HOST = '127.62.9.2';

interface Path {
  /** The client's end and the server's end of one relayed connection. */
  readonly client: net.Socket;
  readonly server: net.Socket;
  close(): void;
}

/** client -- relay -- server. */
async function openPath(by: 'handle' | 'stream' = 'handle'): Promise<Path> {
  const backend = net.createServer({ allowHalfOpen: true });
  const front = net.createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (accepted) => {
    const near = DirectReadSocket.adopt(accepted, () => assert.fail('nothing may be read before the relay'), by);
    near.socket.pause();
    const { port } = backend.address() as net.AddressInfo;
    const far = DirectReadSocket.connect({ port, host: HOST, allowHalfOpen: true, noDelay: true }, () => {});
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.socket.on('error', () => other.socket.destroy()).on('close', () => other.socket.destroy());
    }
    far.socket.once('connect', () => relay(near, far));
  });
  await Promise.all([backend, front].map((server) => new Promise<void>((done) => server.listen(0, HOST, done))));
  const accepted = once(backend, 'connection') as Promise<[net.Socket]>;
  const { port } = front.address() as net.AddressInfo;
  const client = net.connect({ port, host: HOST, allowHalfOpen: true });
  const [server] = await accepted;
  return {
    client,
    server,
    close() {
      for (const socket of [client, server]) socket.destroy();
      for (const listener of [backend, front]) listener.close();
    },
  };
}

function digest(socket: net.Socket): Promise<string> {
  const hash = createHash('sha256');
  socket.on('data', (chunk: Buffer) => hash.update(chunk));
  return once(socket, 'end').then(() => hash.digest('hex'));
}

async function sendAll(socket: net.Socket, bytes: Buffer, pieceBytes: number): Promise<void> {
  for (let offset = 0; offset < bytes.length; offset += pieceBytes) {
    if (!socket.write(bytes.subarray(offset, offset + pieceBytes))) await once(socket, 'drain');
  }
  socket.end();
}

suite('a relay', () => {
  for (const pieceBytes of [100, 16 * 1024, 1024 * 1024]) {
    test(`moves ${pieceBytes}-byte writes both ways at once, unchanged`, async () => {
      const path = await openPath();
      const bytes = randomBytes(Math.min(20 * 1024 * 1024, pieceBytes * 20_000));
      const expected = createHash('sha256').update(bytes).digest('hex');
      const received = Promise.all([digest(path.client), digest(path.server)]);
      await Promise.all([sendAll(path.client, bytes, pieceBytes), sendAll(path.server, bytes, pieceBytes)]);
      assert.deepEqual(await received, [expected, expected]);
      path.close();
    });
  }

  test('reads no more than a slow reader takes, and goes on when it reads again', async () => {
    const path = await openPath();
    path.client.pause();
    const bytes = randomBytes(64 * 1024 * 1024);
    const sending = sendAll(path.server, bytes, 256 * 1024);
    let before = -1;
    // The kernel's buffers fill, then nothing moves any more.
    await waitUntil('the sender is held', { timeoutMs: 20_000, intervalMs: 300 }, () => {
      const stuck = path.server.bytesWritten - path.server.writableLength === before;
      before = path.server.bytesWritten - path.server.writableLength;
      return stuck;
    });
    assert.ok(before < bytes.length / 2, `${before} bytes were taken from the sender`);
    const received = digest(path.client);
    path.client.resume();
    await sending;
    assert.equal(await received, createHash('sha256').update(bytes).digest('hex'));
    path.close();
  });

  test('passes the end of one direction on and leaves the other one open', async () => {
    const path = await openPath();
    path.client.end('last words');
    const [heard] = (await once(path.server, 'data')) as [Buffer];
    assert.equal(heard.toString(), 'last words');
    await once(path.server, 'end');
    path.server.write('an answer');
    const [answer] = (await once(path.client, 'data')) as [Buffer];
    assert.equal(answer.toString(), 'an answer');
    path.server.end();
    await once(path.client, 'end');
    path.close();
  });

  test('does the same where the connection shows no handle', async () => {
    const path = await openPath('stream');
    const bytes = randomBytes(5 * 1024 * 1024);
    const received = digest(path.server);
    await sendAll(path.client, bytes, 64 * 1024);
    assert.equal(await received, createHash('sha256').update(bytes).digest('hex'));
    path.close();
  });
});
