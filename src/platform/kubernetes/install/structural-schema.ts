/**
 * From the JSON Schema of a zod schema to a structural schema, the part of OpenAPI 3 that a CRD may hold.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
 *
 * What differs:
 * - `additionalProperties: false` goes: the API server prunes unknown fields, and refuses them under strict field validation,
 *   which is kubectl's default.
 * - A text or a number is `x-kubernetes-int-or-string`. The API server has no "text or any number", so a fraction is written as
 *   text there ("0.5").
 * - A pattern with words of its own becomes a rule in CEL, so that a refusal says these words, not the pattern.
 * - An empty default of a list or text goes: it says nothing and would only lengthen what is stored. A section gets the defaults
 *   below it as its own, since the API server fills in only below what is there, and judges a default by the rules as it stands.
 */
import type { JsonSchema } from '../../../api/json-schema.ts';

/** https://kubernetes.io/docs/reference/using-api/cel/ */
export interface ValidationRule {
  /** In CEL; `self` is the value, `oldSelf` the one before. With `oldSelf` it is judged on updates only. */
  readonly rule: string;
  /** What was found and what to do; the API server puts the path before it. */
  readonly message: string;
  /** Field that the message is about, below the value, such as `.storageClass`. */
  readonly fieldPath?: string;
}

export interface StructuralSchema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: StructuralSchema;
  readonly items?: StructuralSchema;
  readonly 'x-kubernetes-int-or-string'?: true;
  readonly 'x-kubernetes-preserve-unknown-fields'?: true;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

/** @throws TypeError for what has no counterpart: the schema in zod must then be written otherwise, or this extended. */
export function structuralSchema(schema: JsonSchema, path = ''): StructuralSchema {
  const said = { ...(schema.description === undefined ? {} : { description: schema.description }) };
  const branches = schema.anyOf ?? (Array.isArray(schema.type) ? schema.type.map((type) => ({ type })) : undefined);
  if (branches !== undefined) return { ...said, ...union(branches, path), ...usefulDefault(schema.default) };
  switch (schema.type) {
    case 'object':
      return schema.properties === undefined
        ? { ...said, ...mapping(schema, path) }
        : { ...said, ...section(schema, schema.properties, path) };
    case 'array':
      return { ...said, ...list(schema, path), ...usefulDefault(schema.default) };
    case 'string':
      return { ...said, ...text(schema), ...usefulDefault(schema.default) };
    case 'integer':
    case 'number':
      return {
        ...said,
        type: schema.type,
        ...(schema.type === 'integer' ? { format: 'int64' } : {}),
        ...bounds(schema),
        ...usefulDefault(schema.default),
      };
    case 'boolean':
      return { ...said, type: 'boolean', ...usefulDefault(schema.default) };
    case undefined:
      return { ...said, 'x-kubernetes-preserve-unknown-fields': true };
    default:
      throw new TypeError(`Cannot make a structural schema of "${path}": the type is "${schema.type}"`);
  }
}

function section(schema: JsonSchema, properties: Readonly<Record<string, JsonSchema>>, path: string): StructuralSchema {
  const fields = Object.entries(properties).map(
    ([key, field]) => [key, structuralSchema(field, `${path}.${key}`)] as const,
  );
  // `required` counts what a user must write; the API server judges after it has filled in defaults.
  const required = schema.required ?? [];
  const defaults = fields.flatMap(([key, field]) => (field.default === undefined ? [] : [[key, field.default]]));
  return {
    type: 'object',
    ...(schema.default !== undefined && defaults.length > 0 ? { default: Object.fromEntries(defaults) } : {}),
    properties: Object.fromEntries(fields),
    ...(required.length > 0 ? { required } : {}),
  };
}

/** Most entries of a mapping whose keys the user chooses: what bounds the cost of a rule over it. */
const MAPPING_ENTRIES_MAX = 512;
/** Longest value in such a mapping, if its schema says nothing; annotations of clouds hold JSON. */
const MAPPING_VALUE_LENGTH_MAX = 8192;

