/**
 * `npm run bench`: every benchmark, one after the other, or the one that is named.
 *
 *   npm run bench                     all
 *   npm run bench failover --quick    one, with its own options
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const BENCHMARKS = ['failover', 'proxy', 'dns', 'footprint'] as const;

const [first, ...rest] = process.argv.slice(2);
const named = BENCHMARKS.find((name) => name === first);
if (first !== undefined && named === undefined && !first.startsWith('-')) {
  process.stderr.write(`bench: Cannot run "${first}": there are ${BENCHMARKS.join(' and ')}\n`);
  process.exit(2);
}
for (const name of named === undefined ? BENCHMARKS : [named]) {
  const args = named === undefined ? process.argv.slice(2) : rest;
  const result = spawnSync(process.execPath, [join(import.meta.dirname, name, 'main.ts'), ...args], {
    stdio: 'inherit',
  });
  if (result.status !== 0) process.exitCode = result.status ?? 1;
}
