/**
 * Sums the runs of .ci/run: `node scripts/ci-summary.mjs SUMMARY.json...`.
 *
 * A run that left no summary has failed, and so has a test that each run left to the other. Ends with status 1 if anything failed.
 */
import { readFileSync } from 'node:fs';

/** @typedef {{ file: string, name: string, reason: string }} NotRun */
/** @typedef {{ passed: number, failed: number, skipped: NotRun[], elsewhere: NotRun[] }} Summary */

const runs = process.argv.slice(2).map(read);

const key = (/** @type {NotRun} */ test) => `${test.file}: ${test.name}`;
/** Those that a run left to the run on another PostgreSQL; a run of other tests leaves none. */
const left = runs.map((run) => new Set(run.elsewhere.map(key))).filter((tests) => tests.size > 0);
const nowhere = left.length < 2 ? [] : [...(left[0] ?? [])].filter((test) => left.every((tests) => tests.has(test)));
for (const test of nowhere) console.log(`Ran on no PostgreSQL, so failed: ${test}`);

const passed = runs.reduce((sum, run) => sum + run.passed, 0);
const failed = runs.reduce((sum, run) => sum + run.failed, nowhere.length);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || runs.some((run) => run.passed === 0) ? 1 : 0;

/**
 * @param {string} file
 * @returns {Summary}
 */
function read(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    console.log(`A part of the run left no summary, so it has failed: ${file.replace(/^.*\//, '')}`);
    return { passed: 0, failed: 1, skipped: [], elsewhere: [] };
  }
}
