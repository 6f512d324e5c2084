/**
 * The documents do not go stale: links lead to files, the command page is what the commands say, commands that are shown exist.
 */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { CLI_PAGE, cliReferencePage } from '../../scripts/cli-reference.ts';
import { MISTAKES_PAGE, mistakesPage } from '../../scripts/mistakes-reference.ts';
import { VERBS } from '../../src/cli/verbs.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const DOCUMENTS = globSync(['*.md', 'docs/**/*.md'], { cwd: ROOT });

const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

suite('documents', () => {
  for (const document of DOCUMENTS) {
    test(`every link of ${document} leads to a file`, () => {
      const targets = [...read(document).matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)].map(
        ([, target = '']) => target,
      );
      assert.deepEqual(
        targets.filter((target) => !existsSync(join(ROOT, dirname(document), target))),
        [],
      );
    });
  }

  for (const document of ['README.md', 'CONTRIBUTING.md']) {
    test(`every path in a code word of ${document} exists`, () => {
      const paths = [...read(document).matchAll(/`((?:src|test|docs|examples|bench|scripts)\/[\w./-]*)`/g)].map(
        ([, path = '']) => path,
      );
      assert.deepEqual(
        paths.filter((path) => !existsSync(join(ROOT, path))),
        [],
      );
    });
  }

  test('every verb that the README shows exists', () => {
    const shown = [...read('README.md').matchAll(/^\.\/pgspan (\S+)/gm)].map(([, verb = '']) => verb);
    assert.ok(shown.length > 0);
    assert.deepEqual(
      shown.filter((verb) => !VERBS.some(({ name }) => name === verb)),
      [],
    );
  });

  test(`${CLI_PAGE} is current (else: npm run docs)`, async () => {
    assert.equal(read(CLI_PAGE), await cliReferencePage());
  });

  test(`${MISTAKES_PAGE} is current (else: npm run docs)`, () => {
    assert.equal(read(MISTAKES_PAGE), mistakesPage());
  });
});
