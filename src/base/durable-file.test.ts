import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { needs } from '../../test/kit/requirement.ts';
import { readFileIfPresent, removeFileDurably, writeFileDurably } from './durable-file.ts';
import { delay } from './wait-until.ts';

describe('a durable file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-durable-'));
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('is read back as it was written, by its owner only', async () => {
    const path = join(folder, 'promise');
    await writeFileDurably(path, 'term 7\n');
    await writeFileDurably(path, 'term 8\n');
    assert.equal(await readFileIfPresent(path), 'term 8\n');
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(folder), ['promise']);
  });

  test('is the old one while the new one is half written, and the next write clears what a crash left', async () => {
    const path = join(folder, 'promise');
    await writeFileDurably(path, 'old');
    writeFileSync(join(folder, '.promise.new'), 'ne');
    assert.equal(await readFileIfPresent(path), 'old');
    await writeFileDurably(path, 'new');
    assert.equal(await readFileIfPresent(path), 'new');
    assert.deepEqual(readdirSync(folder), ['promise']);
  });

  test('is whole after the process that writes it was killed, again and again', async () => {
    const path = join(folder, 'killed');
    const module = JSON.stringify(join(import.meta.dirname, 'durable-file.ts'));
    const script = `import { writeFileDurably } from ${module};
      for (let n = 0; ; n++) { await writeFileDurably(${JSON.stringify(path)}, String(n % 10).repeat(200_000)); if (n === 1) console.log('runs'); }`;
    for (let round = 0; round < 3; round++) {
      const writer = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(writer.stdout, 'data');
      await delay(5 + 20 * Math.random());
      await killed(writer);
      const text = readFileSync(path, 'utf8');
      assert.equal(text, (text[0] as string).repeat(200_000));
    }
  });

  test('is absent when it was removed, and removing it again does nothing', async () => {
    const path = join(folder, 'removed');
    await writeFileDurably(path, 'here');
    await removeFileDurably(path);
    await removeFileDurably(path);
    assert.equal(await readFileIfPresent(path), null);
  });

  test('a folder in its place is an error, not an absent file', async () => {
    await assert.rejects(readFileIfPresent(folder), { code: 'EISDIR' });
  });

  test('keeps its old content on a full disk, and leaves nothing over', needs('root', 'mount'), async () => {
    const disk = join(folder, 'disk');
    execFileSync('mkdir', [disk]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', disk]);
    try {
      const path = join(disk, 'promise');
      await writeFileDurably(path, 'old');
      await assert.rejects(writeFileDurably(path, 'x'.repeat(100_000)), { code: 'ENOSPC' });
      assert.equal(await readFileIfPresent(path), 'old');
      assert.deepEqual(readdirSync(disk), ['promise']);
    } finally {
      execFileSync('umount', [disk]);
    }
  });
});

async function killed(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}
