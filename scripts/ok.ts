/**
 * `npm run ok`: types, lint, format and the quick tests; yes or no in about a minute.
 *
 *   node scripts/ok.ts [--summary FILE] [CHECK...]     CHECK: types, lint, format, tests; default all
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = resolve(import.meta.dirname, '..');
const PACKAGES = join(ROOT, 'node_modules');

/** What to run, and what to do when it says no. */
const CHECKS = [
  { name: 'types', words: ['typescript/bin/tsc', '-p', '.'], todo: 'correct the types' },
  { name: 'lint', words: ['oxlint/bin/oxlint', '--quiet'], todo: 'correct them; some by "npx oxlint --fix"' },
  { name: 'format', words: ['@biomejs/biome/bin/biome', 'format'], todo: 'npm run format' },
  { name: 'tests', words: ['../scripts/test-run.ts', '--quick'], todo: 'see above' },
] as const;

const { values, positionals } = parseArgs({ options: { summary: { type: 'string' } }, allowPositionals: true });
const chosen = CHECKS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
const failed: string[] = [];
for (const { name, words, todo } of chosen) {
  const [program, ...rest] = words;
  const startedAt = Date.now();
  const { status } = spawnSync(process.execPath, [join(PACKAGES, program), ...rest], { stdio: 'inherit', cwd: ROOT });
  const took = `${((Date.now() - startedAt) / 1000).toFixed(1)} s`;
  process.stdout.write(status === 0 ? `ok: ${name} (${took})\n` : `FAILED: ${name} (${took}); what to do: ${todo}\n`);
  if (status !== 0) failed.push(name);
}
if (values.summary !== undefined) {
  const counts = { passed: chosen.length - failed.length, failed: failed.length, skipped: [], elsewhere: [] };
  writeFileSync(values.summary, JSON.stringify(counts));
}
process.stdout.write(failed.length === 0 ? '\nok\n' : `\nnot ok: ${failed.join(', ')}\n`);
process.exitCode = failed.length === 0 && chosen.length > 0 ? 0 : 1;
