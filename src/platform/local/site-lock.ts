/**
 * One command at a time may change a site. The lock is a file that names its holder by pid and start time, so that a
 * holder that died without letting go (SIGKILL, power) does not bar the way for ever.
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { UserError } from '../../base/user-error.ts';
import { isSameProcess, readProcess } from './processes.ts';

/** A fault verb takes milliseconds; `up` takes longer, and waiting for all of it would look like a hang. */
const WAIT_MS_MAX = 5000;
const RETRY_MS = 50;

/** Holds the site's lock while `work` runs. Throws UserError SITE_BUSY when another command keeps it for too long. */
export async function withSiteLock<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const path = join(folder, 'site.lock');
  const mine = JSON.stringify({ pid: process.pid, startTicks: readProcess(process.pid)?.startTicks ?? 0 });
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!tryLock(path, mine)) {
    const holder = readHolder(path);
    if (holder !== null && !isSameProcess(holder.process)) removeStale(path, holder.text);
    else if (performance.now() > deadline) throw busy(folder, holder?.process.pid ?? null);
    else await delay(RETRY_MS);
  }
  try {
    return await work();
  } finally {
    if (readHolder(path)?.text === mine) rmSync(path, { force: true });
  }
}

/** link() is atomic and fails if the name exists; the content is complete before the name appears. */
function tryLock(path: string, content: string): boolean {
  const own = `${path}.${process.pid}`;
  writeFileSync(own, content, { mode: 0o600 });
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(own, { force: true });
  }
}

function readHolder(path: string): { text: string; process: { pid: number; startTicks: number } } | null {
  try {
    const text = readFileSync(path, 'utf8');
    return { text, process: JSON.parse(text) };
  } catch {
    return null; // let go meanwhile
  }
}

/** Takes the name away first and looks afterwards: of two that see the same stale lock, the second must not remove the first one's new lock. */
function removeStale(path: string, staleText: string): void {
  const aside = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, aside);
    if (readFileSync(aside, 'utf8') !== staleText) linkSync(aside, path);
  } catch {
    // Another one was faster; the caller tries again.
  } finally {
    rmSync(aside, { force: true });
  }
}

function busy(folder: string, pid: number | null): UserError {
  return new UserError({
    code: 'SITE_BUSY',
    kind: 'timeout',
    message: `Cannot change the local site in "${folder}": another command${pid === null ? '' : ` (process ${pid})`} is changing it`,
    todo: 'Wait until it has ended, or end it, then run this command again.',
  });
}
