import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { LeaderPhase, NodeActivity, StateMessage } from '../../api/peer-stream.ts';
import {
  decideCancelTargets,
  decideEndedNodes,
  decideReadRoute,
  decideWriteRoute,
  LEVEL_LAG_BYTES,
  type ReadRouteContext,
} from './routes.ts';
import { compareRecords, decideRoutingView, NO_LEADER, type NodeSight, type RoutingView } from './routing-view.ts';

interface Said {
  readonly leader?: string | null;
  readonly term?: number;
  readonly version?: number;
  readonly phase?: LeaderPhase;
  readonly activity?: NodeActivity;
  readonly acceptsReads?: boolean;
  readonly lagBytes?: number | null;
  readonly live?: boolean;
  readonly order?: number;
  readonly group?: string;
}

/** A sight of a level read node that knows nothing of a leader, but for what the case says. */
function sight(node: string, said: Said = {}): NodeSight {
  const { leader = null, term = 0, version = term, phase = leader === null ? 'none' : 'published' } = said;
  const group = said.group ?? node.split('-')[0] ?? '';
  const state: StateMessage = {
    type: 'state',
    node,
    group,
    incarnation: '0123456789ab',
    leaderView: { term, version, leader, phase },
    promisedTerm: term,
    activity: said.activity ?? 'following',
    reason: { code: 'Test', message: 'A test' },
    acceptsReads: said.acceptsReads ?? true,
    timeline: 1,
    flushLsn: '0/1',
    replayLsn: '0/1',
    lagBytes: said.lagBytes === undefined ? 0 : said.lagBytes,
  };
  return { node, group, state, live: said.live ?? true, order: said.order ?? 0 };
}

function viewOf(sights: readonly NodeSight[], known = NO_LEADER): RoutingView {
  return decideRoutingView(new Map(sights.map((one) => [one.node, one])), known);
}

const peers = new Set(['leo-1', 'leo-2', 'ait-1', 'pit-1']);
const routed = (view: RoutingView): string | null => {
  const route = decideWriteRoute(view.leader, peers);
  return route.kind === 'connect' ? route.node : null;
};

suite('who leads', () => {
  test('is what the highest term says, whoever says it', () => {
    const view = viewOf([
      sight('leo-1', { leader: 'leo-1', term: 3 }),
      sight('pit-1', { leader: 'ait-1', term: 4, phase: 'elected' }),
    ]);
    assert.equal(view.leader.leader, 'ait-1');
    assert.equal(routed(view), null);
  });

  test('is the higher version of one term', () => {
    const view = viewOf([
      sight('leo-1', { leader: 'leo-1', term: 3, version: 8 }),
      sight('pit-1', { leader: 'leo-1', term: 3, version: 9, phase: 'elected' }),
    ]);
    assert.equal(view.leader.version, 9);
  });

  test('is not unlearnt when the only node that knew it has gone', () => {
    const before = viewOf([sight('pit-1', { leader: 'ait-1', term: 4 })]);
    const after = viewOf([sight('leo-1', { leader: 'leo-1', term: 3 })], before.leader);
    assert.equal(after.leader.leader, 'ait-1');
  });

  test('is open for clients when the leader itself says so, against an older word of another', () => {
    const view = viewOf([
      sight('ait-1', { leader: 'ait-1', term: 4, phase: 'published', order: 1 }),
      sight('pit-1', { leader: 'ait-1', term: 4, phase: 'elected', order: 2 }),
    ]);
    assert.equal(routed(view), 'ait-1');
  });

  test('is held when the leader hands over, though others still call it published', () => {
    const view = viewOf([
      sight('leo-1', { leader: 'leo-1', term: 3, phase: 'handing-over', order: 1 }),
      sight('pit-1', { leader: 'leo-1', term: 3, phase: 'published', order: 2 }),
    ]);
    assert.equal(routed(view), null);
  });

  test('is what others say last when the leader itself is not heard', () => {
    const silent = sight('leo-1', { leader: 'leo-1', term: 3, phase: 'handing-over', order: 1, live: false });
    const view = viewOf([silent, sight('pit-1', { leader: 'leo-1', term: 3, phase: 'published', order: 2 })]);
    assert.equal(routed(view), 'leo-1');
  });

  test('stays as it was last known when nobody is heard: the connection itself will tell', () => {
    const view = viewOf([sight('leo-1', { leader: 'leo-1', term: 3, live: false })]);
    assert.equal(routed(view), 'leo-1');
  });

  test('is nobody to connect to when the leader says that it is fenced', () => {
    const view = viewOf([sight('leo-1', { leader: 'leo-1', term: 3, activity: 'fenced' })]);
    assert.equal(routed(view), null);
  });

  test('never goes back, whatever is said in whatever order', () => {
    const said = fc.record({
      node: fc.constantFrom('leo-1', 'ait-1', 'pit-1'),
      leader: fc.constantFrom('leo-1', 'ait-1', 'pit-1'),
      term: fc.integer({ min: 1, max: 5 }),
      version: fc.integer({ min: 1, max: 5 }),
      phase: fc.constantFrom<LeaderPhase>('elected', 'published', 'handing-over'),
      live: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(said, { maxLength: 20 }), (history) => {
        const nodes = new Map<string, NodeSight>();
        let view = viewOf([]);
        for (const [order, { node, ...rest }] of history.entries()) {
          nodes.set(node, sight(node, { ...rest, order }));
          const next = decideRoutingView(new Map(nodes), view.leader);
          assert.ok(compareRecords(next.leader, view.leader) >= 0);
          view = next;
        }
      }),
    );
  });
});

