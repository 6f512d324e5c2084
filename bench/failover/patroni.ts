/**
 * Patroni with etcd and HAProxy, as its documentation sets it up: three nodes (PostgreSQL and Patroni), HAProxy in front
 * that asks each Patroni whether it leads (`GET /primary`), etcd on hosts of its own, which no fault touches.
 *
 * Sources: https://patroni.readthedocs.io/en/latest/dynamic_configuration.html for the settings and their defaults,
 * `haproxy.cfg` of Patroni's repository for HAProxy, `Config._validate_and_adjust_timeouts` in patroni/config.py for the
 * smallest values it accepts: ttl 20, loop_wait 1, retry_timeout 3.
 */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CertificateFiles, makeCertificates } from '../kit/certificates.ts';
import { type Etcd, startEtcd } from '../kit/etcd.ts';
import { AS_POSTGRES, inForky } from '../kit/forky.ts';
import { query } from '../kit/load.ts';
import { createLan, type Lan } from '../kit/network.ts';
import { run, start, waitUntilNothingMissing } from '../kit/processes.ts';
import type { Target } from '../kit/target.ts';
import { POSTGRESQL_PARAMETERS, type System } from './system.ts';

export interface PatroniVariant {
  readonly name: string;
  readonly description: string;
  /** Dynamic configuration beside what every variant has. */
  readonly dcs: Readonly<Record<string, unknown>>;
  readonly haproxy: HaproxyTiming;
}

interface HaproxyTiming {
  readonly server: string;
  readonly connectTimeout: string;
  readonly checkTimeout: string;
}

/** `haproxy.cfg` of Patroni's repository. */
const HAPROXY_DEFAULT: HaproxyTiming = {
  server: 'inter 3s fall 3 rise 2 on-marked-down shutdown-sessions',
  connectTimeout: '4s',
  checkTimeout: '5s',
};
/** Five questions a second to each node; two bad answers (or silences of half a second) take it out, one good one takes it in. */
const HAPROXY_FASTEST: HaproxyTiming = {
  server: 'inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions',
  connectTimeout: '500ms',
  checkTimeout: '500ms',
};

export const PATRONI_VARIANTS: readonly PatroniVariant[] = [
  {
    name: 'patroni-default',
    description:
      'Patroni at its defaults (ttl 30, loop_wait 10, retry_timeout 10) but synchronous_mode on, so that no acknowledged write is lost; HAProxy as in Patroni’s repository',
    dcs: { ttl: 30, loop_wait: 10, retry_timeout: 10, synchronous_mode: true },
    haproxy: HAPROXY_DEFAULT,
  },
  {
    name: 'patroni-fastest',
    description:
      'Patroni at the smallest values it accepts (ttl 20, loop_wait 1, retry_timeout 3, primary_start_timeout 0), synchronous_mode on; HAProxy asks every 200 ms',
    dcs: { ttl: 20, loop_wait: 1, retry_timeout: 3, primary_start_timeout: 0, synchronous_mode: true },
    haproxy: HAPROXY_FASTEST,
  },
  {
    name: 'patroni-async',
    description: 'Patroni at its defaults, asynchronous replication included; HAProxy as in Patroni’s repository',
    dcs: { ttl: 30, loop_wait: 10, retry_timeout: 10 },
    haproxy: HAPROXY_DEFAULT,
  },
];

const NODES = ['n1', 'n2', 'n3'] as const;
const HOSTS = {
  n1: '10.64.0.1',
  n2: '10.64.0.2',
  n3: '10.64.0.3',
  etcd1: '10.64.0.11',
  etcd2: '10.64.0.12',
  etcd3: '10.64.0.13',
  client: '10.64.0.20',
};
const POSTGRESQL_PORT = 5432;
const REST_PORT = 8008;
const BIN = '/usr/lib/postgresql/18/bin';
const PASSWORD = 'benchmark';

interface Member {
  readonly name: string;
  readonly role: string;
  readonly state: string;
  readonly lag?: number | string;
}

