/**
 * A whole local site through the command line, on real PostgreSQL: it comes up, every printed connection works, nothing of
 * it is open to others, it survives the death of all its processes and of the command that makes it, and leaves nothing.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { type ConnectionFlags, connectionSpec } from '../../src/cli/connection.ts';
import { formatUri } from '../../src/core/connection/formats.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { openLocalAccess } from '../../src/platform/local/access.ts';
import { listProcesses, signalProcess } from '../../src/platform/local/processes.ts';
import { openSite, passfile, processesOf } from '../../src/platform/local/site.ts';
import { readSiteState } from '../../src/platform/local/site-state.ts';
import { garbage, type Listener, SlowClients, throwAt } from '../kit/hostile-client.ts';
import { needs } from '../kit/requirement.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const MANIFEST = join(ROOT, 'examples/three-groups-local.yaml');
/** The machine may be busy with other tests. */
const READY_S = 180;
const run = promisify(execFile);
/** At each port. */
const SLOW_CLIENTS = 20;
/** The longest limit of ours is that of a proxy for the first bytes, 10 s. */
const SLOW_LIMIT_MS = 40_000;
const ONE_NODE = `
apiVersion: pgspan.io/v1alpha1
kind: PostgresGroup
metadata: { name: leo }
spec:
  instances: 1
  storage: { size: 1Gi }
  enableSuperuserAccess: true
  globalCluster: { name: other }
  connectivity: { dns: { domain: db.example.com } }
`;

function pgspan(...words: string[]) {
  return run(process.execPath, [join(ROOT, 'src/cli/main.ts'), ...words], { timeout: (READY_S + 30) * 1000, cwd: '/' });
}

