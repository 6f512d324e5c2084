/**
 * Whole rolling changes of random groups, played against a small model of what steps and faults do. What must hold at every
 * step, and that every change comes to its end when faults stop.
 */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { decideWriteQuorum } from '../leadership/quorum.ts';
import { healthyMembers, isHealthy } from './availability.ts';
import { decideRollingStep } from './decide-rolling-step.ts';
import type { RollingNode, RollingSnapshot, RollingStep } from './rolling-snapshot.ts';

interface ModelNode {
  readonly ordinal: number;
  isWanted: boolean;
  isOutdated: boolean;
  isPending: boolean;
  /** 0: well; else so many turns until it is back. */
  awayFor: number;
  votes: boolean;
  isMember: boolean;
}

interface Model {
  readonly nodes: ModelNode[];
  leader: number;
  switchovers: number;
}

const nameOf = (ordinal: number): string => `leo-${ordinal}`;

function observe({ nodes, leader }: Model): RollingSnapshot {
  const members = nodes.filter(({ isMember }) => isMember);
  return {
    group: 'leo',
    record: {
      leader: nameOf(leader),
      members: members.map(({ ordinal }) => nameOf(ordinal)),
      writeQuorum: decideWriteQuorum(members.length, { minCopies: 1, siteMembersMax: 0 }),
      paused: false,
    },
    isLeaderPublished: nodes.some(({ ordinal, awayFor }) => ordinal === leader && awayFor === 0),
    nodes: nodes.map((node) => observeNode(node, leader)),
    remoteMembers: [],
    wantedMajor: 18,
  };
}

function observeNode(node: ModelNode, leader: number): RollingNode {
  const { ordinal, isWanted, isOutdated, isPending, awayFor, votes, isMember } = node;
  return {
    name: nameOf(ordinal),
    ordinal,
    isWanted,
    votes,
    priority: votes ? 100 : 0,
    volume: null,
    pod: awayFor > 1 ? null : { isOutdated, isReady: awayFor === 0, isTerminating: false, isHeldBack: false },
    agent:
      awayFor > 0
        ? null
        : {
            activity: ordinal === leader ? 'leading' : 'following',
            message: '',
            isMember,
            isStreaming: true,
            lagBytes: 0,
            isConfigured: true,
            pendingRestart: isPending ? ['max_connections'] : [],
            major: 18,
          },
  };
}

const AWAY_TURNS = 3;

function apply(model: Model, step: RollingStep): void {
  const find = (name: string): ModelNode => {
    const node = model.nodes.find(({ ordinal }) => nameOf(ordinal) === name);
    assert.ok(node !== undefined, name);
    return node;
  };
  switch (step.kind) {
    case 'delete-pod':
      Object.assign(find(step.node), { isOutdated: false, isPending: false, awayFor: AWAY_TURNS });
      return;
    case 'restart-postgres':
      Object.assign(find(step.node), { isPending: false, awayFor: 1 });
      return;
    case 'switch-over':
      assert.equal(step.from, nameOf(model.leader));
      assert.equal(find(step.to).awayFor, 0);
      // The old leader's PostgreSQL starts again, as a standby.
      find(step.from).isPending = false;
      model.leader = find(step.to).ordinal;
      model.switchovers += 1;
      return;
    case 'retire-node':
      find(step.node).votes = false;
      return;
    case 'remove-node':
      model.nodes.splice(model.nodes.indexOf(find(step.node)), 1);
      return;
    case 'grow-volume':
      assert.fail('no volume is small');
  }
}

/** Time passes: nodes come back, and the leader takes those without a vote out of the members. */
function tick({ nodes, leader }: Model): void {
  for (const node of nodes) {
    node.awayFor = Math.max(0, node.awayFor - 1);
    if (!node.votes && node.ordinal !== leader) node.isMember = false;
  }
}

