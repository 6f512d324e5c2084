/**
 * How to start one of pgspan's own programs as a process: which Node, with which flags, running which file.
 *
 * Agents run the bundle (scripts/bundle.ts), not the sources: less memory, a faster start, and one folder that an unprivileged
 * user can read although the clone may lie in the home of root. The bundle lies in the cache folder under the digest of what it
 * was made from, so that changed sources make another one, and an agent that runs keeps the files that it was started from:
 *
 *   <cache>/program/<digest of src/, package-lock.json and the build script>/pgspan.mjs
 *   <cache>/node/...          the launcher's own Node (scripts/launcher/)
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  linkSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import { UserError } from '../base/user-error.ts';
import { cacheFolder, isBundled, sourceRoot } from './cache-folder.ts';

/** `agent`: an instance agent or the record's server: little CPU, kept small. `proxy`: moves bytes, kept fast. `operator`: as an agent, with many objects. `dns`: one beside each server, small, and quick when it is asked. */
export type ProgramKind = 'agent' | 'proxy' | 'operator' | 'dns';

export interface Program {
  /** Absolute path of the Node to run; any user can execute it. */
  readonly node: string;
  /** Words before the verb: flags of Node, then the file. The caller appends the verb and its options. */
  readonly args: readonly string[];
  /** To be set in the process's environment; nothing else of the caller's environment is needed. */
  readonly env: Readonly<Record<string, string>>;
}

/**
 * Flags by kind, each measured: docs/decisions/agent-memory.md says what each one saves and what it costs.
 * Node's start-up snapshot saves 20 ms of a start and costs 4 MiB for as long as the process lives.
 */
export const NODE_FLAGS: Readonly<Record<ProgramKind, readonly string[]>> = {
  agent: [
    '--no-node-snapshot',
    '--expose-gc',
    '--no-opt',
    '--no-maglev',
    '--no-sparkplug',
    '--optimize-for-size',
    '--max-semi-space-size=1',
    '--max-old-space-size=128',
  ],
  proxy: ['--no-node-snapshot', '--expose-gc'],
  operator: ['--no-node-snapshot', '--expose-gc', '--optimize-for-size', '--max-semi-space-size=1'],
  // docs/benchmarks/dns.md
  dns: [
    '--no-node-snapshot',
    '--expose-gc',
    '--optimize-for-size',
    '--max-semi-space-size=1',
    '--max-old-space-size=96',
  ],
};

/** One arena: glibc otherwise keeps one for each of libuv's and V8's threads, which hold on to what they once used. */
const PROGRAM_ENV: Readonly<Record<string, string>> = { MALLOC_ARENA_MAX: '1' };

/** Bundles that nobody has started for so long are removed. Longer than a site is likely to live between two starts of a process. */
const BUNDLE_UNUSED_MS_MAX = 30 * 24 * 3600 * 1000;

const BUNDLE_ENTRY = 'pgspan.mjs';

/**
 * Says how to start `pgspan <verb>` as an agent; makes the bundle first if the sources have changed (about 0.5 s, else 10 ms).
 * @throws UserError PROGRAM_BUILD_FAILED when the sources do not build.
 */
export async function agentProgram(kind: ProgramKind): Promise<Program> {
  const entry = isBundled() ? join(import.meta.dirname, BUNDLE_ENTRY) : await bundleFromSources();
  return { node: nodeForEverybody(), args: [...NODE_FLAGS[kind], entry], env: PROGRAM_ENV };
}

async function bundleFromSources(): Promise<string> {
  const programs = join(cacheFolder(), 'program');
  const folder = join(programs, sourceDigest());
  const entry = join(folder, BUNDLE_ENTRY);
  if (!existsSync(entry)) await build(folder);
  const now = new Date();
  utimesSync(folder, now, now);
  removeUnused(programs, now.getTime());
  return entry;
}

async function build(folder: string): Promise<void> {
  const script = join(sourceRoot(), 'scripts/bundle.ts');
  try {
    await promisify(execFile)(process.execPath, [script, folder], { cwd: sourceRoot() });
  } catch (error) {
    // Somebody else may have put the same bundle there a moment before.
    if (existsSync(join(folder, BUNDLE_ENTRY))) return;
    const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    throw new UserError({
      code: 'PROGRAM_BUILD_FAILED',
      message: `Cannot build the agents' program in "${folder}": ${stderr === '' ? String(error) : stderr}`,
      todo: 'Check that the folder can be written and that the sources are whole ("git status"), then run the command again',
      cause: error,
    });
  }
}

/** Digest of all that the bundle is made from. Content, not times: two clones of one commit share a bundle. */
function sourceDigest(): string {
  const root = sourceRoot();
  const hash = createHash('sha256');
  const sources = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((file) => file.isFile() && !file.name.endsWith('.test.ts'))
    .map((file) => join(file.parentPath, file.name));
  for (const path of [
    ...sources,
    join(root, 'scripts/bundle.ts'),
    join(root, 'package.json'),
    join(root, 'package-lock.json'),
  ].sort()) {
    const content = readFileSync(path);
    hash.update(`${relative(root, path)}\0${content.length}\0`).update(content);
  }
  return hash.digest('hex').slice(0, 16);
}

function removeUnused(programs: string, now: number): void {
  for (const name of readdirSync(programs)) {
    const folder = join(programs, name);
    const usedAt = statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? now;
    if (now - usedAt > BUNDLE_UNUSED_MS_MAX) rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Our own Node, at a path that every user can execute. The launcher's already is; a developer's may lie in a home,
 * then a copy (a hard link where it can be one) goes to the cache folder.
 */
function nodeForEverybody(): string {
  const own = process.execPath;
  if (process.getuid?.() !== 0 || isOpenToAll(own)) return own;
  const shared = join(
    cacheFolder(),
    'node',
    `${process.version}-${process.platform}-${process.arch}-copy`,
    'bin',
    'node',
  );
  if (existsSync(shared)) return shared;
  const umask = process.umask(0o022);
  mkdirSync(dirname(shared), { recursive: true });
  process.umask(umask);
  const making = `${shared}.${process.pid}`;
  try {
    linkSync(own, making);
  } catch {
    copyFileSync(own, making);
  }
  renameSync(making, shared);
  return shared;
}

/** Whether others may execute the file and pass through each folder above it. */
function isOpenToAll(path: string): boolean {
  for (let at = path; ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (dirname(at) === at) return true;
  }
}
