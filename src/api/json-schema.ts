/**
 * JSON Schema of PostgresGroup, for editors, the reference page and the CRD. Made from the one schema in zod.
 * It describes what a user may write: fields with defaults are optional.
 */
import * as z from 'zod';
import { postgresGroupSchema } from './postgres-group.ts';

/** The part of JSON Schema that ours uses. */
export interface JsonSchema {
  /** A list where several types need no more said. */
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
  /** What `pattern` accepts, in words. Ours, and only on request. */
  readonly patternMeaning?: string;
  readonly format?: string;
}

export function postgresGroupJsonSchema(): JsonSchema {
  const schema = z.toJSONSchema(postgresGroupSchema, { io: 'input', unrepresentable: 'any' });
  return withoutNoise({ title: 'PostgresGroup', ...schema }) as JsonSchema;
}

/** As it is, with `patternMeaning` beside each `pattern`: the words of a refusal, for those who refuse without zod. */
export function jsonSchemaWithMeanings(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, {
    io: 'input',
    unrepresentable: 'any',
    override: ({ zodSchema, jsonSchema }) => {
      const meaning = jsonSchema.pattern === undefined ? undefined : patternMeaning(zodSchema);
      if (meaning !== undefined) jsonSchema.patternMeaning = meaning;
    },
  }) as JsonSchema;
}

function patternMeaning(schema: z.core.$ZodTypes): string | undefined {
  const checks = (schema._zod.def.checks ?? []).map((check) => check._zod.def);
  const format = checks.find((def) => def.check === 'string_format');
  const said = (format?.error as z.core.$ZodErrorMap | undefined)?.({ code: 'invalid_format', path: [] } as never);
  return typeof said === 'string' ? said : (said?.message ?? undefined);
}

/** Drops what says nothing: the bounds of a double, and an empty default of a mapping whose fields have their own. */
function withoutNoise(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNoise);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([key, entry]) => !isNoise(key, entry));
  return Object.fromEntries(entries.map(([key, entry]) => [key, withoutNoise(entry)]));
}

function isNoise(key: string, value: unknown): boolean {
  if (key === 'maximum' || key === 'minimum') return Math.abs(Number(value)) === Number.MAX_SAFE_INTEGER;
  return key === 'default' && JSON.stringify(value) === '{}';
}
