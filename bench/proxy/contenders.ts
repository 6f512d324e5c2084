/**
 * What stands between pgbench and PostgreSQL: nothing, pgspan, HAProxy (TCP), PgBouncer (session mode), Pgpool-II.
 * All but pgspan run in the Debian forky root, with the settings below and otherwise at their defaults.
 *
 *   tls    TLS from the client, and TLS at the server: end to end through pgspan and HAProxy, two connections through the others
 *   plain  no TLS anywhere, for those that can; pgspan cannot
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProxyConfig } from '../../src/api/agent-config.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { PROXY_LIMITS } from '../../src/core/routing/limits.ts';
import { agentProgram } from '../../src/platform/program.ts';
import type { TestPki } from '../../test/kit/certificates.ts';
import { leading } from '../../test/kit/proxy-rig.ts';
import { startStreamPublisher } from '../../test/kit/stream-publisher.ts';
import { AS_POSTGRES, inForky } from '../kit/forky.ts';
import { run, start, stop } from '../kit/processes.ts';

export const NAMES = ['direct', 'pgspan', 'haproxy', 'pgbouncer', 'pgpool'] as const;
export type Name = (typeof NAMES)[number];
export type Mode = 'tls' | 'plain';

export interface Contender {
  readonly name: Name;
  readonly mode: Mode;
  readonly address: string;
  readonly port: number;
  /** Its processes now, children included; none for `direct`. */
  pids(): readonly number[];
  /** How many idle connections it can be asked to hold. */
  readonly idleMax: number;
}

export interface Field {
  readonly contenders: readonly Contender[];
  /** libpq settings for a client of this contender. */
  conninfo(contender: Contender): string;
  /** Prefix of commands in the forky root. */
  readonly forky: readonly string[];
  stop(): Promise<void>;
}

const SERVER = '127.62.50.1';
const ADDRESS: Record<Name, string> = {
  direct: SERVER,
  pgspan: '127.62.50.10',
  haproxy: '127.62.50.20',
  pgbouncer: '127.62.50.30',
  pgpool: '127.62.50.40',
};
const PORT: Record<Mode, number> = { tls: 5432, plain: 5433 };
const HOST = 'leo';
const BIN = '/usr/lib/postgresql/18/bin';
/** More than 64 clients at a time and what their closing leaves behind; each is a process. */
const PGPOOL_CHILDREN = 96;

/** Starts the server, fills it, and starts all that is wanted. `folder` is emptied before by the caller. */
export async function startField(folder: string, pki: TestPki, wanted: readonly Name[], scale: number): Promise<Field> {
  const forky = inForky(folder);
  const stops: (() => Promise<void>)[] = [];
  const tls = await prepareCertificates(folder, pki);
  stops.push(await startServer(folder, forky, tls, scale));
  const contenders: Contender[] = [];
  const add = (name: Name, mode: Mode, idleMax: number, child: ChildProcess | null): void => {
    const port = name === 'direct' ? 5432 : PORT[mode];
    contenders.push({
      name,
      mode,
      address: ADDRESS[name],
      port,
      idleMax,
      pids: () => (child === null ? [] : tree(child)),
    });
    if (child !== null) stops.unshift(() => stop(child, name === 'pgpool' ? 'SIGINT' : 'SIGTERM'));
  };
  for (const mode of ['tls', 'plain'] as const) {
    if (wanted.includes('direct')) add('direct', mode, 1000, null);
    if (wanted.includes('haproxy')) add('haproxy', mode, 1000, await startHaproxy(folder, forky, mode));
    if (wanted.includes('pgbouncer')) add('pgbouncer', mode, 1000, await startPgbouncer(folder, forky, tls, mode));
    if (wanted.includes('pgpool')) add('pgpool', mode, 64, await startPgpool(folder, forky, tls, mode));
  }
  if (wanted.includes('pgspan')) {
    const { child, close } = await startPgspan(folder, pki);
    add('pgspan', 'tls', 1000, child);
    stops.push(close);
  }
  const conninfo = ({ address, port, mode }: Contender): string =>
    `host=${HOST} hostaddr=${address} port=${port} user=postgres dbname=postgres ${
      mode === 'tls' ? `sslmode=verify-full sslrootcert=${tls.ca}` : 'sslmode=disable'
    }`;
  for (const contender of contenders) {
    const query = [...forky, 'psql', '-XAtqc', 'select 1', conninfo(contender)];
    await waitUntil(`${contender.name} (${contender.mode}) answers`, { timeoutMs: 60_000, intervalMs: 500 }, () =>
      run(query, { timeoutMs: 30_000 }).then(
        () => true,
        () => false,
      ),
    );
  }
  return {
    contenders,
    conninfo,
    forky,
    async stop() {
      for (const stopOne of stops) await stopOne();
    },
  };
}

