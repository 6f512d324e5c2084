import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import * as z from 'zod';
import { isNestedDeeper, parseKnown, putBack } from './unknown-fields.ts';

const schema = z
  .strictObject({ name: z.string(), list: z.array(z.strictObject({ size: z.int() })).default([]) })
  .refine(({ name, list }) => name.length >= list.length, 'the name is shorter than the list');

describe('fields that a schema does not know', () => {
  test('are set aside wherever they are, and put back where they were', () => {
    const value = { name: 'ab', color: 'red', list: [{ size: 1 }, { size: 2, unit: { of: ['x'] } }] };
    const before = structuredClone(value);
    const parsed = parseKnown(schema, value);
    assert.deepEqual(value, before);
    assert.ok(parsed.kind === 'parsed');
    assert.deepEqual(parsed.data, { name: 'ab', list: [{ size: 1 }, { size: 2 }] });
    putBack(parsed.data, parsed.unknown);
    assert.deepEqual(parsed.data, value as unknown);
  });

  test('do not hide what is wrong with those that it knows', () => {
    const issueOf = (value: unknown) => {
      const parsed = parseKnown(schema, value);
      return parsed.kind === 'refused' ? parsed.issue.message : 'parsed';
    };
    assert.match(issueOf({ name: 7, color: 'red' }), /expected string/);
    assert.match(issueOf({ color: 'red' }), /expected string/);
    assert.match(issueOf({ name: '', color: 'red', list: [{ size: 1 }] }), /shorter than the list/);
  });

  test('of any name go through JSON as they came, and change nothing that objects inherit', () => {
    const json = fc.dictionary(
      fc.string().filter((key) => key !== 'name' && key !== 'list'),
      fc.jsonValue(),
    );
    fc.assert(
      fc.property(json, (fields) => {
        const text = JSON.stringify({ ...fields, name: 'x' });
        const parsed = parseKnown(schema, JSON.parse(text));
        assert.ok(parsed.kind === 'parsed');
        putBack(parsed.data, parsed.unknown);
        assert.equal(Object.getPrototypeOf(parsed.data), Object.prototype);
        const { list: _default, ...rest } = JSON.parse(JSON.stringify(parsed.data)) as Record<string, unknown>;
        assert.deepEqual(rest, JSON.parse(text));
      }),
    );
  });

  test('nested however deep are measured without exhausting the stack', () => {
    const nested = (depth: number) => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown;
    assert.deepEqual([isNestedDeeper(nested(3), 3), isNestedDeeper(nested(4), 3)], [false, true]);
    assert.equal(isNestedDeeper(nested(100_000), 32), true);
    assert.deepEqual([isNestedDeeper(null, 0), isNestedDeeper('x', 0), isNestedDeeper({}, 0)], [false, false, true]);
  });
});
