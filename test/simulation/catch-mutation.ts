/** Looks for seeds with which a mutation's directed history goes wrong. */
import assert from 'node:assert/strict';
import { directedHistories } from './directed.ts';
import { playDirected } from './directed-run.ts';
import type { SimulationMutation } from './mutations.ts';

/** Of a directed history. */
export const DIRECTED_SEEDS = 20;

/** The first seed that catches it, and what went wrong; null: none does. */
export function catchMutation(
  mutation: SimulationMutation,
): { readonly seed: number; readonly problem: string } | null {
  const history = directedHistories.find(({ name }) => name === mutation.directed);
  assert.ok(history !== undefined, `there is no directed history "${mutation.directed}"`);
  for (let seed = 1; seed <= DIRECTED_SEEDS; seed++) {
    const { problem } = playDirected(history, { ...mutation, seed });
    if (problem !== null) return { seed, problem };
  }
  return null;
}
