/**
 * docs/reference/errors.md and the sources name the same error codes: whoever sees a code finds it, and no page is about nothing.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const PAGE = 'docs/reference/errors.md';

/** A code is words in capitals joined by underscores. Node's own begin with ERR_, PostgreSQL's and the system's have no underscore. */
const WORD = '[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+';
const QUOTED = new RegExp(`'(${WORD})'`, 'g');
/** Lines where an error gets its code: `code = '...'`, `code: '...'`, a union after it, `new XError('...'`, an argument on its own line. */
const GIVES_CODE = new RegExp(`\\bcode\\??\\s*[:=](?!=)|^\\s*\\| '|\\bnew \\w*Error\\(|^\\s*'${WORD}',$`);
/** What a comment says: `Codes: A_B, C_D.` or `Throws UserError A_B, C_D.` */
const SAYS_CODES = /(?:\bCodes?:?|\bUserError\s)((?:[\s*`,;]|or|and|\([^)]*\)|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)+)/g;

function codesInSources(): Map<string, string> {
  const files = globSync(['src/**/*.ts', 'scripts/launcher/*.mjs', 'pgspan'], { cwd: ROOT });
  const found = new Map<string, string>();
  for (const file of files.filter((name) => !name.endsWith('.test.ts'))) {
    const text = readFileSync(join(ROOT, file), 'utf8');
    const lines = text.split('\n').filter((line) => GIVES_CODE.test(line));
    const quoted = lines.flatMap((line) => [...line.matchAll(QUOTED)]).map(([, code = '']) => code);
    const said = [...text.matchAll(SAYS_CODES)].flatMap(([, list = '']) => list.match(new RegExp(WORD, 'g')) ?? []);
    const printed = [...text.matchAll(/\(([A-Z_]+), see docs/g)].map(([, code = '']) => code);
    for (const code of [...quoted, ...said, ...printed]) if (!code.startsWith('ERR_')) found.set(code, file);
  }
  return found;
}

function codesOnPage(): string[] {
  return [...readFileSync(join(ROOT, PAGE), 'utf8').matchAll(/^\| `([A-Z0-9_]+)` \|/gm)].map(([, code = '']) => code);
}

suite('error codes', () => {
  const inSources = codesInSources();
  const onPage = codesOnPage();

  test('every code of the sources is explained', () => {
    const missing = [...inSources]
      .filter(([code]) => !onPage.includes(code))
      .map(([code, file]) => `${code} (${file})`);
    assert.deepEqual(missing, [], `add a line to ${PAGE}`);
  });

  test('every code that is explained exists', () => {
    assert.deepEqual(
      onPage.filter((code) => !inSources.has(code)),
      [],
      `remove the line from ${PAGE}`,
    );
  });

  test('no code is explained twice', () => {
    assert.deepEqual(
      onPage.filter((code, index) => onPage.indexOf(code) !== index),
      [],
    );
  });
});
