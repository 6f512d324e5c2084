/** Directed histories, each with many seeds. A failure prints the seed and all that happened. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DIRECTED_SEEDS } from './catch-mutation.ts';
import { directedHistories } from './directed.ts';
import { playDirected } from './directed-run.ts';

describe('in the simulation', () => {
  for (const history of directedHistories)
    test(history.name, () => {
      for (let seed = 1; seed <= DIRECTED_SEEDS; seed++) {
        if (playDirected(history, { seed }).problem === null) continue;
        const { problem, log } = playDirected(history, { seed, isTracing: true });
        assert.fail(`seed ${seed}: ${problem}\n${log.join('\n')}`);
      }
    });
});