function mapping(schema: JsonSchema, path: string): StructuralSchema {
  const values = schema.additionalProperties;
  if (typeof values !== 'object' || isAny(values))
    return { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const value = structuralSchema(values, `${path}[]`);
  return {
    type: 'object',
    maxProperties: MAPPING_ENTRIES_MAX,
    additionalProperties:
      value.type === 'string' && value.maxLength === undefined
        ? { ...value, maxLength: MAPPING_VALUE_LENGTH_MAX }
        : value,
  };
}

function isAny(schema: JsonSchema): boolean {
  return schema.type === undefined && schema.anyOf === undefined;
}

function list(schema: JsonSchema, path: string): StructuralSchema {
  const { minItems, maxItems } = schema;
  return {
    type: 'array',
    ...(minItems === undefined ? {} : { minItems }),
    ...(maxItems === undefined ? {} : { maxItems }),
    items: structuralSchema(schema.items ?? {}, `${path}[]`),
    // As a whole: of two appliers one owns the list, as with the lists of a pod that have no key.
    'x-kubernetes-list-type': 'atomic',
  };
}

function text(schema: JsonSchema): StructuralSchema {
  const { minLength, maxLength, pattern, patternMeaning } = schema;
  const isTime = schema.format === 'date-time';
  return {
    type: 'string',
    ...(schema.enum === undefined ? {} : { enum: schema.enum }),
    ...(isTime ? { format: 'date-time' } : {}),
    ...(minLength === undefined ? {} : { minLength }),
    ...(maxLength === undefined ? {} : { maxLength }),
    ...(pattern === undefined || isTime ? {} : patternRule(pattern, patternMeaning)),
  };
}

function patternRule(pattern: string, meaning: string | undefined): StructuralSchema {
  if (meaning === undefined) return { pattern };
  return {
    'x-kubernetes-validations': [{ rule: `self.matches(${celText(pattern)})`, message: `accepted: ${meaning}` }],
  };
}

/** A text as CEL reads it literally. */
export function celText(value: string): string {
  if (value.includes("'")) throw new TypeError(`Cannot quote ${value} for CEL`);
  return `r'${value}'`;
}

/** Longest amount or length of time, if the schema says nothing: "1099511627776Ki" has 15. */
const AMOUNT_LENGTH_MAX = 40;

/**
 * - A text or a whole number (or any number): int-or-string.
 * - A text, a number or true or false: no type at all; then CEL cannot see it, and the core judges alone.
 * - Texts of several forms: a text; the form is in the rules beside the schema (group-rules.ts).
 */
function union(branches: readonly JsonSchema[], path: string): StructuralSchema {
  const types = new Set(branches.map(({ type }) => type));
  const string = branches.find(({ type }) => type === 'string');
  if (types.size === 1 && string !== undefined) return { type: 'string', maxLength: string.maxLength ?? 64 };
  if (types.has('boolean')) return scalar(string);
  const isAmount = types.size === 2 && string !== undefined && (types.has('integer') || types.has('number'));
  if (!isAmount || string.pattern === undefined || string.patternMeaning === undefined)
    throw new TypeError(`Cannot make a structural schema of "${path}": it is one of ${[...types].join(', ')}`);
  return {
    'x-kubernetes-int-or-string': true,
    maxLength: string.maxLength ?? AMOUNT_LENGTH_MAX,
    'x-kubernetes-validations': [
      {
        rule: `type(self) == int ? self >= 0 : self.matches(${celText(string.pattern)})`,
        message: `accepted: ${string.patternMeaning}`,
      },
    ],
  };
}

/** A list or a mapping is refused by having no entries; an empty one is left to the core. */
function scalar(string: JsonSchema | undefined): StructuralSchema {
  return {
    'x-kubernetes-preserve-unknown-fields': true,
    ...(string?.maxLength === undefined ? {} : { maxLength: string.maxLength }),
    maxItems: 0,
    maxProperties: 0,
  };
}

function bounds({ minimum, maximum }: JsonSchema): StructuralSchema {
  return {
    ...(minimum === undefined || minimum === -Number.MAX_SAFE_INTEGER ? {} : { minimum }),
    ...(maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? {} : { maximum }),
  };
}

function usefulDefault(value: unknown): StructuralSchema {
  const isEmpty = value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
  return isEmpty ? {} : { default: value };
}
