/** Several clusters as one: each program is asked through its own cluster, once. Real clusters: test/kubernetes/doctor.kube.test.ts. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { groupsOf } from '../../../test/kit/manifests.ts';
import type { EdgeFacts } from '../../api/edge-facts.ts';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import type { KubernetesAccess } from './access.ts';
import { mergeAccesses } from './several-contexts.ts';

const GROUPS = groupsOf([1, 1]);
const PLAN = planGlobalCluster(GROUPS);

/** The access of one cluster, as far as merging looks at it; it notes what is asked through it. */
function accessOf(own: string, asked: string[]): KubernetesAccess {
  const target = (host: string, port: number) => ({ host, address: null, port });
  const access = {
    platform: 'kubernetes',
    groups: GROUPS.filter(({ metadata }) => metadata.name === own),
    plan: PLAN,
    nodes: ['leo', 'ait'].map((group) => ({
      name: `${group}-1`,
      group,
      agent: target(group === own ? `${group}-1` : `${group}-1.far`, 5480),
      postgres: target(`${group}-1`, 5432),
      absence: null,
      faults: [],
    })),
    // Pods of two clusters may have the same address.
    proxies: [
      {
        name: `${own}-proxy-1`,
        group: own,
        write: target(own, 5432),
        read: null,
        health: target(own, 8443),
        absence: null,
        faults: [],
      },
    ],
    vantage: {
      name: `${own}-1`,
      ask: async ({ target: { host } }: { target: { host: string } }) => {
        asked.push(`${own} asks ${host}`);
        return { status: 200, body: null };
      },
      examine: async (questions: readonly EdgeFacts[]) => questions.map((one) => ({ ...one, host: `through ${own}` })),
    },
    entries: [],
    balancers: [],
    ways: [
      {
        from: 'outside',
        places: {
          plan: PLAN,
          nodes: [],
          proxies: ['leo', 'ait'].map((group) => ({
            group,
            write: group === own ? `balancer of ${own}` : 'wrong',
            read: null,
          })),
        },
      },
    ],
    applicationPassword: async () => {
      if (own === 'leo') throw new Error('no right to read the Secret');
      return 'secret';
    },
    unanswered: [],
    stored: [],
  };
  // Only what is looked at.
  return access as unknown as KubernetesAccess;
}

suite('several contexts', () => {
  const asked: string[] = [];
  const merged = mergeAccesses(
    [accessOf('leo', asked), accessOf('ait', asked)],
    [{ place: 'context "pit"', why: 'gone' }],
  );

  test('have every node and proxy once, as its own cluster has it', () => {
    assert.deepEqual(merged.nodes.map(({ agent }) => agent.host).toSorted(), ['ait-1', 'leo-1']);
    assert.deepEqual(
      merged.proxies.map(({ name }) => name),
      ['leo-proxy-1', 'ait-proxy-1'],
    );
    assert.deepEqual(merged.unanswered, [{ place: 'context "pit"', why: 'gone' }]);
  });

  test('ask each program through a pod of its own cluster', async () => {
    for (const { agent } of merged.nodes) await merged.vantage.ask({ target: agent, path: '/v1/status', timeoutMs: 1 });
    assert.deepEqual(asked.toSorted(), ['ait asks ait-1', 'leo asks leo-1']);
    const questions = ['leo-1', 'ait-1', 'ait-proxy-1 write'].map(
      (target) => ({ purpose: 'client', target, host: target, address: null, port: 1 }) as const,
    );
    const found = await merged.vantage.examine(questions);
    assert.deepEqual(
      found.map(({ target, host }) => `${target} ${host}`),
      ['leo-1 through leo', 'ait-1 through ait', 'ait-proxy-1 write through ait'],
    );
  });

  test('lead clients to the load balancers of each, and take the password from where it may be read', async () => {
    const [way] = merged.ways;
    assert.deepEqual(
      way?.places.proxies.map(({ group, write }) => `${group}: ${write}`),
      ['leo: balancer of leo', 'ait: balancer of ait'],
    );
    assert.equal(await merged.applicationPassword(), 'secret');
  });
});
