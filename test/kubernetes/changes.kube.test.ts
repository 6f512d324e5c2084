/**
 * What happens to a group in its life, under writes that are all remembered: a setting that needs a restart, with the operator
 * killed again and again meanwhile; a new version of pgspan; nodes more and fewer; a preferred leader; a volume that is gone.
 * None may lose an acknowledged row, and each changes the leader once at most, but where the test is about that.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import { findMissingWrites, startWriter } from '../../src/platform/local/writer-process.ts';
import { needs } from '../kit/requirement.ts';
import { whole } from '../scenarios/runner.ts';
import { KubernetesCluster } from './kit/cluster.ts';
import { kubectl, PGSPAN_NEXT_IMAGE } from './kit/environment.ts';
import { threeNodes } from './kit/groups.ts';
import { freshNamespace, installPgspan, removeNamespace } from './kit/install.ts';

const NAMESPACE = 'pgspan-changes';
const WRITE_INTERVAL_MS = 50;
const CHANGE_LIMIT_MS = 240_000;
const OPERATOR_LIFE_MS = 1500;
/** Several looks of an operator that would switch back if it were to. */
const LEFT_ELSEWHERE_MS = 10_000;

const inNamespace = (...words: string[]) => kubectl(['-n', NAMESPACE, ...words]);

