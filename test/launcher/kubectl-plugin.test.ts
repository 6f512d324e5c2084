/** `kubectl pgspan` is pgspan: the files of bin/, found through PATH, also when they are links to links. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { after, before, suite, test } from 'node:test';
import packageJson from '../../package.json' with { type: 'json' };

const BIN = resolve(import.meta.dirname, '../../bin');
const PATH = process.env.PATH ?? '';
const hasKubectl = PATH.split(delimiter).some((folder) => existsSync(join(folder, 'kubectl')));

suite('the plugin of kubectl', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pgspan-plugin-'));
    for (const name of ['kubectl-pgspan', 'kubectl_complete-pgspan']) {
      symlinkSync(join(BIN, name), join(folder, `first-${name}`));
      symlinkSync(`first-${name}`, join(folder, name));
    }
  });
  after(() => rmSync(folder, { recursive: true }));

  const run = (program: string, ...words: string[]) => {
    const env = { ...process.env, PATH: `${folder}${delimiter}${PATH}` };
    const { status, stdout, stderr } = spawnSync(program, words, { env, cwd: '/', encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };

  test('runs pgspan', () => assert.equal(run('kubectl-pgspan', '--version'), packageJson.version));

  test('says what could complete a word, in the form of kubectl', () => {
    const lines = run('kubectl_complete-pgspan', 'inst').split('\n');
    assert.match(lines[0] ?? '', /^install\t/);
    assert.deepEqual(lines.slice(1), [':4']);
    assert.equal(run('kubectl_complete-pgspan', 'plan', '-f', ''), ':0');
  });

  // With kubectl itself where there is one: it looks for the program by these names.
  if (hasKubectl) {
    test('is found by kubectl', () => {
      assert.equal(run('kubectl', 'pgspan', '--version'), packageJson.version);
      assert.match(run('kubectl', '__complete', 'pgspan', 'inst'), /^install\t/);
    });
  }
});
