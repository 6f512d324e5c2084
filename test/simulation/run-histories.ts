/** Many histories in a row, and what came of them. */
import assert from 'node:assert/strict';
import { type HistoryOptions, runHistory } from './history.ts';

export interface HistoriesOptions extends Omit<HistoryOptions, 'seed' | 'isTracing'> {
  /** Of the first; the next ones follow it. */
  readonly seed: number;
  readonly histories: number;
  /** Ends after this many that failed. */
  readonly failuresMax: number;
}

export interface HistoriesResult {
  readonly histories: number;
  /** Histories in which too many copies were lost, and nobody was elected. */
  readonly blocked: number;
  readonly events: number;
  readonly publications: number;
  readonly acknowledged: number;
  readonly failures: readonly { readonly seed: number; readonly problem: string }[];
}

export function runHistories(options: HistoriesOptions): HistoriesResult {
  const sums = { histories: 0, blocked: 0, events: 0, publications: 0, acknowledged: 0 };
  const failures: { seed: number; problem: string }[] = [];
  for (let seed = options.seed; seed < options.seed + options.histories; seed++) {
    const result = runHistory({ ...options, seed, isTracing: false });
    sums.histories++;
    sums.blocked += result.isBlocked ? 1 : 0;
    sums.events += result.events;
    sums.publications += result.publications;
    sums.acknowledged += result.acknowledged;
    if (result.problem !== null) failures.push({ seed, problem: result.problem });
    if (failures.length >= options.failuresMax) break;
  }
  return { ...sums, failures };
}

/** Throws an AssertionError that says for each failure how to see what happened. */
export function assertNoFailures({ failures }: HistoriesResult): void {
  const lines = failures.map(
    ({ seed, problem }) => `${problem}\n  node test/simulation/main.ts --seed ${seed} --trace`,
  );
  assert.equal(failures.length, 0, lines.join('\n'));
}
