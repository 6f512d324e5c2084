/**
 * pgspan on this machine: `pgspan local up` with the record in etcd, faults by its own verbs, PostgreSQL of the forky root,
 * so that it is the same build as Patroni's. Everything else is pgspan's default, preset `lan` included.
 */
import type { ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { ClusterStatus } from '../../src/core/status/cluster-status.ts';
import { dataDirectory, openSite } from '../../src/platform/local/site.ts';
import { type Etcd, startEtcd } from '../kit/etcd.ts';
import { openForkyRoom } from '../kit/forky.ts';
import { query } from '../kit/load.ts';
import { CLONE, run, stop } from '../kit/processes.ts';
import type { Target } from '../kit/target.ts';
import { type Fault, POSTGRESQL_PARAMETERS, type System } from './system.ts';

export interface PgspanVariant {
  readonly name: string;
  readonly description: string;
  /** Instances by group. */
  readonly groups: Readonly<Record<string, number>>;
}

export const PGSPAN_VARIANTS: readonly PgspanVariant[] = [
  {
    name: 'pgspan-3x1',
    description: 'pgspan, three groups of one node each, defaults, record in etcd',
    groups: { leo: 1, ait: 1, pit: 1 },
  },
  {
    name: 'pgspan-1x3',
    description: 'pgspan, one group of three nodes, defaults, record in etcd',
    groups: { leo: 3 },
  },
];

const ETCD_ADDRESSES = ['127.64.0.11', '127.64.0.12', '127.64.0.13'];
const GLOBAL_CLUSTER = 'orders';
/** Clients come in through the proxy of this group; proxies are hosts of their own and stay, as HAProxy does. */
const FIRST_GROUP = 'leo';
const ADDRESS_PREFIX = '127.64';
const VERB_TIMEOUT_MS = 180_000;

/** What `pgspan connection GROUP -o json` prints, as far as it is used here. */
interface Connection {
  readonly host: string;
  readonly hostaddr: string;
  readonly port: number;
  readonly dbname: string;
  readonly user: string;
  readonly password: string;
  readonly sslrootcert: string;
}

export function createPgspan(variant: PgspanVariant, workFolder: string): System {
  const folder = join(workFolder, variant.name);
  const state = join(folder, 'state');
  const nodeCount = Object.values(variant.groups).reduce((sum, count) => sum + count, 0);
  let room: { readonly inside: readonly string[]; readonly child: ChildProcess } | null = null;
  let etcd: Etcd | null = null;
  let connection: Target | null = null;

  const pgspan = async (...words: string[]): Promise<string> => {
    room ??= await openForkyRoom(workFolder);
    const command = [...room.inside, process.execPath, join(CLONE, 'src/cli/main.ts'), ...words];
    return run(command, { timeoutMs: VERB_TIMEOUT_MS });
  };
  const onSite = (...words: string[]) => pgspan(...words, '--state', state);
  const status = async (): Promise<ClusterStatus> => JSON.parse(await onSite('status', '-o', 'json')) as ClusterStatus;
  /** The same process that the benchmark kills under Patroni: the postmaster alone, its children see it go. */
  const postmasterPid = async (node: string): Promise<number> => {
    const file = join(dataDirectory(openSite(state), node), 'postmaster.pid'); // on a disk that is mounted in the room only
    return Number((await run([...(room ?? fail()).inside, 'head', '-n', '1', file])).trim());
  };
  const target = (): Target => connection ?? fail();

  return {
    name: variant.name,
    description: variant.description,
    async up() {
      await rm();
      etcd = await startEtcd(
        join(folder, 'etcd'),
        ETCD_ADDRESSES.map((address) => ({ address, on: [] })),
      );
      const manifest = join(folder, 'groups.yaml');
      writeFileSync(manifest, renderManifest(variant, etcd.endpoints));
      await onSite('local', 'up', '-f', manifest, '--addresses', ADDRESS_PREFIX);
      connection = await readConnection(folder, await onSite('connection', FIRST_GROUP, '-o', 'json'));
    },
    async facts() {
      return {
        PostgreSQL: await query(target(), 'show server_version'),
        synchronous_standby_names: await query(target(), 'show synchronous_standby_names'),
        synchronous_commit: await query(target(), 'show synchronous_commit'),
        pgspan: (await pgspan('--version')).trim(),
        commit: (await run(['git', '-C', CLONE, 'rev-parse', '--short', 'HEAD'])).trim(),
        preset: 'lan: suspicion after 1 s of silence, fence after 3 s',
      };
    },
    target,
    async leader() {
      return (await status()).leader ?? fail();
    },
    async fault(kind, node) {
      if (kind === 'postgres-killed') process.kill(await postmasterPid(node), 'SIGKILL');
      else await onSite(...FAULT_VERBS[kind](node));
    },
    async heal(kind, node) {
      if (kind === 'node-killed') await onSite('local', 'up');
      if (kind === 'node-frozen') await onSite('local', 'thaw', node);
      if (kind === 'node-cut') await onSite('local', 'heal', node);
    },
    async missing() {
      const { nodes, leader, members, phase } = await status();
      if (leader === null || phase !== 'published') return `there is no leader: ${phase}`;
      if (members.length !== nodeCount) return `${members.length} of ${nodeCount} nodes vote`;
      if (nodes.length !== nodeCount) return `${nodes.length} of ${nodeCount} nodes are known`;
      for (const { name, role, activity, reason } of nodes) {
        const expected = name === leader ? 'leading' : 'following';
        if (activity !== expected) return `${name} (${role}) is ${activity}: ${reason.message}`;
      }
      const standbys = await query(target(), 'select count(*) from pg_stat_replication');
      return Number(standbys) === nodeCount - 1 ? null : `${standbys} standbys stream from the leader`;
    },
    details: async () => (await status()).lastFailover,
    async repair() {
      throw new Error('A node of pgspan did not come back by itself, and there is nothing more to be done for it');
    },
    async down() {
      await rm();
    },
  };

  /** `down` removes them with the rest; whoever looks into a strange value finds those of the last series here. */
  async function keepLogs(): Promise<void> {
    if (!existsSync(state)) return;
    const kept = join(workFolder, `${variant.name}-logs`);
    rmSync(kept, { recursive: true, force: true });
    cpSync(state, kept, { recursive: true, filter: (path) => statSync(path).isDirectory() || path.includes('.log') });
    writeFileSync(join(kept, 'status.json'), await onSite('status', '-o', 'json').catch(String));
  }

  async function rm(): Promise<void> {
    await keepLogs();
    await onSite('local', 'down').catch(() => ''); // nothing was up
    await etcd?.stop();
    if (room !== null) await stop(room.child, 'SIGKILL');
    etcd = null;
    room = null;
    connection = null;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
  }
}

const FAULT_VERBS: Record<Exclude<Fault, 'postgres-killed'>, (node: string) => string[]> = {
  'node-killed': (node) => ['local', 'kill', node],
  'node-frozen': (node) => ['local', 'freeze', node],
  'node-cut': (node) => ['local', 'cut', node],
  switchover: () => ['switchover'],
};

function fail(): never {
  throw new Error('pgspan is not up');
}

async function readConnection(folder: string, json: string): Promise<Target> {
  const { host, hostaddr, port, dbname, user, password, sslrootcert } = JSON.parse(json) as Connection;
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  return { host, hostaddr, port: Number(port), database: dbname, user, passwordFile, sslrootcert, on: [] };
}

function renderManifest({ groups }: PgspanVariant, etcdEndpoints: readonly string[]): string {
  const primaryGroup = Object.keys(groups)[0];
  const manifests = Object.entries(groups).map(([name, instances]) => ({
    apiVersion: 'pgspan.io/v1alpha1',
    kind: 'PostgresGroup',
    metadata: { name },
    spec: {
      instances,
      storage: { size: '20Gi' },
      globalCluster: { name: GLOBAL_CLUSTER, primaryGroup },
      connectivity: { dns: { domain: 'bench.test' } },
      proxySettings: { instances: 1 },
      coordination: {
        store: 'etcd',
        preset: 'lan',
        etcd: { endpoints: etcdEndpoints.map((endpoint) => `http://${endpoint}`) },
      },
      postgresql: { parameters: POSTGRESQL_PARAMETERS },
    },
  }));
  return manifests.map((manifest) => stringify(manifest)).join('---\n');
}
