import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import * as net from 'node:net';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { cutSocket } from './cut-socket.ts';

async function pair(): Promise<{ near: net.Socket; far: net.Socket; close(): void }> {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const far = net.connect({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [near] = (await once(server, 'connection')) as [net.Socket];
  near.on('error', () => {});
  return { near, far, close: () => server.close() };
}

suite('cutting a connection', () => {
  test('resets it, also while what was written waits for a peer that does not read', async () => {
    const { near, far, close } = await pair();
    far.pause();
    while (near.write(Buffer.alloc(1024 * 1024))) await new Promise(setImmediate);
    cutSocket(near);
    await once(near, 'close');
    far.resume();
    const [error] = (await once(far, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    close();
  });

  test('closes it while its shutdown is under way', async () => {
    const { near, far, close } = await pair();
    far.on('error', () => {}).resume();
    near.end();
    cutSocket(near);
    await once(near, 'close');
    far.destroy();
    close();
  });

  test('leaves nothing behind on which the process would spin when it ends', () => {
    const program = `
      import * as net from 'node:net';
      import { cutSocket } from ${JSON.stringify(join(import.meta.dirname, 'cut-socket.ts'))};
      const server = net.createServer({ allowHalfOpen: true }, (near) => {
        near.on('error', () => {});
        if (near.remotePort % 2 === 0) near.end();
        cutSocket(near);
      }).listen(0, '127.0.0.1', () => {
        let left = 40;
        for (let i = 0; i < 40; i++) {
          const far = net.connect(server.address().port, '127.0.0.1');
          far.on('error', () => {}).on('close', () => { if (--left === 0) server.close(); }).resume();
        }
      });`;
    execFileSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000, stdio: 'ignore' });
  });
});