export function createPatroni(variant: PatroniVariant, workFolder: string): System {
  const folder = join(workFolder, 'patroni');
  let lan: Lan | null = null;
  let etcd: Etcd | null = null;
  let certificates: CertificateFiles | null = null;
  const processes: ChildProcess[] = [];

  const onLan = (): Lan => lan ?? fail();
  const startPatroni = (node: string) => {
    const command = [...onLan().on(node), ...inForky(folder), ...AS_POSTGRES, 'patroni', join(folder, `${node}.json`)];
    processes.push(start(command, join(folder, `${node}.log`), { HOME: join(folder, node) }));
  };
  const members = async (node: string): Promise<Member[]> => {
    const url = `http://${HOSTS[node as keyof typeof HOSTS]}:${REST_PORT}/cluster`;
    const answer = await run([...onLan().on('client'), 'curl', '-sS', '-m', '3', url]);
    return (JSON.parse(answer) as { members: Member[] }).members;
  };
  /** The leader that a node which answers knows of. */
  const leader = async (): Promise<string> => {
    for (const node of NODES) {
      const found = (await members(node).catch(() => [])).find(({ role }) => role === 'leader');
      if (found !== undefined) return found.name;
    }
    throw new Error('Patroni names no leader');
  };
  const target = (): Target => ({
    host: 'bench.test',
    hostaddr: HOSTS.client,
    port: POSTGRESQL_PORT,
    database: 'app',
    user: 'app',
    passwordFile: join(folder, 'password'),
    sslrootcert: (certificates ?? fail()).ca,
    on: onLan().on('client'),
  });
  const missing = async (): Promise<string | null> => {
    const found = await members(await leader());
    for (const name of NODES) {
      const member = found.find((candidate) => candidate.name === name);
      if (member === undefined) return `${name} is not a member`;
      const expected = member.role === 'leader' ? 'running' : 'streaming';
      if (member.state !== expected) return `${name} (${member.role}) is ${member.state}`;
      if (typeof member.lag === 'string') return `${name} has an unknown lag`;
    }
    if (variant.dcs.synchronous_mode === true && !found.some(({ role }) => role === 'sync_standby')) {
      return 'there is no synchronous standby';
    }
    return null;
  };

  return {
    name: variant.name,
    description: variant.description,
    async up() {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      lan = await createLan(HOSTS);
      certificates = await makeCertificates(folder, ['bench.test']);
      writeFileSync(join(folder, 'password'), PASSWORD, { mode: 0o600 });
      const stores = (['etcd1', 'etcd2', 'etcd3'] as const).map((host) => ({
        address: HOSTS[host],
        on: onLan().on(host),
      }));
      etcd = await startEtcd(join(folder, 'etcd'), stores);
      for (const node of NODES) writePatroniFiles(folder, variant, node, etcd.endpoints, certificates);
      writeFileSync(join(folder, 'haproxy.cfg'), haproxyConfig(variant.haproxy));
      startPatroni('n1'); // alone first: it initializes, the others clone
      await waitUntilNothingMissing('the first leader', async () =>
        (await leader()) === 'n1' ? null : 'another leads',
      );
      startPatroni('n2');
      startPatroni('n3');
      await waitUntilNothingMissing('all three nodes', missing, { timeoutMs: 180_000 });
      const haproxy = [
        ...onLan().on('client'),
        ...inForky(folder),
        'haproxy',
        '-db',
        '-f',
        join(folder, 'haproxy.cfg'),
      ];
      processes.push(start(haproxy, join(folder, 'haproxy.log')));
      await superuserSql(folder, onLan(), await leader(), `create role app login password '${PASSWORD}'`);
      await superuserSql(folder, onLan(), await leader(), 'create database app owner app');
      // HAProxy takes every server for healthy until its checks say no: several answers in a row come from the leader.
      await waitUntilNothingMissing('HAProxy', async () => {
        for (let round = 0; round < 2 * NODES.length; round += 1) {
          if ((await query(target(), 'select pg_is_in_recovery()')) !== 'f') return 'a standby answered';
        }
        return null;
      });
    },
    async facts() {
      const node = HOSTS[(await leader()) as keyof typeof HOSTS];
      const config = await run([
        ...onLan().on('client'),
        'curl',
        '-sS',
        '-m',
        '3',
        `http://${node}:${REST_PORT}/config`,
      ]);
      return {
        PostgreSQL: await query(target(), 'show server_version'),
        synchronous_standby_names: await query(target(), 'show synchronous_standby_names'),
        synchronous_commit: await query(target(), 'show synchronous_commit'),
        'dynamic configuration': config.trim(),
        HAProxy: variant.haproxy.server,
      };
    },
    target,
    leader,
    async fault(kind, node) {
      switch (kind) {
        case 'postgres-killed': {
          const pidFile = join(folder, node, 'data/postmaster.pid');
          const pid = Number((await run(['head', '-n', '1', pidFile])).trim());
          process.kill(pid, 'SIGKILL');
          return;
        }
        case 'node-killed':
          return onLan().kill(node);
        case 'node-frozen':
          return onLan().freeze(node);
        case 'node-cut':
          return onLan().cut(node);
        case 'switchover': {
          const url = `http://${HOSTS[node as keyof typeof HOSTS]}:${REST_PORT}/switchover`;
          const body = JSON.stringify({ leader: node });
          await run([...onLan().on('client'), 'curl', '-sS', '-f', '-m', '120', '-d', body, url]);
        }
      }
    },
    async heal(kind, node) {
      if (kind === 'node-killed') startPatroni(node);
      if (kind === 'node-frozen') await onLan().thaw(node);
      if (kind === 'node-cut') await onLan().heal(node);
    },
    missing,
    details: async () => null,
    async repair() {
      const found = await members(await leader());
      for (const { name, role, state } of found) {
        if (role === 'leader' || state === 'streaming') continue;
        const url = `http://${HOSTS[name as keyof typeof HOSTS]}:${REST_PORT}/reinitialize`;
        await run([...onLan().on('client'), 'curl', '-sS', '-m', '120', '-d', '{"force":true}', url]);
      }
    },
    async down() {
      lan ??= await createLan({});
      await lan.remove(); // every process of ours is on one of its hosts
      lan = null;
      etcd = null;
    },
  };
}

