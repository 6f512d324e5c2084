/** From zod to a structural schema; what a real API server makes of it is in test/kubernetes/crd.kube.test.ts. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import * as z from 'zod';
import { jsonSchemaWithMeanings } from '../../../api/json-schema.ts';
import { byteQuantitySchema } from '../../../api/postgres-group-values.ts';
import { postgresGroupCrd } from './crd.ts';
import { type StructuralSchema, structuralSchema } from './structural-schema.ts';

const structural = (schema: z.ZodType) => structuralSchema(jsonSchemaWithMeanings(schema));

suite('a structural schema', () => {
  const cases: Readonly<Record<string, [schema: z.ZodType, expected: StructuralSchema]>> = {
    'a pattern with words refuses in these words': [
      z.string().max(5).regex(/^a+$/, 'only "a"').describe('An a.'),
      {
        description: 'An a.',
        type: 'string',
        maxLength: 5,
        'x-kubernetes-validations': [{ rule: "self.matches(r'^a+$')", message: 'accepted: only "a"' }],
      },
    ],
    'a pattern without words stays one': [z.string().regex(/^a+$/), { type: 'string', pattern: '^a+$' }],
    'a section has the defaults below it': [
      z
        .strictObject({ size: z.int().default(3), note: z.string().default(''), on: z.boolean().optional() })
        .prefault({}),
      {
        type: 'object',
        default: { size: 3 },
        properties: {
          size: { type: 'integer', format: 'int64', default: 3 },
          note: { type: 'string' },
          on: { type: 'boolean' },
        },
      },
    ],
    'a required section has no default': [
      z.strictObject({ size: z.int().default(3) }),
      { type: 'object', properties: { size: { type: 'integer', format: 'int64', default: 3 } } },
    ],
    'a mapping of texts is bounded': [
      z.record(z.string(), z.string()),
      { type: 'object', maxProperties: 512, additionalProperties: { type: 'string', maxLength: 8192 } },
    ],
    'anything goes where zod lets anything through': [
      z.record(z.string(), z.unknown()),
      { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
    ],
    'a text, number or boolean has no type, and is no list or mapping': [
      z.union([z.string().max(9), z.number(), z.boolean()]),
      { 'x-kubernetes-preserve-unknown-fields': true, maxLength: 9, maxItems: 0, maxProperties: 0 },
    ],
    'a moment has a format': [z.iso.datetime(), { type: 'string', format: 'date-time' }],
  };
  for (const [title, [schema, expected]] of Object.entries(cases)) {
    test(title, () => assert.deepEqual(structural(schema), expected));
  }

  test('an amount is a text or a whole number', () => {
    const amount = structural(byteQuantitySchema);
    assert.equal(amount['x-kubernetes-int-or-string'], true);
    assert.equal(amount.type, undefined);
    assert.match(amount['x-kubernetes-validations']?.[0]?.message ?? '', /^accepted: an amount of bytes/);
  });

  test('is refused for what has no counterpart', () => {
    assert.throws(() => structural(z.union([z.string(), z.array(z.string())])), TypeError);
    assert.throws(() => structural(z.strictObject({ nothing: z.null() })), /nothing/);
  });
});

suite('the CustomResourceDefinition', () => {
  const schema = postgresGroupCrd().spec.versions[0]?.schema.openAPIV3Schema as StructuralSchema;

  test('has words for every rule, and bounds what rules go through', () => {
    const rules = walk(schema, '').flatMap(([path, at]) =>
      (at['x-kubernetes-validations'] ?? []).map(({ rule, message }) => ({ path, rule, message })),
    );
    assert.ok(rules.length > 80, `${rules.length} rules`);
    assert.deepEqual(
      rules.filter(({ message }) => message.length < 10 || message.endsWith('.')),
      [],
    );
  });

  test('bounds every list, and says how its entries are told apart', () => {
    const lists = walk(schema, '').filter(([, { type }]) => type === 'array');
    assert.deepEqual(
      lists.filter(([, list]) => list.maxItems === undefined || list['x-kubernetes-list-type'] === undefined),
      [],
    );
  });
});

function walk(schema: StructuralSchema, path: string): [string, StructuralSchema][] {
  const { properties = {}, items, additionalProperties } = schema;
  const below = [items, additionalProperties].filter((one) => one !== undefined);
  return [
    [path, schema],
    ...Object.entries(properties).flatMap(([key, field]) => walk(field, `${path}.${key}`)),
    ...below.flatMap((one) => walk(one, `${path}[]`)),
  ];
}
