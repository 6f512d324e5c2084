/**
 * Runs one of the project's own TypeScript programs under our Node, after making the clone ready as `./pgspan` does, with the
 * development packages: `node scripts/run.mjs FILE [ARG...]`. The npm scripts start here.
 *
 * Plain JavaScript for Node 18 and later: a fresh machine's `npm test` starts here too.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureReady } from './launcher/ensure.mjs';
import { printError } from './launcher/launcher-error.mjs';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const [file = '', ...words] = process.argv.slice(2);
try {
  const node = await ensureReady({ development: true });
  const { status } = spawnSync(node, [join(root, file), ...words], { stdio: 'inherit', cwd: root });
  process.exitCode = status ?? 1;
} catch (error) {
  printError(error);
  process.exitCode = 5;
}
