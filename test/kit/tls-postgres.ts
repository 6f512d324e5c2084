/**
 * Real PostgreSQL servers with TLS for tests of what stands before one: no replication, no agent, one initdb for all.
 * Users log in without a password (trust, `hostssl` only): what is tested is how bytes get there.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitUntil } from '../../src/base/wait-until.ts';
import { findPostgres } from '../../src/platform/postgres-installation.ts';
import type { TestPki } from './certificates.ts';

export interface TlsPostgres {
  /** Also its `cluster_name`: `show cluster_name` tells which server answered. */
  readonly name: string;
  readonly address: string;
  readonly port: number;
  /** Process id of the postmaster: for SIGSTOP and its like. */
  readonly pid: number;
  stop(mode?: 'fast' | 'immediate'): void;
  start(): Promise<void>;
}

export interface TlsPostgresKit {
  readonly folder: string;
  readonly bin: string;
  readonly major: number;
  /** Starts one. @param dnsNames names of its certificate beside its own. */
  start(options: {
    readonly name: string;
    readonly address: string;
    readonly port?: number;
    readonly dnsNames: readonly string[];
    readonly settings?: Readonly<Record<string, string>>;
  }): Promise<TlsPostgres>;
  /** Stops all and removes the folder. */
  close(): void;
}

const START_TIMEOUT_MS = 40_000;

/** Makes the template data directory (about a second). PostgreSQL refuses to be root: as root it runs as user `postgres`. */
export function createTlsPostgresKit(pki: TestPki, postgresBin: string | null = null): TlsPostgresKit {
  const { bin, major } = findPostgres(postgresBin);
  const owner = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {};
  const folder = mkdtempSync('/tmp/pgspan-tlspg-');
  if (owner.uid !== undefined) chownSync(folder, owner.uid, owner.gid as number);
  chmodSync(folder, 0o755);
  const template = join(folder, 'template');
  execFileSync(join(bin, 'initdb'), ['-N', '-U', 'postgres', '--auth=trust', '-D', template], {
    ...owner,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  writeFileSync(join(template, 'pg_hba.conf'), 'local all all trust\nhostssl all all all trust\n');
  const running: TlsPostgres[] = [];
  return {
    folder,
    bin,
    major,
    async start({ name, address, port = 5432, dnsNames, settings = {} }) {
      const home = join(folder, name);
      cpSync(template, home, { recursive: true, preserveTimestamps: true });
      if (owner.uid !== undefined) execFileSync('chown', ['-R', `${owner.uid}:${owner.gid}`, home]);
      chmodSync(home, 0o700);
      const tls = await pki.issue(name, { dnsNames: [name, ...dnsNames], ipAddresses: [address] });
      for (const [from, to] of [
        [tls.certFile, 'server.crt'],
        [tls.keyFile, 'server.key'],
      ] as const) {
        cpSync(from, join(home, to));
        chmodSync(join(home, to), 0o600);
        if (owner.uid !== undefined) chownSync(join(home, to), owner.uid, owner.gid as number);
      }
      const server = runServer({ name, address, port, home, bin, owner, settings });
      running.push(server);
      await server.start();
      return server;
    },
    close() {
      for (const server of running) server.stop('immediate');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function runServer(options: {
  name: string;
  address: string;
  port: number;
  home: string;
  bin: string;
  owner: { uid?: number; gid?: number };
  settings: Readonly<Record<string, string>>;
}): TlsPostgres {
  const { name, address, port, home, bin, owner } = options;
  const settings = {
    cluster_name: name,
    listen_addresses: address,
    port: String(port),
    unix_socket_directories: home,
    ssl: 'on',
    fsync: 'off',
    shared_buffers: '16MB',
    max_connections: '300',
    ...options.settings,
  };
  let pid = 0;
  return {
    name,
    address,
    port,
    get pid() {
      return pid;
    },
    async start() {
      const words = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
      let child: ChildProcess | null = null;
      const isReady = (): boolean => {
        // It refuses to start while backends of a killed postmaster still hold its shared memory.
        if (child === null || child.exitCode !== null) {
          child = spawn(join(bin, 'postgres'), ['-D', home, ...words], { ...owner, stdio: 'ignore' });
          pid = child.pid as number;
        }
        return spawnSync(join(bin, 'pg_isready'), ['-h', home, '-p', String(port), '-q']).status === 0;
      };
      await waitUntil(
        `PostgreSQL "${name}" accepts connections`,
        { timeoutMs: START_TIMEOUT_MS, intervalMs: 50 },
        isReady,
      );
    },
    stop(mode = 'fast') {
      if (pid === 0) return;
      signal(pid, 'SIGCONT');
      spawnSync(join(bin, 'pg_ctl'), ['stop', '-s', '-w', '-m', mode, '-D', home], owner);
      pid = 0;
    },
  };
}

function idOf(which: '-u' | '-g'): number {
  return Number(execFileSync('id', [which, 'postgres']));
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has gone.
  }
}
