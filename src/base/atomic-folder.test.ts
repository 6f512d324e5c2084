import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { needs } from '../../test/kit/requirement.ts';
import { readAtomicFolder, writeAtomicFolder } from './atomic-folder.ts';

let parent: string;
let folder: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'pgspan-atomic-'));
  folder = join(parent, 'tls');
});
afterEach(() => rm(parent, { recursive: true, force: true }));

const setOf = (value: string): Map<string, string> =>
  new Map([
    ['tls.crt', `${value} certificate`],
    ['tls.key', `${value} key`],
  ]);

test('files are read by their plain names, owner-only', async () => {
  assert.equal(await writeAtomicFolder(folder, setOf('first')), true);
  assert.equal(await readFile(join(folder, 'tls.key'), 'utf8'), 'first key');
  assert.equal((await stat(join(folder, 'tls.key'))).mode & 0o777, 0o600);
  assert.deepEqual(await readAtomicFolder(folder), setOf('first'));
});

test('the same content again touches nothing', async () => {
  await writeAtomicFolder(folder, setOf('first'));
  const before = await readdir(folder);
  assert.equal(await writeAtomicFolder(folder, setOf('first')), false);
  assert.deepEqual(await readdir(folder), before);
});

test('names that are no longer wanted go away, and so do sets older than the one before', async () => {
  for (const value of ['a', 'b', 'c', 'd']) await writeAtomicFolder(folder, setOf(value).set('old', value));
  await writeAtomicFolder(folder, setOf('e'));
  const names = await readdir(folder);
  assert.ok(!names.includes('old'));
  assert.equal(names.filter((name) => /^\.\.[0-9a-f]{16}$/.test(name)).length, 2, names.join(' '));
});

test('a reader that goes through the link sees one set, while a writer replaces it again and again', async () => {
  await writeAtomicFolder(folder, setOf('0'));
  let done = false;
  const writer = (async () => {
    for (let round = 1; round <= 40; round++) await writeAtomicFolder(folder, setOf(String(round)));
    done = true;
  })();
  let readCount = 0;
  while (!done) {
    const files = await readAtomicFolder(folder);
    const value = files.get('tls.crt')?.split(' ')[0];
    assert.deepEqual(files, setOf(String(value)));
    readCount += 1;
  }
  await writer;
  assert.ok(readCount > 0);
});

test('what a crash in the middle has left over is swept up, and the old set stood meanwhile', async () => {
  await writeAtomicFolder(folder, setOf('first'));
  await writeFile(join(folder, '..0123456789abcdef'), 'a set that was never finished');
  await symlink('..nowhere', join(folder, '..0123.link'));
  assert.deepEqual(await readAtomicFolder(folder), setOf('first'));
  await writeAtomicFolder(folder, setOf('second'));
  const names = await readdir(folder);
  assert.ok(!names.includes('..0123456789abcdef') && !names.includes('..0123.link'), names.join(' '));
});

test('a set that cannot be finished leaves the old one in place', async () => {
  await writeAtomicFolder(folder, setOf('first'));
  await assert.rejects(writeAtomicFolder(folder, new Map([['no/such/folder', 'x']])), { code: 'ENOENT' });
  assert.deepEqual(await readAtomicFolder(folder), setOf('first'));
  assert.equal(await readFile(join(folder, 'tls.key'), 'utf8'), 'first key');
});

test('files belong to the owner, folders and links do not', needs('root'), async () => {
  await writeAtomicFolder(folder, setOf('first'), { owner: { uid: 65534, gid: 65534 } });
  assert.equal((await stat(join(folder, 'tls.key'))).uid, 65534);
  assert.equal((await stat(folder)).uid, 0);
  assert.equal((await stat(join(folder, '..data'))).uid, 0);
});
