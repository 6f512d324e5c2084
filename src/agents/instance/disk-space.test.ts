import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from '../../../test/kit/requirement.ts';
import { DiskSpace, FREE_BYTES_MIN } from './disk-space.ts';

const MIB = 1024 * 1024;

describe('the room on a volume', needs('root', 'mount'), () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-disk-'));
  const disk = join(folder, 'disk');
  before(() => {
    mkdirSync(disk);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'none', disk]);
  });
  after(() => {
    execFileSync('umount', [disk]);
    rmSync(folder, { recursive: true });
  });

  /** A file that leaves so much. */
  function leave(freeBytes: number): void {
    const path = join(disk, 'filler');
    writeFileSync(path, '');
    truncateSync(path, 0);
    execFileSync('fallocate', ['-l', String(64 * MIB - freeBytes), path]);
  }

  test('is too little below one WAL segment, and enough again only with two', async () => {
    const space = new DiskSpace(disk);
    await space.look();
    assert.equal(space.isFull, false);
    leave(FREE_BYTES_MIN + MIB);
    await space.look();
    assert.equal(space.isFull, false);
    leave(FREE_BYTES_MIN - MIB);
    await space.look();
    assert.equal(space.isFull, true);
    assert.match(space.problem?.message ?? '', /is full: 15 MiB are left, at least 32 are needed; enlarge it/);
    leave(2 * FREE_BYTES_MIN - MIB);
    await space.look();
    assert.equal(space.isFull, true);
    leave(2 * FREE_BYTES_MIN + MIB);
    await space.look();
    assert.equal(space.problem, null);
  });

  test('of a volume that is not there is no reason to hand over', async () => {
    const space = new DiskSpace(join(disk, 'gone'));
    await space.look();
    assert.equal(space.isFull, false);
  });
});