describe('a local site', needs('postgres', 'psql', 'loopback'), () => {
  const base = mkdtempSync('/tmp/pgspan-site-');
  const folder = join(base, 'state');
  chmodSync(base, 0o711);
  mkdirSync(folder, { mode: 0o700 }); // as `mktemp -d` makes it: root's alone
  const inSite = (...words: string[]) => pgspan(...words, '--state', folder);
  const up = (...words: string[]) =>
    inSite('local', 'up', '--addresses', '127.63', '--timeout', String(READY_S), ...words);
  const status = async () => JSON.parse((await inSite('status', '-o', 'json')).stdout);

  before(async () => {
    await up('-f', MANIFEST);
  });
  after(async () => {
    await inSite('local', 'down');
    rmSync(base, { recursive: true, force: true });
  });

  test('is ready when `up` returns: one leader, all others follow and vote, every edge is well', async () => {
    const { leader, nodes, members, writeQuorum } = await status();
    assert.equal(leader, 'leo-1');
    assert.deepEqual(members.sort(), ['ait-1', 'leo-1', 'pit-1']);
    assert.equal(writeQuorum, 2);
    assert.deepEqual(nodes.map(({ role }: { role: string }) => role).sort(), ['follower', 'follower', 'leader']);
    const doctor = JSON.parse((await inSite('doctor', '-o', 'json')).stdout);
    assert.ok(doctor.ok, JSON.stringify(doctor.edges.filter(({ ok }: { ok: boolean }) => !ok)));
  });

  test('every printed connection works with psql as it is', async () => {
    const access = openLocalAccess(folder);
    const ask = async (group: string | null, flags: ConnectionFlags) => {
      const uri = formatUri(await connectionSpec(access, group, flags), flags);
      const query = 'select pg_is_in_recovery(), ssl from pg_stat_ssl where pid = pg_backend_pid()';
      return (await run('psql', [uri, '-XAtc', query])).stdout.trim();
    };
    const toLeader = [{}, { multiHost: true }, { byAddress: true }, { password: false }, { node: 'leo-1' }];
    for (const flags of toLeader) assert.equal(await ask(null, flags), 'f|t', JSON.stringify(flags));
    assert.equal(await ask('ait', {}), 'f|t');
    const toReader = [{ read: true }, { node: 'ait-1' }, { multiHost: true, read: true }];
    for (const flags of toReader) assert.equal(await ask(null, flags), 't|t', JSON.stringify(flags));
    const { stdout: uri } = await inSite('connection', 'pit', '--read');
    assert.equal((await run('psql', [uri.trim(), '-XAtc', 'select pg_is_in_recovery()'])).stdout.trim(), 't');
    const shell = `eval "$("$0" "$1" connection -o env --state "$2")" && exec psql -XAtc 'select 1'`;
    const { stdout } = await run('sh', ['-c', shell, process.execPath, join(ROOT, 'src/cli/main.ts'), folder]);
    assert.equal(stdout.trim(), '1');
    assert.equal((await inSite('psql', 'leo', '-XAtc', 'select 2')).stdout.trim(), '2');
  });

  test('every connection of its programs comes from an address of its own, so that a cut by address is whole', () => {
    const access = openLocalAccess(folder);
    const own = new Set(access.nodes.map(({ agent }) => agent.address));
    const pids = new Set(processesOf(openSite(folder)).map(({ pid }) => pid));
    const strangers = establishedConnections(pids).filter(
      // PostgreSQL dials its own agent's path from 127.0.0.1: that stays inside the node.
      ({ local, remote, remotePort }) => local === '127.0.0.1' && !(own.has(remote) && remotePort === 7441),
    );
    assert.deepEqual(strangers, []);
  });

  test('secrets are readable by their owner only, and stand in no argument and no environment', async () => {
    const password = await openLocalAccess(folder).applicationPassword();
    for (const path of filesUnder(folder)) {
      const text = statSync(path).size < 64 * 1024 ? readFileSync(path, 'latin1') : '';
      if (!text.includes(password) && !text.includes('PRIVATE KEY')) continue;
      assert.equal(statSync(path).mode & 0o077, 0, path);
    }
    for (const { pid } of processesOf(openSite(folder))) {
      for (const file of ['cmdline', 'environ']) {
        assert.ok(!readFileSync(`/proc/${pid}/${file}`, 'latin1').includes(password), `${file} of process ${pid}`);
      }
    }
  });

  test('garbage and clients that never finish, at every port that it listens on, leave it serving', async () => {
    const before = await status();
    const listeners = listenersOf(folder);
    const parts = new Set(listeners.map(({ part }) => part.replace(/^[^/]*-\d(?=\/|$)/, '*').replace(/\d$/, '*')));
    assert.ok(listeners.length >= 3 * (3 + 2) + 1, `${listeners.length} ports of ${[...parts].join(', ')}`);
    for (const bytes of garbage()) await Promise.all(listeners.map((listener) => throwAt(listener, bytes)));
    const slow = listeners.map((listener) => ({ listener, clients: new SlowClients(listener, SLOW_CLIENTS) }));
    try {
      for (const group of ['leo', 'ait', 'pit'])
        assert.equal(
          (await inSite('psql', group, '-XAtc', 'select 5')).stdout.trim(),
          '5',
          `through the proxies of ${group}`,
        );
      await inSite('psql', 'orders', '-Xqc', 'create table attacked as select 1; drop table attacked');
      // PostgreSQL has its own limit, a minute; behind the path is PostgreSQL.
      const ours = slow.filter(({ listener }) => !listener.part.endsWith('/postgres') && listener.port !== 7441);
      await waitUntil('all of them were ended', { timeoutMs: SLOW_LIMIT_MS, intervalMs: 100 }, () =>
        ours.every(({ clients }) => clients.openCount === 0),
      ).catch((error: Error) => {
        const open = ours.filter(({ clients }) => clients.openCount > 0);
        const names = open.map(({ listener, clients }) => `${clients.openCount} at ${listener.part} ${listener.port}`);
        throw new Error(`${error.message}: ${names.join(', ')}`);
      });
    } finally {
      for (const { clients } of slow) clients.end();
    }
    const after = await status();
    assert.deepEqual([after.leader, after.term, after.phase], [before.leader, before.term, 'published']);
    for (const { name, activity } of after.nodes)
      assert.ok(['leading', 'following'].includes(activity), `${name} is ${activity}`);
  });

  test('a second site beside it has addresses, processes and names of its own', async () => {
    const second = join(base, 'second');
    const oneNode = join(base, 'one-node.yaml');
    writeFileSync(oneNode, ONE_NODE);
    const beside = (...words: string[]) => pgspan(...words, '--state', second);
    await beside('local', 'up', '-f', oneNode, '--addresses', '127.63', '--timeout', String(READY_S));
    try {
      assert.notEqual(readSiteState(second)?.subnet, readSiteState(folder)?.subnet);
      assert.equal((await beside('psql', 'leo', '-XAtc', 'select 3')).stdout.trim(), '3');
      assert.equal(await asSuperuser(second), 'postgres|on', 'enableSuperuserAccess: true');
      await assert.rejects(asSuperuser(folder), /pg_hba.conf rejects|no pg_hba.conf entry/, 'false is the default');
      await beside('local', 'kill', 'leo');
      assert.equal((await inSite('psql', 'leo', '-XAtc', 'select 4')).stdout.trim(), '4');
    } finally {
      await beside('local', 'down');
    }
    assertNothingLeft(second, null);
  });

  /** Over the network, with the password that lies beside the application's. */
  async function asSuperuser(state: string): Promise<string> {
    const { nodes, trustBundle } = openLocalAccess(state);
    const [node] = nodes;
    const target = `host=${node?.name}.db.example.com hostaddr=${node?.postgres.address} dbname=postgres user=postgres`;
    const words = [`${target} sslmode=verify-full sslrootcert=${trustBundle}`, '-XAtwc'];
    const env = { ...process.env, PGPASSFILE: passfile(openSite(state)), PGPASSWORD: undefined };
    const query = "select current_user || '|' || current_setting('is_superuser')";
    return (await run('psql', [...words, query], { env })).stdout.trim();
  }

  test('`up` on a running site starts what is missing and nothing else', async () => {
    await inSite('local', 'kill', 'pit');
    const { stderr } = await up();
    assert.match(stderr, /^Started pit-1\/agent, pit-proxy-1\.$/m);
    assert.match((await up()).stderr, /^Everything runs already\.$/m);
  });

  test('after SIGKILL of every process `up` brings the same data back', async () => {
    await inSite('psql', 'orders', '-Xqc', 'create table kept as select generate_series(1, 1000) as n');
    for (const one of processesOf(openSite(folder))) signalProcess(one, 'SIGKILL');
    await waitUntil('all have ended', { timeoutMs: 10_000 }, () => processesOf(openSite(folder)).length === 0);
    await up();
    assert.equal((await inSite('psql', 'orders', '-XAtc', 'select count(*) from kept')).stdout.trim(), '1000');
    assert.deepEqual((await status()).members.sort(), ['ait-1', 'leo-1', 'pit-1']);
  });

  test('`down --keep-data` stops all processes, and `up` finds data, addresses and password again', async () => {
    const before = openLocalAccess(folder);
    await inSite('local', 'down', '--keep-data');
    assert.equal(processesOf(openSite(folder)).length, 0);
    await up();
    assert.equal((await inSite('psql', 'orders', '-XAtc', 'select count(*) from kept')).stdout.trim(), '1000');
    const after = openLocalAccess(folder);
    assert.deepEqual(
      after.nodes.map(({ postgres }) => postgres),
      before.nodes.map(({ postgres }) => postgres),
    );
    assert.equal(await after.applicationPassword(), await before.applicationPassword());
  });

  test('`down` leaves nothing of a site whose `up` was killed at any moment', async () => {
    const killed = join(base, 'killed');
    for (const moment of [
      'site.json',
      'nodes/leo-1/config.json',
      'nodes/leo-1/agent.log',
      'nodes/leo-1/volume/data/PG_VERSION',
    ]) {
      const command = startUp(killed);
      await waitUntil(`${moment} is there`, { timeoutMs: 60_000, intervalMs: 1 }, () =>
        existsSync(join(killed, moment)),
      );
      command.kill('SIGKILL');
      const siteId = readSiteState(killed)?.siteId ?? null;
      assert.ok(siteId, 'the site is known as soon as there is something of it');
      await pgspan('local', 'down', '--state', killed);
      assertNothingLeft(killed, siteId);
    }
  });

  test('what is no site is refused with what to do', async () => {
    const none = join(base, 'none');
    const wrong = join(base, 'wrong.yaml');
    writeFileSync(wrong, ONE_NODE.replace('instances: 1', 'instances: three').replace('domain: db', 'domian: db'));
    const refusals: [words: string[], code: number, text: RegExp][] = [
      [['local', 'up', '-f', wrong, '--state', none], 2, /spec.instances[\s\S]*domian[\s\S]*MANIFEST_INVALID/],
      [['local', 'up', '-f', MANIFEST, '--state', none, '--postgres-bin', base], 2, /POSTGRES_/],
      [['status', '--state', none], 3, /NO_SITE/],
      [['local', 'up', '--state', none], 3, /NO_SITE/],
      [['local', 'kill', 'leo-9', '--state', folder], 3, /TARGET_UNKNOWN/],
      [['connection', 'nix', '--state', folder], 3, /CONNECTION_UNKNOWN/],
      [['failover', '--accept-loss', '--state', folder], 4, /LEADER_ALIVE/],
      [['switchover', '--to', 'nix', '--state', folder], 4, /there is no such node/],
      [['local', 'up', '-f', MANIFEST, '--state', ROOT], 4, /STATE_FOLDER_FOREIGN/],
    ];
    for (const [words, code, text] of refusals) {
      const error = await pgspan(...words).catch((caught) => caught);
      assert.equal(error.code, code, words.join(' '));
      assert.match(error.stderr, text);
      assert.match(error.stderr, /What to do: /);
    }
    assert.ok(!existsSync(none), 'and leaves nothing behind');
  });

  test('an address that somebody has taken meanwhile is named with the process that holds it', async () => {
    await inSite('local', 'down', '--keep-data');
    const [node] = openSite(folder).state.nodes;
    const squatter = createServer().listen(5432, node?.address);
    await once(squatter, 'listening');
    try {
      const error = await up().catch((caught) => caught);
      assert.equal(error.code, 1);
      assert.match(error.stderr, new RegExp(`process ${process.pid}.*holds ${node?.address}:5432`));
      assert.match(error.stderr, /ADDRESS_HELD/);
    } finally {
      squatter.close();
    }
    await up();
  });

  function startUp(state: string): ChildProcess {
    const words = ['local', 'up', '-f', MANIFEST, '--state', state, '--addresses', '127.63'];
    return spawn(process.execPath, [join(ROOT, 'src/cli/main.ts'), ...words], { stdio: 'ignore' });
  }
});