function assertSafe(model: Model, step: RollingStep): void {
  if (step.kind === 'switch-over' || step.kind === 'grow-volume' || step.kind === 'retire-node') return;
  const before = observe(model);
  const { record } = before;
  assert.ok(record !== null);
  const isMember = record.members.includes(step.node);
  if (step.kind === 'remove-node') return assert.equal(isMember, false, `${step.node} was removed as a member`);
  const healthy = healthyMembers(before);
  if (!healthy.includes(step.node)) return;
  const unwell = before.nodes.filter((node) => node.isWanted && !isHealthy(node)).map(({ name }) => name);
  assert.deepEqual(unwell, [], `${step.node} was taken away while another was`);
  const needed = Math.max(record.writeQuorum, record.members.length + 1 - record.writeQuorum);
  const canDoWithoutOne = record.members.length - 1 >= needed;
  if (canDoWithoutOne)
    assert.ok(healthy.length - 1 >= needed, `${step.node} was taken away from ${healthy.join(', ')}`);
  else assert.equal(healthy.length, record.members.length, `${step.node} was taken away while another was`);
  if (record.members.length > 1)
    assert.notEqual(step.node, record.leader, 'the leader was taken away without a hand-over');
}

interface Change {
  readonly count: number;
  readonly wanted: number;
  readonly leader: number;
  readonly outdated: readonly boolean[];
  readonly pending: readonly boolean[];
  /** Turn and node of faults that are not ours. */
  readonly faults: readonly { readonly turn: number; readonly node: number }[];
}

const changes: fc.Arbitrary<Change> = fc.record({
  count: fc.integer({ min: 1, max: 7 }),
  wanted: fc.integer({ min: 1, max: 7 }),
  leader: fc.nat(6),
  outdated: fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
  pending: fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
  faults: fc.array(fc.record({ turn: fc.nat(20), node: fc.nat(6) }), { maxLength: 6 }),
});

const TURNS_MAX = 200;

/** @returns the model when nothing is left to do. */
function play({ count, wanted, leader, outdated, pending, faults }: Change): Model {
  const model: Model = {
    nodes: Array.from({ length: count }, (_, index) => ({
      ordinal: index + 1,
      isWanted: index < wanted,
      isOutdated: outdated[index] === true,
      isPending: pending[index] === true,
      awayFor: 0,
      votes: true,
      isMember: true,
    })),
    leader: (leader % count) + 1,
    switchovers: 0,
  };
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    for (const fault of faults) {
      const node = model.nodes[fault.node];
      // The leader's loss is a failover, which is not of these decisions.
      if (fault.turn === turn && node !== undefined && node.ordinal !== model.leader) node.awayFor = AWAY_TURNS;
    }
    const decision = decideRollingStep(observe(model));
    assert.notEqual(decision.kind, 'blocked', decision.reason.message);
    if (decision.kind === 'converged' && turn > 20) return model;
    if (decision.kind === 'step') {
      assertSafe(model, decision.step);
      apply(model, decision.step);
    }
    tick(model);
  }
  return assert.fail(`it did not end within ${TURNS_MAX} turns: ${JSON.stringify(observe(model))}`);
}

suite('rolling changes, whole', () => {
  test('end as the manifest asks for, and never take away what the group needs', () => {
    fc.assert(
      fc.property(changes, (change) => {
        const { nodes } = play(change);
        assert.equal(nodes.length, Math.min(change.count, change.wanted));
        for (const node of nodes) {
          assert.equal(node.isOutdated, false, nameOf(node.ordinal));
          assert.equal(node.isPending, false, nameOf(node.ordinal));
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('cost at most one switchover, also when the leader is among those that go', () => {
    fc.assert(
      fc.property(changes, (change) => {
        const { switchovers } = play({ ...change, faults: [] });
        assert.ok(switchovers <= 1, `${switchovers} switchovers`);
      }),
      { numRuns: 1000 },
    );
  });
});
