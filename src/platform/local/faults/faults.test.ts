/**
 * The fault verbs on real PostgreSQL: a primary and a standby as two nodes of a hand-made site. The standby reaches the
 * primary through a forwarder on its own address, as an instance agent does it.
 */
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import pg from 'pg';
import { needs } from '../../../../test/kit/requirement.ts';
import { waitUntil } from '../../../base/wait-until.ts';
import { findPostgres } from '../../postgres-installation.ts';
import { MARKER_VARIABLE, signalProcess } from '../processes.ts';
import { dataDirectory, type LocalSite, openSite, processesOf, volumeOf } from '../site.ts';
import { NO_FAULTS, type SiteState, writeSiteState } from '../site-state.ts';
import { chooseRunAs, makeFolderFor } from '../users.ts';
import { closeVolume, openVolume, preferredVolumeKind } from '../volumes.ts';
import { cutTarget, fillDiskOf, freezeTarget, healTarget, killTarget, slowDiskOf, thawTarget } from './faults.ts';
import { isStopped } from './signals.ts';
import { parseTarget } from './targets.ts';

const PORT = 5432;
const PATH_PORT = 5434;
const ADDRESS = { 'leo-1': '127.63.1.2', 'ait-1': '127.63.1.3' } as const;
type Node = keyof typeof ADDRESS;