function assertNothingLeft(folder: string, siteId: string | null): void {
  assert.ok(!existsSync(folder), 'the state folder');
  assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(folder), 'mounts');
  const left = listProcesses().filter(
    ({ marker, workingDirectory }) =>
      (siteId !== null && marker?.startsWith(`${siteId}/`)) || workingDirectory?.startsWith(folder),
  );
  assert.deepEqual(left, [], 'processes');
  if (siteId === null) return;
  for (const place of ['/run', '/tmp'])
    assert.ok(!readdirSync(place).includes(`pgspan-${siteId}`), `sockets in ${place}`);
}

/** Every TCP port that a process of the site listens on. */
function listenersOf(folder: string): (Listener & { readonly part: string })[] {
  const parts = new Map(
    processesOf(openSite(folder)).flatMap(({ pid, part }) => socketInodes(pid).map((inode) => [inode, part] as const)),
  );
  return tcpSockets()
    .filter(({ state, inode }) => state === '0A' && parts.has(inode))
    .map(({ local, localPort, inode }) => ({ address: local, port: localPort, part: parts.get(inode) as string }));
}

interface Connection {
  readonly local: string;
  readonly remote: string;
  readonly remotePort: number;
}

/** Established connections that these processes have opened or taken: /proc/PID/net is the same for all, so by inode. */
function establishedConnections(pids: ReadonlySet<number>): Connection[] {
  const inodes = new Set([...pids].flatMap(socketInodes));
  return tcpSockets().filter(({ state, inode }) => state === '01' && inodes.has(inode));
}

