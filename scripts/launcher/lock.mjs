/**
 * A lock between processes that outlives none of them: a file with the holder's process id, touched while it works.
 *
 * All work under it is done in a temporary folder and put in place by a rename, so a lock that is wrongly taken over costs
 * double work and nothing else.
 */
import { mkdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const TOUCH_INTERVAL_MS = 2_000;
/** A holder that has not touched its file for so long is gone, or in another container where its process id means nothing. */
const SILENT_MS_MAX = 30_000;
const POLL_MS = 200;
/** Taking over is a few system calls; a marker older than this was left by a crash in the middle of them. */
const TAKEOVER_MS_MAX = 10_000;

/**
 * Runs `work` while holding the lock.
 * @template T
 * @param {string} path
 * @param {{ onWait: (holder: number) => void }} hooks `onWait` is called once if somebody else holds it
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(path, hooks, work) {
  mkdirSync(dirname(path), { recursive: true });
  let told = false;
  while (!tryCreate(path)) {
    const holder = readHolder(path);
    if (isStale(path, holder)) {
      takeAway(path);
      continue;
    }
    if (!told && holder !== undefined) {
      hooks.onWait(holder);
      told = true;
    }
    await sleep(POLL_MS);
  }
  const timer = setInterval(() => touch(path), TOUCH_INTERVAL_MS);
  timer.unref();
  const release = () => rmSync(path, { force: true });
  process.once('exit', release);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    process.removeListener('exit', release);
    release();
  }
}

/** @param {string} path */
function tryCreate(path) {
  try {
    writeFileSync(path, `${process.pid}\n`, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

/**
 * @param {string} path
 * @returns {number | undefined} undefined when the file is gone or its holder is just writing it
 */
function readHolder(path) {
  try {
    const pid = Number(readFileSync(path, 'utf8').trim());
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {string} path
 * @param {number | undefined} holder
 */
function isStale(path, holder) {
  const touchedAt = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  if (touchedAt === undefined) return false;
  if (Date.now() - touchedAt > SILENT_MS_MAX) return true;
  return holder !== undefined && !isAlive(holder);
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it lives and belongs to another user.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/**
 * Removes a stale lock. Two that found it stale must not remove the lock that one of them has just made: whoever removes
 * holds a marker, and looks again.
 * @param {string} path
 */
function takeAway(path) {
  const marker = `${path}.takeover`;
  const markedAt = statSync(marker, { throwIfNoEntry: false })?.mtimeMs;
  if (markedAt !== undefined && Date.now() - markedAt > TAKEOVER_MS_MAX) rmSync(marker, { force: true });
  if (!tryCreate(marker)) return;
  try {
    if (isStale(path, readHolder(path))) rmSync(path, { force: true });
  } finally {
    rmSync(marker, { force: true });
  }
}

/** @param {string} path */
function touch(path) {
  try {
    const now = new Date();
    utimesSync(path, now, now);
  } catch {
    // Somebody took it over: see the note at the top.
  }
}