interface Tls {
  readonly ca: string;
  readonly certificate: string;
  /** Owned by `postgres`, as all that use it are. */
  readonly key: string;
  /** Certificate and key in one file. */
  readonly both: string;
}

/** One certificate for every place where a client's TLS ends: each connection does the same cryptography. */
async function prepareCertificates(folder: string, pki: TestPki): Promise<Tls> {
  const issued = await pki.issue('leo-1', { dnsNames: ['leo-1', HOST], ipAddresses: Object.values(ADDRESS) });
  const tls = {
    ca: join(folder, 'ca.crt'),
    certificate: join(folder, 'server.crt'),
    key: join(folder, 'server.key'),
    both: join(folder, 'server.pem'),
  };
  cpSync(issued.caFile, tls.ca);
  cpSync(issued.certFile, tls.certificate);
  cpSync(issued.keyFile, tls.key);
  writeFileSync(tls.both, readFileSync(tls.certificate, 'utf8') + readFileSync(tls.key, 'utf8'));
  chmodSync(folder, 0o755);
  for (const path of [tls.key, tls.both]) chmodSync(path, 0o600);
  execFileSync('chown', ['postgres:postgres', tls.key, tls.both, tls.certificate]);
  return tls;
}

async function startServer(
  folder: string,
  forky: readonly string[],
  tls: Tls,
  scale: number,
): Promise<() => Promise<void>> {
  const data = join(folder, 'data');
  mkdirSync(data);
  execFileSync('chown', ['postgres:postgres', data]);
  await run([...forky, ...AS_POSTGRES, `${BIN}/initdb`, '-N', '-U', 'postgres', '--auth=trust', '-D', data]);
  writeFileSync(join(data, 'pg_hba.conf'), 'local all all trust\nhost all all all trust\n');
  const settings = {
    listen_addresses: SERVER,
    unix_socket_directories: data,
    ssl: 'on',
    ssl_cert_file: tls.certificate,
    ssl_key_file: tls.key,
    max_connections: '1200',
    shared_buffers: '512MB',
    fsync: 'off',
  };
  const words = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]);
  const server = start(
    [...forky, ...AS_POSTGRES, `${BIN}/postgres`, '-D', data, ...words],
    join(folder, 'postgres.log'),
  );
  await waitUntil('PostgreSQL answers', { timeoutMs: 60_000, intervalMs: 300 }, () =>
    run([...forky, `${BIN}/pg_isready`, '-q', '-h', SERVER]).then(
      () => true,
      () => false,
    ),
  );
  await run([...forky, 'pgbench', '-i', '-q', '-s', String(scale), '-h', SERVER, '-U', 'postgres', 'postgres']);
  return () => stop(server, 'SIGINT');
}

async function startPgspan(folder: string, pki: TestPki): Promise<{ child: ChildProcess; close: () => Promise<void> }> {
  const agent = await startStreamPublisher(pki, {
    node: 'leo-1',
    address: SERVER,
    port: 8443,
    state: { ...leading('leo-1', 1), activity: 'leading', serverVersion: 180000 },
  });
  const config: ProxyConfig = {
    globalCluster: 'orders',
    group: 'leo',
    name: 'leo-proxy-1',
    generation: 1,
    listen: {
      write: { address: ADDRESS.pgspan, port: PORT.tls },
      read: null,
      health: { address: ADDRESS.pgspan, port: 8443 },
      proxyProtocolFrom: [],
    },
    sourceAddress: null,
    tls: await pki.issue('leo-proxy-1', { ipAddresses: [ADDRESS.pgspan] }),
    peers: [
      {
        node: 'leo-1',
        group: 'leo',
        postgres: { host: 'leo-1', address: SERVER, port: 5432 },
        agent: { host: 'leo-1', address: SERVER, port: 8443 },
        priority: 1,
        votes: true,
      },
    ],
    readFallsBackToLeader: true,
    limits: { ...PROXY_LIMITS, drainMs: 0 },
  };
  const file = join(folder, 'proxy.json');
  writeFileSync(file, JSON.stringify(config));
  const program = await agentProgram('proxy');
  const flags = (process.env.PGSPAN_BENCH_NODE_FLAGS ?? '').split(' ').filter((word) => word !== '');
  const child = start(
    [program.node, ...flags, ...program.args, 'proxy', '--config', file],
    join(folder, 'pgspan.log'),
    { ...program.env },
  );
  return { child, close: () => agent.close() };
}

