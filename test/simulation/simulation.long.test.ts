/** Many more random histories than `npm test` runs: PGSPAN_HISTORIES (default 100,000) from PGSPAN_SEED on (default: of the day). */
import { test } from 'node:test';
import { assertNoFailures, runHistories } from './run-histories.ts';

const HISTORIES = Number(process.env.PGSPAN_HISTORIES ?? '100000');
const SEED = Number(process.env.PGSPAN_SEED ?? Math.floor(Date.now() / 86_400_000) * 1_000_000);

test(`${HISTORIES} random histories from seed ${SEED} on`, { timeout: 6 * 3600_000 }, (context) => {
  const { failures, ...sums } = runHistories({ seed: SEED, histories: HISTORIES, failuresMax: 20 });
  context.diagnostic(JSON.stringify(sums));
  assertNoFailures({ ...sums, failures });
});
