/** The page of statuses is current, and has every reason that the operator may give, and no other. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { EVENT_REASONS, REASONS, STATUS_PAGE, statusPage } from '../../scripts/status-reference.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

/** Where reasons are given: as `reason: 'X'`, alone or as one of two, or as the word before the message of a rolling decision. */
const SOURCES = [
  'src/core/status/group-status.ts',
  'src/core/connectivity/connectivity-condition.ts',
  'src/core/rolling/decide-rolling-step.ts',
  'src/core/rolling/decide-preferred-leader.ts',
  'src/core/cards/decide-groups.ts',
  ...globSync('src/operator/*.ts', { cwd: ROOT }),
];

function reasonsOf(text: string): string[] {
  const given = [...text.matchAll(/\breason: (.*?)(?=, \w+:|,?$| \})/gm)].flatMap(([, value = '']) => [
    ...value.matchAll(/'([A-Z][A-Za-z]+)'/g),
  ]);
  const rolling = [...text.matchAll(/(?:\b(?:wait|blocked|reason)\(|^ +)(?:[^'()\n]+, )?'([A-Z][A-Za-z]+)'[,)]/gm)];
  const handOver = [...text.matchAll(/handOver\(\w+, \w+, '([A-Z][A-Za-z]+)'/g)];
  return [...given, ...rolling, ...handOver].flatMap(([, ...codes]) => codes.filter((code) => code !== undefined));
}

suite('the reference of the status', () => {
  test(`${STATUS_PAGE} is current (else: npm run docs)`, () => assert.equal(read(STATUS_PAGE), statusPage()));

  test('has every reason of the sources, and no other', () => {
    const given = new Set(
      SOURCES.filter((file) => !file.endsWith('.test.ts')).flatMap((file) => reasonsOf(read(file))),
    );
    given.delete('Unknown');
    assert.deepEqual([...given].toSorted(), Object.keys({ ...REASONS, ...EVENT_REASONS }).toSorted());
  });
});
