/**
 * Runs the test files, each in a process of its own, and says at the end what could not run and why.
 *
 *   node scripts/test-run.ts [--quick | --long | --kubernetes [--clusters N]] [--without PART]... [--summary FILE] [FILE...]
 *
 * --quick    only what needs no real server: the part of `npm run ok`
 * --long     the files *.long.test.ts and no others: repeated faults, whole machines; minutes to hours
 * --kubernetes  the files *.kube.test.ts and no others, one at a time: on the clusters of KUBECONFIG (test/kubernetes/kit/environment.ts)
 * --clusters N  with --kubernetes: KUBECONFIG must have so many contexts; else what needs more is skipped
 * --without  leaves out the files whose path contains PART
 * --summary  also writes the counts as JSON, for .ci/run
 * FILE       test files, or parts of their paths; default all
 *
 * A file's output is shown only if something in it failed. A file whose process does not end is killed and has failed: what it
 * left open would be left on a user's machine too. A skipped test is one that this machine cannot run
 * (test/kit/requirement.ts); with PGSPAN_TEST_ALL=1 it has failed. The last line is `N passed, N failed[, N skipped]`.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { OTHER_POSTGRES } from '../test/kit/requirement.ts';
import type { TestEnd } from './test-events.ts';
import { prepareMachine } from './test-machine.ts';

const ROOT = resolve(import.meta.dirname, '..');

/** Files at a time: two cores, and every real test runs several processes of its own. */
const CONCURRENCY = process.argv.includes('--kubernetes') ? 1 : 2;
/** For one test that does not say otherwise. On Kubernetes more than any wait in it, so that the wait can say what it saw. */
const TEST_MS_MAX = process.argv.includes('--kubernetes') ? 450_000 : 120_000;
/** For one file: a sound one takes a minute, several beside a loaded machine. Long ones limit themselves. */
const FILE_MS_MAX = process.argv.includes('--long')
  ? 6 * 3600_000
  : process.argv.includes('--kubernetes')
    ? 1_500_000
    : 600_000;
/** A file's output beyond this is cut in the middle of nothing important: the end has the failures. */
const OUTPUT_CHARS_MAX = 200_000;

/** Folders whose tests start real servers: not quick, and begun first, so that both cores end together. */
const SLOW = [
  'test/e2e/',
  'test/facts/',
  'test/scenarios/',
  'test/conformance/',
  'test/kubernetes/',
  'test/launcher/',
  'src/agents/',
  'src/platform/',
  'bench/',
];

interface FileResult {
  readonly file: string;
  readonly tests: readonly TestEnd[];
  /** Why the file as a whole has failed, else null. */
  readonly problem: string | null;
  readonly output: string;
  readonly ms: number;
}

interface NotRun {
  readonly file: string;
  readonly name: string;
  readonly reason: string;
}

interface Summary {
  readonly passed: number;
  readonly failed: number;
  /** Could not run on this machine. */
  readonly skipped: readonly NotRun[];
  /** Belongs to the run on another PostgreSQL. */
  readonly elsewhere: readonly NotRun[];
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      long: { type: 'boolean', default: false },
      kubernetes: { type: 'boolean', default: false },
      clusters: { type: 'string' },
      without: { type: 'string', multiple: true, default: [] },
      summary: { type: 'string' },
    },
    allowPositionals: true,
  });
  const { quick, long, kubernetes, without } = values;
  const files = testFiles({ quick, kind: long ? 'long' : kubernetes ? 'kube' : null, without, wanted: positionals });
  if (kubernetes && values.clusters !== undefined) demandClusters(Number(values.clusters));
  if (!quick && !kubernetes) await prepareMachine();
  endWithUs();
  const results = await runAll(files);
  finish(summarize(results), values.summary);
}

/** Three clusters are asked for where a run on fewer would be taken for one on three. */
function demandClusters(wanted: number): void {
  const { stdout } = spawnSync('kubectl', ['config', 'get-contexts', '-o', 'name'], { encoding: 'utf8' });
  const found = (stdout ?? '').split('\n').filter((name) => name !== '').length;
  if (found >= wanted) return;
  process.stderr.write(`Cannot test on ${wanted} Kubernetes clusters: KUBECONFIG has ${found} context(s)\n`);
  process.exit(1);
}

interface Choice {
  readonly quick: boolean;
  /** `x.long.test.ts`, `x.kube.test.ts`; null: `x.test.ts`. */
  readonly kind: 'long' | 'kube' | null;
  readonly without: readonly string[];
  readonly wanted: readonly string[];
}

function testFiles({ quick, kind, without, wanted }: Choice): string[] {
  return globSync('{src,test,bench}/**/*.test.ts', { cwd: ROOT })
    .filter((file) => (/\.(long|kube)\.test\.ts$/.exec(file)?.[1] ?? null) === kind)
    .filter((file) => !quick || slowness(file) === SLOW.length)
    .filter((file) => !without.some((part) => file.includes(part)))
    .filter(
      (file) => wanted.length === 0 || wanted.some((part) => file.includes(part) || resolve(part) === join(ROOT, file)),
    )
    .sort((a, b) => slowness(a) - slowness(b) || a.localeCompare(b));
}

/** Index in SLOW; its length for a quick file. */
function slowness(file: string): number {
  const index = SLOW.findIndex((folder) => file.startsWith(folder));
  return index < 0 ? SLOW.length : index;
}

