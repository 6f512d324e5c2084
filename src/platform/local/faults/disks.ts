/**
 * fill-disk and slow-disk: on a node's own file system only, so that nobody else's disk suffers.
 *
 * - full: one file takes all free space. PostgreSQL goes on as long as it can reuse WAL files, as on a real full disk.
 * - slow: the file system is frozen (fsfreeze(8)) most of the time, so that each write and fsync waits for the next gap.
 *   A small shell loop does it; heal ends the loop and lifts a freeze that it may have left.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../../../base/user-error.ts';
import { findSiteProcesses, MARKER_VARIABLE, type SiteMarks, signalProcess } from '../processes.ts';
import { runTool } from '../system-tool.ts';
import { unfreezeFileSystem, type Volume } from '../volumes.ts';

const FILLER = 'pgspan-fill-disk';
const ZEROS = Buffer.alloc(64 * 1024);

export interface SlowDiskShape {
  /** How long writes stall, and how long they may pass until the next stall. */
  readonly stallMs: number;
  readonly passMs: number;
}

/** About 0.2 s for an average fsync: a dying disk, which still works. */
export const SLOW_DISK_DEFAULT: SlowDiskShape = { stallMs: 400, passMs: 50 };

/** Takes all free space. @returns how many bytes. Throws UserError DISK_NOT_ITS_OWN. */
export function fillDisk(node: string, volume: Volume): number {
  assertOwnFileSystem('fill', node, volume);
  const path = join(volume.path, FILLER);
  const { bavail, bsize } = statfsSync(volume.path);
  const freeBytes = bavail * bsize;
  // Reserves blocks without writing them: done at once, and the host's disk does not grow. Best effort, the rest is written.
  if (freeBytes > 0) runTool('fallocate', ['-l', String(Math.max(1, freeBytes - ZEROS.length * 16)), path]);
  const fd = openSync(path, 'a', 0o600);
  try {
    for (;;) writeSync(fd, ZEROS);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    closeSync(fd);
  }
  return freeBytes;
}

/** Gives the space back. */
export function freeDisk(volume: Volume): void {
  rmSync(join(volume.path, FILLER), { force: true });
}

/** Starts to stall the node's disk. Throws UserError DISK_NOT_ITS_OWN. */
export function slowDisk(
  node: string,
  volume: Volume,
  marks: SiteMarks,
  shape: SlowDiskShape = SLOW_DISK_DEFAULT,
): void {
  assertOwnFileSystem('slow down', node, volume);
  if (findSlowDiskLoops(node, marks).length > 0) return;
  const loop = spawn('/bin/sh', ['-c', SLOW_DISK_LOOP, volume.path, seconds(shape.stallMs), seconds(shape.passMs)], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', [MARKER_VARIABLE]: `${marks.siteId}/${slowDiskPart(node)}` },
  });
  loop.unref();
}

/** Ends when the volume is gone or cannot be frozen; a killed loop leaves at most one freeze, which `hastenDisk` lifts. */
const SLOW_DISK_LOOP = 'while fsfreeze -f "$0"; do sleep "$1"; fsfreeze -u "$0" || exit; sleep "$2"; done';

/** Ends the stalling. Does nothing for a disk that is not slow. */
export function hastenDisk(node: string, volume: Volume, marks: SiteMarks): void {
  for (let loops = findSlowDiskLoops(node, marks); loops.length > 0; loops = findSlowDiskLoops(node, marks)) {
    for (const process of loops) signalProcess(process, 'SIGKILL');
  }
  if (volume.kind === 'image') unfreezeFileSystem(volume.path);
}

function findSlowDiskLoops(node: string, marks: SiteMarks) {
  return findSiteProcesses(marks).filter(({ part }) => part === slowDiskPart(node));
}

/** No node, proxy or group has a "/" in its name, so no other verb means this process. */
function slowDiskPart(node: string): string {
  return `slow-disk/${node}`;
}

/** Throws UserError DISK_NOT_ITS_OWN. */
export function assertOwnFileSystem(verb: string, node: string, volume: Volume): void {
  if (volume.kind === 'image') return;
  throw new UserError({
    code: 'DISK_NOT_ITS_OWN',
    kind: 'missing',
    message: `Cannot ${verb} the disk of "${node}": its data lies in a plain folder, on a disk that others use`,
    todo: 'A disk of its own needs root, loop devices and mkfs.ext4 when the site is started. Start it again as root, without --no-disks.',
  });
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3);
}
