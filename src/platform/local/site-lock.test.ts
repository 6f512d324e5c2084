import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { needs } from '../../../test/kit/requirement.ts';
import { withSiteLock } from './site-lock.ts';

const folder = mkdtempSync('/tmp/pgspan-lock-');
after(() => rmSync(folder, { recursive: true }));

test('one holder at a time, in any order', needs('loopback'), async () => {
  let inside = 0;
  let most = 0;
  const work = () =>
    withSiteLock(folder, async () => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise(setImmediate);
      inside -= 1;
    });
  await Promise.all(Array.from({ length: 8 }, work));
  assert.equal(most, 1);
  assert.deepEqual(readdirSync(folder), []);
});

test('a lock whose holder has ended without letting go bars nobody', needs('loopback'), async () => {
  writeFileSync(join(folder, 'site.lock'), JSON.stringify({ pid: process.pid, startTicks: 1 }));
  assert.equal(await withSiteLock(folder, async () => 'done'), 'done');
  assert.deepEqual(readdirSync(folder), []);
});

test('an error of the work is thrown on, and lets go', needs('loopback'), async () => {
  await assert.rejects(
    withSiteLock(folder, async () => {
      throw new Error('broken');
    }),
    /broken/,
  );
  assert.deepEqual(readdirSync(folder), []);
});
