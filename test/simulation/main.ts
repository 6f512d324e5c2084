/**
 * Runs random histories.
 *   node test/simulation/main.ts [from [count]]      histories of seeds from ... from + count - 1; prints those that fail
 *   node test/simulation/main.ts trace SEED [NAME]   what happens in one, under a mutation if one is named
 *   node test/simulation/main.ts mutations [count]   for each mutation, the seeds up to count that catch it
 */
import { type HistoryOptions, type HistoryResult, runHistory } from './history.ts';
import { simulationMutations } from './mutations.ts';

const [first = '1', second = '1000', third] = process.argv.slice(2);

/** The problem without its numbers and names, to count by. */
const kindOf = (problem: string): string => problem.replace(/[0-9][0-9.]*/g, '#').replace(/"[^"]*"/g, '"…"');

function run(
  from: number,
  count: number,
  options: Omit<HistoryOptions, 'seed'>,
  onResult: (seed: number, result: HistoryResult) => boolean,
): void {
  for (let seed = from; seed < from + count; seed++) if (!onResult(seed, runHistory({ ...options, seed }))) return;
}

if (first === 'trace') {
  const mutation = simulationMutations.find((one) => one.name === third);
  const { log, ...result } = runHistory({ ...mutation, seed: Number(second), isTracing: true });
  console.log(log.join('\n'));
  console.log(result);
} else if (first === 'mutations') {
  for (const mutation of simulationMutations) {
    const caught: string[] = [];
    run(1, Number(second), mutation, (seed, { problem }) => {
      if (problem !== null) caught.push(`${seed} ${kindOf(problem)}`);
      return caught.length < 3;
    });
    console.log(`${caught.length === 0 ? 'NOT CAUGHT' : 'caught'}: ${mutation.name}\n  ${caught.join('\n  ')}`);
    if (caught.length === 0) process.exitCode = 1;
  }
} else {
  const startedAtMs = performance.now();
  const problems = new Map<string, number[]>();
  const sums = { histories: 0, blocked: 0, events: 0, publications: 0, acknowledged: 0 };
  run(Number(first), Number(second), {}, (seed, result) => {
    sums.histories++;
    sums.blocked += result.isBlocked ? 1 : 0;
    sums.events += result.events;
    sums.publications += result.publications;
    sums.acknowledged += result.acknowledged;
    if (result.problem !== null) {
      process.exitCode = 1;
      const kind = kindOf(result.problem);
      problems.set(kind, [...(problems.get(kind) ?? []), seed]);
    }
    return true;
  });
  for (const [kind, seeds] of problems)
    console.log(`${seeds.length} times, seeds ${seeds.slice(0, 8).join(' ')}: ${kind}`);
  console.log({ ...sums, elapsedMs: Math.round(performance.now() - startedAtMs) });
}
