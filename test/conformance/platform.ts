/**
 * What a platform that runs groups must do, told by the command line and by its processes: the same for processes of one
 * machine (platform.test.ts) and for pods (platform.kube.test.ts). What must hold under faults is in test/scenarios.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isWhole, type ScenarioCluster, type SiteStatus, whole } from '../scenarios/runner.ts';

export interface TestedPlatform {
  readonly cluster: ScenarioCluster;
  /** `pgspan WORD...` on this cluster. @returns what it printed; rejects with its exit code and what it said. */
  pgspan(...words: string[]): Promise<string>;
  /** Arguments and environment of every process that runs for a node, as one text. */
  processTexts(node: string): Promise<string>;
  password(): Promise<string>;
}

const WHOLE_LIMIT_MS = 120_000;
const QUESTION = 'select pg_is_in_recovery(), ssl from pg_stat_ssl where pid = pg_backend_pid()';

/** Declares the tests. @param open the platform with a group `leo`, among others or alone, and read routing; called in each test. */
export function describePlatform(open: () => TestedPlatform): void {
  const statusOf = async ({ pgspan }: TestedPlatform) => JSON.parse(await pgspan('status', '-o', 'json')) as SiteStatus;

  test('one node leads, all others follow and vote', async () => {
    const platform = open();
    await whole(platform.cluster, WHOLE_LIMIT_MS);
    const status = await statusOf(platform);
    assert.ok(isWhole(status));
    const roles = status.nodes.map(({ role }) => role).sort();
    assert.deepEqual(roles, [...status.nodes.slice(1).map(() => 'follower'), 'leader']);
    assert.deepEqual([...status.members].sort(), status.nodes.map(({ name }) => name).sort());
  });

  test('every edge is well: name, reachability, handshake, certificate, login', async () => {
    const { ok, edges } = JSON.parse(await open().pgspan('doctor', '-o', 'json'));
    assert.ok(ok, JSON.stringify(edges.filter((edge: { ok: boolean }) => !edge.ok)));
    assert.ok(edges.length > 0);
  });

  test('the global name, a group, a read node and a node itself are reached over verified TLS', async () => {
    const platform = open();
    const { leader, nodes } = await statusOf(platform);
    const reader = nodes.find(({ name }) => name !== leader)?.name as string;
    const ask = async (...words: string[]) => (await platform.pgspan('psql', ...words, '-XAtc', QUESTION)).trim();
    assert.equal(await ask('orders'), 'f|t');
    assert.equal(await ask('leo'), 'f|t');
    assert.equal(await ask('orders', '--read'), 't|t');
    assert.equal(await ask(reader), 't|t');
    assert.equal(await ask(leader as string), 'f|t');
  });

  test('what the leader has committed is on every node', async () => {
    const platform = open();
    const { nodes } = await statusOf(platform);
    const count = 'select count(*) from conformance';
    await platform.pgspan(
      'psql',
      'orders',
      '-Xqc',
      'drop table if exists conformance; create table conformance as select generate_series(1, 500)',
    );
    await whole(platform.cluster, WHOLE_LIMIT_MS);
    for (const { name } of nodes) {
      // A read node may be a moment behind.
      let found = '';
      for (let look = 0; look < 20 && found !== '500'; look += 1)
        found = (await platform.pgspan('psql', name, '-XAtc', count).catch(() => '')).trim();
      assert.equal(found, '500', name);
    }
  });

  test('a switchover goes to the wished node, and timelines are one', async () => {
    const platform = open();
    const before = await statusOf(platform);
    const to = before.nodes.find(({ name }) => name !== before.leader)?.name as string;
    await platform.pgspan('switchover', '--to', to);
    const after = await whole(platform.cluster, WHOLE_LIMIT_MS);
    assert.equal(after.leader, to);
    assert.ok(after.term > before.term);
    assert.equal(new Set(after.nodes.map(({ timeline }) => timeline)).size, 1);
  });

  test('the password stands in no argument and no environment', async () => {
    const platform = open();
    const password = await platform.password();
    assert.ok(password.length >= 8);
    for (const { name } of (await statusOf(platform)).nodes) {
      const text = await platform.processTexts(name);
      assert.match(text, /postgres/, 'the processes are there');
      assert.ok(!text.includes(password), name);
    }
  });

  test('both programs of a node are heard, and told apart', async () => {
    const platform = open();
    assert.match(await platform.pgspan('logs', 'leo-1/agent', '--raw', '--lines', '50'), /^\{"level"/m);
    const postgres = await platform.pgspan('logs', 'leo-1/postgres', '--lines', '500');
    assert.match(postgres, /LOG: {2}/);
    assert.ok(!postgres.includes('{"level"'));
  });

  test('what cannot be is refused, with what to do', async () => {
    const platform = open();
    const refusals: [words: string[], code: number][] = [
      [['switchover', '--to', 'nix'], 4],
      [['failover', '--accept-loss'], 4],
      [['connection', 'nix'], 3],
      [['logs', 'nix'], 3],
    ];
    for (const [words, code] of refusals) {
      const error = await platform.pgspan(...words).then(
        () => assert.fail(words.join(' ')),
        (caught: Error & { code?: number; stderr?: string }) => caught,
      );
      assert.equal(error.code, code, `${words.join(' ')}: ${error.stderr}`);
      assert.match(error.stderr ?? '', /What to do: /);
    }
  });
}
