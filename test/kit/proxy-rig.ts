/**
 * A proxy with everything real around it: PostgreSQL servers with TLS, streams that say who leads, psql as the client.
 * Nodes are called `leo-1`, `leo-2`, …, on 127.62.<net>.<n>; the proxy is 127.62.<net>.100, write 5432, read 5433, health 8443.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pino from 'pino';
import type { Peer, ProxyConfig } from '../../src/api/agent-config.ts';
import type { LeaderPhase, StateMessage } from '../../src/api/peer-stream.ts';
import { type RunningProxy, startProxy } from '../../src/agents/proxy/main.ts';
import { PROXY_LIMITS } from '../../src/core/routing/limits.ts';
import { createTestPki, type TestPki } from './certificates.ts';
import { type StreamPublisher, startStreamPublisher } from './stream-publisher.ts';
import { createTlsPostgresKit, type TlsPostgres, type TlsPostgresKit } from './tls-postgres.ts';

export const CLIENT_NAMES = ['leo', 'orders'];

export interface ProxyRig {
  readonly pki: TestPki;
  readonly kit: TlsPostgresKit;
  readonly address: string;
  readonly servers: readonly TlsPostgres[];
  readonly agents: readonly StreamPublisher[];
  readonly configFile: string;
  /** Null unless it was asked for. */
  readonly proxy: RunningProxy | null;
  config(change?: ConfigChange): ProxyConfig;
  writeConfig(change?: ConfigChange): Promise<void>;
  /** Every agent says that `node` leads. */
  lead(node: string, term: number, phase?: LeaderPhase): void;
  /** Connection string for psql through the proxy, verify-full. */
  conninfo(settings?: string, port?: number): string;
  /** Runs one query by psql and resolves with its output; rejects with psql's message. */
  query(sql: string, settings?: string, port?: number): Promise<string>;
  /** A psql that stays: one line in, lines out. */
  session(settings?: string, port?: number): PsqlSession;
  [Symbol.asyncDispose](): Promise<void>;
}

export type ConfigChange = Partial<Omit<ProxyConfig, 'limits' | 'listen'>> & {
  readonly limits?: Partial<ProxyConfig['limits']>;
  readonly listen?: Partial<ProxyConfig['listen']>;
};

export interface RigOptions {
  /** Third byte of all addresses; each test file has its own. */
  readonly net: number;
  readonly nodes?: number;
  readonly change?: ConfigChange;
  /** False: the test starts the proxy itself, from `configFile`. */
  readonly startProxy?: boolean;
  /** Names of the proxy's certificate beside its own. */
  readonly proxyNames?: readonly string[];
  readonly settings?: Readonly<Record<string, string>>;
  readonly serverVersion?: number | null;
}

export const leading = (node: string, term: number, phase: LeaderPhase = 'published'): Partial<StateMessage> => ({
  leaderView: { term, version: term, leader: node, phase },
});

export async function createProxyRig(options: RigOptions): Promise<ProxyRig> {
  const { net, nodes = 1 } = options;
  const address = `127.62.${net}.100`;
  const pki = await createTestPki();
  const kit = createTlsPostgresKit(pki);
  const names = Array.from({ length: nodes }, (_, index) => `leo-${index + 1}`);
  const addressOf = (name: string): string => `127.62.${net}.${name.split('-')[1]}`;
  const serverVersion = options.serverVersion === undefined ? kit.major * 10000 + 1 : options.serverVersion;
  const servers = await Promise.all(
    names.map((name) =>
      kit.start({ name, address: addressOf(name), dnsNames: CLIENT_NAMES, settings: options.settings ?? {} }),
    ),
  );
  const agents = await Promise.all(
    names.map((node) =>
      startStreamPublisher(pki, {
        node,
        address: addressOf(node),
        port: 8443,
        state: { ...leading('leo-1', 1), serverVersion, acceptsReads: true },
      }),
    ),
  );
  const tls = await pki.issue('leo-proxy-1', {
    ipAddresses: [address],
    dnsNames: ['leo-proxy-1', ...(options.proxyNames ?? [])],
  });
  const peers: Peer[] = names.map((node) => ({
    node,
    group: 'leo',
    postgres: { host: node, address: addressOf(node), port: 5432 },
    agent: { host: node, address: addressOf(node), port: 8443 },
    priority: 1,
    votes: true,
  }));
  const configFile = join(pki.folder, 'proxy.json');
  let generation = 0;
  const config = (change: ConfigChange = {}): ProxyConfig => {
    const { limits, listen, ...rest } = { ...options.change, ...change };
    generation += 1;
    return {
      globalCluster: 'orders',
      group: 'leo',
      name: 'leo-proxy-1',
      generation,
      listen: {
        write: { address, port: 5432 },
        read: { address, port: 5433 },
        health: { address, port: 8443 },
        proxyProtocolFrom: [],
        ...listen,
      },
      sourceAddress: null,
      tls,
      peers,
      readFallsBackToLeader: true,
      limits: { ...PROXY_LIMITS, drainMs: 0, ...limits },
      ...rest,
    };
  };
  const writeConfig = (change?: ConfigChange): Promise<void> => writeFile(configFile, JSON.stringify(config(change)));
  await writeConfig();
  const log = pino({ level: process.env.PGSPAN_TEST_LOG ?? 'silent' });
  const proxy = options.startProxy === false ? null : await startProxy(configFile, log);
  const conninfo = (settings = '', port = 5432): string =>
    `host=leo hostaddr=${address} port=${port} user=postgres dbname=postgres sslmode=verify-full sslrootcert=${pki.caFile} ${settings}`;
  return {
    pki,
    kit,
    address,
    servers,
    agents,
    configFile,
    proxy,
    config,
    writeConfig,
    lead(node, term, phase = 'published') {
      for (const agent of agents) agent.say(leading(node, term, phase));
    },
    conninfo,
    query: (sql, settings, port) =>
      new Promise((resolve, reject) => {
        const words = ['-XAtq', conninfo(settings, port), '-c', sql];
        execFile('psql', words, { timeout: 60_000, maxBuffer: 256 * 1024 * 1024 }, (error, stdout, stderr) =>
          error === null ? resolve(stdout.trim()) : reject(new Error(stderr.trim() || error.message)),
        );
      }),
    session: (settings, port) => new PsqlSession(conninfo(settings, port)),
    async [Symbol.asyncDispose]() {
      await proxy?.drain();
      for (const agent of agents) await agent.close();
      kit.close();
      await pki[Symbol.asyncDispose]();
    },
  };
}

/** psql with pipes. What it prints, on either stream, is kept in `output`. */
export class PsqlSession {
  readonly process: ChildProcess;
  output = '';
  /** Resolves when psql has ended, with its exit code. */
  readonly ended: Promise<number | null>;

  constructor(conninfo: string) {
    this.process = spawn('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', conninfo], { stdio: 'pipe', detached: true });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.process.stdin?.on('error', () => {});
    this.ended = new Promise((resolve) => this.process.once('close', (code) => resolve(code)));
  }

  send(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  end(): void {
    this.process.stdin?.end('\\q\n');
  }

  /** What Ctrl-C does: psql sends a cancel request. */
  interrupt(): void {
    this.process.kill('SIGINT');
  }
}
