/** The explorer over the real decision functions, and the mutations that it must catch. `main.ts` explores further. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { explorations } from './explorations.ts';
import { explore, formatTrace, walk } from './explore.ts';
import { createModel } from './model.ts';
import { mutations } from './mutations.ts';
import { paths } from './paths.ts';

/** From the end of a mutation's path its violation is a few steps away. */
const MUTATION_STATES_MAX = 400_000;

describe('no reachable state loses an acknowledged write or has two leaders', () => {
  for (const { name, bounds, states } of explorations.filter((one) => one.isQuick))
    test(name, () => {
      const result = explore(createModel(bounds), { statesMax: 5_000_000 });
      assert.equal(result.violation, null, formatTrace(result.trace));
      assert.ok(result.isComplete);
      assert.ok(result.states > states / 2, `${result.states} states, ${states} when last counted`);
    });
});

describe('without a rule a write is lost or two nodes lead, and the explorer finds it when', () => {
  for (const { name, bounds, machinery } of mutations)
    test(name, () => {
      const model = createModel(bounds, machinery);
      const { violation } = explore(model, { statesMax: MUTATION_STATES_MAX, from: walk(model, paths[name] ?? []) });
      assert.notEqual(violation, null);
    });
});
