/**
 * Writes docs/reference/postgresgroup.md and postgresgroup.schema.json from the schema (src/api/postgres-group.ts):
 *   node scripts/reference.ts
 * test/meta/reference.test.ts fails when they are not current.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type JsonSchema, postgresGroupJsonSchema } from '../src/api/json-schema.ts';
import { pathsUnbuiltEverywhere } from '../src/core/topology/unbuilt.ts';

export interface ReferenceFile {
  readonly path: string;
  readonly text: string;
}

/** Paths are relative to the clone. */
export function referenceFiles(): ReferenceFile[] {
  const schema = postgresGroupJsonSchema();
  return [
    { path: 'docs/reference/postgresgroup.schema.json', text: `${JSON.stringify(schema, null, 2)}\n` },
    { path: 'docs/reference/postgresgroup.md', text: referencePage(schema) },
  ];
}

const INTRODUCTION = `# PostgresGroup

<!-- Made by scripts/reference.ts from src/api/postgres-group.ts; change it there. -->

One \`PostgresGroup\` (\`pgspan.io/v1alpha1\`) is the PostgreSQL nodes of one Kubernetes cluster. Several groups with the same
\`spec.globalCluster.name\` hold one database. The least that works:

\`\`\`yaml
apiVersion: pgspan.io/v1alpha1
kind: PostgresGroup
metadata: { name: leo }
spec:
  connectivity:
    dns: { domain: db.example.com }
\`\`\`

Several documents in one file, or several files in one folder, are several groups. \`pgspan plan -f FILE\` shows what they lead
to; an unknown field, a wrong value or a contradiction is refused there with its path and what would be accepted.
For editors there is a JSON Schema beside this page, \`postgresgroup.schema.json\`.

**Values.** Amounts of bytes are written as in Kubernetes (\`512Mi\`, \`10Gi\`), lengths of time as \`30s\`, \`1m30s\`, \`500ms\` or a whole
number of seconds; a fraction is written as text (\`"0.5"\`). A field marked † is accepted, and not built yet in part or whole: what would have to act on it refuses it.
"The same in all groups" means: say it in one group, or the same in several.
`;

function referencePage(schema: JsonSchema): string {
  const { metadata, spec } = schema.properties ?? {};
  const fields = Object.entries(spec?.properties ?? {});
  const rows = ([key, field]: [string, JsonSchema]) =>
    fieldRows(`spec.${key}`, field, spec?.required?.includes(key) ?? false);
  const isSection = ([, field]: [string, JsonSchema]) =>
    field.properties !== undefined || field.items?.properties !== undefined;
  const sections = [
    section('metadata', fieldRows('metadata', metadata ?? {}, true)),
    section('spec', fields.filter((field) => !isSection(field)).flatMap(rows)),
    ...fields.filter(isSection).map((field) => section(`spec.${field[0]}`, rows(field))),
  ];
  return `${INTRODUCTION}\n${sections.join('\n')}`;
}

function section(title: string, rows: readonly Row[]): string {
  const table = [
    '| Field | Type | Default | Meaning |',
    '|---|---|---|---|',
    ...rows.map((row) => `| ${row.join(' | ')} |`),
  ];
  return `## ${title}\n\n${table.join('\n')}\n`;
}

type Row = [field: string, type: string, fallback: string, meaning: string];

/** A mapping's own line first, then its fields; what has no description is not for users. */
function fieldRows(path: string, schema: JsonSchema, isRequired: boolean): Row[] {
  if (schema.description === undefined) return [];
  const own: Row = [
    `\`${path}\`${isUnbuilt(path) ? ' †' : ''}`,
    typeText(schema),
    defaultText(schema, isRequired),
    escape(schema.description),
  ];
  return [own, ...childRows(path, schema)];
}

function childRows(path: string, schema: JsonSchema): Row[] {
  const object = schema.items ?? schema;
  const at = schema.items === undefined ? path : `${path}[]`;
  return Object.entries(object.properties ?? {}).flatMap(([key, field]) =>
    fieldRows(`${at}.${key}`, field, object.required?.includes(key) ?? false),
  );
}

function isUnbuilt(path: string): boolean {
  return pathsUnbuiltEverywhere().some((one) => `spec.${one}` === path);
}

function defaultText(schema: JsonSchema, isRequired: boolean): string {
  if (isRequired) return 'required';
  if (schema.default === undefined) return '';
  if (Array.isArray(schema.default) && schema.default.length === 0) return 'none';
  return schema.default === ''
    ? 'none'
    : `\`${typeof schema.default === 'string' ? schema.default : JSON.stringify(schema.default)}\``;
}

function typeText(schema: JsonSchema): string {
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.map(typeText))].join(' or ');
  if (schema.type === 'array') return `list of ${typeText(schema.items ?? {})}`;
  if (schema.type === 'object') return schema.properties === undefined ? 'mapping' : 'section';
  if (schema.type === 'integer' || schema.type === 'number') return `number${rangeText(schema)}`;
  return typeof schema.type === 'string' ? (TYPE_WORDS[schema.type] ?? 'any') : 'any';
}

const TYPE_WORDS: Readonly<Record<string, string>> = { string: 'text', boolean: '`true`, `false`' };

function rangeText({ minimum, maximum }: JsonSchema): string {
  if (minimum === undefined) return '';
  return maximum === undefined ? ` from ${minimum}` : `, ${minimum} to ${maximum}`;
}

/** A bar would end the cell. */
function escape(text: string): string {
  return text.replaceAll('|', '\\|');
}

if (import.meta.main) {
  for (const { path, text } of referenceFiles()) await writeFile(join(import.meta.dirname, '..', path), text);
}