async function startHaproxy(folder: string, forky: readonly string[], mode: Mode): Promise<ChildProcess> {
  const file = join(folder, `haproxy-${mode}.cfg`);
  // Its default is a thread per processor. TLS and plain differ by nothing: it looks at neither.
  writeFileSync(
    file,
    `global
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen postgres
  bind ${ADDRESS.haproxy}:${PORT[mode]}
  server leo-1 ${SERVER}:5432
`,
  );
  return start([...forky, 'haproxy', '-f', file], join(folder, `haproxy-${mode}.log`));
}

async function startPgbouncer(folder: string, forky: readonly string[], tls: Tls, mode: Mode): Promise<ChildProcess> {
  const file = join(folder, `pgbouncer-${mode}.ini`);
  const users = join(folder, 'pgbouncer-users.txt');
  writeFileSync(users, '"postgres" ""\n');
  const tlsLines = `client_tls_sslmode = require
client_tls_cert_file = ${tls.certificate}
client_tls_key_file = ${tls.key}
server_tls_sslmode = verify-ca
server_tls_ca_file = ${tls.ca}`;
  writeFileSync(
    file,
    `[databases]
postgres = host=${SERVER} port=5432
[pgbouncer]
listen_addr = ${ADDRESS.pgbouncer}
listen_port = ${PORT[mode]}
auth_type = trust
auth_file = ${users}
pool_mode = session
max_client_conn = 2000
default_pool_size = 1100
unix_socket_dir =
${mode === 'tls' ? tlsLines : 'server_tls_sslmode = disable'}
`,
  );
  return start([...forky, ...AS_POSTGRES, 'pgbouncer', file], join(folder, `pgbouncer-${mode}.log`));
}

async function startPgpool(folder: string, forky: readonly string[], tls: Tls, mode: Mode): Promise<ChildProcess> {
  const home = join(folder, `pgpool-${mode}`);
  mkdirSync(home);
  execFileSync('chown', ['postgres:postgres', home]);
  const file = join(home, 'pgpool.conf');
  const settings = {
    backend_clustering_mode: 'streaming_replication',
    listen_addresses: ADDRESS.pgpool,
    port: PORT[mode],
    unix_socket_directories: home,
    pcp_listen_addresses: '',
    pcp_socket_dir: home,
    pid_file_name: join(home, 'pgpool.pid'),
    work_dir: home,
    backend_hostname0: SERVER,
    backend_port0: 5432,
    backend_flag0: 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER',
    sr_check_period: 0,
    failover_on_backend_error: 'off',
    num_init_children: PGPOOL_CHILDREN,
    max_pool: 1,
    ssl: mode === 'tls' ? 'on' : 'off',
    ssl_cert: tls.certificate,
    ssl_key: tls.key,
  };
  writeFileSync(
    file,
    Object.entries(settings)
      .map(([key, value]) => `${key} = ${typeof value === 'number' ? value : `'${value}'`}\n`)
      .join(''),
  );
  writeFileSync(join(home, 'pcp.conf'), '');
  const command = [...forky, ...AS_POSTGRES, 'pgpool', '-n', '-f', file, '-F', join(home, 'pcp.conf')];
  return start(command, join(folder, `pgpool-${mode}.log`));
}

/** The process and all that it started, by the kernel's list of children. */
function tree(child: ChildProcess): number[] {
  const found: number[] = [];
  const visit = (pid: number): void => {
    found.push(pid);
    for (const thread of list(`/proc/${pid}/task`)) {
      for (const word of read(`/proc/${pid}/task/${thread}/children`).split(' ')) if (word !== '') visit(Number(word));
    }
  };
  visit(child.pid as number);
  return found;
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
