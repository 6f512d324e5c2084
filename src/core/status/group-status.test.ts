import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { groupsOf, postgresGroup } from '../../../test/kit/manifests.ts';
import type { NodeStatus } from '../../api/node-status.ts';
import { postgresGroupStatusSchema } from '../../api/postgres-group-status.ts';
import { applicationName } from '../leadership/quorum.ts';
import type { RollingDecision } from '../rolling/rolling-snapshot.ts';
import { planGlobalCluster } from '../topology/plan.ts';
import type { GroupPlan } from '../topology/plan-types.ts';
import { type NodeObservation, summarizeStatus } from './cluster-status.ts';
import { type GroupStatusInput, groupStatus, isSameStatus, standstillStatus } from './group-status.ts';
import { lagText } from './lag-text.ts';

const GROUP = postgresGroup({ spec: { instances: 3 } });
const PLAN = planGlobalCluster([GROUP]);
const [GROUP_PLAN] = PLAN.groups as [GroupPlan];
const NODES = ['leo-1', 'leo-2', 'leo-3'];
const incarnationOf = (node: string): string => `aaaaaaaaaa0${node.at(-1)}`;
const FINGERPRINT = 'ab'.repeat(32);

function genNode(node: string, change: Partial<NodeStatus> = {}): NodeStatus {
  const leads = node === 'leo-1';
  return {
    node,
    incarnation: incarnationOf(node),
    leaderView: { term: 3, version: 9, leader: 'leo-1', phase: 'published' },
    promisedTerm: 3,
    activity: leads ? 'leading' : 'following',
    reason: { code: leads ? 'Leading' : 'Following', message: leads ? 'Leading term 3' : 'Following "leo-1"' },
    acceptsReads: true,
    timeline: 3,
    flushLsn: '0/4000000',
    replayLsn: '0/4000000',
    lagBytes: 0,
    generation: 4,
    record: {
      format: 1,
      globalCluster: 'orders',
      systemIdentifier: '1',
      version: 9,
      term: 3,
      leader: 'leo-1',
      timeline: 3,
      members: NODES.map((name) => ({ node: name, incarnation: incarnationOf(name) })),
      writeQuorum: 2,
      switchover: null,
      paused: false,
    },
    isMember: true,
    progressPercent: null,
    pendingRestart: [],
    certificate: { notAfter: '2027-01-01T00:00:00.000Z', fingerprint: FINGERPRINT, caFingerprints: [] },
    peers: [],
    members: leads
      ? {
          standbys: ['leo-2', 'leo-3'].map((name) => ({
            applicationName: applicationName({ node: name, incarnation: incarnationOf(name) }),
            state: 'streaming',
          })),
        }
      : null,
    lastFailover: null,
    ...change,
  };
}

type Changes = Partial<Omit<GroupStatusInput, 'cluster' | 'observations'>> & {
  /** Null: it does not answer. */
  readonly nodes?: Readonly<Record<string, Partial<NodeStatus> | null>>;
};

const CONVERGED: RollingDecision = { kind: 'converged', reason: { code: 'Converged', message: 'all is done' } };

function statusOf({ nodes = {}, ...change }: Changes = {}) {
  const observations = NODES.map((name): NodeObservation => {
    const one = nodes[name];
    const answer =
      one === null
        ? ({ kind: 'silent', why: 'no answer within 1500 ms' } as const)
        : ({ kind: 'answered', status: genNode(name, one) } as const);
    return { name, group: 'leo', faults: [], answer };
  });
  const cluster = summarizeStatus({
    globalCluster: 'orders',
    nodes: observations,
    proxies: [],
    scope: 'global',
    minCopies: 2,
    memberTimeoutMs: 10_000,
  });
  return groupStatus({
    generation: 7,
    groupPlan: GROUP_PLAN,
    instances: 3,
    cluster,
    observations,
    pods: Object.fromEntries(NODES.map((name) => [name, { isReady: true, image: 'postgres:18', trouble: null }])),
    rolling: CONVERGED,
    fingerprints: Object.fromEntries(NODES.map((name) => [name, FINGERPRINT])),
    authorityExpiryMs: Date.parse('2036-01-01T00:00:00Z'),
    published: {},
    proxies: { instances: 2, ready: 2 },
    selector: 'pgspan.io/group=leo',
    previous: null,
    refusal: null,
    now: '2026-06-01T00:00:00.000Z',
    ...change,
  });
}