function tcpSockets(): (Connection & { localPort: number; state: string; inode: string })[] {
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .slice(1)
    .filter((line) => line.trim() !== '')
    .map((line) => line.trim().split(/\s+/))
    .map((fields) => {
      const [local, remote] = [decode(fields[1] ?? ''), decode(fields[2] ?? '')];
      return {
        local: local.address,
        localPort: local.port,
        remote: remote.address,
        remotePort: remote.port,
        state: fields[3] ?? '',
        inode: fields[9] ?? '',
      };
    });
}

function decode(text: string): { address: string; port: number } {
  const [hex = '', port = ''] = text.split(':');
  const bytes = (hex.match(/../g) ?? []).reverse().map((byte) => Number.parseInt(byte, 16));
  return { address: bytes.join('.'), port: Number.parseInt(port, 16) };
}

function socketInodes(pid: number): string[] {
  return orNothing(() => readdirSync(`/proc/${pid}/fd`)).flatMap((fd) => {
    const [link] = orNothing(() => [readlinkSync(`/proc/${pid}/fd/${fd}`)]);
    return /^socket:\[(\d+)\]$/.exec(link ?? '')?.[1] ?? [];
  });
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes('/volume'))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** What ends meanwhile is left out. */
function orNothing<T>(read: () => T[]): T[] {
  try {
    return read();
  } catch {
    return [];
  }
}