async function runAll(files: readonly string[]): Promise<FileResult[]> {
  const waiting = [...files];
  const results: FileResult[] = [];
  const worker = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await runFile(file);
      results.push(result);
      show(result);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return results;
}

async function runFile(file: string): Promise<FileResult> {
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-test-'));
  const events = join(folder, 'events');
  const startedAt = Date.now();
  try {
    const { problem, output } = await runProcess(file, events);
    const tests = readEvents(events);
    const silent = tests.length === 0 ? 'no test in it ended' : null;
    return { file, tests, problem: problem ?? silent, output, ms: Date.now() - startedAt };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function runProcess(file: string, events: string): Promise<{ problem: string | null; output: string }> {
  const words = [`--test-timeout=${TEST_MS_MAX}`, '--test-reporter=spec', '--test-reporter-destination=stdout'];
  words.push(`--test-reporter=${join(ROOT, 'scripts/test-events.ts')}`, `--test-reporter-destination=${events}`);
  return new Promise((done) => {
    // A group of its own, so that what hangs can be ended together with what it started.
    const child = spawn(process.execPath, [...words, join(ROOT, file)], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    running.add(child);
    let output = '';
    let problem: string | null = null;
    const take = (data: Buffer) => {
      output = `${output}${data.toString()}`.slice(-OUTPUT_CHARS_MAX);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const limit = setTimeout(() => {
      problem = `the process did not end within ${FILE_MS_MAX / 1000} s: a test hangs, or something that it opened is still open`;
      killGroup(child, 'SIGKILL');
    }, FILE_MS_MAX);
    const onExit = (status: number | null, signal: string | null) => {
      clearTimeout(limit);
      running.delete(child);
      // A process that a test has left behind may hold the pipes: its output is not waited for.
      setImmediate(() => {
        child.stdout.destroy();
        child.stderr.destroy();
        done({
          problem: problem ?? (status === 0 || status === 1 ? null : `the process ended with ${signal ?? status}`),
          output,
        });
      });
    };
    child.once('error', (error) => done({ problem: error.message, output }));
    child.once('exit', (status, signal) => {
      child.once('close', () => onExit(status, signal));
      setTimeout(() => onExit(status, signal), 1000).unref();
    });
  });
}

const running = new Set<ChildProcess>();

function killGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(-pid, signal);
  } catch {
    // It has ended already.
  }
}

/** Ctrl-C reaches only our own group. */
function endWithUs(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      for (const child of running) killGroup(child, signal);
      process.kill(process.pid, signal);
    });
  }
}

function readEvents(path: string): TestEnd[] {
  try {
    const lines = readFileSync(path, 'utf8').split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line));
  } catch {
    return [];
  }
}

function show({ file, tests, problem, output, ms }: FileResult): void {
  const failed = tests.filter((test) => test.outcome === 'failed').length;
  const bad = failed > 0 || problem !== null;
  const counts = `${count(tests, 'passed')} passed${failed > 0 ? `, ${failed} failed` : ''}`;
  const left = count(tests, 'skipped');
  const note = left > 0 ? `, ${left} not run` : '';
  process.stdout.write(`${bad ? 'FAILED' : 'ok    '} ${file} (${counts}${note}, ${(ms / 1000).toFixed(1)} s)\n`);
  if (problem !== null) process.stdout.write(`       ${problem}\n`);
  if (bad) process.stdout.write(`${output.replaceAll(/^/gm, '    ')}\n`);
}

function count(tests: readonly TestEnd[], outcome: TestEnd['outcome']): number {
  return tests.filter((test) => test.outcome === outcome).length;
}

function summarize(results: readonly FileResult[]): Summary {
  const tests = results.flatMap(({ file, tests }) => tests.map((test) => ({ file, ...test })));
  const left = tests
    .filter(({ outcome }) => outcome === 'skipped')
    .map(({ file, name, reason }) => ({ file, name, reason }));
  const brokenFiles = results.filter(({ problem, tests }) => problem !== null && count(tests, 'failed') === 0).length;
  return {
    passed: count(tests, 'passed'),
    failed: count(tests, 'failed') + brokenFiles,
    skipped: left.filter(({ reason }) => !reason.startsWith(OTHER_POSTGRES)),
    elsewhere: left.filter(({ reason }) => reason.startsWith(OTHER_POSTGRES)),
  };
}

function finish(summary: Summary, summaryFile: string | undefined): void {
  const mustAll = process.env.PGSPAN_TEST_ALL === '1';
  list('Runs on another PostgreSQL', summary.elsewhere);
  list(mustAll ? 'Could not run, so failed (PGSPAN_TEST_ALL=1)' : 'Could not run', summary.skipped);
  const failed = summary.failed + (mustAll ? summary.skipped.length : 0);
  const left = summary.elsewhere.length + (mustAll ? 0 : summary.skipped.length);
  if (summaryFile !== undefined) writeFileSync(summaryFile, JSON.stringify({ ...summary, failed }));
  process.stdout.write(`\n${summary.passed} passed, ${failed} failed${left === 0 ? '' : `, ${left} skipped`}\n`);
  process.exitCode = failed > 0 || summary.passed === 0 ? 1 : 0;
}

function list(title: string, tests: readonly NotRun[]): void {
  if (tests.length === 0) return;
  process.stdout.write(`\n${title}:\n`);
  for (const [reason, same] of Map.groupBy(tests, (test) => test.reason)) {
    process.stdout.write(`  ${reason}\n`);
    for (const test of same) process.stdout.write(`    ${test.file}: ${test.name}\n`);
  }
}

await main();
