/**
 * A real etcd of one or three members in a temporary folder, with TLS from a test CA or without, and its faults.
 *
 *   await using etcd = await startEtcd({ addresses: ['127.61.0.1', '127.61.0.2', '127.61.0.3'], pki });
 *   openRecordStore({ kind: 'etcd', endpoints: etcd.endpoints, ... });
 *   etcd.members[0].freeze();
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Endpoint } from '../../src/api/agent-config.ts';
import { createReloadableTls, type ReloadableTls, type TlsFiles } from '../../src/base/mutual-tls.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { createJsonHttpClient, type JsonHttpClient } from '../../src/coordination/json-http.ts';
import { type EtcdCluster, type EtcdMember, etcdArguments } from '../../src/platform/local/etcd-member.ts';
import type { TestPki } from './certificates.ts';

export interface EtcdTestMember {
  readonly endpoint: Endpoint;
  /** Asks its gateway: `post('/v3/kv/range', {...})`. */
  post(path: string, body: unknown): Promise<unknown>;
  /** SIGSTOP: sockets stay open, nothing is answered. */
  freeze(): void;
  thaw(): void;
  /** SIGKILL; its data stays. */
  kill(): Promise<void>;
  /** After a kill. Resolves when the member answers that it is healthy. */
  start(): Promise<void>;
}

export interface TestEtcd {
  readonly members: readonly EtcdTestMember[];
  readonly endpoints: Endpoint[];
  /** The member that leads now. */
  leader(): Promise<EtcdTestMember>;
  /** What the members wrote; print it when a test fails. */
  logs(): Promise<string>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface StartEtcdOptions {
  /** One per member, IPv4 of the caller's own range. */
  readonly addresses: readonly string[];
  /** Absent: plain HTTP. */
  readonly pki?: TestPki;
  readonly heartbeatMs?: number;
  readonly electionMs?: number;
}

const START_TIMEOUT_MS = 20_000;

export async function startEtcd(options: StartEtcdOptions): Promise<TestEtcd> {
  const folder = await mkdtemp(join(tmpdir(), 'pgspan-etcd-'));
  const tls = new Map<string, TlsFiles>();
  const members: EtcdMember[] = [];
  for (const [index, address] of options.addresses.entries()) {
    const name = `etcd-${index + 1}`;
    const [clientPort, peerPort] = [await freePort(address), await freePort(address)];
    members.push({ name, address, clientPort, peerPort, dataDirectory: join(folder, name) });
    if (options.pki) tls.set(name, await options.pki.issue(name, { ipAddresses: [address, '127.0.0.1'] }));
  }
  const cluster: EtcdCluster = {
    token: folder,
    members,
    tls: options.pki ? tls : null,
    ...(options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs }),
    ...(options.electionMs === undefined ? {} : { electionMs: options.electionMs }),
  };
  const clientTls = options.pki ? await createReloadableTls(await options.pki.issue('etcd-test-client')) : null;
  const handles = members.map(
    (member) => new MemberProcess(cluster, member, clientTls, join(folder, `${member.name}.log`)),
  );
  const etcd: TestEtcd = {
    members: handles,
    endpoints: handles.map((handle) => handle.endpoint),
    async leader() {
      for (const handle of handles) {
        const status = (await handle.post('/v3/maintenance/status', {}).catch(() => null)) as {
          leader?: string;
          header: { member_id: string };
        } | null;
        if (status?.leader !== undefined && status.leader === status.header.member_id) return handle;
      }
      throw new Error('no member of etcd leads');
    },
    async logs() {
      const texts = members.map((member) => readFile(join(folder, `${member.name}.log`), 'utf8').catch(() => ''));
      return (await Promise.all(texts)).join('\n---\n');
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(handles.map((handle) => handle.kill()));
      for (const handle of handles) handle.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    await Promise.all(handles.map((handle) => handle.start()));
  } catch (error) {
    const logs = await etcd.logs();
    await etcd[Symbol.asyncDispose]();
    throw new Error(`${(error as Error).message}\n${logs.slice(-4000)}`, { cause: error });
  }
  return etcd;
}

class MemberProcess implements EtcdTestMember {
  readonly endpoint: Endpoint;
  readonly #cluster: EtcdCluster;
  readonly #member: EtcdMember;
  readonly #client: JsonHttpClient;
  readonly #logFile: string;
  #child: ChildProcess | null = null;
  #gone: Promise<unknown> = Promise.resolve();

  constructor(cluster: EtcdCluster, member: EtcdMember, tls: ReloadableTls | null, logFile: string) {
    this.#cluster = cluster;
    this.#member = member;
    this.#logFile = logFile;
    this.endpoint = { host: member.name, address: member.address, port: member.clientPort };
    this.#client = createJsonHttpClient({ target: this.endpoint, tls, sourceAddress: null });
  }

  async post(path: string, body: unknown): Promise<unknown> {
    return (await this.#client.request({ method: 'POST', path, body }, { timeoutMs: 2000 })).body;
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child?.kill('SIGCONT');
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#gone;
    this.#child = null;
  }

  async start(): Promise<void> {
    const log = openSync(this.#logFile, 'a');
    const child = spawn('etcd', etcdArguments(this.#cluster, this.#member), { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child = child;
    this.#gone = once(child, 'exit');
    process.once('exit', () => child.kill('SIGKILL'));
    await waitUntil(
      `etcd "${this.#member.name}" was healthy`,
      { timeoutMs: START_TIMEOUT_MS, intervalMs: 50 },
      async () => {
        if (child.exitCode !== null) throw new Error(`etcd "${this.#member.name}" ended with ${child.exitCode}`);
        const health = await this.#client
          .request({ method: 'GET', path: '/health' }, { timeoutMs: 1000 })
          .catch(() => null);
        return (health?.body as { health?: string } | undefined)?.health === 'true';
      },
    );
  }

  close(): void {
    this.#client.close();
  }
}

async function freePort(address: string): Promise<number> {
  const server = createServer().listen(0, address);
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
