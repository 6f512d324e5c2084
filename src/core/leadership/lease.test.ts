import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ClusterRecord } from '../../api/record.ts';
import {
  decideHandOverSwap,
  decideLeaseCandidacy,
  decideLeaseFence,
  decideLeaseSwap,
  FENCE_STOP_MS,
  isLeaseFresh,
  type LeaseAnswer,
  leaseDurationMs,
  type LeaseQuestion,
} from './lease.ts';

const life = (node: string): string => node.charCodeAt(0).toString(16).padStart(12, '0');

/** leo-1 and leo-2 are M and both hold a commit; ait-1 and pit-1 follow behind. */
const record: ClusterRecord = {
  format: 1,
  globalCluster: 'shop',
  systemIdentifier: '1',
  version: 7,
  term: 3,
  leader: 'leo-1',
  timeline: 3,
  members: ['leo-1', 'leo-2'].map((node) => ({ node, incarnation: life(node) })),
  writeQuorum: 2,
  switchover: null,
  paused: false,
};

function says(node: string, given: Partial<LeaseAnswer> = {}): LeaseAnswer {
  return {
    node,
    group: node.slice(0, -2),
    incarnation: life(node),
    suspects: true,
    position: { timeline: 3, lsn: 100n },
    replayBytes: 0n,
    priority: 100,
    canLead: true,
    promisedTerm: 3,
    seenTerm: 3,
    vetoes: false,
    leaderLsn: 110n,
    ...given,
  };
}

const LEASE_MS = 7000;
function decide(answers: readonly LeaseAnswer[], given: Partial<LeaseQuestion> = {}): string {
  const decision = decideLeaseCandidacy({
    self: 'ait-1',
    record,
    leaderGroup: 'leo',
    answers,
    goneForMs: LEASE_MS,
    leaseMs: LEASE_MS,
    maximumLagBytes: 10,
    minCopies: 1,
    ...given,
  });
  return decision.kind === 'stand'
    ? `stand, ${decision.loss.lagBytes} lost`
    : `${decision.kind}: ${decision.reason.code}`;
}

describe('the lease', () => {
  test('outlasts the fence of an agent, the look of a watchdog and the stop of a server', () => {
    fc.assert(
      fc.property(fc.integer({ min: 600, max: 180_000 }), (fenceMs) => {
        const fedAtMs = fenceMs / 2;
        assert.ok(!isLeaseFresh({ nowMs: fedAtMs, heldSentAtMs: 0, fenceMs }));
        assert.ok(leaseDurationMs(fenceMs) > fedAtMs + fenceMs + FENCE_STOP_MS);
      }),
    );
    assert.equal(leaseDurationMs(3000), 6815);
    assert.equal(leaseDurationMs(9000), 15_905);
  });

  test('counts from the sending, and one that was never held is none', () => {
    const fence = (nowMs: number, heldSentAtMs: number): string =>
      decideLeaseFence({ nowMs, heldSentAtMs, fenceMs: 3000 }).kind;
    assert.equal(fence(3999, 1000), 'hold');
    assert.equal(fence(4000, 1000), 'fence');
    assert.equal(fence(0, Number.NEGATIVE_INFINITY), 'fence');
  });
});

