/**
 * Runs random histories.
 *   node test/simulation/main.ts --seed S [--histories N]              N histories (default 1000) from seed S (default 1) on
 *   node test/simulation/main.ts --seed S --trace [--mutation NAME]    what happens in that one
 *   node test/simulation/main.ts --mutations                           for each mutation, what catches it
 *   node test/simulation/main.ts --directed NAME [--seed S] [--mutation NAME]   what happens in a directed history
 * Exit code 1 if a history fails, or a mutation is not caught.
 */
import { parseArgs } from 'node:util';
import { directedHistories } from './directed.ts';
import { playDirected } from './directed-run.ts';
import { runHistory } from './history.ts';
import { simulationMutations } from './mutations.ts';
import { catchMutation } from './catch-mutation.ts';
import { runHistories } from './run-histories.ts';

const SEEDS_SHOWN = 8;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    histories: { type: 'string', default: '1000' },
    trace: { type: 'boolean', default: false },
    mutations: { type: 'boolean', default: false },
    mutation: { type: 'string' },
    directed: { type: 'string' },
  },
});
const seed = Number(values.seed);
const histories = Number(values.histories);
const mutation = simulationMutations.find(({ name }) => name === values.mutation);
if (values.mutation !== undefined && mutation === undefined)
  throw new Error(`Cannot find mutation "${values.mutation}": see mutations.ts`);

const directed = directedHistories.find(({ name }) => name === values.directed);
if (values.directed !== undefined && directed === undefined)
  throw new Error(`Cannot find directed history "${values.directed}": see directed.ts`);

if (directed !== undefined) {
  const { log, problem } = playDirected(directed, { ...mutation, seed, isTracing: true });
  console.log(`${log.join('\n')}\n${problem ?? 'all was as it must be'}`);
  if (problem !== null) process.exitCode = 1;
} else if (values.trace) {
  const { log, ...result } = runHistory({ ...mutation, seed, isTracing: true });
  console.log(log.join('\n'));
  console.log(result);
  if (result.problem !== null) process.exitCode = 1;
} else if (values.mutations) {
  for (const one of mutation === undefined ? simulationMutations : [mutation]) {
    const caught = catchMutation(one);
    console.log(
      `${caught === null ? 'NOT CAUGHT' : `caught by seed ${caught.seed}`}: ${one.name}\n  ${caught?.problem}`,
    );
    if (caught === null) process.exitCode = 1;
  }
} else {
  const startedAtMs = performance.now();
  const { failures, ...sums } = runHistories({ ...mutation, seed, histories, failuresMax: Infinity });
  /** The problem without its numbers and names, to count by. */
  const kindOf = (problem: string): string => problem.replace(/[0-9][0-9.]*/g, '#').replace(/"[^"]*"/g, '"…"');
  for (const [kind, same] of Map.groupBy(failures, ({ problem }) => kindOf(problem))) {
    const seeds = same.slice(0, SEEDS_SHOWN).map((one) => one.seed);
    console.log(`${same.length} times, seeds ${seeds.join(' ')}: ${kind}`);
  }
  console.log({ ...sums, elapsedMs: Math.round(performance.now() - startedAtMs) });
  if (failures.length > 0) process.exitCode = 1;
}
