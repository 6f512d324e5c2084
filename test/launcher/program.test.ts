/**
 * How agents are started: the bundle is made from the sources when it is needed, once, and any user can run it.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, suite, test } from 'node:test';
import type { Program } from '../../src/platform/program.ts';
import { needs } from '../kit/requirement.ts';
import { type FreshClone, makeFreshClone, namesIn } from './fresh-clone.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const NOBODY = { uid: 65534, gid: 65534 };

suite('the program of the agents', needs('root'), () => {
  let fresh: FreshClone;
  const ask = (): Program => {
    const script = `import { agentProgram } from '${fresh.clone}/src/platform/program.ts';
      try { console.log(JSON.stringify(await agentProgram('agent'))); }
      catch (error) { console.log(JSON.stringify({ code: error.code, message: error.message })); }`;
    const words = ['-c', `umask 077; exec "$0" --input-type=module -e "$1"`, process.execPath, script];
    return JSON.parse(execFileSync('sh', words, { encoding: 'utf8', env: { PGSPAN_CACHE: fresh.cache } }));
  };
  const entryOf = (program: Program): string => program.args.at(-1) ?? '';

  before(() => {
    fresh = makeFreshClone();
    symlinkSync(join(ROOT, 'node_modules'), join(fresh.clone, 'node_modules'));
  });
  after(() => fresh.remove());

  test('is built once and found again', () => {
    const first = ask();
    const builtAt = statSync(entryOf(first)).mtimeMs;
    assert.deepEqual(ask(), first);
    assert.equal(statSync(entryOf(first)).mtimeMs, builtAt);
    assert.deepEqual(namesIn(join(fresh.cache, 'program')).length, 1);
  });

  test("runs as another user, whatever the builder's umask was", () => {
    const { node, args, env } = ask();
    const { status, stderr } = spawnSync(node, [...args, 'instance'], { ...NOBODY, env, cwd: '/', encoding: 'utf8' });
    assert.deepEqual({ status }, { status: 2 }, stderr);
    assert.match(stderr, /PROGRAM_USAGE/);
  });

  test('an agent that does not find its configuration says so in words', () => {
    const { node, args, env } = ask();
    for (const name of ['instance', 'proxy']) {
      const { status, stderr } = spawnSync(node, [...args, name, '--config', '/nowhere'], { env, encoding: 'utf8' });
      assert.ok(status !== 0 && status !== null);
      assert.match(stderr, /"\/nowhere"/);
    }
  });

  test('changed sources make another one beside it, which leaves running agents their files', () => {
    const before = ask();
    appendFileSync(join(fresh.clone, 'src/cli/main.ts'), '// changed\n');
    const now = ask();
    assert.notEqual(entryOf(now), entryOf(before));
    assert.ok(statSync(entryOf(before)).isFile());
  });

  test('sources that do not compile are refused with file and line', () => {
    const file = join(fresh.clone, 'src/cli/main.ts');
    const lines = readFileSync(file, 'utf8').split('\n').length;
    appendFileSync(file, 'const = 1;\n');
    const answer = ask() as unknown as { code: string; message: string };
    assert.equal(answer.code, 'PROGRAM_BUILD_FAILED');
    assert.ok(answer.message.includes(`src/cli/main.ts:${lines}`), answer.message);
  });
});