const conditionOf = (status: ReturnType<typeof statusOf>, type: string) =>
  status.conditions?.find((one) => one.type === type);

suite('the status of a group', () => {
  test('is healthy when all nodes serve, and of the form that the CRD has', () => {
    const status = statusOf();
    assert.equal(status.reason, 'Healthy');
    assert.equal(status.ready, '3/3');
    assert.equal(conditionOf(status, 'Ready')?.status, 'True');
    assert.equal(conditionOf(status, 'Degraded')?.status, 'False');
    assert.deepEqual(postgresGroupStatusSchema.parse(status), status);
  });

  test('tells of the preferred leader, and stays healthy while another one leads', () => {
    const reason = { code: 'LeftElsewhere', message: '"leo-1" leads since' };
    const status = statusOf({ preferred: { name: 'leo-2', hasLed: true, decision: { kind: 'left', reason } } });
    const condition = conditionOf(status, 'PreferredLeader');
    assert.deepEqual([condition?.status, condition?.reason], ['False', 'LeftElsewhere']);
    assert.deepEqual(status.preferredLeader, { name: 'leo-2', hasLed: true });
    assert.equal(status.reason, 'Healthy');
    assert.deepEqual(postgresGroupStatusSchema.parse(status), status);
    const leads = { kind: 'leads', reason: { code: 'Leads', message: '"leo-1" leads' } } as const;
    const preferred = { name: 'leo-1', hasLed: true, decision: leads };
    assert.equal(conditionOf(statusOf({ preferred }), 'PreferredLeader')?.status, 'True');
    assert.equal(conditionOf(statusOf(), 'PreferredLeader'), undefined);
  });

  test('is healthy when a node streams from a relay and does not vote, and not when the relay sends it nothing', () => {
    const standby = (node: string) => ({
      applicationName: applicationName({ node, incarnation: incarnationOf(node) }),
      state: 'streaming',
    });
    const behind = { isMember: false, shallVote: false, path: { node: 'leo-2' } };
    const nodes = (cascade: NodeStatus['cascade']) => ({
      'leo-1': { members: { standbys: [standby('leo-2')] } },
      'leo-2': { path: { node: 'leo-1' }, cascade },
      'leo-3': behind,
    });
    assert.equal(statusOf({ nodes: nodes([standby('leo-3')]) }).reason, 'Healthy');
    assert.equal(statusOf({ nodes: nodes([]) }).reason, 'StandbyNotStreaming');
    assert.equal(statusOf({ nodes: nodes(null) }).reason, 'StandbyNotStreaming');
  });

  test('remembers the leader and the last failover when nobody answers', () => {
    const failover = { term: 3, formerLeader: 'leo-2', reason: 'silence', suspectedAt: '2026-06-01T00:00:00.000Z' };
    const lastFailover = { ...failover, promisedMs: 20, swappedMs: 30, promotedMs: 90, publishedMs: 140, loss: null };
    const previous = statusOf({ nodes: { 'leo-1': { lastFailover } } });
    const silent = statusOf({ previous, nodes: { 'leo-1': null, 'leo-2': null, 'leo-3': null } });
    assert.deepEqual(
      [silent.reason, silent.leader, silent.term, silent.phase, silent.ready, silent.members],
      ['LeaderLost', 'leo-1', 3, 'lost', '0/3', NODES],
    );
    assert.equal(conditionOf(silent, 'Degraded')?.status, 'True');
    assert.deepEqual(silent.lastFailover, previous.lastFailover);
    assert.deepEqual(postgresGroupStatusSchema.parse(silent), silent);
  });

  const unwell: [title: string, change: Changes, reason: string, message: RegExp][] = [
    [
      'a standby follows and the leader sends it nothing',
      { nodes: { 'leo-1': { members: { standbys: [] } } } },
      'StandbyNotStreaming',
      /"leo-2" does not stream yet, and 1 more/,
    ],
    [
      'a standby only catches up',
      {
        nodes: {
          'leo-1': {
            members: {
              standbys: ['leo-2', 'leo-3'].map((node) => ({
                applicationName: applicationName({ node, incarnation: incarnationOf(node) }),
                state: node === 'leo-3' ? 'catchup' : 'streaming',
              })),
            },
          },
        },
      },
      'StandbyNotStreaming',
      /"leo-3" does not stream yet/,
    ],
    [
      'the sender serves an earlier life of a standby',
      { nodes: { 'leo-2': { incarnation: 'bbbbbbbbbbbb' } } },
      'StandbyNotStreaming',
      /"leo-2" does not stream yet/,
    ],
    ['a standby does not answer', { nodes: { 'leo-3': null } }, 'StandbyNotStreaming', /"leo-3" is unreachable/],
    [
      'a standby clones',
      { nodes: { 'leo-3': { activity: 'cloning', progressPercent: 40 } } },
      'StandbyNotStreaming',
      /"leo-3" is cloning/,
    ],
    ['a standby is no member yet', { nodes: { 'leo-2': { isMember: false } } }, 'NotAMember', /"leo-2"/],
    ['the leader does not answer', { nodes: { 'leo-1': null } }, 'LeaderLost', /"leo-1" does not answer/],
    [
      'a pod does not start',
      {
        pods: {
          'leo-1': { isReady: true, image: 'postgres:18', trouble: null },
          'leo-2': { isReady: true, image: 'postgres:18', trouble: null },
          'leo-3': { isReady: false, image: 'postgres:19', trouble: 'container "postgres" waits: ErrImagePull' },
        },
      },
      'PodTrouble',
      /"leo-3" does not start: container "postgres" waits: ErrImagePull/,
    ],
    ['a proxy is away', { proxies: { instances: 2, ready: 1 } }, 'ProxiesNotReady', /1 of 2 proxies/],
  ];
  for (const [title, change, reason, message] of unwell) {
    test(`is not healthy when ${title}`, () => {
      const status = statusOf(change);
      assert.equal(status.reason, reason);
      assert.match(status.message ?? '', message);
      assert.equal(conditionOf(status, 'Ready')?.status, 'False');
      assert.equal(conditionOf(status, 'Degraded')?.status, 'True');
    });
  }

  test('is ready while a rolling change waits, and says for what', () => {
    const reason = { code: 'QuorumAtRisk', message: 'without "leo-2" 1 of 3 members would be well, and 2 are needed' };
    const status = statusOf({ rolling: { kind: 'wait', node: 'leo-2', reason } });
    assert.equal(conditionOf(status, 'Ready')?.status, 'True');
    assert.equal(conditionOf(status, 'Progressing')?.reason, 'QuorumAtRisk');
    assert.equal(status.reason, 'QuorumAtRisk');
  });

  test('says which node has not loaded its certificate', () => {
    const status = statusOf({ fingerprints: { 'leo-1': FINGERPRINT, 'leo-2': 'cd'.repeat(32), 'leo-3': FINGERPRINT } });
    assert.equal(conditionOf(status, 'CertificatesReady')?.status, 'False');
    assert.match(conditionOf(status, 'CertificatesReady')?.message ?? '', /^"leo-2" has not/);
  });

  test('keeps the time of a condition that did not change', () => {
    const first = statusOf({ now: '2026-06-01T00:00:00.000Z' });
    const second = statusOf({ now: '2026-06-02T00:00:00.000Z', previous: first });
    assert.deepEqual(second.conditions, first.conditions);
    const third = statusOf({ now: '2026-06-03T00:00:00.000Z', previous: second, nodes: { 'leo-3': null } });
    assert.equal(conditionOf(third, 'Ready')?.lastTransitionTime, '2026-06-03T00:00:00.000Z');
  });

  test('is the same while only positions move, and another when the lag is a step larger', () => {
    const first = statusOf();
    assert.ok(
      isSameStatus(first, statusOf({ previous: first, nodes: { 'leo-2': { flushLsn: '0/5000000', lagBytes: 900 } } })),
    );
    assert.ok(!isSameStatus(first, statusOf({ previous: first, nodes: { 'leo-2': { lagBytes: 5_000_000 } } })));
    assert.ok(!isSameStatus(first, statusOf({ previous: first, nodes: { 'leo-2': null } })));
  });

  test('of a refused manifest says so beside how the earlier one goes on', () => {
    const refusal = { reason: 'Invalid', message: 'leo: spec.instances: found 40; accepted: at most 32' };
    const status = statusOf({ refusal, nodes: { 'leo-3': null } });
    assert.equal(status.reason, 'Invalid');
    assert.equal(conditionOf(status, 'ConfigurationAccepted')?.status, 'False');
    assert.equal(conditionOf(status, 'Ready')?.reason, 'StandbyNotStreaming');
  });

  test('says that nobody has looked, when nothing could be carried out', () => {
    const before = statusOf();
    const standstill = {
      condition: 'Progressing',
      generation: 8,
      reason: 'ObjectRefused',
      message: 'Cannot apply StatefulSet "leo-1"',
      now: '2026-06-02T00:00:00.000Z',
    } as const;
    const status = standstillStatus(standstill, before);
    assert.equal(conditionOf(status, 'Ready')?.status, 'Unknown');
    assert.equal(conditionOf(status, 'Progressing')?.reason, 'ObjectRefused');
    assert.equal(conditionOf(status, 'ConfigurationAccepted')?.status, 'True');
    assert.equal(status.leader, 'leo-1');
    assert.equal(conditionOf(standstillStatus(standstill, null), 'Ready')?.status, 'False');
    assert.deepEqual(postgresGroupStatusSchema.parse(status), status);
  });
});