suite('a write connection', () => {
  const phases: Record<LeaderPhase, boolean> = { none: false, elected: false, published: true, 'handing-over': false };
  for (const [phase, connects] of Object.entries(phases)) {
    test(`${connects ? 'goes to' : 'waits for'} a leader that is ${phase}`, () => {
      const leader = { term: 2, version: 2, leader: 'leo-1', phase: phase as LeaderPhase };
      assert.equal(decideWriteRoute(leader, peers).kind, connects ? 'connect' : 'wait');
    });
  }

  test('waits for the address of a leader that is not in the configuration yet', () => {
    const route = decideWriteRoute({ term: 2, version: 2, leader: 'new-1', phase: 'published' }, peers);
    assert.ok(route.kind === 'wait');
    assert.equal(route.reason.code, 'LeaderUnknownHere');
  });
});

suite('a read connection', () => {
  const leader = { leader: 'leo-1', term: 1 };
  const leading = sight('leo-1', { ...leader, activity: 'leading' });
  const order = (sights: readonly NodeSight[], change: Partial<ReadRouteContext> = {}): string[] =>
    decideReadRoute(viewOf(sights), {
      group: 'leo',
      peers,
      fallsBackToLeader: true,
      sessions: new Map(),
      failing: new Set(),
      preferred: null,
      ...change,
    });

  test('goes to the own group first, then to the fewest connections, and to the leader last', () => {
    const sights = [leading, sight('pit-1', leader), sight('ait-1', leader), sight('leo-2', leader)];
    assert.deepEqual(order(sights, { sessions: new Map([['ait-1', 3]]) }), ['leo-2', 'pit-1', 'ait-1', 'leo-1']);
  });

  test('goes to a level node elsewhere before a lagging one here, and takes small differences for none', () => {
    const lagging = sight('leo-2', { ...leader, lagBytes: LEVEL_LAG_BYTES });
    const nearly = sight('ait-1', { ...leader, lagBytes: LEVEL_LAG_BYTES - 1 });
    const unknown = sight('pit-1', { ...leader, lagBytes: null });
    assert.deepEqual(order([leading, unknown, lagging, nearly]), ['ait-1', 'leo-2', 'pit-1', 'leo-1']);
  });

  test('spreads over nodes of one band by connections', () => {
    const sights = [sight('ait-1', { ...leader, lagBytes: 5 }), sight('pit-1', { ...leader, lagBytes: 1_000_000 })];
    assert.deepEqual(order(sights, { sessions: new Map([['ait-1', 1]]) }), ['pit-1', 'ait-1', 'leo-1']);
  });

  test('does not go to the leader unless that is allowed and it is open for clients', () => {
    assert.deepEqual(order([leading], { fallsBackToLeader: false }), []);
    assert.deepEqual(order([leading]), ['leo-1']);
    assert.deepEqual(order([sight('leo-1', { ...leader, phase: 'elected' })]), []);
  });

  test('leaves out nodes that take no reads, are fenced, or take themselves for a leader that was replaced', () => {
    const sights = [
      sight('ait-1', { ...leader, acceptsReads: false }),
      sight('pit-1', { ...leader, activity: 'fenced' }),
      sight('leo-2', { leader: 'leo-2', term: 0 }),
      leading,
    ];
    assert.deepEqual(order(sights, { fallsBackToLeader: false }), []);
  });

  test('goes to a node that was not heard of lately only when nobody else is left', () => {
    const silent = sight('leo-2', { ...leader, live: false });
    assert.deepEqual(order([silent, sight('pit-1', leader), leading]), ['pit-1', 'leo-1', 'leo-2']);
  });

  test('goes last to a node that just failed, and among equals to the preferred one', () => {
    const sights = [sight('ait-1', leader), sight('pit-1', leader), sight('leo-2', leader)];
    assert.deepEqual(order(sights, { failing: new Set(['leo-2']), preferred: 'pit-1' }), [
      'pit-1',
      'ait-1',
      'leo-2',
      'leo-1',
    ]);
  });
});

