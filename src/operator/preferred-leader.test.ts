/** What is remembered between two looks, and what becomes of an order that fails. Which decision is taken when: core/rolling. */
import assert from 'node:assert/strict';
import { afterEach, beforeEach, suite, test } from 'node:test';
import { pino } from 'pino';
import { groupsOf } from '../../test/kit/manifests.ts';
import type { NodeStatus } from '../api/node-status.ts';
import { applicationName } from '../core/leadership/quorum.ts';
import { type NodeObservation, summarizeStatus } from '../core/status/cluster-status.ts';
import { planGlobalCluster } from '../core/topology/plan.ts';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';
import type { GroupEvent } from './events.ts';
import { GroupSession } from './group-session.ts';
import type { OperatorContext } from './operator-context.ts';
import {
  handOverToPreferred,
  lookAtPreferredLeader,
  type PreferredFacts,
  preferredLookMs,
} from './preferred-leader.ts';

const NODES = ['leo-1', 'leo-2', 'leo-3'];
const OBJECT = { kind: 'PostgresGroup', metadata: { name: 'leo', namespace: 'shop', uid: '7' } } as KubeObject;
const said: GroupEvent[] = [];
/** Of the context, what an order uses. */
const CONTEXT = {
  log: pino({ level: 'silent' }),
  events: { say: (_object: KubeObject, event: GroupEvent) => said.push(event) },
} as unknown as OperatorContext;

let session: GroupSession;
beforeEach(() => {
  said.length = 0;
  session = new GroupSession({ uid: '7', globalCluster: 'orders', onChange: () => {} });
});
afterEach(() => session.close());

const incarnationOf = (node: string) => `aaaaaaaaaa0${node.at(-1)}`;

function observe(leader: string): NodeObservation[] {
  const view = { term: 3, version: 9, leader, phase: 'published' } as const;
  const record = {
    format: 1,
    globalCluster: 'orders',
    systemIdentifier: '1',
    version: 9,
    term: 3,
    leader,
    timeline: 3,
    members: NODES.map((node) => ({ node, incarnation: incarnationOf(node) })),
    writeQuorum: 2,
    switchover: null,
    paused: false,
  } as const;
  const standbys = NODES.filter((node) => node !== leader).map((node) => ({
    applicationName: applicationName({ node, incarnation: incarnationOf(node) }),
    state: 'streaming',
  }));
  return NODES.map((node) => {
    const leads = node === leader;
    const status = {
      node,
      incarnation: incarnationOf(node),
      leaderView: view,
      activity: leads ? 'leading' : 'following',
      reason: { code: 'Well', message: 'as it should' },
      record,
      isMember: true,
      lagBytes: 0,
      pendingRestart: [],
      certificate: { notAfter: '2027-01-01T00:00:00.000Z' },
      members: leads ? { standbys } : null,
      lastFailover: null,
    } as unknown as NodeStatus;
    return { name: node, group: 'leo', faults: [], answer: { kind: 'answered', status } };
  });
}

function factsOf(
  preferredLeader: Record<string, unknown> | undefined,
  { leader = 'leo-1', hasLed }: { leader?: string; hasLed?: string } = {},
): PreferredFacts {
  const groups = groupsOf([3], preferredLeader === undefined ? {} : { globalCluster: { preferredLeader } });
  const observations = observe(leader);
  return {
    groups,
    plan: planGlobalCluster(groups),
    group: 'leo',
    cluster: summarizeStatus({
      globalCluster: 'orders',
      nodes: observations,
      proxies: [],
      minCopies: 2,
      memberTimeoutMs: 30_000,
      scope: 'global',
    }),
    observations,
    rolling: { kind: 'converged', reason: { code: 'Converged', message: 'all is done' } },
    previous: hasLed === undefined ? null : { preferredLeader: { name: hasLed, hasLed: true } },
  };
}

suite('the preferred leader', () => {
  test('is none unless a manifest names one', () => {
    assert.equal(lookAtPreferredLeader(session, factsOf(undefined)), null);
    assert.equal(session.preferred, null);
    assert.equal(preferredLookMs(null), Number.POSITIVE_INFINITY);
  });

  test('has led as soon as it is seen leading, and that holds for its name alone', () => {
    const preferred = { name: 'leo-2' };
    assert.equal(lookAtPreferredLeader(session, factsOf(preferred))?.hasLed, false);
    assert.equal(lookAtPreferredLeader(session, factsOf(preferred, { leader: 'leo-2' }))?.hasLed, true);
    const later = lookAtPreferredLeader(session, factsOf(preferred, { leader: 'leo-3', hasLed: 'leo-2' }));
    assert.deepEqual([later?.hasLed, later?.decision.kind], [true, 'left']);
    const other = lookAtPreferredLeader(session, factsOf({ name: 'leo-1' }, { leader: 'leo-3', hasLed: 'leo-2' }));
    assert.deepEqual([other?.hasLed, other?.decision.kind], [false, 'switch-over']);
  });

  test('waits while a rolling change is under way, and not for what is blocked', () => {
    const facts = factsOf({ name: 'leo-2' });
    const reason = { code: 'VolumeCannotShrink', message: 'it cannot' };
    const kindAt = (kind: 'wait' | 'blocked') =>
      lookAtPreferredLeader(session, { ...facts, rolling: { kind, node: 'leo-2', reason } })?.decision.kind;
    assert.equal(kindAt('wait'), 'wait');
    assert.equal(kindAt('blocked'), 'switch-over');
  });

  test('is looked at again when it will have been well for long enough', () => {
    const facts = factsOf({ name: 'leo-2', switchBack: 'WhenHealthy', after: '20s' }, { hasLed: 'leo-2' });
    const look = lookAtPreferredLeader(session, facts);
    assert.equal(look?.decision.reason.code, 'Settling');
    assert.ok(preferredLookMs(look) > 19_000 && preferredLookMs(look) <= 20_000, String(preferredLookMs(look)));
  });

  test('is tried again a minute after an order that failed', async () => {
    const facts = factsOf({ name: 'leo-2' });
    const look = lookAtPreferredLeader(session, facts);
    assert.ok(look !== null && look.decision.kind === 'switch-over');
    // Nothing is known of where the agents are.
    assert.equal(await handOverToPreferred(CONTEXT, session, OBJECT, look), false);
    assert.deepEqual(
      said.map(({ type, reason }) => `${type} ${reason}`),
      ['Normal HandingOver', 'Warning SwitchoverFailed'],
    );
    const next = lookAtPreferredLeader(session, facts);
    assert.equal(next?.decision.reason.code, 'SwitchoverFailed');
    assert.match(next?.decision.reason.message ?? '', /^Cannot order "leo-1" to hand over: its pod has no address;/);
    assert.ok(preferredLookMs(next) > 50_000);
  });
});
