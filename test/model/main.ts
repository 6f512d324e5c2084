/**
 * Explores further than the tests do.
 *   node test/model/main.ts [name=value ...]      bounds, for example termMax=4 wipes=1 statesMax=20000000
 *   node test/model/main.ts mutation="<name>"     the whole way to a mutation's violation
 *   node test/model/main.ts all                   every exploration of explorations.ts, the long ones too
 */
import { type Exploration, explore, formatTrace } from './explore.ts';
import { explorations } from './explorations.ts';
import { createModel } from './model.ts';
import { mutations, threeNodes } from './mutations.ts';

const STATES_MAX = 30_000_000;
const given = Object.fromEntries(
  process.argv.slice(2).map((one) => {
    const [name = '', value = 'true'] = one.split('=');
    return [name, name === 'mutation' ? value : JSON.parse(value)];
  }),
);

function report(name: string, result: Exploration): void {
  const { trace, steps, ...summary } = result;
  if (trace.length > 0) console.log(formatTrace(trace));
  console.log(name, { ...summary, steps: Object.fromEntries(steps) });
}

if (given['all'] === true) {
  for (const { name, bounds } of explorations) {
    const result = explore(createModel(bounds), { statesMax: STATES_MAX });
    report(name, result);
    if (result.violation !== null || !result.isComplete) process.exitCode = 1;
  }
} else if (given['mutation'] !== undefined) {
  const mutation = mutations.find((one) => one.name === given['mutation']);
  if (mutation === undefined) throw new Error(`Cannot find mutation "${given['mutation']}"`);
  const result = explore(createModel(mutation.bounds, mutation.machinery), { statesMax: STATES_MAX });
  report(mutation.name, result);
  console.log(result.trace.map((step) => step.label));
} else {
  const { statesMax = STATES_MAX, ...bounds } = given;
  const result = explore(createModel({ ...threeNodes, ...bounds }), { statesMax });
  report('given bounds', result);
  process.exitCode = result.violation === null ? 0 : 1;
}
