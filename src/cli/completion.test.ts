import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { candidates } from './completion.ts';
import { VERBS } from './verbs.ts';

const MAIN = resolve(import.meta.dirname, 'main.ts');

const wordsFor = async (...words: string[]) => (await candidates(words)).map(({ word }) => word);

suite('completion', () => {
  test('offers every verb for people, and no hidden one', async () => {
    assert.deepEqual(
      await wordsFor(''),
      VERBS.filter(({ hidden }) => hidden !== true).map(({ name }) => name),
    );
  });

  test('offers what begins with the letters that were typed', async () => {
    assert.deepEqual(await wordsFor('comp'), ['completion']);
  });

  test('offers the choices of an argument, and nothing where a file may stand', async () => {
    assert.deepEqual(await wordsFor('completion', ''), ['bash', 'zsh']);
    assert.deepEqual(await wordsFor('plan', '-f', ''), []);
  });

  test('offers the options of a verb', async () => {
    assert.ok((await wordsFor('plan', '--')).includes('--help'));
    assert.deepEqual(await wordsFor('invite', '--l'), ['--list']);
    assert.deepEqual(await wordsFor('invite', '--w'), ['--withdraw']);
    assert.deepEqual(await wordsFor('invite', '--withdraw', ''), []);
  });

  test('every verb loads, is called as the table says, and its help has an example', async () => {
    for (const verb of VERBS) {
      const command = await verb.load();
      assert.equal(command.name(), verb.name);
      if (verb.hidden === true) continue;
      let help = '';
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
      if (command.commands.length === 0) assert.match(help, /\nExamples?:\n/, `pgspan ${verb.name} --help`);
    }
  });

  test('the script works in bash', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pgspan-completion-'));
    try {
      const pgspan = join(folder, 'pgspan');
      writeFileSync(pgspan, `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`, { mode: 0o755 });
      const script = `
        source <(${pgspan} completion bash)
        COMP_WORDS=(${pgspan} completion z) COMP_CWORD=2
        _pgspan
        echo "\${COMPREPLY[@]}"`;
      assert.equal(execFileSync('bash', ['-ec', script], { encoding: 'utf8' }), 'zsh\n');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('another shell is refused with what there is', () => {
    const { status, stderr } = spawnSync(process.execPath, [MAIN, 'completion', 'fish'], { encoding: 'utf8' });
    assert.equal(status, 2);
    assert.match(stderr, /Allowed choices are bash, zsh/);
  });
});
