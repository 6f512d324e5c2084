/**
 * Makes a clone ready to run: our own Node in the cache folder, the dependencies in the clone, and a stamp that says so, which
 * the launcher (`pgspan`, sh) reads on every later start.
 *
 * Plain JavaScript for Node 18 and later: this is what runs before our own Node is there.
 * Nothing is fetched that is there already; everything is put in place by a rename; two at once wait for each other.
 */
import { chmodSync, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { areInstalled, ensureDependencies } from './dependencies.mjs';
import { printError } from './launcher-error.mjs';
import { withLock } from './lock.mjs';
import { ensureNode } from './node-release.mjs';
import { isWritable } from './npm.mjs';
import { note } from './progress.mjs';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/**
 * @param {{ development?: boolean }} options `development`: with the tools that only tests and checks use
 * @returns {Promise<string>} absolute path of our Node
 */
export async function ensureReady({ development = false } = {}) {
  // What root makes here is for every user.
  if (process.getuid?.() === 0) process.umask(0o022);
  const cache = cacheFolder();
  mkdirSync(cache, { recursive: true });
  /** @param {string} lock @param {() => Promise<string>} work */
  const locked = (lock, work) =>
    withLock(lock, { onWait: (pid) => note(`waiting for process ${pid}, which is installing pgspan`) }, work);
  const node = await locked(join(cache, 'node.lock'), () => ensureNode(cache));
  if (areInstalled({ root: ROOT, development }) && !isWritable(join(ROOT, 'node_modules'))) return node;
  return await locked(join(isWritable(ROOT) ? join(ROOT, '.cache') : cache, 'install.lock'), async () => {
    await ensureDependencies({ root: ROOT, cache, development });
    writeStamp(node);
    return node;
  });
}

/** By the rule of src/platform/cache-folder.ts. */
function cacheFolder() {
  const told = process.env.PGSPAN_CACHE;
  if (told !== undefined && told !== '') return resolve(told);
  if (process.getuid?.() === 0) return process.platform === 'darwin' ? '/Library/Caches/pgspan' : '/var/cache/pgspan';
  if (isWritable(ROOT)) return join(ROOT, '.cache');
  const base = process.env.XDG_CACHE_HOME;
  return join(base !== undefined && base !== '' ? base : join(homedir(), '.cache'), 'pgspan');
}

/**
 * One line: the Node to run. It lies in node_modules, so that it goes when they are replaced. Root has one of its own, because
 * its Node must be where every user can read it.
 * @param {string} node
 */
function writeStamp(node) {
  const stamp = join(ROOT, 'node_modules', process.getuid?.() === 0 ? '.pgspan-root' : '.pgspan-user');
  writeFileSync(`${stamp}.new`, `${node}\n`);
  chmodSync(`${stamp}.new`, 0o644);
  renameSync(`${stamp}.new`, stamp);
}

if (
  process.argv[1] !== undefined &&
  existsSync(process.argv[1]) &&
  resolve(process.argv[1]) === fileURLToPath(import.meta.url)
) {
  try {
    // On stdout, so that the launcher needs no stamp where it cannot be written.
    process.stdout.write(`${await ensureReady()}\n`);
  } catch (error) {
    printError(error);
    process.exitCode = 5;
  }
}
