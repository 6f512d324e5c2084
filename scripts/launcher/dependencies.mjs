/**
 * The packages of package-lock.json in <clone>/node_modules: whether they are there, and how they get there.
 *
 * They are there when npm's own note of what it installed (node_modules/.package-lock.json, written last) names every
 * package of the lock file with the same checksum. A half-done installation never shows: npm works in a folder beside.
 */
import {
  copyFileSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { LauncherError } from './launcher-error.mjs';
import { isWritable, npmCi, removeLeftovers } from './npm.mjs';
import { withProgress } from './progress.mjs';

/** @typedef {{ version?: string, integrity?: string, dev?: boolean, optional?: boolean }} LockedPackage */

/**
 * @param {{ root: string, cache: string, development: boolean }} options `development`: with the tools that only tests and checks use
 */
export async function ensureDependencies({ root, cache, development }) {
  if (areInstalled({ root, development })) return;
  if (!isWritable(root)) {
    throw new LauncherError({
      code: 'CLONE_NOT_WRITABLE',
      message: `Cannot install pgspan's dependencies into "${root}": this user may not write there`,
      todo: 'Run pgspan once as the owner of that folder, or clone it into a folder of your own',
    });
  }
  await withProgress(`installing ${development ? 'dependencies and development tools' : 'dependencies'}`, () =>
    install({ root, cache, development }),
  );
}

/** @param {{ root: string, development: boolean }} options */
export function areInstalled({ root, development }) {
  const wanted = readPackages(join(root, 'package-lock.json'));
  const found = readPackages(join(root, 'node_modules', '.package-lock.json'));
  if (wanted === undefined || found === undefined) return false;
  return Object.entries(wanted).every(([path, { integrity, dev, optional }]) => {
    if (path === '' || optional === true || (dev === true && !development)) return true;
    return found[path]?.integrity === integrity && existsSync(join(root, path));
  });
}

/** @param {{ root: string, cache: string, development: boolean }} options */
async function install({ root, cache, development }) {
  const owner = statSync(root);
  const work = join(root, '.cache');
  mkdirSync(work, { recursive: true });
  removeLeftovers(work, '.installing-');
  const making = mkdtempSync(join(work, '.installing-'));
  try {
    for (const name of ['package.json', 'package-lock.json']) copyFileSync(join(root, name), join(making, name));
    await npmCi({ folder: making, cache, development, what: "pgspan's dependencies" });
    // root in somebody's clone: what is left there must stay theirs to remove.
    if (process.getuid?.() === 0 && owner.uid !== 0) giveTo(owner, join(making, 'node_modules'));
    const old = join(making, 'old');
    const place = join(root, 'node_modules');
    if (existsSync(place)) renameSync(place, old);
    renameSync(join(making, 'node_modules'), place);
  } finally {
    rmSync(making, { recursive: true, force: true });
    if (process.getuid?.() === 0 && owner.uid !== 0) lchownSync(work, owner.uid, owner.gid);
  }
}

/**
 * @param {{ uid: number, gid: number }} owner
 * @param {string} path
 */
function giveTo(owner, path) {
  lchownSync(path, owner.uid, owner.gid);
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) giveTo(owner, join(path, entry.name));
    else lchownSync(join(path, entry.name), owner.uid, owner.gid);
  }
}

/**
 * @param {string} path
 * @returns {Record<string, LockedPackage> | undefined}
 */
function readPackages(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined;
  }
}
