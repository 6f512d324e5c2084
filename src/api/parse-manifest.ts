/**
 * From an untrusted value to a PostgresGroup, or to a list of problems in words that name the path, what was found there
 * and what would be accepted. Reading files and YAML is platform/manifest-files.ts.
 */
import * as z from 'zod';
import { nearest } from '../base/nearest.ts';
import type { ManifestProblem } from './manifest-error.ts';
import { API_VERSION, KIND, type PostgresGroup, postgresGroupSchema } from './postgres-group.ts';

export type ParsedManifest =
  | { readonly kind: 'accepted'; readonly group: PostgresGroup }
  | { readonly kind: 'refused'; readonly problems: readonly ManifestProblem[] };

/** @param place what to call the document when it has no name, such as `document 2`. */
export function parsePostgresGroup(value: unknown, place = 'manifest'): ParsedManifest {
  const group = nameOf(value) ?? place;
  const result = postgresGroupSchema.safeParse(value);
  if (result.success) return { kind: 'accepted', group: result.data };
  const problems = result.error.issues.flatMap((issue) => describeIssue(issue, value, group));
  return { kind: 'refused', problems };
}

type Issue = z.core.$ZodIssue;

function describeIssue(issue: Issue, root: unknown, group: string): ManifestProblem[] {
  const path = formatPath(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(issue.path);
    return issue.keys.map((key) => {
      const meant = nearest(key, known);
      const accepted = meant === undefined ? `accepted here: ${known.join(', ')}` : `did you mean "${meant}"?`;
      return { group, path: formatPath([...issue.path, key]), found: 'there is no such field', accepted };
    });
  }
  const found = valueAt(root, issue.path);
  return [{ group, path, found: describeValue(found), accepted: describeAccepted(issue, found) }];
}

function describeAccepted(issue: Issue, found: unknown): string {
  switch (issue.code) {
    case 'invalid_value': {
      const values = issue.values.map(String);
      const meant = typeof found === 'string' ? nearest(found, values) : undefined;
      const list = `accepted: ${values.map((value) => `"${value}"`).join(', ')}`;
      return meant === undefined || values.length === 1 ? list : `${list}; did you mean "${meant}"?`;
    }
    case 'invalid_type': {
      const words = `accepted: ${TYPE_WORDS[issue.expected] ?? issue.expected}`;
      const meaning = schemaAt(issue.path)?.description;
      return found === undefined && meaning !== undefined ? `${words} (${meaning.replace(/\.$/, '')})` : words;
    }
    case 'too_small':
      return issue.message.startsWith('Too small')
        ? `accepted: at least ${issue.minimum}${sizeWord(issue.origin)}`
        : issue.message;
    case 'too_big':
      return issue.message.startsWith('Too big')
        ? `accepted: at most ${issue.maximum}${sizeWord(issue.origin)}`
        : `accepted: ${issue.message}`;
    case 'invalid_key':
      return `accepted: ${issue.issues[0]?.message ?? issue.message}`;
    default:
      return `accepted: ${issue.message}`;
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  object: 'a mapping',
  record: 'a mapping',
  array: 'a list',
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};

function sizeWord(origin: string): string {
  if (origin === 'string') return ' characters';
  if (origin === 'array') return ' entries';
  return '';
}

const VALUE_LENGTH_SHOWN_MAX = 80;

function describeValue(value: unknown): string {
  if (value === undefined) return 'it is missing';
  if (value === null) return 'found nothing (null)';
  if (Array.isArray(value)) return `found a list of ${value.length}`;
  if (typeof value === 'object') return 'found a mapping';
  const text = JSON.stringify(value);
  return `found ${text.length > VALUE_LENGTH_SHOWN_MAX ? `${text.slice(0, VALUE_LENGTH_SHOWN_MAX)}…` : text}`;
}

/** `spec.roles[0].name`; a key that is no plain word is quoted. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (/^[A-Za-z_][\w-]*$/.test(String(part))) text += text === '' ? String(part) : `.${String(part)}`;
    else text += `[${JSON.stringify(String(part))}]`;
  }
  return text === '' ? 'manifest' : text;
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value: unknown = root;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

/** Fields that the schema has at a path. */
function knownKeys(path: readonly PropertyKey[]): string[] {
  const schema = schemaAt(path);
  const object = schema && unwrap(schema);
  return object instanceof z.ZodObject ? Object.keys(object.shape) : [];
}

function schemaAt(path: readonly PropertyKey[]): z.ZodType | undefined {
  let schema: z.ZodType | undefined = postgresGroupSchema;
  for (const part of path) {
    const inner: z.core.$ZodType | undefined = schema && unwrap(schema);
    if (inner instanceof z.ZodObject) schema = inner.shape[String(part)];
    else if (inner instanceof z.ZodArray) schema = inner.element as z.ZodType;
    else return undefined;
  }
  return schema;
}

/** The schema inside of defaults, options and the like. */
export function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable
  ) {
    return unwrap(schema.def.innerType as z.core.$ZodType);
  }
  return schema;
}

/** Name in a manifest that may be wrong in every other respect. */
function nameOf(value: unknown): string | undefined {
  const name = valueAt(value, ['metadata', 'name']);
  return typeof name === 'string' && name.length > 0 ? name.slice(0, 63) : undefined;
}

/** True for a document that wants to be ours: other kinds in the same file are passed over by those who allow that. */
export function isPostgresGroup(value: unknown): boolean {
  return valueAt(value, ['apiVersion']) === API_VERSION && valueAt(value, ['kind']) === KIND;
}
