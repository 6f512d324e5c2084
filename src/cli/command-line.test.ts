import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { suite, test } from 'node:test';
import packageJson from '../../package.json' with { type: 'json' };
import { UserError, type UserErrorKind } from '../base/user-error.ts';
import { EXIT_CODE, EXIT_CODE_MEANING } from './exit-codes.ts';
import { reportError } from './report-error.ts';
import { VERBS } from './verbs.ts';

const MAIN = resolve(import.meta.dirname, 'main.ts');

const pgspan = (...words: string[]) => spawnSync(process.execPath, [MAIN, ...words], { encoding: 'utf8' });

suite('the command line', () => {
  test('help shows every verb for people, examples, and what exit codes mean', () => {
    const { status, stdout } = pgspan('--help');
    assert.equal(status, 0);
    for (const { name, hidden } of VERBS)
      assert.equal(new RegExp(`^  ${name} `, 'm').test(stdout), hidden !== true, name);
    assert.match(stdout, /^Examples:$/m);
    for (const meaning of Object.values(EXIT_CODE_MEANING)) assert.ok(stdout.includes(meaning), meaning);
  });

  test('says its version', () => {
    assert.equal(pgspan('--version').stdout, `${packageJson.version}\n`);
  });

  test('without a word it shows the help and has not done what was wanted', () => {
    const { status, stdout, stderr } = pgspan();
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, /^Usage: pgspan/);
  });

  const wrong: Record<string, { words: string[]; says: RegExp }> = {
    'an unknown verb': {
      words: ['statsu'],
      says: /^pgspan: unknown command 'statsu'\n\(Did you mean status\?\)\n {2}What to do: add --help/,
    },
    'an unknown option': { words: ['status', '--wacht'], says: /unknown option '--wacht'\n\(Did you mean --watch\?\)/ },
    'a missing argument': { words: ['completion'], says: /missing required argument 'shell'/ },
    'an invitation both to list and to withdraw': {
      words: ['invite', '--list', '--withdraw', '0011223344556677'],
      says: /option '--list' cannot be used with option '--withdraw <id>'/,
    },
    'an id of an invitation that is none': {
      words: ['invite', '--withdraw', 'pgspan1.x'],
      says: /Cannot read --withdraw "pgspan1.x": an id has 16 hexadecimal digits[^]*--list[^]*\(OPTION_INVALID/,
    },
    'a manifest that is not there': {
      words: ['plan', '-f', '/nowhere.yaml'],
      says: /Cannot read "\/nowhere.yaml"[^]*What to do: [^]*\(MANIFEST_NOT_FOUND/,
    },
  };
  for (const [name, { words, says }] of Object.entries(wrong)) {
    test(`${name} is refused on stderr, and stdout stays empty`, () => {
      const { status, stdout, stderr } = pgspan(...words);
      assert.ok(status === EXIT_CODE.usage || status === EXIT_CODE['not-found'], `status ${status}`);
      assert.equal(stdout, '');
      assert.match(stderr, says);
    });
  }

  test('a reader that has seen enough is no error', () => {
    const { status, stderr } = spawnSync(
      'bash',
      ['-c', 'set -o pipefail; "$0" "$1" plan --help | head -c 1', process.execPath, MAIN],
      { encoding: 'utf8' },
    );
    assert.deepEqual([status, stderr], [0, '']);
  });
});

suite('an error', () => {
  /** What reportError prints and answers. */
  const reported = (error: unknown): { text: string; code: number } => {
    let text = '';
    const write = process.stderr.write;
    process.stderr.write = (chunk) => {
      text += chunk;
      return true;
    };
    try {
      return { code: reportError(error), text };
    } finally {
      process.stderr.write = write;
    }
  };

  const codes: Record<UserErrorKind, number> = {
    failed: 1,
    usage: 2,
    'not-found': 3,
    unsafe: 4,
    missing: 5,
    timeout: 6,
  };
  for (const [kind, code] of Object.entries(codes)) {
    test(`of the kind "${kind}" says what was found and what to do, and ends with ${code}`, () => {
      const error = new UserError({
        code: 'X_Y',
        kind: kind as UserErrorKind,
        message: 'Cannot do "a": found b',
        todo: 'Do c.',
      });
      const answer = reported(error);
      assert.equal(answer.code, code);
      assert.match(answer.text, /^pgspan: Cannot do "a": found b\n {2}What to do: Do c\.\n {2}\(X_Y, see /);
    });
  }

  test('of an unexpected kind shows its code and how to learn more', () => {
    const { code, text } = reported(Object.assign(new Error('broken'), { code: 'EIO' }));
    assert.equal(code, 1);
    assert.match(text, /^pgspan: broken\n {2}\(EIO\)\n {2}What to do: .*PGSPAN_DEBUG=1/);
  });
});