describe('a node outside of M', () => {
  const pair = [says('ait-1'), says('pit-1', { position: { timeline: 3, lsn: 90n } })];

  test('stands when the lease is over, it is the best, and its lag is within bounds', () => {
    assert.equal(decide(pair), 'stand, 10 lost');
    assert.equal(decide(pair, { self: 'pit-1', maximumLagBytes: 20 }), 'defer: BetterCandidate');
  });

  test('waits for the lease, counted from the last sign of the leader', () => {
    assert.equal(decide(pair, { goneForMs: LEASE_MS - 1 }), 'refrain: LeaseRuns');
  });

  test('leaves a leader alone that anybody hears', () => {
    assert.equal(decide([...pair, says('leo-2', { vetoes: true, suspects: false })]), 'refrain: LeaderVetoes');
  });

  test('leaves it to members that can elect without a loss, for a while', () => {
    const withMember = [...pair, says('leo-2', { position: { timeline: 3, lsn: 110n } })];
    assert.equal(decide(withMember), 'refrain: MembersElect');
    assert.equal(decide(withMember, { goneForMs: 3 * LEASE_MS }), 'defer: BetterCandidate');
    assert.equal(decide([...pair, says('leo-2', { canLead: false })]), 'stand, 10 lost');
    assert.equal(decide([...pair, says('leo-2', { position: null })]), 'stand, 10 lost');
  });

  test('does not lead with more missing than is allowed, or with nobody to say how much', () => {
    assert.equal(decide(pair, { maximumLagBytes: 9 }), 'refrain: LagTooLarge');
    assert.equal(decide(pair.map((answer) => ({ ...answer, leaderLsn: null }))), 'refrain: LagUnknown');
    assert.equal(decide([says('ait-1', { leaderLsn: null }), says('pit-1', { leaderLsn: 105n })]), 'stand, 5 lost');
    assert.equal(decide([says('ait-1', { leaderLsn: 99n })]), 'stand, 0 lost');
  });

  test('does not lead alone where more copies are asked for', () => {
    assert.equal(decide(pair, { minCopies: 2 }), 'refrain: TooFewCopies');
    assert.equal(decide([...pair, says('ait-2')], { minCopies: 2 }), 'stand, 10 lost');
  });

  test('does not lead from another timeline, without a position, or where it must not', () => {
    for (const given of [
      { position: { timeline: 2, lsn: 900n } },
      { position: null },
      { priority: 0 },
      { canLead: false },
    ])
      assert.equal(decide([says('ait-1', given)]), 'refrain: NotAble');
  });
});

describe('the swap that replaces M', () => {
  const own = { node: 'ait-1', incarnation: life('ait-1'), term: 4, position: { timeline: 3, lsn: 100n } };

  test('makes the new leader the only member, on its own timeline', () => {
    const decision = decideLeaseSwap(record, own, [says('ait-1')]);
    assert.ok(decision.kind === 'swap');
    const { version, term, leader, timeline, members, writeQuorum } = decision.next;
    assert.deepEqual([version, term, leader, timeline, writeQuorum], [8, 4, 'ait-1', 4, 1]);
    assert.deepEqual(members, [{ node: 'ait-1', incarnation: life('ait-1') }]);
  });

  test('is not made from behind another that could lead, or without a position of this timeline', () => {
    const ahead = says('pit-1', { position: { timeline: 3, lsn: 101n } });
    assert.equal(decideLeaseSwap(record, own, [ahead]).kind, 'refuse');
    assert.equal(decideLeaseSwap(record, own, [{ ...ahead, canLead: false }]).kind, 'swap');
    assert.equal(decideLeaseSwap(record, { ...own, position: null }, []).kind, 'refuse');
    assert.equal(decideLeaseSwap(record, { ...own, position: { timeline: 2, lsn: 100n } }, []).kind, 'refuse');
  });
});

describe('a hand-over to a node outside of M', () => {
  const own = { node: 'ait-1', incarnation: life('ait-1'), term: 4, position: { timeline: 3, lsn: 100n } };
  const leader = { node: 'leo-1', incarnation: life('leo-1'), term: 4, position: { timeline: 3, lsn: 100n } };

  test('is by the promise of the leader that ended cleanly, to whoever holds all of it', () => {
    const decision = decideHandOverSwap(record, leader, own);
    assert.ok(decision.kind === 'swap');
    assert.equal(decision.next.leader, 'ait-1');
  });

  test('is not by another, in another term, in another life, with less, or from one that did not end cleanly', () => {
    const refused = [
      decideHandOverSwap(record, undefined, own),
      decideHandOverSwap(record, { ...leader, node: 'leo-2', incarnation: life('leo-2') }, own),
      decideHandOverSwap(record, { ...leader, term: 5 }, own),
      decideHandOverSwap(record, { ...leader, incarnation: 'f'.repeat(12) }, own),
      decideHandOverSwap(record, { ...leader, position: { timeline: 3, lsn: 101n } }, own),
      decideHandOverSwap(record, { ...leader, position: null }, own),
      decideHandOverSwap(record, leader, { ...own, position: null }),
    ];
    assert.deepEqual(
      refused.map(({ kind }) => kind),
      refused.map(() => 'refuse'),
    );
  });
});
