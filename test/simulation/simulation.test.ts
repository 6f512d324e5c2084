/**
 * Random histories over the real decision functions: in each, faults upon faults, and always: no acknowledged write is lost, one
 * leader a term, a timeline has one node that began it, no acknowledgement of an old session after the next leader's first
 * commit, no superseded primary that serves for longer than the fence; and when the faults end, all is well again.
 *
 * A failure prints the command that shows its history. PGSPAN_SEED chooses the first seed.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { catchMutation } from './catch-mutation.ts';
import { simulationMutations } from './mutations.ts';
import { assertNoFailures, runHistories } from './run-histories.ts';

const HISTORIES = 3000;
const SEED = Number(process.env.PGSPAN_SEED ?? '1');

test(`${HISTORIES} random histories from seed ${SEED} on lose nothing and end well`, (context) => {
  const result = runHistories({ seed: SEED, histories: HISTORIES, failuresMax: 3 });
  const { histories, blocked, events, publications, acknowledged } = result;
  context.diagnostic(JSON.stringify({ histories, blocked, events, publications, acknowledged }));
  assertNoFailures(result);
  // A simulation that has lost its faults, or its clients, would find nothing either.
  assert.ok(publications > HISTORIES * 2, `${publications} times a leader was published`);
  assert.ok(acknowledged > HISTORIES * 100, `${acknowledged} writes were acknowledged`);
  assert.ok(blocked < HISTORIES / 50, `${blocked} histories stayed blocked`);
});

describe('without a rule a history goes wrong when', () => {
  for (const mutation of simulationMutations)
    test(mutation.name, (context) => {
      const caught = catchMutation(mutation);
      assert.notEqual(caught, null, `not caught by "${mutation.directed}"`);
      context.diagnostic(`seed ${caught?.seed}: ${caught?.problem.split('\n')[0]}`);
    });
});
