/** Looks for histories that go wrong under a mutation: those of its directed history, or random ones. */
import assert from 'node:assert/strict';
import { directedHistories } from './directed.ts';
import { playDirected } from './directed-run.ts';
import type { SimulationMutation } from './mutations.ts';
import { runHistories } from './run-histories.ts';

/** Of a directed history. */
export const DIRECTED_SEEDS = 20;

export function catchMutation(
  mutation: SimulationMutation,
  options: { readonly seed: number; readonly histories: number; readonly failuresMax: number },
): { readonly failures: readonly { readonly seed: number; readonly problem: string }[] } {
  if (mutation.directed === undefined) return runHistories({ ...mutation, ...options });
  const history = directedHistories.find(({ name }) => name === mutation.directed);
  assert.ok(history !== undefined, `there is no directed history "${mutation.directed}"`);
  const failures: { seed: number; problem: string }[] = [];
  for (let seed = 1; seed <= DIRECTED_SEEDS && failures.length < options.failuresMax; seed++) {
    const { problem } = playDirected(history, { ...mutation, seed });
    if (problem !== null) failures.push({ seed, problem });
  }
  return { failures };
}
