/** The record server as a process: durability, who may do what, faults, and bytes from hostile clients. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { dialTls } from '../../src/base/dial-tls.ts';
import { createReloadableTls, type ReloadableTls } from '../../src/base/mutual-tls.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { createJsonHttpClient } from '../../src/coordination/json-http.ts';
import { openRecordStore } from '../../src/coordination/open-store.ts';
import type { RecordStore, StoredRecord } from '../../src/coordination/store.ts';
import { createTestPki, type TestPki } from '../kit/certificates.ts';
import { genRecord } from '../kit/cluster-record.ts';
import { needs } from '../kit/requirement.ts';
import { assertKind, eventually, swapUntilKnown } from './store.ts';

const ADDRESS = '127.61.6.1';
const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;

/** Nothing stays behind, however a test ends. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** `pgspan record-server` on a port of its own. */
class RecordProcess {
  readonly dataFile: string;
  readonly #configFile: string;
  readonly #port: number;
  #child: ChildProcess | null = null;
  log = '';

  constructor(options: { folder: string; port: number; configFile: string }) {
    this.dataFile = join(options.folder, 'record.json');
    this.#configFile = options.configFile;
    this.#port = options.port;
  }

  get endpoint() {
    return { host: 'leo-record', address: ADDRESS, port: this.#port };
  }

  async start(): Promise<void> {
    const child = spawn(process.execPath, [MAIN, 'record-server', '--config', this.#configFile], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    running.add(child);
    child.once('exit', () => running.delete(child));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.log += text));
    const seen = this.log.length;
    await waitUntil('the record server serves', { timeoutMs: 10_000 }, () => {
      if (child.exitCode !== null) throw new Error(this.log);
      return this.log.slice(seen).includes('serving the record');
    });
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async stop(name: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<number | null> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return child?.exitCode ?? null;
    child.kill(name);
    const [code] = (await once(child, 'exit')) as [number | null];
    return code;
  }
}

describe('the record server', needs('loopback'), () => {
  let pki: TestPki;
  let server: RecordProcess;
  let nodeTls: ReloadableTls;
  let nextPort = 7400;
  const opened: RecordStore[] = [];

  const newServer = async (): Promise<RecordProcess> => {
    const port = nextPort++;
    const folder = join(pki.folder, `record-${port}`);
    await mkdir(folder);
    const tls = await pki.issue('leo-record', { lifetimeMs: 3_600_000 });
    const configFile = join(folder, 'config.json');
    const dataFile = join(folder, 'record.json');
    await writeFile(
      configFile,
      JSON.stringify({ globalCluster: 'orders', listen: { address: ADDRESS, port }, tls, dataFile }),
    );
    const started = new RecordProcess({ folder, port, configFile });
    await started.start();
    return started;
  };
  const open = (of: RecordProcess = server, tls: ReloadableTls = nodeTls): RecordStore => {
    const store = openRecordStore({ kind: 'local', endpoint: of.endpoint }, tls, { sourceAddress: null });
    opened.push(store);
    return store;
  };

  before(async () => {
    pki = await createTestPki();
    nodeTls = await createReloadableTls(await pki.issue('leo-1'));
    server = await newServer();
  });
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
  });
  after(async () => {
    await server.stop();
    await pki[Symbol.asyncDispose]();
  });

  test('what was answered survives a kill; a watcher comes back by itself', async () => {
    const own = await newServer();
    const store = open(own);
    const seen: StoredRecord[] = [];
    const errors: Error[] = [];
    store.watch(
      (stored) => seen.push(stored),
      (error) => errors.push(error),
    );
    const first = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored;
    await own.stop('SIGKILL');
    await assert.rejects(store.read({ timeoutMs: 300 }), {
      code: 'STORE_UNAVAILABLE',
      message: /^Cannot read the record: /,
    });
    assertKind(
      await store.compareAndSwap(first.storeVersion, genRecord({ version: 2 }), { timeoutMs: 300 }),
      'unknown',
    );
    await eventually(() => errors.length > 0, 'that the server was lost');
    await own.start();
    assert.deepEqual(await store.read(), first);
    const second = await swapUntilKnown(store, first.storeVersion, genRecord({ version: 2 }));
    assert.equal(second.kind, 'swapped');
    await eventually(() => seen.at(-1)?.record?.version === 2, 'the second record');
    assert.equal(await own.stop('SIGTERM'), 0, 'ends in order');
  });

  test('a lease outlives a restart of the server', async () => {
    const own = await newServer();
    const store = open(own);
    const first = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored;
    const lease = { holder: 'leo-1', durationMs: 60_000 };
    assert.equal((await store.leases?.renew(lease, first.storeVersion))?.kind, 'held');
    await own.stop();
    await own.start();
    const refused = await open(own).leases?.swapUnlessLeased(
      first.storeVersion,
      genRecord({ version: 2, leader: 'ait-1' }),
    );
    assert.deepEqual(refused, { kind: 'leased', by: lease });
    await own.stop();
  });

  test('a frozen server costs a caller its time and no more, and a watcher finds out', async () => {
    const own = await newServer();
    const store = open(own);
    const first = await swapUntilKnown(store, '', genRecord());
    const errors: Error[] = [];
    store.watch(
      () => {},
      (error) => errors.push(error),
    );
    await store.read();
    own.signal('SIGSTOP');
    try {
      const startedAt = performance.now();
      await assert.rejects(store.read({ timeoutMs: 200 }), { code: 'STORE_UNAVAILABLE' });
      const unknown = await store.compareAndSwap(first.stored.storeVersion, genRecord({ version: 2 }), {
        timeoutMs: 200,
      });
      assert.equal(unknown.kind, 'unknown');
      assert.ok(performance.now() - startedAt < 1200);
      await eventually(() => errors.length > 0, 'that the server is silent', 10_000);
    } finally {
      own.signal('SIGCONT');
    }
    const settled = await swapUntilKnown(store, first.stored.storeVersion, genRecord({ version: 2 }));
    assert.equal(settled.stored.record?.version, 2);
    await own.stop();
  });

  test('only identities of the global cluster read, and only nodes write', async () => {
    const client = async (name: string, tls: ReloadableTls) => {
      const http = createJsonHttpClient({ target: server.endpoint, tls, sourceAddress: null });
      const body = { expected: 'none', next: genRecord(), unlessLeased: false };
      const read = await http.request({ method: 'GET', path: '/v1/record' }, { timeoutMs: 2000 });
      const swap = await http.request({ method: 'POST', path: '/v1/swap', body }, { timeoutMs: 2000 });
      const lease = { expected: 'none', lease: { holder: 'leo-1', durationMs: 1000 } };
      const renewal = await http.request({ method: 'POST', path: '/v1/lease', body: lease }, { timeoutMs: 2000 });
      const watch = await http.request({ method: 'GET', path: '/v1/nothing' }, { timeoutMs: 2000 });
      http.close();
      return `${name}: ${[read, swap, renewal, watch].map(({ status }) => status)}`;
    };
    const proxyTls = await createReloadableTls(await pki.issue('leo-proxy-1'));
    const otherNode = await createReloadableTls(await pki.issue('leo-2'));
    // The same CA, another global cluster: what counts is the identity.
    const foreignUri = { uris: ['spiffe://billing/leo/leo-1'] };
    const foreignTls = await createReloadableTls(await pki.issue('foreign', foreignUri));
    const nobodyTls = await createReloadableTls(await pki.issue('nobody', { uris: [] }));
    assert.equal(await client('node', nodeTls), 'node: 200,409,409,404');
    assert.equal(await client('other node', otherNode), 'other node: 200,409,403,404');
    assert.equal(await client('proxy', proxyTls), 'proxy: 200,403,403,404');
    assert.equal(await client('foreign', foreignTls), 'foreign: 403,403,403,403');
    assert.equal(await client('nobody', nobodyTls), 'nobody: 403,403,403,403');
    await assert.rejects(open(server, foreignTls).read(), {
      code: 'STORE_UNAVAILABLE',
      message:
        /answered 403 \(Cannot serve the caller: its certificate holds an identity of "billing", not of "orders"\)/,
    });
  });

  test('a record of another global cluster is refused', async () => {
    const result = await open().compareAndSwap('', genRecord({ globalCluster: 'billing' }));
    assert.match(assertKind(result, 'unknown').error.message, /the record is of "billing", this server keeps "orders"/);
  });

  test('the log says why the certificate of a client is not accepted', async () => {
    await using foreign = await createTestPki();
    const stranger = await createReloadableTls(await foreign.issue('leo-1', { caFile: pki.caFile }));
    await assert.rejects(open(server, stranger).read(), /it closed the connection without an answer/);
    await waitUntil('the log says so', { timeoutMs: 2000 }, () =>
      server.log.includes('UNABLE_TO_VERIFY_LEAF_SIGNATURE'),
    );
  });

  test('renewed certificates are taken by SIGHUP, without a restart', async () => {
    const own = await newServer();
    const watcher = open(own);
    let calls = 0;
    watcher.watch(() => (calls += 1));
    await eventually(() => calls === 1, 'the record');
    const before = (await dialTls(nodeTls, own.endpoint, { timeoutMs: 2000 })).getPeerX509Certificate()?.serialNumber;
    await pki.issue('leo-record');
    own.signal('SIGHUP');
    await waitUntil('the new certificate is shown', { timeoutMs: 3000 }, async () => {
      const socket = await dialTls(nodeTls, own.endpoint, { timeoutMs: 2000 });
      const now = socket.getPeerX509Certificate()?.serialNumber;
      socket.destroy();
      return now !== before;
    });
    assertKind(await watcher.compareAndSwap('', genRecord()), 'swapped');
    await eventually(() => calls === 2, 'the change, on the old connection');
    await own.stop();
  });

  test('a data file that is no record is refused at the start, and is left as it is', async () => {
    const own = await newServer();
    await own.stop();
    for (const content of [
      '',
      '{',
      '{"format":2}',
      '[]',
      JSON.stringify({ format: 1, counter: -1, record: null, lease: null }),
    ]) {
      await writeFile(own.dataFile, content);
      await assert.rejects(own.start(), /Cannot read the record file ".*record\.json"/);
      assert.equal(await readFile(own.dataFile, 'utf8'), content);
    }
  });

  test('a swap that cannot be written is unknown, nobody sees it, and it can be repeated', async () => {
    const own = await newServer();
    const store = open(own);
    const first = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored;
    // A folder in the place of the temporary file: the write fails, for root as well.
    const obstacle = join(own.dataFile, '../.record.json.new');
    await mkdir(obstacle);
    const next = genRecord({ version: 2 });
    const unknown = assertKind(await store.compareAndSwap(first.storeVersion, next), 'unknown');
    assert.match(unknown.error.message, /answered 503 \(Cannot write the record: /);
    await assert.rejects(store.read(), { code: 'STORE_UNAVAILABLE' });
    await rmdir(obstacle);
    assert.deepEqual(await store.read(), first);
    assertKind(await store.compareAndSwap(first.storeVersion, next), 'swapped');
    await own.stop();
  });

  describe('and hostile bytes', () => {
    const tlsSocket = () => dialTls(nodeTls, server.endpoint, { timeoutMs: 2000 });
    const stillServes = async (): Promise<void> => {
      await open().read();
    };
    /** All that comes until the connection ends. */
    const untilEnd = (socket: Socket): Promise<string> =>
      new Promise((resolve) => {
        let text = '';
        socket.on('data', (bytes) => (text += bytes.toString('latin1')));
        socket.on('error', () => {});
        socket.on('close', () => resolve(text));
      });

    test('garbage before the handshake ends the connection', async () => {
      for (const bytes of [
        randomBytes(64),
        Buffer.from('GET / HTTP/1.1\r\n\r\n'),
        Buffer.from([0x16, 3, 1, 0xff, 0xff]),
      ]) {
        const socket = connect(server.endpoint.port, ADDRESS);
        await once(socket, 'connect');
        const ended = untilEnd(socket);
        socket.end(bytes);
        await ended;
      }
      await stillServes();
    });

    test('requests that are cut, wrong or too large are answered by an error or ended', async () => {
      const requests: [bytes: string, answer: RegExp][] = [
        ['GARBAGE\r\n\r\n', /^HTTP\/1\.1 400 /],
        [`GET /v1/record HTTP/1.1\r\nhost: x\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`, /^HTTP\/1\.1 431 /],
        ['DELETE /v1/record HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', /^HTTP\/1\.1 404 /],
        ['POST /v1/swap HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde', /^HTTP\/1\.1 400 [^]*is no JSON/],
        ['POST /v1/swap HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}', /^HTTP\/1\.1 400 [^]*BODY_INVALID/],
        ['POST /v1/swap HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n', /^HTTP\/1\.1 400 /],
        [
          'POST /v1/swap HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n',
          /^HTTP\/1\.1 400 /,
        ],
        [
          `POST /v1/swap HTTP/1.1\r\nhost: x\r\ncontent-length: 99999\r\n\r\n${'x'.repeat(99_999)}`,
          /^HTTP\/1\.1 413 |^$/,
        ],
        ['POST /v1/swap HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n', /^HTTP\/1\.1 400 /],
      ];
      for (const [bytes, answer] of requests) {
        const socket = await tlsSocket();
        const ended = untilEnd(socket);
        socket.write(bytes);
        assert.match(await ended, answer, bytes.slice(0, 60));
      }
      await stillServes();
    });

    test('any bytes whatever leave it serving', async () => {
      const piece = fc.oneof(
        fc.constantFrom(
          'GET /v1/record HTTP/1.1\r\n',
          'POST /v1/swap HTTP/1.1\r\n',
          'host: x\r\n',
          '\r\n',
          'content-length: 9\r\n',
        ),
        fc.constantFrom(
          'transfer-encoding: chunked\r\n',
          '{"expected":"',
          '5\r\nabcde\r\n',
          'expect: 100-continue\r\n',
        ),
        fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
          const socket = await tlsSocket();
          const ended = untilEnd(socket);
          socket.end(Buffer.from(pieces.join(''), 'latin1'));
          await ended;
        }),
        { numRuns: 40, endOnFailure: true },
      );
      await stillServes();
    });

    test('any JSON as a request is answered by 4xx', async () => {
      const http = createJsonHttpClient({ target: server.endpoint, tls: nodeTls, sourceAddress: null });
      try {
        await fc.assert(
          fc.asyncProperty(
            fc.constantFrom('/v1/swap', '/v1/lease'),
            fc.jsonValue({ maxDepth: 3 }),
            async (path, body) => {
              const { status } = await http.request({ method: 'POST', path, body }, { timeoutMs: 2000 });
              assert.equal(status, 400);
            },
          ),
          { numRuns: 60 },
        );
      } finally {
        http.close();
      }
    });

    test('clients that never finish their head or handshake are cut off, and keep nobody out meanwhile', async () => {
      const silent = await Promise.all(
        Array.from({ length: 100 }, async () => {
          const socket = connect(server.endpoint.port, ADDRESS);
          await once(socket, 'connect');
          return socket.on('error', () => {}).resume();
        }),
      );
      const slow = await tlsSocket();
      const startedAt = performance.now();
      const answer = untilEnd(slow);
      slow.write('GET /v1/record HTTP/1.1\r\nx: ');
      const drip = setInterval(() => slow.writable && slow.write('x'), 200);
      await stillServes();
      assert.match(await answer, /^HTTP\/1\.1 408 |^$/);
      clearInterval(drip);
      const isCutOff = (): boolean => silent.every((socket) => socket.closed);
      await waitUntil('all of them are cut off', { timeoutMs: 8000 }, isCutOff);
      assert.ok(performance.now() - startedAt < 9000);
    });

    test('a watcher that never reads keeps nobody waiting', async () => {
      const own = await newServer();
      const deaf = await dialTls(nodeTls, own.endpoint, { timeoutMs: 2000 });
      deaf.pause();
      deaf.write('GET /v1/watch HTTP/1.1\r\nhost: x\r\n\r\n');
      const store = open(own);
      let expected = '';
      for (let version = 1; version <= 200; version++) {
        expected = assertKind(await store.compareAndSwap(expected, genRecord({ version })), 'swapped').stored
          .storeVersion;
      }
      deaf.destroy();
      await own.stop();
    });
  });
});