function fail(): never {
  throw new Error('Patroni is not up');
}

function writePatroniFiles(
  folder: string,
  variant: PatroniVariant,
  node: (typeof NODES)[number],
  etcdEndpoints: readonly string[],
  certificates: CertificateFiles,
): void {
  const home = join(folder, node);
  mkdirSync(home, { recursive: true });
  const address = HOSTS[node];
  const config = {
    scope: 'bench',
    name: node,
    restapi: { listen: `${address}:${REST_PORT}`, connect_address: `${address}:${REST_PORT}` },
    etcd3: { hosts: etcdEndpoints },
    bootstrap: {
      dcs: {
        ...variant.dcs,
        postgresql: { use_pg_rewind: true, use_slots: true, parameters: POSTGRESQL_PARAMETERS },
      },
      initdb: ['data-checksums', { encoding: 'UTF8' }, { locale: 'C.UTF-8' }],
    },
    postgresql: {
      listen: `${address}:${POSTGRESQL_PORT}`,
      connect_address: `${address}:${POSTGRESQL_PORT}`,
      data_dir: join(home, 'data'),
      bin_dir: BIN,
      pgpass: join(home, 'pgpass'),
      use_unix_socket: true,
      use_unix_socket_repl: true,
      authentication: {
        superuser: { username: 'postgres', password: PASSWORD },
        replication: { username: 'replicator', password: PASSWORD },
        rewind: { username: 'rewinder', password: PASSWORD },
      },
      parameters: {
        unix_socket_directories: home,
        ssl: 'on',
        ssl_cert_file: certificates.certificate,
        ssl_key_file: certificates.key,
      },
      pg_hba: [
        'local all all trust',
        'local replication all trust',
        'hostssl replication replicator 10.64.0.0/24 scram-sha-256',
        'hostssl all all 10.64.0.0/24 scram-sha-256',
      ],
    },
  };
  writeFileSync(join(folder, `${node}.json`), JSON.stringify(config, null, 2));
  execFileSync('chown', ['postgres:postgres', home]);
}

function haproxyConfig({ server, connectTimeout, checkTimeout }: HaproxyTiming): string {
  return `
global
    maxconn 1000
defaults
    mode tcp
    retries 2
    timeout client 30m
    timeout connect ${connectTimeout}
    timeout server 30m
    timeout check ${checkTimeout}
listen primary
    bind ${HOSTS.client}:${POSTGRESQL_PORT}
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server ${server}
${NODES.map((node) => `    server ${node} ${HOSTS[node]}:${POSTGRESQL_PORT} maxconn 100 check port ${REST_PORT}`).join('\n')}
`;
}

async function superuserSql(folder: string, lan: Lan, node: string, sql: string): Promise<void> {
  const socket = join(folder, node);
  await run([
    ...lan.on(node),
    ...inForky(folder),
    'psql',
    '-X',
    '-h',
    socket,
    '-U',
    'postgres',
    '-d',
    'postgres',
    '-c',
    sql,
  ]);
}
