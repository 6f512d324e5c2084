/**
 * Writes docs/reference/mistakes.md: what a user reads for each kind of mistake in a manifest: node scripts/mistakes-reference.ts
 * test/meta/documents.test.ts fails when it is not current.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { type ManifestProblem, problemLine } from '../src/api/manifest-error.ts';
import { parsePostgresGroup } from '../src/api/parse-manifest.ts';
import { findProblems } from '../src/core/topology/validate.ts';
import { acceptManifest } from '../src/operator/accept-manifest.ts';
import { takeSources } from '../src/operator/take-sources.ts';
import type { KubeObject } from '../src/platform/kubernetes/kube-object.ts';
import { groupManifest, mergeFields, postgresGroup } from '../test/kit/manifests.ts';
import { type Mistake, MISTAKES } from '../test/kubernetes/manifest-mistakes.ts';

export const MISTAKES_PAGE = 'docs/reference/mistakes.md';

const ROOT = join(import.meta.dirname, '..');
const WORDS_FILE = join(ROOT, 'test/kubernetes/manifest-mistakes.yaml');

const INTRODUCTION = `# Mistakes in a manifest, and what you read

Made by \`npm run docs\` from \`test/kubernetes/manifest-mistakes.ts\`; do not edit. A test makes each mistake on a real API server.

The CustomResourceDefinition holds most rules, so that \`kubectl apply\` refuses a mistake at once and nothing changes. What the API
server cannot know is found by the operator: the group goes on as it was, and the condition \`ConfigurationAccepted\` is \`False\` with the
words below (\`kubectl describe pgg NAME\`; the column REASON says \`Invalid\`). \`pgspan plan -f FILE\` finds all of them
before anything is applied, all at once, and those between several groups too.
`;

export function mistakesPage(): string {
  const words = parse(readFileSync(WORDS_FILE, 'utf8')) as Readonly<Record<string, string | null>>;
  const early = MISTAKES.filter(({ title }) => (words[title] ?? null) !== null);
  const late = MISTAKES.filter(({ title }) => (words[title] ?? null) === null);
  return `${INTRODUCTION}
## Refused by \`kubectl apply\`

kubectl puts \`The PostgresGroup "leo" is invalid:\` before it.

${table(early, ({ title }) => words[title] ?? '')}

## Refused by the operator

${table(late, problems)}

## Refused by the operator, because of what else is there

| mistake | what you read |
|---|---|
${SURROUNDINGS.map(([title, said]) => `| ${title} | ${cell(said)} |`).join('\n')}
`;
}

const asObject = (fields: Parameters<typeof groupManifest>[0], createdAt = '2026-11-21T00:00:00Z') => {
  const manifest = groupManifest({ namespace: 'shop', ...fields }) as unknown as KubeObject;
  return { ...manifest, metadata: { ...manifest.metadata, uid: manifest.metadata.name, creationTimestamp: createdAt } };
};

function refusalOf(verdict: { readonly kind: string; readonly reason?: string; readonly message?: string }): string {
  if (verdict.kind !== 'refused') throw new TypeError('Cannot make the page: a mistake is accepted');
  return `${verdict.reason}: ${verdict.message}`;
}

/** What the operator finds with the other groups, Secrets and ConfigMaps of the namespace. */
const SURROUNDINGS: readonly (readonly [title: string, said: string])[] = [
  [
    'two groups of one namespace in one global cluster',
    refusalOf(acceptManifest(asObject({ name: 'ait' }, '2026-11-22T00:00:00Z'), [asObject({ name: 'leo' })])),
  ],
  [
    'a field whose feature this version does not have',
    refusalOf(acceptManifest(asObject({ spec: { pooler: { type: 'pgpool' } } }), [])),
  ],
  [
    'a Secret and a ConfigMap that are not there',
    refusalOf(
      takeSources(
        postgresGroup({
          namespace: 'shop',
          spec: { bootstrap: { secretRef: { name: 'orders' } }, postgresql: { configMapRef: { name: 'settings' } } },
        }),
        new Map(),
      ),
    ),
  ],
];

function table(mistakes: readonly Mistake[], said: (mistake: Mistake) => string): string {
  const rows = mistakes.map((mistake) => {
    const { title, before } = mistake;
    const change =
      before === undefined ? fragment(mistake) : `${fragment({ ...mistake, spec: before })} → ${fragment(mistake)}`;
    return `| ${title} | ${cell(change)} | ${said(mistake).split('\n').map(cell).join('<br>')} |`;
  });
  return ['| mistake | in the manifest | what you read |', '|---|---|---|', ...rows].join('\n');
}

/** What differs from a valid manifest, on one line. */
function fragment({ name, spec }: Mistake): string {
  const parts = {
    ...(name === undefined ? {} : { metadata: { name } }),
    ...(Object.keys(spec).length === 0 ? {} : { spec }),
  };
  if (Object.keys(parts).length === 0) return '(nothing said)';
  // One line, whatever a value holds.
  const isMultiline = JSON.stringify(parts).includes('\\n');
  const flow = isMultiline ? JSON.stringify(parts) : stringify(parts, { collectionStyle: 'flow', lineWidth: 0 }).trim();
  return `\`${flow.replace(/^\{ ?(.*?) ?\}$/s, '$1')}\``;
}

function problems({ name = 'leo', spec, before = {} }: Mistake): string {
  const parsed = parsePostgresGroup(mergeFields(groupManifest({ name, spec: before }), { spec }));
  const found: readonly ManifestProblem[] = parsed.kind === 'refused' ? parsed.problems : findProblems([parsed.group]);
  return found.map(problemLine).join('\n');
}

/** A bar would end the cell, a bracket might begin a tag. */
function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
}

if (import.meta.main) writeFileSync(join(ROOT, MISTAKES_PAGE), mistakesPage());
