/**
 * A clone as a newcomer has it, in a temporary folder: the files of the launcher and the sources, nothing installed.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const FILES = ['pgspan', 'package.json', 'package-lock.json', 'scripts', 'src'];

/** Longer than any first run: 150 MB over a slow line is not what is tested here. */
const RUN_MS_MAX = 110_000;

export interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

export interface FreshClone {
  /** The folder of the test: `clone/`, `cache/` and whatever the test makes. */
  readonly folder: string;
  readonly clone: string;
  /** Value of PGSPAN_CACHE in `run`. */
  readonly cache: string;
  /** Runs a command with the given environment and nothing else. */
  run(command: string, words: readonly string[], environment?: Record<string, string>): Promise<Run>;
  /** Copies what is installed in another one: Node (by hard links) and the packages. */
  takeFrom(other: FreshClone, what: { node?: boolean; packages?: boolean }): void;
  remove(): void;
}

export function makeFreshClone(): FreshClone {
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-fresh-'));
  // mkdtemp makes it for its maker only; what root installs in it is for everybody.
  chmodSync(folder, 0o755);
  const clone = join(folder, 'clone');
  const cache = join(folder, 'cache');
  mkdirSync(clone);
  for (const name of FILES) cpSync(join(ROOT, name), join(clone, name), { recursive: true });
  return {
    folder,
    clone,
    cache,
    run: (command, words, environment = {}) => finished(start(command, words, { PGSPAN_CACHE: cache, ...environment })),
    takeFrom(other, { node = false, packages = false }) {
      if (node) copyLinked(join(other.cache, 'node'), join(cache, 'node'));
      if (packages) copyLinked(join(other.clone, 'node_modules'), join(clone, 'node_modules'));
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** Starts a command in a process group of its own, with exactly this environment. */
export function start(command: string, words: readonly string[], environment: Record<string, string>): ChildProcess {
  return spawn(command, words, { env: environment, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'], detached: true });
}

export function finished(child: ChildProcess): Promise<Run> {
  const startedAt = performance.now();
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.on('data', (data: Buffer) => {
      output[name] += data.toString();
    });
  }
  return new Promise((done, fail) => {
    const limit = setTimeout(() => killGroup(child), RUN_MS_MAX);
    child.once('error', fail);
    child.once('close', (status) => {
      clearTimeout(limit);
      done({ status, ...output, ms: performance.now() - startedAt });
    });
  });
}

/** Ends a command and all that it started, as a power cut does. */
export function killGroup({ pid }: ChildProcess): void {
  if (pid !== undefined) process.kill(-pid, 'SIGKILL');
}

/** Names in a folder; none if there is no such folder. */
export function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

function copyLinked(from: string, to: string): void {
  mkdirSync(join(to, '..'), { recursive: true });
  execFileSync('cp', ['-al', from, to]);
}
