/** The lease rule in discrete time: complete, and each part of it caught when it is left out. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decideLeaseFence } from '../../src/core/leadership/lease.ts';
import { explore, formatTrace } from './explore.ts';
import { createLeaseModel, type LeaseRules, realLeaseRules } from './lease-model.ts';

const STATES_MAX = 6_000_000;
/** When it was last counted; far fewer would mean that the model has lost a step. */
const STATES = 612_698;

const mutations: Readonly<Record<string, Partial<LeaseRules>>> = {
  'another swaps while the lease runs': { swapsUnlessLeased: false },
  'the lease does not last until the server has stopped': { leaseDurationMs: (fenceMs) => fenceMs },
  'the lease leaves no time for a frozen agent': { leaseDurationMs: (fenceMs) => fenceMs + 2000 },
  'a renewal counts from its answer': { isHeldFromSending: false },
  'a renewal does not look at the record': { renewsIfRecordIsExpected: false },
  'members that hear the leader hold off its fence': {
    hasWatchdog: false,
    decideLeaseFence: () => ({ kind: 'hold', fenceAtMs: 0 }),
  },
  'the fence comes twice as late': {
    hasWatchdog: false,
    decideLeaseFence: (holding) => decideLeaseFence({ ...holding, fenceMs: 2 * holding.fenceMs }),
  },
  'the watchdog is fed by a leader that does not renew': { isLeaseFresh: () => true },
  'a leader opens without its lease': {
    decideNodeStep: (snapshot) => realLeaseRules.decideNodeStep({ ...snapshot, lease: null }),
  },
  'a leader opens with a lease that is about to lapse': {
    decideNodeStep: (snapshot) =>
      realLeaseRules.decideNodeStep({
        ...snapshot,
        lease: { isHeld: snapshot.lease?.isHeld === true, isFresh: snapshot.lease?.isHeld === true },
      }),
  },
  'the watchdog is frozen together with its server': { watchdogOutlivesAgent: false },
};

describe('the lease rule in discrete time', () => {
  test('never has two primaries, whatever is late, lost or frozen', (context) => {
    const result = explore(createLeaseModel(realLeaseRules), { statesMax: STATES_MAX });
    assert.equal(result.violation, null, formatTrace(result.trace));
    assert.ok(result.isComplete, `${result.states} states and no end`);
    assert.ok(result.states > STATES / 2, `${result.states} states, ${STATES} when last counted`);
    for (const step of ['swap-lands', 'promote', 'start', 'fence', 'watchdog', 'thaw'])
      assert.ok((result.steps.get(step) ?? 0) > 0, `"${step}" was never taken`);
    context.diagnostic(`${result.states} states, ${Math.round(result.elapsedMs)} ms`);
  });

  test('needs no watchdog while no agent freezes', () => {
    const result = explore(createLeaseModel({ ...realLeaseRules, hasWatchdog: false }), { statesMax: STATES_MAX });
    assert.equal(result.violation, null, formatTrace(result.trace));
    assert.ok(result.isComplete);
  });

  for (const [name, change] of Object.entries(mutations))
    test(`is broken when ${name}`, () => {
      const { violation } = explore(createLeaseModel({ ...realLeaseRules, ...change }), { statesMax: STATES_MAX });
      assert.equal(violation, 'two primaries at once');
    });
});