describe('faults on a PostgreSQL pair', needs('root', 'postgres', 'nft', 'mkfs.ext4', 'mount', 'loopback'), () => {
  const user = chooseRunAs(null);
  const as = user === null ? {} : { uid: user.uid, gid: user.gid };
  const folder = mkdtempSync('/tmp/pgspan-faults-');
  let bin = '';
  let site: LocalSite;
  let forwarder: Server;
  const forwarded = new Set<Socket>();
  const openClients = new Set<pg.Client>();

  const target = (text: string) => parseTarget(site.state, text);
  const cut = (text: string) => (site = cutTarget(site, target(text)));
  const heal = (text: string | null = null) => (site = healTarget(site, text === null ? null : target(text)).site);
  const tool = (name: string, ...args: string[]) =>
    promisify(execFile)(join(bin, name), args, { ...as, cwd: '/', env: { PATH: '/usr/bin:/bin' }, timeout: 60_000 });

  function startNode(node: Node): void {
    spawn(join(bin, 'postgres'), ['-D', dataDirectory(site, node)], {
      ...as,
      cwd: '/',
      stdio: 'ignore',
      env: { LC_ALL: 'C.UTF-8', [MARKER_VARIABLE]: `${site.state.siteId}/${node}/agent` },
    });
  }

  async function openClient(node: Node): Promise<pg.Client> {
    const client = new pg.Client({ host: ADDRESS[node], port: PORT, user: 'postgres', database: 'postgres' });
    client.on('error', () => {});
    await client.connect();
    openClients.add(client);
    return client;
  }

  const startAndOpen = (node: Node) =>
    waitUntil(`${node} accepts connections`, { timeoutMs: 20_000, intervalMs: 50 }, () =>
      openClient(node).catch(() => null),
    );

  const standbyIsStreaming = async (client: pg.Client): Promise<boolean> => {
    const { rows } = await client.query(
      `select state = 'streaming' and replay_lsn = pg_current_wal_lsn() and reply_time > now() - interval '0.5 s' as level
         from pg_stat_replication`,
    );
    return rows.length === 1 && rows[0].level;
  };

  /** How long ago the primary last heard from its standby, as pg_stat_replication has it. */
  const silenceMs = async (client: pg.Client): Promise<number> =>
    Number(
      (await client.query(`select extract(epoch from now() - max(reply_time)) * 1000 as ms from pg_stat_replication`))
        .rows[0].ms,
    );

  before(async () => {
    bin = findPostgres().bin;
    chmodSync(folder, 0o711);
    const volume = preferredVolumeKind();
    const state: SiteState = {
      format: 1,
      siteId: `fa${process.pid.toString(16).padStart(6, '0').slice(-6)}`,
      globalCluster: 'orders',
      groups: [],
      generation: 1,
      primaryGroup: 'leo',
      subnet: '127.63.1',
      ports: {
        postgres: PORT,
        agent: 7443,
        path: PATH_PORT,
        record: 7444,
        health: 7445,
        etcdClient: 7446,
        etcdPeer: 7447,
      },
      user,
      postgresBin: bin,
      postgresMajor: 15,
      runtimeDirectory: join(folder, 'run'),
      folderMade: true,
      nodes: [
        { name: 'leo-1', group: 'leo', address: ADDRESS['leo-1'], volume },
        { name: 'ait-1', group: 'ait', address: ADDRESS['ait-1'], volume },
      ],
      proxies: [],
      recordAddress: '127.63.1.9',
      etcd: [],
      faults: NO_FAULTS,
    };
    writeSiteState(folder, state);
    site = openSite(folder);
    for (const node of site.state.nodes) {
      makeFolderFor(null, join(folder, 'nodes'), 0o711);
      makeFolderFor(null, join(folder, 'nodes', node.name), 0o711);
      openVolume(volumeOf(site, node), 512 * 1024 * 1024, user);
    }
    forwarder = createServer((inner) => {
      forwarded.add(inner);
      const outer = connect({ host: ADDRESS['leo-1'], port: PORT, localAddress: ADDRESS['ait-1'] });
      inner.pipe(outer).pipe(inner);
      inner.on('error', () => outer.destroy()).on('close', () => outer.destroy());
      outer.on('error', () => inner.destroy()).on('close', () => inner.destroy());
    });
    await new Promise<void>((resolve) => forwarder.listen(PATH_PORT, ADDRESS['ait-1'], resolve));

    const primary = dataDirectory(site, 'leo-1');
    await tool('initdb', '-D', primary, '-U', 'postgres', '--auth=trust', '--no-sync', '--wal-segsize=1');
    const common = `port=${PORT}\nunix_socket_directories=''\nmax_wal_size=8MB\nmin_wal_size=2MB\nwal_receiver_status_interval=1\nwal_sender_timeout=60s\nshared_buffers=16MB\n`;
    appendFileSync(join(primary, 'postgresql.conf'), common);
    appendFileSync(
      join(primary, 'pg_hba.conf'),
      'host all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n',
    );
    appendFileSync(join(primary, 'postgresql.conf'), `listen_addresses='${ADDRESS['leo-1']}'\n`);
    startNode('leo-1');
    await startAndOpen('leo-1');
    const standby = dataDirectory(site, 'ait-1');
    await tool(
      'pg_basebackup',
      '-D',
      standby,
      '-d',
      `host=${ADDRESS['ait-1']} port=${PATH_PORT} user=postgres`,
      '-R',
      '-c',
      'fast',
      '--no-sync',
    );
    appendFileSync(join(standby, 'postgresql.conf'), `listen_addresses='${ADDRESS['ait-1']}'\n`);
    startNode('ait-1');
    await startAndOpen('ait-1');
  });

  afterEach(async () => {
    heal();
    for (const node of site.state.nodes) await thawTarget(site, target(node.name));
  });

  after(async () => {
    for (const client of openClients) void client.end().catch(() => {});
    forwarder?.close();
    for (const socket of forwarded) socket.destroy();
    for (const node of site.state.nodes) await killTarget(site, target(node.name));
    for (const node of site.state.nodes) closeVolume(volumeOf(site, node));
    rmSync(folder, { recursive: true, force: true });
  });

  it('cut silences replication and an open session in both directions, without a reset, and heal ends it', async () => {
    const client = await openClient('leo-1');
    await waitUntil('the standby streams', { timeoutMs: 10_000 }, () => standbyIsStreaming(client));
    const session = await openClient('ait-1');
    cut('ait-1');
    await waitUntil(
      'pg_stat_replication goes silent',
      { timeoutMs: 10_000 },
      async () => (await silenceMs(client)) > 2500,
    );
    const { rows } = await client.query('select count(*)::int as n from pg_stat_replication');
    assert.equal(rows[0].n, 1, 'no end saw the connection close');
    const answer = session.query('select 1');
    const first = await Promise.race([answer.then(() => 'answer', String), silent(300)]);
    assert.equal(first, 'silence');
    heal('ait-1');
    await answer;
    await waitUntil('the standby is level again', { timeoutMs: 20_000 }, () => standbyIsStreaming(client));
  });

  it("a cut of PostgreSQL alone leaves the agent's port open, a cut of the agent leaves PostgreSQL's", async () => {
    const client = await openClient('leo-1');
    const agent = createServer((socket) => socket.end('hello'));
    await new Promise<void>((resolve) => agent.listen(7443, ADDRESS['leo-1'], resolve));
    cut('leo-1/postgres');
    assert.equal(await greeting(ADDRESS['leo-1'], 7443), 'hello');
    assert.equal(await greeting(ADDRESS['leo-1'], PORT), 'silence');
    heal('leo-1/postgres');
    cut('leo-1/agent');
    assert.equal(await greeting(ADDRESS['leo-1'], 7443), 'silence');
    assert.equal((await client.query('select 1 as one')).rows[0].one, 1);
    agent.close();
  });

  it('a cut of a group leaves the traffic inside the group alone', async () => {
    cut('ait');
    // From the group's own address to itself; from anywhere else nothing answers.
    assert.equal(await greeting(ADDRESS['ait-1'], PORT, ADDRESS['ait-1']), 'open');
    assert.equal(await greeting(ADDRESS['ait-1'], PORT), 'silence');
    const { stillCut } = healTarget(site, target('ait-1'));
    assert.deepEqual(stillCut, ['ait'], 'healing a node does not lift the cut of its group, and says so');
  });

  it("freeze stops every process of the node, PostgreSQL's children included, and thaw lets all go on", async () => {
    const client = await openClient('leo-1');
    const count = await freezeTarget(site, target('leo-1'));
    const processes = processesOf(site).filter(({ part }) => part.startsWith('leo-1/'));
    assert.ok(count >= 7, `postmaster, its workers and our sessions are ${count}`);
    assert.deepEqual(
      processes.filter((process) => !isStopped(process)),
      [],
    );
    const answer = client.query('select 1');
    assert.equal(await Promise.race([answer.then(() => 'answer'), silent(200)]), 'silence');
    assert.equal(await thawTarget(site, target('leo-1')), count);
    await answer;
    assert.equal(await thawTarget(site, target('leo-1')), 0, 'thawing what is not frozen succeeds');
  });

  it('fill-disk leaves no byte free on the disk of that node only, and heal gives the space back', async () => {
    const path = volumeOf(site, { name: 'ait-1', volume: 'image' }).path;
    const other = volumeOf(site, { name: 'leo-1', volume: 'image' }).path;
    const before = statfsSync(path).bavail;
    site = fillDiskOf(site, target('ait-1'));
    assert.equal(statfsSync(path).bavail, 0);
    assert.ok(statfsSync(other).bavail > 1000);
    heal('ait-1');
    assert.ok(statfsSync(path).bavail > before / 2);
    assert.deepEqual(site.state.faults, NO_FAULTS);
  });

  it('slow-disk stalls commits on that node, and heal ends it even when the stalling loop was killed in a stall', async () => {
    const client = await openClient('leo-1');
    await client.query('create table if not exists t (n int)');
    site = slowDiskOf(site, target('leo-1'), { stallMs: 300, passMs: 20 });
    const slowest = async (): Promise<number> => {
      const startedMs = performance.now();
      await client.query('insert into t values (1)');
      return performance.now() - startedMs;
    };
    await waitUntil('a commit takes 100 ms', { timeoutMs: 10_000 }, async () => (await slowest()) > 100);
    // One of them is a sleep, which may end by itself meanwhile.
    for (const one of processesOf(site)) if (one.part === 'slow-disk/leo-1') signalProcess(one, 'SIGKILL');
    spawnSync('fsfreeze', ['-f', volumeOf(site, { name: 'leo-1', volume: 'image' }).path]);
    heal('leo-1');
    for (let n = 0; n < 20; n += 1) assert.ok((await slowest()) < 100);
  });

  it('kill ends every process of the node at once and nothing else', async () => {
    const others = () => processesOf(site).filter(({ part }) => part.startsWith('leo-1/')).length;
    const before = others();
    const count = await killTarget(site, target('ait-1/postgres'));
    assert.ok(count >= 4, `postmaster, startup, checkpointer, walreceiver, … are ${count}`);
    assert.deepEqual(
      processesOf(site).filter(({ part }) => part.startsWith('ait-1/')),
      [],
    );
    assert.ok(others() >= before - 1, "only the primary's WAL sender may be gone");
  });
});

function silent(ms: number): Promise<'silence'> {
  return new Promise((resolve) => setTimeout(() => resolve('silence'), ms));
}

/** What a server says first; `open` if it accepts and waits, `silence` if not even that. */
function greeting(host: string, port: number, localAddress?: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }) });
    let seen = 'silence';
    const done = (text: string) => {
      resolve(text);
      socket.destroy();
    };
    socket.once('connect', () => (seen = 'open'));
    socket.once('data', (bytes) => done(bytes.toString()));
    socket.once('error', (error) => done(String((error as NodeJS.ErrnoException).code)));
    setTimeout(() => done(seen), 300);
  });
}
