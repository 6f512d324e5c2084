/** What a proxy does with servers that are no good: plain TCP servers that answer what a test wants. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import * as net from 'node:net';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import pino from 'pino';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { leading } from '../../../test/kit/proxy-rig.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { type StreamPublisher, startStreamPublisher } from '../../../test/kit/stream-publisher.ts';
import { wireGolden } from '../../../test/kit/wire-goldens.ts';
import type { ProxyConfig } from '../../api/agent-config.ts';
import { PROXY_LIMITS } from '../../core/routing/limits.ts';
import { encodeSslRequest } from '../../wire/postgres-opening.ts';
import { type RunningProxy, startProxy } from './main.ts';

const SERVER = '127.62.10.1';
const PROXY = '127.62.10.100';

suite('backends', needs('loopback'), () => {
  let pki: TestPki;
  let agent: StreamPublisher;
  let proxy: RunningProxy;
  let server: net.Server;
  /** What the server does with a connection. */
  let behave: (socket: net.Socket) => void = () => {};

  before(async () => {
    pki = await createTestPki();
    agent = await startStreamPublisher(pki, {
      node: 'leo-1',
      address: SERVER,
      port: 8443,
      state: { ...leading('leo-1', 1), serverVersion: 180000 },
    });
    server = net.createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      behave(socket);
    });
    await new Promise<void>((resolve) => server.listen(5432, SERVER, resolve));
    const at = (port: number) => ({ host: 'leo-1', address: SERVER, port });
    const config: ProxyConfig = {
      globalCluster: 'orders',
      group: 'leo',
      name: 'leo-proxy-1',
      generation: 1,
      listen: {
        write: { address: PROXY, port: 5432 },
        read: null,
        health: { address: PROXY, port: 8443 },
        proxyProtocolFrom: [],
      },
      sourceAddress: null,
      tls: await pki.issue('leo-proxy-1', { ipAddresses: [PROXY] }),
      peers: [{ node: 'leo-1', group: 'leo', postgres: at(5432), agent: at(8443), priority: 1, votes: true }],
      readFallsBackToLeader: true,
      limits: { ...PROXY_LIMITS, holdMs: 600, connectTimeoutMs: 500, drainMs: 0 },
    };
    const file = join(pki.folder, 'proxy.json');
    await writeFile(file, JSON.stringify(config));
    proxy = await startProxy(file, pino({ level: 'silent' }));
  });
  after(async () => {
    await proxy?.drain();
    await agent?.close();
    server?.close();
    await pki?.[Symbol.asyncDispose]();
  });

  /** Sends, and gives all that comes back until the end. */
  async function exchange(bytes: Buffer): Promise<string> {
    const socket = net.connect(5432, PROXY).on('error', () => {});
    socket.write(bytes);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(socket, 'close');
    return Buffer.concat(chunks).toString('latin1');
  }

  const bad: Record<string, readonly [(socket: net.Socket) => void, RegExp]> = {
    'has TLS switched off': [(socket) => socket.write('N'), /The last attempt failed: "leo-1": its TLS is off/],
    'answers with an error': [(socket) => socket.write('Ecannot fork'), /answered the request for TLS with an error/],
    // Whatever follows the S in the clear would be taken for TLS's content by a careless client (CVE-2021-23222).
    'sends more than its yes': [
      (socket) => socket.write('S\x16\x03\x03'),
      /answered the request for TLS with an error/,
    ],
    'closes without an answer': [(socket) => socket.end(), /it closed the connection without an answer/],
    'answers nothing': [() => {}, /no answer within 500 ms/],
  };
  for (const [what, [behaviour, reason]] of Object.entries(bad)) {
    test(`keeps a client from a server that ${what}, and says so`, async () => {
      behave = behaviour;
      const answer = await exchange(encodeSslRequest());
      assert.match(answer, /^E.*57P03/s);
      assert.match(answer, reason);
    });
  }

  test('passes on what a client sends behind its direct TLS hello, before and after the answer', async () => {
    const hello = wireGolden('direct-tls-18', 'client');
    let received = Buffer.alloc(0);
    let hasAnswered = false;
    behave = (socket) =>
      socket.on('data', (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        // The answer comes a moment after the hello, when what the client sent behind it is at the proxy.
        if (received.length >= hello.length && !hasAnswered) setTimeout(() => socket.write('answer'), 50);
        hasAnswered ||= received.length >= hello.length;
        if (received.length === hello.length + 10) socket.end();
      });
    const client = net.connect(5432, PROXY).on('error', () => {});
    client.write(hello);
    setTimeout(() => client.write('early'), 10);
    const [answer] = (await once(client, 'data')) as [Buffer];
    assert.equal(answer.toString(), 'answer');
    client.write('later');
    client.resume();
    await once(client, 'end');
    assert.equal(received.subarray(hello.length).toString(), 'earlylater');
    client.destroy();
  });

  test('lets a slow client take all that a server sent before it ended', async () => {
    const last = Buffer.alloc(8 * 1024 * 1024, 'x');
    behave = (socket) =>
      socket.once('data', () => {
        socket.write('S');
        socket.once('data', () => socket.end(last));
      });
    const client = net.connect(5432, PROXY).on('error', () => {});
    client.write(encodeSslRequest());
    assert.equal(String((await once(client, 'data'))[0]), 'S');
    client.pause();
    client.write('go on');
    // Not reading for longer than FLUSH_MS, while the server has long closed.
    await new Promise((resolve) => setTimeout(resolve, 1300));
    let length = 0;
    client.on('data', (chunk: Buffer) => {
      length += chunk.length;
    });
    client.resume();
    await once(client, 'end');
    assert.equal(length, last.length);
    client.destroy();
  });
});
