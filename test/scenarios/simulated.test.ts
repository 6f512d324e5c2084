/** Every scenario in the simulation, with many seeds. A failure prints the seed and all that happened. */
import { describe, test } from 'node:test';
import { loadScenarios } from './format.ts';
import { simulateScenario } from './simulation-runner.ts';

const SEEDS = 15;

describe('scenarios in the simulation', () => {
  for (const scenario of loadScenarios('simulation'))
    test(`${scenario.title} (${scenario.name})`, () => {
      for (let seed = 1; seed <= SEEDS; seed++) {
        try {
          simulateScenario(scenario, { seed });
        } catch {
          simulateScenario(scenario, { seed, isTracing: true });
        }
      }
    });
});
