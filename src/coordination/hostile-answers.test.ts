/** What the clients of both stores make of a server that lies, stalls or babbles: an error in its time, and never a crash. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { eventually } from '../../test/conformance/store.ts';
import { genRecord } from '../../test/kit/cluster-record.ts';
import { needs } from '../../test/kit/requirement.ts';
import { openEtcdStore } from './etcd-store.ts';
import { createLineReader } from './json-http.ts';
import { openLocalStore } from './local-store.ts';
import type { RecordStore } from './store.ts';

const ADDRESS = '127.61.7.1';
const TIMEOUT_MS = 150;

const json = (status: number, text: string): string =>
  `HTTP/1.1 ${status} x\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
const stream = (text: string): string =>
  `HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n`;

describe('clients of a store, with a server that lies', needs('loopback'), () => {
  let server: Server;
  /** What it does with each request; `path` is the one asked for. */
  let respond: (socket: Socket, path: string) => void;
  const sockets = new Set<Socket>();
  let target: { host: string; address: string; port: number };

  before(async () => {
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => sockets.delete(socket));
      socket.on('data', (bytes) => {
        const head = /^(GET|POST) (\S+) HTTP/.exec(bytes.toString('latin1'));
        if (head !== null) respond(socket, head[2] as string);
      });
    }).listen(0, ADDRESS);
    await once(server, 'listening');
    target = { host: 'liar', address: ADDRESS, port: (server.address() as AddressInfo).port };
  });
  beforeEach(() => {
    for (const socket of sockets) socket.destroy();
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  const stores: [name: string, open: () => RecordStore][] = [
    ['the record server', () => openLocalStore({ target, tls: null, sourceAddress: null })],
    ['etcd', () => openEtcdStore({ endpoints: [target, target], tls: null, sourceAddress: null, key: 'x' })],
  ];

  /** A read rejects with one of the port's errors, and a swap is unknown or rejects so, both in their time. */
  const assertRefused = async (store: RecordStore): Promise<void> => {
    const startedAt = performance.now();
    await assert.rejects(store.read({ timeoutMs: TIMEOUT_MS }), (error: NodeJS.ErrnoException) =>
      ['STORE_UNAVAILABLE', 'STORE_CONTENT_INVALID'].includes(error.code ?? ''),
    );
    for (const swap of [store.compareAndSwap.bind(store), store.leases?.swapUnlessLeased]) {
      const result = await swap?.('', genRecord(), { timeoutMs: TIMEOUT_MS }).catch((error) => error);
      assert.ok(result.kind === 'unknown' || result.code === 'STORE_CONTENT_INVALID', JSON.stringify(result));
    }
    assert.ok(performance.now() - startedAt < 3 * TIMEOUT_MS + 3000);
  };

  const answers: [title: string, respond: (socket: Socket, path: string) => void][] = [
    ['nothing at all', () => {}],
    ['the end of the connection', (socket) => socket.destroy()],
    ['no HTTP', (socket) => socket.write('\u0000\u0001\u0002 hello\r\n\r\n')],
    ['half a head', (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-le')],
    ['half a body', (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{')],
    ['no JSON', (socket) => socket.write(json(200, '<html>'))],
    ['JSON of another shape', (socket) => socket.write(json(200, '{"storeVersion":7,"header":{},"kvs":"x"}'))],
    ['null', (socket) => socket.write(json(200, 'null'))],
    [
      'a redirect',
      (socket) => socket.write('HTTP/1.1 302 x\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n'),
    ],
    ['an error of its own form', (socket) => socket.write(json(500, '"broken"'))],
    ['an unavailable service', (socket) => socket.write(json(503, '{"error":"etcdserver: no leader","code":14}'))],
    ['a head without end', (socket) => socket.write(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(100_000)}`)],
    ['a body without end', (socket) => void flood(socket)],
    ['a body byte by byte', (socket) => drip(socket)],
  ];
  for (const [name, open] of stores) {
    for (const [title, answer] of answers) {
      test(`${name} answers ${title}: unavailable or unknown, in time`, async () => {
        respond = answer;
        const store = open();
        await assertRefused(store);
        await store.close();
      });
    }

    test(`${name} answers any JSON: unavailable, invalid, unknown, or a record as the schema has it`, async () => {
      const store = open();
      const body = fc.oneof(
        fc.json({ maxDepth: 3 }),
        fc.record({ storeVersion: fc.string(), record: fc.anything() }).map((value) => JSON.stringify(value)),
        fc.constantFrom(
          '{"header":{"revision":"1"},"kvs":[{"mod_revision":"2","value":"e30="}]}',
          '{"header":{"revision":"x"}}',
        ),
        fc.constantFrom(
          '{"header":{"revision":"1"},"kvs":[{"mod_revision":"-2"}]}',
          '{"storeVersion":"1","record":{"format":2}}',
        ),
      );
      await fc.assert(
        fc.asyncProperty(body, fc.constantFrom(200, 409, 423), async (text, status) => {
          respond = (socket) => socket.write(json(status, text));
          const read = await store.read({ timeoutMs: 2000 }).catch((error) => error);
          assert.ok(
            String(read.code).startsWith('STORE_') || read.record === null || read.record.format === 1,
            String(read),
          );
          const swap = await store.compareAndSwap('1', genRecord(), { timeoutMs: 2000 }).catch((error) => error);
          assert.ok(String(swap.code).startsWith('STORE_') || swap.kind !== undefined, String(swap));
        }),
        { numRuns: 60 },
      );
      await store.close();
    });

    test(`${name} babbles on a watch: each line that is none ends it, it is told, and it begins again`, async () => {
      const readable = name === 'etcd' ? '{"header":{"revision":"1"}}' : '{"storeVersion":"","record":null}';
      const lines = [
        'garbage\n',
        '{}\n',
        '{"result":{"canceled":true}}\n',
        '{"error":{"message":"no"}}\n',
        'x'.repeat(300_000),
      ];
      let streamCount = 0;
      respond = (socket, path) => {
        if (!path.endsWith('watch')) return socket.write(json(200, readable));
        socket.write(stream(lines[streamCount++ % lines.length] as string));
      };
      const store = open();
      const errors: Error[] = [];
      let calls = 0;
      store.watch(
        () => (calls += 1),
        (error) => errors.push(error),
      );
      await eventually(() => streamCount >= lines.length && errors.length >= lines.length, 'each of them', 20_000);
      assert.ok(calls >= lines.length, 'and was told the record anew each time');
      await store.close();
      const before = errors.length;
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.equal(errors.length, before, 'silent after close');
    });
  }
});

test('lines are put together from pieces cut anywhere, in any characters', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme' })), fc.array(fc.nat(40)), (texts, cuts) => {
      const lines = texts.map((text) => text.replaceAll('\n', ' ')).filter((text) => text.trim() !== '');
      const bytes = Buffer.from(lines.map((line) => `${line}\n\n`).join(''));
      const found: string[] = [];
      const reader = createLineReader((line) => found.push(line));
      let offset = 0;
      for (const cut of cuts) reader.push(bytes.subarray(offset, (offset += cut)));
      reader.push(bytes.subarray(offset));
      assert.deepEqual(found, lines);
    }),
  );
});

async function flood(socket: Socket): Promise<void> {
  socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n');
  const piece = Buffer.alloc(64 * 1024, 'x');
  while (socket.writable) {
    if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => {});
  }
}

function drip(socket: Socket): void {
  socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n');
  const timer = setInterval(() => socket.write('1'), 20);
  socket.once('close', () => clearInterval(timer));
}
