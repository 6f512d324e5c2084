/**
 * Where pgspan keeps what it can make again: Node, the agents' bundles, compiled code. And where its sources are.
 * Loaded by every command: nothing heavy may be imported here.
 */
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** True in the bundle: esbuild puts it in (scripts/bundle.ts). */
declare const __PGSPAN_BUNDLED__: boolean | undefined;

/** Whether this code runs from the bundle and not from the sources of a clone. */
export function isBundled(): boolean {
  return typeof __PGSPAN_BUNDLED__ !== 'undefined';
}

/** The clone. Only for code that runs from sources. */
export function sourceRoot(): string {
  return resolve(import.meta.dirname, '../..');
}

/**
 * The folder, which may not exist yet. Run by root it is one that every user can read; else it is in the clone, or, when that is
 * not ours to write, in the user's cache. The launcher, which needs it before our Node is there, has the same rule
 * (scripts/launcher/ensure.mjs). PGSPAN_CACHE names another one for both.
 */
export function cacheFolder(): string {
  const told = process.env.PGSPAN_CACHE;
  if (told !== undefined && told !== '') return resolve(told);
  if (process.getuid?.() === 0) return process.platform === 'darwin' ? '/Library/Caches/pgspan' : '/var/cache/pgspan';
  if (!isBundled() && isWritable(sourceRoot())) return join(sourceRoot(), '.cache');
  const base = process.env.XDG_CACHE_HOME;
  return join(base !== undefined && base !== '' ? base : join(homedir(), '.cache'), 'pgspan');
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
