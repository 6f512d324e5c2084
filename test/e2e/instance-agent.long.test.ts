/**
 * What an instance agent does when it, its PostgreSQL, its files or its disk are lost or wrong: on a real site, one fault after
 * the other, with a client that remembers every acknowledged write.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { PeerLink } from '../../src/agents/instance/peer-links.ts';
import type { NodeStatus } from '../../src/api/node-status.ts';
import { createReloadableTls } from '../../src/base/mutual-tls.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { listProcesses } from '../../src/platform/local/processes.ts';
import { nodeFolder, tlsFilesIn } from '../../src/platform/local/site.ts';
import { AgentSite, NODES, Writer } from '../kit/agent-site.ts';
import { needs } from '../kit/requirement.ts';

const NEEDED = needs('root', 'postgres', 'psql', 'mkfs.ext4', 'loopback');
/** Of preset `lan`. */
const FENCE_MS = 3000;
/** What a machine that is busy with other tests may add to any time. */
const MARGIN_MS = 6000;
/** Many times the fence. */
const AWAY_MS = 20_000;

describe('an instance agent', { ...NEEDED, timeout: Number(process.env.PGSPAN_E2E_LIMIT ?? 280_000) }, () => {
  let site: AgentSite;
  let writer: Writer;
  before(async () => {
    site = new AgentSite('127.66');
    await site.up();
    writer = new Writer(site, await site.whole());
    await writer.goesOn();
  });
  after(async () => {
    await writer?.stop();
    await site?.close();
  });

  /** Somebody leads, everybody votes, and nothing that was acknowledged is lost. */
  async function isWholeAgain(): Promise<{ leader: string; standby: string; other: string }> {
    const leader = await site.whole();
    await writer.goesOn();
    assert.deepEqual(writer.missingOn(leader), []);
    const [standby, other] = NODES.filter((node) => node !== leader) as [string, string];
    return { leader, standby, other };
  }

  test('that dies beside a standby is followed by one that adopts the running server', async () => {
    const { leader, standby } = await isWholeAgain();
    const before = site.postmasters(standby);
    assert.equal(before.length, 1);
    const term = (await site.status(leader))?.leaderView.term;
    for (const signal of ['SIGKILL', 'SIGUSR2'] as const) {
      await site.endAgent(standby, signal);
      assert.deepEqual(site.postmasters(standby), before, `${signal} leaves PostgreSQL running`);
      await site.startAgent(standby);
      await site.until(standby, 'follows', ({ activity }) => activity === 'following');
      assert.deepEqual(site.postmasters(standby), before, 'the same server, and no second one');
    }
    assert.equal((await site.status(leader))?.leaderView.term, term, 'nobody was elected');
  });

  test('that dies beside the leader is replaced by another; the watchdog stops its server, and it comes back as a standby', async () => {
    const { leader } = await isWholeAgain();
    const [postmaster] = site.postmasters(leader);
    const killedAtMs = performance.now();
    await site.kill(`${leader}/agent`);
    await waitUntil('another leads', { timeoutMs: 30_000 }, async () =>
      (await Promise.all(NODES.filter((node) => node !== leader).map((node) => site.leads(node)))).includes(true),
    );
    await waitUntil(
      `the watchdog has stopped process ${postmaster}`,
      { timeoutMs: FENCE_MS + MARGIN_MS },
      () => site.postmasters(leader).length === 0,
    );
    const stoppedMs = performance.now() - killedAtMs;
    assert.match(site.agentLog(leader), /watchdog: the agent is silent, stopping PostgreSQL/);
    assert.ok(stoppedMs < FENCE_MS + MARGIN_MS, `after ${stoppedMs} ms`);
    await site.up();
    const after = await isWholeAgain();
    assert.notEqual(after.leader, leader);
  });

  test('whose server stands still promises, but tells no position', async () => {
    const { standby, other } = await isWholeAgain();
    const { state } = site.site;
    const address = state.nodes.find(({ name }) => name === standby)?.address ?? null;
    const endpoint = { host: standby, address, port: state.ports.agent };
    const link = new PeerLink(
      { node: standby, group: standby.slice(0, -2), postgres: endpoint, agent: endpoint, priority: 1, votes: true },
      {
        globalCluster: state.globalCluster,
        credentials: await createReloadableTls(tlsFilesIn(nodeFolder(site.site, other))),
        sourceAddress: null,
        events: { onState: () => {}, onBeat: () => null, onLink: () => {} },
      },
    );
    await site.freeze(`${standby}/postgres`);
    try {
      await waitUntil('the agent is reached', { timeoutMs: 10_000 }, () => link.view.isConnected);
      const term = (link.view.state?.promisedTerm ?? 0) + 5;
      const { promise } = await link.request({ method: 'promise', term }, 20_000);
      assert.deepEqual([promise?.granted, promise?.term, promise?.position], [true, term, null]);
      assert.equal(site.voter(standby).promisedTerm, term, 'it is on the disk before it is told');
    } finally {
      await site.thaw(`${standby}/postgres`);
      link.close();
    }
    await isWholeAgain();
  });

  test('that finds its data directory gone copies the database anew, as another incarnation', async () => {
    const { standby } = await isWholeAgain();
    const before = site.voter(standby);
    await site.kill(standby);
    rmSync(site.dataDirectory(standby), { recursive: true });
    await site.startAgent(standby);
    const after = await site.until(standby, 'follows and votes', isSettled);
    assert.notEqual(site.voter(standby).incarnation, before.incarnation);
    const members = after.record?.members.filter(({ node }) => node === standby);
    assert.deepEqual(
      members,
      [{ node: standby, incarnation: site.voter(standby).incarnation }],
      'its old life is gone',
    );
    await isWholeAgain();
  });

  test('whose data directory is removed under its running server does the same', async () => {
    const { standby } = await isWholeAgain();
    const before = site.voter(standby);
    rmSync(site.dataDirectory(standby), { recursive: true });
    await site.kill(`${standby}/postgres`);
    await site.until(
      standby,
      'follows and votes',
      (status) => isSettled(status) && site.voter(standby).incarnation !== before.incarnation,
    );
    await isWholeAgain();
  });

  test('that lost its promise file stops the server that it finds, and copies the database anew', async () => {
    const { standby } = await isWholeAgain();
    const before = site.voter(standby);
    await site.endAgent(standby, 'SIGKILL');
    rmSync(site.voterFile(standby));
    await site.startAgent(standby);
    await site.until(
      standby,
      'follows and votes',
      (status) => isSettled(status) && site.voter(standby).incarnation !== before.incarnation,
    );
    const log = site.agentLog(standby);
    assert.ok(log.lastIndexOf('DataUnknown') > log.lastIndexOf('adopted the running PostgreSQL'));
    assert.ok(log.lastIndexOf('"reason":"Clone"') > log.lastIndexOf('DataUnknown'));
    await isWholeAgain();
  });

  test('that finds the data of another database, or of another version, touches nothing and says what to do', async () => {
    const { standby } = await isWholeAgain();
    const data = site.dataDirectory(standby);
    const incarnation = site.voter(standby).incarnation;
    await site.kill(standby);
    renameSync(data, `${data}.ours`);
    site.runAsOwner(['initdb', '-D', data, '-U', 'postgres', '--no-sync']);
    const foreign = fingerprint(data);
    await site.startAgent(standby);
    const blocked = await site.until(standby, 'is blocked', ({ activity }) => activity === 'blocked');
    assert.equal(blocked.reason.code, 'SystemIdentifierMismatch');
    assert.match(blocked.reason.message, /belongs to another database; give this node an empty volume/);
    await site.kill(standby);
    assert.deepEqual(fingerprint(data), foreign);

    rmSync(data, { recursive: true });
    renameSync(`${data}.ours`, data);
    const version = readFileSync(join(data, 'PG_VERSION'), 'utf8');
    site.write(join(data, 'PG_VERSION'), '14\n');
    const old = fingerprint(data);
    await site.startAgent(standby);
    const refused = await site.until(standby, 'is blocked', ({ activity }) => activity === 'blocked');
    assert.equal(refused.reason.code, 'DataVersionMismatch');
    assert.match(
      refused.reason.message,
      /is of PostgreSQL 14, the programs in ".*" are of \d+: nothing was touched; run it with PostgreSQL 14/,
    );
    assert.deepEqual(fingerprint(data), old);

    // The agent sees for itself that it was put right.
    site.write(join(data, 'PG_VERSION'), version);
    await site.until(standby, 'follows and votes', isSettled);
    assert.equal(site.voter(standby).incarnation, incarnation);
    await isWholeAgain();
  });

  test('that dies in the middle of a rewind never starts what is half done', async () => {
    const { leader } = await isWholeAgain();
    const { bin, marker } = site.binWithRewindThatDies(leader);
    // Both are gone, so its server stays and writes what nobody has.
    await site.kill(`${leader}/watchdog`);
    await site.kill(`${leader}/agent`);
    await waitUntil('another leads', { timeoutMs: 30_000 }, async () =>
      (await Promise.all(NODES.filter((node) => node !== leader).map((node) => site.leads(node)))).includes(true),
    );
    site.superuser(
      leader,
      'set synchronous_commit = local; create table diverged as select generate_series(1, 1000) as n',
    );
    await site.kill(leader);
    const postgresBin = site.config(leader).paths.postgresBin;
    site.configure(leader, (config) => ({ ...config, paths: { ...config.paths, postgresBin: bin } }));
    await site.startAgent(leader);
    await waitUntil('pg_rewind has died half way', { timeoutMs: 60_000 }, () => existsSync(marker));
    const logged = site.postgresLog(leader).length;
    await site.kill(leader);
    assert.equal(site.voter(leader).rewinding, true);
    await site.startAgent(leader);
    await site.until(leader, 'follows and votes', isSettled);
    const agentLog = site.agentLog(leader);
    const isRewound = agentLog.lastIndexOf('"msg":"rewound"') > agentLog.lastIndexOf('"msg":"agent runs"');
    const isCopied = agentLog.lastIndexOf('"msg":"copied the database"') > agentLog.lastIndexOf('"msg":"agent runs"');
    assert.ok(isRewound || isCopied);
    assert.equal(
      (
        site
          .postgresLog(leader)
          .slice(logged)
          .match(/starting PostgreSQL/g) ?? []
      ).length,
      1,
    );
    assert.equal(site.superuser(leader, `select to_regclass('diverged') is null`), 't');
    site.configure(leader, (config) => ({ ...config, paths: { ...config.paths, postgresBin } }));
    await isWholeAgain();
  });

  test('whose disk is full says so; another leads, nothing is lost, and it comes back when there is room', async () => {
    const { leader } = await isWholeAgain();
    site.fillDisk(leader);
    await waitUntil('another leads', { timeoutMs: 60_000 }, async () =>
      (await Promise.all(NODES.filter((node) => node !== leader).map((node) => site.leads(node)))).includes(true),
    );
    const full = await site.until(leader, 'says that its disk is full', ({ reason }) => reason.code === 'DiskFull');
    assert.match(full.reason.message, /The volume of ".*" is full: 0 MiB are left.*enlarge it, or make room/);
    assert.notEqual(
      full.leaderView.leader,
      leader,
      'it knows that it was replaced, although it cannot write that down',
    );
    assert.ok(!full.acceptsReads || full.activity !== 'leading');
    await writer.goesOn();
    assert.equal(site.processes(`${leader}/agent`).length, 1, 'the agent itself has survived');
    site.heal();
    const after = await isWholeAgain();
    assert.notEqual(after.leader, leader);
  });

  test('takes settings and certificates by reload while the record is away, and restarts when it is told to', async () => {
    const { leader, standby, other } = await isWholeAgain();
    const marks = new Map(NODES.map((node) => [node, site.agentLog(node).length]));
    const required = site.superuser(leader, 'show synchronous_standby_names');
    assert.notEqual(required, '');
    await site.kill('record');
    const awayAtMs = performance.now();
    writer.mark();

    for (const node of NODES)
      site.configure(node, (config) => {
        const parameters = { ...config.postgresql.parameters, work_mem: '7MB', max_connections: '123' };
        return { ...config, postgresql: { ...config.postgresql, parameters } };
      });
    // A leader whose agent has just been replaced must not relax what the one before it required.
    await site.endAgent(leader, 'SIGUSR2');
    await site.startAgent(leader);
    for (const node of NODES) {
      site.signalAgent(node, 'SIGHUP');
      await site.until(node, 'waits for a restart', ({ pendingRestart }) => pendingRestart.includes('max_connections'));
      assert.equal(site.superuser(node, 'show work_mem'), '7MB');
      assert.notEqual(site.superuser(node, 'show max_connections'), '123');
    }
    assert.equal(site.superuser(leader, 'show synchronous_standby_names'), required);

    await waitUntil(
      'the record was away for 20 s',
      { timeoutMs: 30_000 },
      () => performance.now() - awayAtMs > AWAY_MS,
    );
    await writer.goesOn();
    assert.ok(writer.longestGapMs < FENCE_MS, `writes stood still for ${writer.longestGapMs} ms`);
    for (const [node, mark] of marks) assert.doesNotMatch(site.agentLog(node).slice(mark), /"msg":"fence"/, node);
    assert.ok(await site.leads(leader));
    await site.startRecord();

    assert.equal((await site.ask(standby, 'POST', '/v1/restart')).status, 200);
    await site.until(standby, 'has restarted', (status) => isSettled(status) && status.pendingRestart.length === 0);
    assert.equal(site.superuser(standby, 'show max_connections'), '123');
    assert.ok(await site.leads(leader));
    assert.equal((await site.ask(leader, 'POST', '/v1/restart')).status, 200);
    await site.until(
      leader,
      'has handed over and restarted',
      (status) => status.activity === 'following' && status.pendingRestart.length === 0,
    );
    await site.ask(other, 'POST', '/v1/restart');
    await isWholeAgain();
  });

  test('takes renewed certificates by reload, without dropping a connection', async () => {
    const { leader } = await isWholeAgain();
    const session = await site.connect(leader);
    const before = new Map<string, string | undefined>();
    const marks = new Map<string, number>();
    const backend = (await session.query('select pg_backend_pid() as pid')).rows[0].pid;
    const senders = site.superuser(leader, 'select pid from pg_stat_replication order by 1');
    for (const node of NODES) {
      before.set(node, (await site.status(node))?.certificate.fingerprint);
      marks.set(node, site.agentLog(node).length);
      for (const name of ['tls.crt', 'replication.crt']) rmSync(join(site.tlsFolder(node), name));
    }
    await site.up();
    for (const node of NODES)
      await site.until(
        node,
        'has its new certificate',
        ({ certificate }) => certificate.fingerprint !== before.get(node),
      );
    const served = await waitUntil('PostgreSQL shows its new certificate', { timeoutMs: 20_000 }, async () => {
      const client = await site.connect(leader);
      const fingerprint = site.certificateOf(client);
      await client.end();
      return fingerprint === before.get(leader) ? null : fingerprint;
    });
    assert.equal(served, (await site.status(leader))?.certificate.fingerprint);
    assert.equal((await session.query('select pg_backend_pid() as pid')).rows[0].pid, backend);
    assert.equal(
      site.superuser(leader, 'select pid from pg_stat_replication order by 1'),
      senders,
      'the receivers stayed',
    );
    for (const [node, mark] of marks) assert.doesNotMatch(site.agentLog(node).slice(mark), /peer not reached/, node);
    await session.end();
    await isWholeAgain();
  });

  test('with an expired certificate, or one of a foreign CA, is refused in words that help, and the others go on', async () => {
    const { leader, standby, other } = await isWholeAgain();
    const keep = new Map(
      ['tls.crt', 'tls.key'].map((name) => [name, readFileSync(join(site.tlsFolder(standby), name), 'utf8')]),
    );
    const wrong = {
      expired: {
        words: /its certificate, or the CA that signed it, has expired/,
        own: /it answered 403: .*has expired; renew it/,
      },
      foreign: {
        words: /signed by none of the CAs in the trust bundle/,
        own: /it answered 403: .*not signed by a CA of our trust bundle/,
      },
    };
    for (const [kind, { words, own }] of Object.entries(wrong)) {
      await site.issueWrongCertificate(standby, kind as keyof typeof wrong);
      await site.endAgent(standby, 'SIGUSR2');
      await site.launchAgent(standby);
      await site.until(leader, `says why ${standby} is not trusted`, ({ peers }) =>
        words.test(peers.find(({ node }) => node === standby)?.lastError ?? ''),
      );
      const tail = await waitUntil(`${standby} is told why`, { timeoutMs: 20_000 }, () => {
        const log = site.agentLog(standby);
        const since = log.slice(log.lastIndexOf('"msg":"agent runs"'));
        return own.test(since) ? since : null;
      });
      assert.match(tail, /"msg":"peer not reached"/);
      await writer.goesOn();
      assert.ok((await site.status(other))?.peers.some(({ node, isConnected }) => node === leader && isConnected));
    }
    for (const [name, text] of keep) site.write(join(site.tlsFolder(standby), name), text);
    site.signalAgent(standby, 'SIGHUP');
    await isWholeAgain();
  });

  test('tells no password and no key to anybody: not in arguments, nor in logs, nor in files that others can read', async () => {
    const password = site.applicationPassword();
    for (const { pid, argv } of listProcesses()) assert.ok(!argv.join(' ').includes(password), `process ${pid}`);
    for (const path of [...filesUnder(site.folder), ...filesUnder(site.site.state.runtimeDirectory)]) {
      const isLog = path.endsWith('.log');
      const { mode, size } = statSync(path);
      if (!isLog && ((mode & 0o077) === 0 || size > 64 * 1024 * 1024)) continue;
      const bytes = readFileSync(path);
      assert.ok(!bytes.includes(password), path);
      assert.ok(!bytes.includes('PRIVATE KEY'), path);
    }
  });
});

const isSettled = ({ activity, isMember }: NodeStatus): boolean =>
  isMember && (activity === 'leading' || activity === 'following');

/** What is in the places that a start, a clone or a rewind would change first. */
function fingerprint(data: string): Record<string, string> {
  const files = ['PG_VERSION', 'global/pg_control', 'postgresql.auto.conf'].map((name) => join(data, name));
  const listing = readdirSync(data).sort().join();
  return Object.fromEntries([
    ['', listing],
    ...files.map((path) => [path, createHash('sha256').update(readFileSync(path)).digest('hex')]),
  ]);
}

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