test('a lag is told in steps', () => {
  const MIB = 1024 * 1024;
  const steps = [0, MIB - 1, MIB, 3 * MIB, 1000 * MIB, 1024 * MIB, 5000 * MIB].map(lagText);
  assert.deepEqual(steps, ['0', '0', '1 MiB', '2 MiB', '512 MiB', '1 GiB', '4 GiB']);
});

test('tells a leader that only this group does not reach from one that is lost', () => {
  const plan = planGlobalCluster(groupsOf([1, 1, 1]));
  const own = plan.groups.find(({ name }) => name === 'ait') as GroupPlan;
  const reasonWith = (pit: NodeObservation['answer']): string | undefined => {
    const observations: NodeObservation[] = [
      { name: 'leo-1', group: 'leo', faults: [], answer: { kind: 'silent', why: 'no answer within 1500 ms' } },
      { name: 'ait-1', group: 'ait', faults: [], answer: { kind: 'answered', status: genNode('ait-1') } },
      { name: 'pit-1', group: 'pit', faults: [], answer: pit },
    ];
    const cluster = summarizeStatus({
      globalCluster: 'orders',
      nodes: observations,
      proxies: [],
      scope: 'global',
      minCopies: 2,
      memberTimeoutMs: 10_000,
    });
    const status = groupStatus({
      generation: 7,
      groupPlan: own,
      instances: 1,
      cluster,
      observations,
      pods: {},
      rolling: CONVERGED,
      fingerprints: {},
      authorityExpiryMs: Date.parse('2036-01-01T00:00:00Z'),
      published: {},
      proxies: { instances: 1, ready: 1 },
      selector: 'pgspan.io/group=ait',
      previous: null,
      refusal: null,
      now: '2026-06-01T00:00:00.000Z',
    });
    return status.reason;
  };
  assert.equal(reasonWith({ kind: 'answered', status: genNode('pit-1') }), 'LeaderUnreachable');
  assert.equal(reasonWith({ kind: 'silent', why: 'no answer within 1500 ms' }), 'LeaderLost');
});
