/**
 * The preferred leader on real processes: three groups of one node, and of each group's operator the part that looks at the
 * preferred leader and orders the switchover. Whoever leads, and however often that changes, no acknowledged write is lost.
 * The whole operator does it in test/kubernetes/changes.kube.test.ts.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import type { PostgresGroupStatus } from '../../src/api/postgres-group-status.ts';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import { summarizeStatus } from '../../src/core/status/cluster-status.ts';
import { planNodesOf } from '../../src/core/topology/plan.ts';
import { GroupSession } from '../../src/operator/group-session.ts';
import type { OperatorContext } from '../../src/operator/operator-context.ts';
import { handOverToPreferred, lookAtPreferredLeader, type PreferredLook } from '../../src/operator/preferred-leader.ts';
import type { KubeObject } from '../../src/platform/kubernetes/kube-object.ts';
import { openLocalAccess } from '../../src/platform/local/access.ts';
import { AgentSite, NODES, Writer } from '../kit/agent-site.ts';
import { postgresGroup } from '../kit/manifests.ts';
import { needs } from '../kit/requirement.ts';

const GROUPS = ['leo', 'ait', 'pit'];
/** The machine may be busy with other tests. */
const LIMIT_MS = 120_000;
const ROUND_MS = 300;
/** Many looks of operators that would switch back if they were to. */
const LEFT_ELSEWHERE_MS = 6000;
/** Of the context, what an order uses. */
const CONTEXT = { log: pino({ level: 'silent' }), events: { say: () => {} } } as unknown as OperatorContext;

/** Of the operator of one group. */
class PreferredOperator {
  readonly group: string;
  readonly #site: AgentSite;
  readonly #session = new GroupSession({ uid: '7', globalCluster: 'agents', onChange: () => {} });
  /** Kept as the status is: a new operator would read it. */
  #status: PostgresGroupStatus | null = null;
  orders = 0;

  constructor(site: AgentSite, group: string) {
    this.#site = site;
    this.group = group;
  }

  /** One look, and what follows from it. */
  async look(preferredLeader: Readonly<Record<string, unknown>>): Promise<PreferredLook | null> {
    const { plan, nodes, credentials } = openLocalAccess(this.#site.folder);
    const places = planNodesOf(plan).flatMap(({ name, group }) => {
      const agent = nodes.find((one) => one.name === name)?.agent;
      return agent === undefined ? [] : [{ node: name, group, ...agent, address: agent.address ?? null }];
    });
    const [cert, key, ca] = [credentials.certFile, credentials.keyFile, credentials.caFile].map((file) =>
      readFileSync(file, 'utf8'),
    ) as [string, string, string];
    await this.#session.agents.follow(places, { cert, key, ca });
    const observations = await this.#session.agents.observe();
    const { minCopies, scope } = plan.replication;
    const { memberTimeoutMs } = plan.timing;
    const look = lookAtPreferredLeader(this.#session, {
      groups: [postgresGroup({ name: 'ait', spec: { globalCluster: { preferredLeader } } })],
      plan,
      group: this.group,
      cluster: summarizeStatus({
        globalCluster: 'agents',
        nodes: observations,
        proxies: [],
        minCopies,
        memberTimeoutMs,
        scope,
      }),
      observations,
      rolling: { kind: 'converged', reason: { code: 'Converged', message: 'nothing is to be changed' } },
      previous: this.#status,
    });
    if (look === null) return null;
    this.#status = { preferredLeader: { name: look.name, hasLed: look.hasLed } };
    if (look.decision.kind === 'switch-over') this.orders += 1;
    const object = { kind: 'PostgresGroup', metadata: { name: this.group, namespace: 'default' } } as KubeObject;
    await handOverToPreferred(CONTEXT, this.#session, object, look);
    return look;
  }

  close(): void {
    this.#session.close();
  }
}

describe('the preferred leader', {
  ...needs('root', 'postgres', 'psql', 'nft', 'mkfs.ext4', 'loopback'),
  timeout: 600_000,
}, () => {
  let site: AgentSite;
  let writer: Writer;
  let operators: readonly PreferredOperator[] = [];
  before(async () => {
    site = new AgentSite('127.78');
    await site.up();
    await site.whole();
    operators = GROUPS.map((group) => new PreferredOperator(site, group));
    writer = new Writer(site, await site.whole());
  });
  after(async () => {
    for (const operator of operators) operator.close();
    await writer?.stop();
    await site?.close();
  });

  const orders = () => operators.reduce((sum, one) => sum + one.orders, 0);

  /** All operators look once. @returns the reasons of their decisions, one for each group */
  async function round(preferred: Readonly<Record<string, unknown>>): Promise<string[]> {
    const looks = [];
    for (const operator of operators) looks.push(await operator.look(preferred));
    return looks.map((look) => look?.decision.reason.code ?? 'none');
  }

  /** Rounds until the node leads, and every operator has seen it. @returns the reasons seen, each once */
  async function untilLeads(node: string, preferred: Readonly<Record<string, unknown>>): Promise<Set<string>> {
    const seen = new Set<string>();
    await waitUntil(`"${node}" leads`, { timeoutMs: LIMIT_MS, intervalMs: ROUND_MS }, async () => {
      const codes = await round(preferred);
      for (const code of codes) seen.add(code);
      return codes.every((code) => code === 'Leads') && (await site.leads(node));
    }).catch((error: Error) => {
      throw new Error(`${error.message}; the operators said ${[...seen].join(', ')}`, { cause: error });
    });
    return seen;
  }

  async function nothingMissing(): Promise<void> {
    await site.whole();
    await writer.goesOn();
    for (const node of NODES)
      await waitUntil(
        `${node} has every acknowledged write`,
        { timeoutMs: 60_000 },
        () => writer.missingOn(node).length === 0,
      );
  }

  test('takes the lead once it is named, in another group than the one that leads', async () => {
    const from = await site.whole();
    const to = from === 'ait-1' ? 'pit-1' : 'ait-1';
    const seen = await untilLeads(to, { name: to.replace('-1', '') });
    assert.ok(seen.has('HandingOver'), [...seen].join());
    assert.deepEqual(
      operators.filter((one) => one.orders === 1).map(({ group }) => `${group}-1`),
      [from],
    );
    assert.equal(orders(), 1);
    await nothingMissing();
  });

  test('is lost: whoever took over is left with Never, and hands over again with WhenHealthy', async () => {
    const preferred = await site.whole();
    const never = { name: preferred };
    await untilLeads(preferred, never);
    const before = orders();
    await site.kill(preferred);
    const others = NODES.filter((node) => node !== preferred);
    await waitUntil('another leads', { timeoutMs: LIMIT_MS, intervalMs: ROUND_MS }, async () => {
      await round(never);
      return (await site.leads(others[0] as string)) || (await site.leads(others[1] as string));
    });
    await site.up();
    const heir = await site.whole();
    assert.notEqual(heir, preferred);
    const deadline = performance.now() + LEFT_ELSEWHERE_MS;
    while (performance.now() < deadline) {
      assert.deepEqual(
        await round(never),
        GROUPS.map(() => 'LeftElsewhere'),
      );
      await delay(ROUND_MS);
    }
    assert.ok(await site.leads(heir));
    assert.equal(orders(), before);
    await nothingMissing();

    const back = { ...never, switchBack: 'WhenHealthy', after: '3s' };
    const seen = await untilLeads(preferred, back);
    assert.ok(seen.has('HandingOver'), [...seen].join());
    assert.equal(orders(), before + 1);
    await nothingMissing();
  });
});