describe('changes of a running group', { ...needs('kubernetes', 'kubectl'), timeout: 1_500_000 }, () => {
  const cluster = new KubernetesCluster(NAMESPACE);

  before(async () => {
    await installPgspan();
    await freshNamespace(NAMESPACE);
    await cluster.apply(threeNodes());
    await whole(cluster, CHANGE_LIMIT_MS);
  });
  after(async () => {
    await installPgspan();
    await cluster.close();
    await removeNamespace(NAMESPACE);
  });

  test('a rolling restart ends well, however often the operator is killed meanwhile', async (t) => {
    const seen = await underWrites(async () => {
      await patch({ postgresql: { parameters: { max_connections: '130' } } });
      let kills = 0;
      while (!(await isDone())) {
        await kubectl([
          '-n',
          'pgspan-system',
          'delete',
          'pods',
          '-l',
          'app.kubernetes.io/name=pgspan-operator',
          '--force',
          '--grace-period=0',
        ]);
        kills++;
        await waitUntil('the next operator is ready', { timeoutMs: 60_000, intervalMs: 250 }, isOperatorReady);
        await delay(OPERATOR_LIFE_MS);
      }
      t.diagnostic(`the operator was killed ${kills} times`);
    });
    assert.ok(seen.terms <= 1, `the leader changed ${seen.terms} times`);
    const { nodes } = await cluster.status();
    assert.deepEqual(
      nodes.flatMap(({ pendingRestart }) => pendingRestart),
      [],
    );
  });

  test('a new version of pgspan replaces the agents one by one, and the leader once at most', async (t) => {
    const startedMs = performance.now();
    const seen = await underWrites(async () => {
      await installPgspan(PGSPAN_NEXT_IMAGE);
      await waitUntil(
        'all agents are of the new version',
        { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 500 },
        async () => {
          const images = await inNamespace(
            'get',
            'pods',
            '-l',
            'pgspan.io/workloadType=postgres',
            '-o',
            'jsonpath={.items[*].spec.initContainers[0].image}',
          );
          return images.trim() === Array(3).fill(PGSPAN_NEXT_IMAGE).join(' ') && (await isDone());
        },
      );
    });
    t.diagnostic(`${Math.round((performance.now() - startedMs) / 1000)} s, ${seen.terms} changes of leader`);
    assert.ok(seen.terms <= 1, `the leader changed ${seen.terms} times`);
  });

  test('four nodes, and three again', async () => {
    const seen = await underWrites(async () => {
      for (const count of [4, 3]) {
        await inNamespace('scale', 'postgresgroup/leo', `--replicas=${count}`);
        await waitUntil(`${count} nodes vote`, { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 250 }, async () => {
          const { nodes, members } = await cluster.status();
          return nodes.length === count && members.length === count;
        });
      }
      await waitUntil('the pod is gone', { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 500 }, async () => {
        return !(await inNamespace('get', 'pods', '-o', 'name')).includes('pod/leo-4-0');
      });
    });
    assert.ok(seen.terms <= 1, `the leader changed ${seen.terms} times`);
  });

  test('the lead goes to the preferred leader, back to it after its loss if wished, and else stays where it was put', async (t) => {
    const { leader, nodes } = await cluster.status();
    const others = nodes.flatMap(({ name }) => (name === leader ? [] : [name]));
    const [preferred, elsewhere] = others as [string, string];
    const prefer = (preferredLeader: object | null) => patch({ globalCluster: { preferredLeader } });
    const startedMs = performance.now();
    const tell = (what: string) => t.diagnostic(`${what}: ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    await underWrites(async () => {
      await prefer({ name: preferred });
      await leads(preferred);
      tell('switched over by manifest');
      await waitUntil('the status says so', { timeoutMs: 30_000, intervalMs: 250 }, async () =>
        (await preferredCondition()).startsWith('True Leads'),
      );
    });
    await underWrites(async () => {
      await prefer({ name: preferred, switchBack: 'WhenHealthy', after: '5s' });
      await waitUntil('the operator has seen it', { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 250 }, isDone);
      await inNamespace('delete', 'pod', `${preferred}-0`, '--grace-period=0', '--force', '--wait=false');
      await waitUntil('another leads', { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 100 }, async () => {
        const { leader: now, phase } = await cluster.status();
        return now !== preferred && phase === 'published';
      });
      tell('failed over');
      await leads(preferred);
      tell('switched back');
    });
    // By hand, elsewhere: what was done once is not done again.
    await prefer({ name: preferred, switchBack: 'Never', after: null });
    await waitUntil('the operator has seen it', { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 250 }, isDone);
    await cluster.switchover(elsewhere);
    await waitUntil('the status says so', { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 250 }, async () =>
      (await preferredCondition()).startsWith('False LeftElsewhere'),
    );
    await whole(cluster, CHANGE_LIMIT_MS);
    await delay(LEFT_ELSEWHERE_MS);
    assert.equal((await cluster.status()).leader, elsewhere);
    await prefer(null);
    await waitUntil('nothing is said any more', { timeoutMs: 30_000, intervalMs: 250 }, async () => {
      return (await preferredCondition()) === '';
    });
  });

  test('a standby whose volume is deleted copies the database anew and votes again', async () => {
    const { leader, nodes } = await cluster.status();
    const lost = nodes.find(({ name }) => name !== leader)?.name as string;
    const claim = `pvc/data-${lost}-0`;
    const uid = () => inNamespace('get', claim, '-o', 'jsonpath={.metadata.uid}');
    const before = await uid();
    await underWrites(async () => {
      await inNamespace('delete', claim, '--wait=false');
      await inNamespace('delete', 'pod', `${lost}-0`, '--grace-period=0', '--force');
      await waitUntil('it has a new volume', { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 500 }, async () => {
        const now = await uid().catch(() => before);
        return now !== before;
      });
    });
  });

  async function patch(spec: object): Promise<void> {
    await inNamespace('patch', 'postgresgroup/leo', '--type=merge', '-p', JSON.stringify({ spec }));
  }

  /** The operator has seen the present manifest, and there is nothing more to do. */
  async function isDone(): Promise<boolean> {
    const text = await inNamespace(
      'get',
      'postgresgroup/leo',
      '-o',
      'jsonpath={.metadata.generation} {.status.observedGeneration} {.status.reason}',
    );
    const [wanted, observed, reason] = text.trim().split(' ');
    return wanted === observed && reason === 'Healthy';
  }

  async function leads(node: string): Promise<void> {
    await waitUntil(`"${node}" leads`, { timeoutMs: CHANGE_LIMIT_MS, intervalMs: 250 }, async () => {
      const { leader, phase } = await cluster.status();
      return leader === node && phase === 'published';
    });
  }

  /** `True Leads`; empty: there is none. */
  async function preferredCondition(): Promise<string> {
    const path = '{range .status.conditions[?(@.type=="PreferredLeader")]}{.status} {.reason}{end}';
    return (await inNamespace('get', 'postgresgroup/leo', '-o', `jsonpath=${path}`)).trim();
  }

  async function isOperatorReady(): Promise<boolean> {
    const ready = await kubectl([
      '-n',
      'pgspan-system',
      'get',
      'deployment/pgspan-operator',
      '-o',
      'jsonpath={.status.readyReplicas}',
    ]);
    return Number(ready) > 0;
  }

  /** @returns how often the leader changed. Fails if an acknowledged row is missing at the end. */
  async function underWrites(change: () => Promise<void>): Promise<{ readonly terms: number }> {
    const before = await whole(cluster, CHANGE_LIMIT_MS);
    const writer = startWriter(await cluster.writeTarget('leo'), WRITE_INTERVAL_MS);
    try {
      await waitUntil('rows are written', { timeoutMs: 30_000 }, () =>
        writer.events.some(({ type }) => type === 'ack'),
      );
      await change();
      const after = await whole(cluster, CHANGE_LIMIT_MS);
      const { acknowledgedRanges } = await writer.stop();
      const { checked, missing } = await findMissingWrites(
        await cluster.nodeTarget(after.leader as string),
        acknowledgedRanges,
      );
      assert.ok(checked > 0, 'no row was acknowledged');
      assert.equal(missing, 0, `${missing} of ${checked} acknowledged rows are missing`);
      return { terms: (after.term as number) - (before.term as number) };
    } finally {
      writer.kill();
    }
  }
});
