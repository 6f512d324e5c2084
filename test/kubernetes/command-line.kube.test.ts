/** The command line against a kubeconfig, and each way to connect that docs/connecting.md describes. */
import assert from 'node:assert/strict';
import { execFile, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { waitUntil } from '../../src/base/wait-until.ts';
import { needs } from '../kit/requirement.ts';
import { isWhole, whole } from '../scenarios/runner.ts';
import { KubernetesCluster } from './kit/cluster.ts';
import { context, kubectl, POSTGRES_IMAGE } from './kit/environment.ts';
import { threeNodes } from './kit/groups.ts';
import { freshNamespace, inNamespace, installPgspan, pgspan, pgspanResult, removeNamespace } from './kit/install.ts';

const NAMESPACE = 'pgspan-command-line';
const run = promisify(execFile);
const QUESTION = 'select pg_is_in_recovery(), ssl from pg_stat_ssl where pid = pg_backend_pid()';
const hasPsql = spawnSync('psql', ['--version']).status === 0;

describe('the command line on Kubernetes', { ...needs('kubernetes', 'kubectl'), timeout: 900_000 }, () => {
  const cluster = new KubernetesCluster(NAMESPACE);
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-kube-cli-'));
  const inGroup = (...words: string[]) => pgspan([...words, ...inNamespace(NAMESPACE)]);

  before(async () => {
    await installPgspan();
    await freshNamespace(NAMESPACE);
    await cluster.apply(threeNodes());
    await whole(cluster, 300_000);
  });
  after(async () => {
    await cluster.close();
    rmSync(folder, { recursive: true, force: true });
    await removeNamespace(NAMESPACE);
  });

  test('`status` shows nodes and proxies, as text and as JSON', async () => {
    const text = await inGroup('status');
    assert.match(text, /^orders: leader leo-\d, term \d+, each write on 2 of 3 members$/m);
    assert.match(text, /^leo-3\s+leo\s+(following|leading)\s+yes/m);
    const status = JSON.parse(await inGroup('status', '-o', 'json'));
    assert.ok(isWhole(status));
    assert.equal(status.proxies.filter(({ isReady }: { isReady: boolean }) => isReady).length, 2);
  });

  test('KUBECONFIG, --kubeconfig and the namespace of a context are followed, as by kubectl', async () => {
    const file = join(folder, 'config');
    const config = parse(await kubectl(['config', 'view', '--raw', '--flatten', '--minify']));
    config.contexts[0].context.namespace = NAMESPACE;
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    assert.match(await pgspan(['status', '--kubeconfig', file]), /^orders: leader/);
    const byPlugin = { KUBECONFIG: file, PGSPAN_PLATFORM: 'kubernetes' };
    assert.match(await pgspan(['status'], byPlugin), /^orders: leader/);
  });

  test('`plan` without a file plans the groups that the namespace has', async () => {
    const plan = JSON.parse(await inGroup('plan', '-o', 'json'));
    assert.equal(plan.globalCluster, 'orders');
    assert.equal(plan.groups[0].nodes.length, 3);
  });

  test('`doctor` finds every edge well, from a pod and through the load balancers', async () => {
    const { ok, edges } = JSON.parse(await inGroup('doctor', '-o', 'json'));
    const failed = edges.filter((edge: { ok: boolean }) => !edge.ok);
    assert.ok(ok, JSON.stringify(failed));
    assert.ok(
      edges.some(({ from, to }: { from: string; to: string }) => from === 'here' && to.endsWith('load balancer')),
    );
    const isAgent = ({ purpose, to }: { purpose: string; to: string }) => purpose === 'agent' && to === 'leo-2';
    assert.ok(
      edges.some((edge: { from: string; purpose: string; to: string }) => edge.from === 'leo-1' && isAgent(edge)),
    );
  });

  test('`psql` works without a psql on this machine: in a pod', async () => {
    const words = ['psql', 'orders', '--via', 'exec', ...inNamespace(NAMESPACE), '-XAtc', QUESTION];
    // Nothing of this machine's PATH is needed for it.
    assert.equal((await pgspan(words, { PATH: '/nowhere' })).trim(), 'f|t');
    assert.equal((await inGroup('psql', 'leo', '--read', '--via', 'exec', '-XAtc', QUESTION)).trim(), 't|t');
    const failed = await pgspan([...words.slice(0, -1), 'select nonsense']).catch((error) => error);
    assert.equal(failed.code, 1, "psql's own exit code");
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, '../../src/cli/main.ts'), ...words.slice(0, -2), '-XAt'],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    child.stdin.end('select 40 + 2;\n');
    const lines: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) lines.push(line);
    assert.deepEqual(lines, ['42'], 'standard input reaches psql, and its end ends it');
  });

  test('`psql` uses the one of this machine, through a port-forward', { skip: !hasPsql && 'needs psql' }, async () => {
    assert.equal((await inGroup('psql', 'orders', '-XAtc', QUESTION)).trim(), 'f|t');
    assert.equal((await inGroup('psql', 'leo', '--read', '-XAtc', QUESTION)).trim(), 't|t');
    assert.equal((await inGroup('psql', 'leo-1', '-XAtc', "select current_setting('cluster_name')")).trim(), 'leo-1');
  });

  test('connects from outside through the load balancer', { skip: !hasPsql && 'needs psql' }, async () => {
    const balancer = await cluster.writeTarget('leo');
    const uri = (await inGroup('connection')).trim();
    assert.match(uri, new RegExp(`hostaddr=${balancer.hostaddr.replaceAll('.', '\\.')}`));
    assert.match(uri, /@orders\.db\.example\.com:5432.*sslmode=verify-full/);
    assert.equal((await run('psql', [uri, '-XAtc', QUESTION])).stdout.trim(), 'f|t');
    const read = (await inGroup('connection', '--read')).trim();
    assert.equal((await run('psql', [read, '-XAtc', QUESTION])).stdout.trim(), 't|t');
  });

  test('connects by the port-forward of kubectl', { skip: !hasPsql && 'needs psql' }, async () => {
    const child = spawn('kubectl', [
      '--context',
      context(),
      '-n',
      NAMESPACE,
      'port-forward',
      'service/orders',
      ':5432',
    ]);
    try {
      const port = await new Promise<string>((resolve, reject) => {
        child.once('exit', () => reject(new Error('kubectl port-forward ended')));
        createInterface({ input: child.stdout }).on('line', (line) => {
          const found = /127\.0\.0\.1:(\d+) ->/.exec(line)?.[1];
          if (found !== undefined) resolve(found);
        });
      });
      const ca = join(folder, 'ca.crt');
      writeFileSync(
        ca,
        await kubectl(['-n', NAMESPACE, 'get', 'configmap', 'leo-ca', '-o', 'jsonpath={.data.ca\\.crt}']),
      );
      const password = await secretValue('password');
      const conninfo = `host=orders hostaddr=127.0.0.1 port=${port} dbname=app user=app sslmode=verify-full sslrootcert=${ca}`;
      const { stdout } = await run('psql', [conninfo, '-XAtc', QUESTION], {
        env: { ...process.env, PGPASSWORD: password },
      });
      assert.equal(stdout.trim(), 'f|t');
    } finally {
      child.kill();
    }
  });

  test('connects from inside by each form that the Secret and `connection --from inside` give', async () => {
    const inside = (await inGroup('connection', '--from', 'inside')).trim();
    assert.match(inside, new RegExp(`@orders\\.${NAMESPACE}\\.svc:5432`));
    await kubectl(['-n', NAMESPACE, 'apply', '-f', '-'], clientPod());
    await kubectl(['-n', NAMESPACE, 'wait', '--for=condition=Ready', 'pod/client', '--timeout=60s']);
    const ask = async (uri: string) =>
      (await kubectl(['-n', NAMESPACE, 'exec', 'client', '--', 'psql', uri, '-XAtc', QUESTION])).trim();
    assert.equal(await ask(inside), 'f|t');
    assert.equal(await ask((await inGroup('connection', '--from', 'inside', '--read')).trim()), 't|t');
    assert.equal(await ask((await inGroup('connection', '--from', 'inside', '--multi-host')).trim()), 'f|t');
    const byAddress = await secretValue('uri');
    assert.match(byAddress, /@orders\.db\.example\.com:5432/);
  });

  test('`logs` tells agent and PostgreSQL of a node apart, and follows', async () => {
    const agent = await inGroup('logs', 'leo-1/agent', '--raw', '--lines', '200');
    assert.ok(
      agent
        .split('\n')
        .filter(Boolean)
        .every((line) => line.startsWith('{"level"')),
    );
    const postgres = await inGroup('logs', 'leo-1/postgres', '--lines', '400');
    assert.match(postgres, /LOG: {2}/);
    assert.ok(!postgres.includes('{"level"'));
    assert.match(await inGroup('logs', 'leo', '--lines', '1'), /leo-proxy-/);
    const words = ['logs', 'leo-1/postgres', '-f', '--lines', '0', ...inNamespace(NAMESPACE)];
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../src/cli/main.ts'), ...words]);
    try {
      const seen: string[] = [];
      createInterface({ input: child.stdout }).on('line', (line) => seen.push(line));
      await waitUntil('a new line arrives', { timeoutMs: 30_000, intervalMs: 1000 }, async () => {
        await inGroup('psql', 'leo-1', '--via', 'exec', '-XAtc', "do $$ begin raise log 'said on purpose'; end $$");
        return seen.some((line) => line.includes('said on purpose'));
      });
    } finally {
      child.kill();
    }
  });

  test('`switchover` moves the lead, and refuses what cannot be', async () => {
    const { leader } = await cluster.status();
    const to = leader === 'leo-2' ? 'leo-3' : 'leo-2';
    assert.match(await inGroup('switchover', '--to', to), new RegExp(`^${to} leads in term \\d+; ${leader} follows`));
    await whole(cluster, 60_000);
    const refused = await inGroup('switchover', '--to', 'leo-9').catch((error) => error);
    assert.equal(refused.code, 4);
    assert.match(refused.stderr, /What to do: /);
    const forced = await inGroup('failover', '--accept-loss').catch((error) => error);
    assert.match(forced.stderr, /LEADER_ALIVE/);
  });

  test('what is not there is refused with what to do', async () => {
    const words = ['status', '--context', context()];
    const refusals: [words: string[], code: number, text: RegExp][] = [
      [['status', '--context', 'nowhere'], 3, /KUBE_CONTEXT_UNKNOWN/],
      [[...words, '-n', 'default'], 3, /KUBE_NO_GROUPS/],
      [[...words, '-n', NAMESPACE, '--cluster', 'other'], 3, /GROUP_NOT_FOUND/],
      [[...words, '-n', NAMESPACE, '--state', '/x'], 2, /OPTION_INVALID/],
      [['logs', 'leo-9', ...inNamespace(NAMESPACE)], 3, /TARGET_UNKNOWN/],
    ];
    for (const [one, code, text] of refusals) {
      const error = await pgspanResult(one).then(
        () => assert.fail(one.join(' ')),
        (caught) => caught,
      );
      assert.equal(error.code, code, `${one.join(' ')}: ${error.stderr}`);
      assert.match(error.stderr, text);
      assert.match(error.stderr, /What to do: /);
    }
  });

  async function secretValue(key: string): Promise<string> {
    const words = ['-n', NAMESPACE, 'get', 'secret', 'leo-app', '-o', `jsonpath={.data.${key}}`];
    return Buffer.from(await kubectl(words), 'base64').toString('utf8');
  }
});

/** A pod that has what an application has: the Secret, where its URIs say that the CA is. */
function clientPod(): string {
  const text = readFileSync(join(import.meta.dirname, 'client-pod.yaml'), 'utf8');
  return text.replaceAll('postgres:18', POSTGRES_IMAGE);
}