suite('sessions that must end', () => {
  const led = (node: string, term: number, phase: LeaderPhase = 'published') =>
    sight(node, { leader: node, term, phase, activity: 'leading' });

  test('are those on a leader as soon as another one is elected', () => {
    const before = viewOf([led('leo-1', 1)]);
    const after = viewOf([led('leo-1', 1), led('ait-1', 2, 'elected')], before.leader);
    assert.deepEqual(decideEndedNodes(before, after), [{ node: 'leo-1', reason: 'superseded' }]);
  });

  test('are none when the same leader goes on under a higher term', () => {
    const before = viewOf([led('leo-1', 1)]);
    assert.deepEqual(decideEndedNodes(before, viewOf([led('leo-1', 2)], before.leader)), []);
  });

  test('are none while a leader hands over: it ends them itself', () => {
    const before = viewOf([led('leo-1', 1)]);
    assert.deepEqual(decideEndedNodes(before, viewOf([led('leo-1', 1, 'handing-over')], before.leader)), []);
  });

  test('are those on a node that says it is fenced, once', () => {
    const before = viewOf([led('leo-1', 1)]);
    const fenced = sight('leo-1', { leader: 'leo-1', term: 1, activity: 'fenced' });
    const after = viewOf([fenced], before.leader);
    assert.deepEqual(decideEndedNodes(before, after), [{ node: 'leo-1', reason: 'fenced' }]);
    assert.deepEqual(decideEndedNodes(after, viewOf([fenced], after.leader)), []);
  });

  test('are those of a node that is replaced and fenced at once, for one reason', () => {
    const before = viewOf([led('leo-1', 1)]);
    const fenced = sight('leo-1', { leader: 'ait-1', term: 2, activity: 'fenced' });
    assert.deepEqual(decideEndedNodes(before, viewOf([fenced, led('ait-1', 2)], before.leader)), [
      { node: 'leo-1', reason: 'superseded' },
    ]);
  });
});

suite('a cancel request', () => {
  const leading = sight('leo-1', { leader: 'leo-1', term: 1 });
  const reader = sight('ait-1', { leader: 'leo-1', term: 1 });
  const view = viewOf([leading, reader, sight('pit-1', { leader: 'leo-1', term: 1, acceptsReads: false })]);

  test('of the write port goes to the leader and wherever this proxy still has such sessions', () => {
    const sessions = new Map([
      ['pit-1', 1],
      ['ait-1', 0],
    ]);
    assert.deepEqual(decideCancelTargets(view, { route: 'write', peers, sessions }), ['pit-1', 'leo-1']);
  });

  test('of the read port goes to every node that takes reads: the session may be at another proxy', () => {
    assert.deepEqual(decideCancelTargets(view, { route: 'read', peers, sessions: new Map() }), ['leo-1', 'ait-1']);
  });
});
