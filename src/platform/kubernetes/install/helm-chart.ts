/**
 * The Helm chart, made from the same objects as the install file: these are rendered with marks for what the values decide, and
 * the marks become expressions of Helm's templates. Whatever the install file gains, the chart gains.
 *
 *   Chart.yaml values.yaml values.schema.json README.md   what Helm and people read
 *   files/crd.yaml                                        the CustomResourceDefinition, as it is
 *   templates/                                            the marks replaced
 *
 * A CRD in Helm's own folder `crds/` would never be upgraded; so it is a template, with a policy that keeps it when the chart
 * is uninstalled, since the groups would go with it.
 */
import { stringify } from 'yaml';
import * as z from 'zod';
import { namespaceSchema } from '../../../api/postgres-group-values.ts';
import { crdManifest, INSTALL_DEFAULTS } from './install-manifests.ts';
import type { InstallOptions, Manifest } from './manifest.ts';
import { operatorNetworkPolicy, operatorWorkload } from './operator-deployment.ts';
import { operatorRights, watchedBindings } from './operator-rights.ts';

export interface ChartFile {
  /** Below the folder of the chart. */
  readonly path: string;
  readonly text: string;
}

const amounts = z.record(z.string(), z.union([z.string(), z.number()]));

export const chartValuesSchema = z.strictObject({
  image: z
    .strictObject({
      repository: z.string().min(1).default('pgspan').describe("pgspan's own image, where your clusters can pull it."),
      tag: z.string().default('').describe('Its tag; empty: the version of the chart.'),
      pullPolicy: z.enum(['IfNotPresent', 'Always', 'Never']).default('IfNotPresent').describe('When it is pulled.'),
    })
    .prefault({})
    .describe('Image of the operator; proxies run it too, and pods of nodes take the agent out of it.'),
  namespace: z
    .union([namespaceSchema, z.literal('')])
    .default('')
    .describe("Namespace of the operator; empty: the release's (`helm install --namespace`)."),
  replicas: z.int().min(1).max(5).default(INSTALL_DEFAULTS.replicas).describe('Operators; one works, the others wait.'),
  resources: z
    .strictObject({
      requests: amounts.default({ ...INSTALL_DEFAULTS.resources.requests }).describe('What an operator is guaranteed.'),
      limits: amounts.default({ ...INSTALL_DEFAULTS.resources.limits }).describe('What it may use at most.'),
    })
    .prefault({})
    .describe('Processors and memory of an operator.'),
  watchNamespaces: z
    .array(namespaceSchema)
    .max(256)
    .default([])
    .describe('Only groups in these namespaces, which must exist; empty: all namespaces.'),
  networkPolicy: z
    .boolean()
    .default(INSTALL_DEFAULTS.networkPolicy)
    .describe('Let nothing but health and metrics reach the operator.'),
  crd: z
    .strictObject({
      install: z
        .boolean()
        .default(true)
        .describe('Install and upgrade the CustomResourceDefinition. It stays when the chart is uninstalled.'),
    })
    .prefault({})
    .describe('The CustomResourceDefinition of PostgresGroup.'),
});

/** Stand where a value of the chart goes. No object holds such a word otherwise. */
const MARK = { image: 'HELM_IMAGE', namespace: 'HELM_NAMESPACE', watched: 'HELM_WATCHED' } as const;
const MARKED: InstallOptions = {
  image: MARK.image,
  imagePullPolicy: 'HELM_PULL_POLICY' as 'Always',
  namespace: MARK.namespace,
  replicas: 'HELM_REPLICAS' as unknown as number,
  watchNamespaces: [],
  networkPolicy: false,
  resources: 'HELM_RESOURCES' as unknown as InstallOptions['resources'],
};

/** By mark: the whole value, and inside of a longer text. `$` is the chart also within a range. */
const EXPRESSIONS: Readonly<Record<string, { readonly whole: string; readonly inside: string }>> = {
  HELM_IMAGE: same('include "pgspan.image" $', 'toJson'),
  HELM_NAMESPACE: same('include "pgspan.namespace" $', 'toJson'),
  HELM_PULL_POLICY: same('$.Values.image.pullPolicy', 'toJson'),
  HELM_REPLICAS: same('$.Values.replicas'),
  HELM_RESOURCES: same('toJson $.Values.resources'),
  HELM_WATCHED: same('.', 'toJson'),
  // The operator's configuration differs between the two ways to give it rights; operator-deployment.ts makes the one.
  HELM_WATCH_NAMESPACES: same('toJson $.Values.watchNamespaces'),
  HELM_DIGEST: same('toJson $.Values | sha256sum | quote'),
};

function same(expression: string, quote?: 'toJson'): { readonly whole: string; readonly inside: string } {
  return { whole: `{{ ${expression}${quote === undefined ? '' : ` | ${quote}`} }}`, inside: `{{ ${expression} }}` };
}

const HELPERS = `{{/* Made by npm run docs from src/platform/kubernetes/install/; do not edit. */}}
{{- define "pgspan.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- define "pgspan.namespace" -}}
{{ .Values.namespace | default .Release.Namespace }}
{{- end -}}
`;

export function helmChart(version: string): ChartFile[] {
  const everywhere = operatorRights(MARKED);
  const watching = operatorRights({ ...MARKED, watchNamespaces: [MARK.watched] });
  const text = (manifest: Manifest) => yaml(manifest);
  const isIn = (list: readonly Manifest[]) => (one: Manifest) => list.some((other) => text(other) === text(one));
  const always = everywhere.filter(isIn(watching));
  const inRange = watchedBindings(MARK.watched, MARK.namespace);
  return [
    { path: 'Chart.yaml', text: yaml(chartMetadata(version)) },
    { path: 'values.yaml', text: valuesText() },
    { path: 'values.schema.json', text: `${JSON.stringify(valuesJsonSchema(), null, 2)}\n` },
    { path: 'README.md', text: chartReadme() },
    { path: 'files/crd.yaml', text: yaml(keptCrd()) },
    { path: 'templates/_helpers.tpl', text: HELPERS },
    { path: 'templates/NOTES.txt', text: NOTES },
    { path: 'templates/crd.yaml', text: '{{ if .Values.crd.install }}{{ .Files.Get "files/crd.yaml" }}{{ end }}\n' },
    {
      path: 'templates/rights.yaml',
      text: [
        templates(always),
        // Helm's `if` takes an empty list for false.
        `{{ if $.Values.watchNamespaces }}`,
        templates(watching.filter((one) => !isIn(always)(one) && !isIn(inRange)(one))),
        `{{ range $.Values.watchNamespaces }}`,
        templates(inRange),
        '{{ end }}',
        '{{ else }}',
        templates(everywhere.filter((one) => !isIn(always)(one))),
        '{{ end }}\n',
      ].join('\n'),
    },
    { path: 'templates/operator.yaml', text: operatorTemplate() },
    {
      path: 'templates/network-policy.yaml',
      text: `{{ if $.Values.networkPolicy }}\n${templates([operatorNetworkPolicy(MARK.namespace)])}\n{{ end }}\n`,
    },
  ];
}

/** The same, but for what changes with the way in which the operator gets its rights, and the digest that values decide. */
function operatorTemplate(): string {
  return templates(operatorWorkload(MARKED, 'HELM_DIGEST'))
    .replace('"watchNamespaces": []', `"watchNamespaces": ${EXPRESSIONS.HELM_WATCH_NAMESPACES?.whole}`)
    .replace(
      /"namespaceRole": ("[^"]+")/,
      '"namespaceRole": {{ if $.Values.watchNamespaces }}null{{ else }}$1{{ end }}',
    )
    .concat('\n');
}

function templates(manifests: readonly Manifest[]): string {
  return manifests.map((one) => `---\n${withExpressions(yaml(one))}`.trimEnd()).join('\n');
}

function withExpressions(text: string): string {
  return text.replaceAll(
    /(: |- )?"?(HELM_[A-Z_]+)"?(?=(\s|$)?)/gm,
    (found, lead: string | undefined, mark: string, _end, offset) => {
      const expression = EXPRESSIONS[mark];
      if (expression === undefined) throw new TypeError(`Cannot find the expression of ${mark}`);
      const after = text.slice(offset + found.length);
      const isWhole = lead !== undefined && /^(,?\n|,?$)/.test(after);
      return isWhole ? `${lead}${expression.whole}` : found.replace(mark, expression.inside);
    },
  );
}

function yaml(value: unknown): string {
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}

function keptCrd(): Manifest {
  const crd = crdManifest();
  return { ...crd, metadata: { ...crd.metadata, annotations: { 'helm.sh/resource-policy': 'keep' } } };
}

function chartMetadata(version: string): object {
  return {
    apiVersion: 'v2',
    name: 'pgspan',
    description: 'Operator of pgspan: one PostgreSQL database over several Kubernetes clusters',
    type: 'application',
    version,
    appVersion: version,
    kubeVersion: '>=1.31.0-0',
    keywords: ['postgresql', 'replication', 'high-availability', 'operator'],
  };
}

type ValueSchema = {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, ValueSchema>>;
};

function valuesJsonSchema(): ValueSchema {
  return z.toJSONSchema(chartValuesSchema, { io: 'input', target: 'draft-7' }) as ValueSchema;
}

/** Every value with its default, and what it is for above it. */
function valuesText(): string {
  return `# Made by npm run docs from src/platform/kubernetes/install/helm-chart.ts; do not edit.\n${valueLines(valuesJsonSchema(), '').join('\n')}\n`;
}

function valueLines(schema: ValueSchema, indent: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, field]) => [
    `${indent}# ${field.description ?? ''}`,
    ...(field.properties === undefined
      ? [`${indent}${key}: ${JSON.stringify(field.default)}`]
      : [`${indent}${key}:`, ...valueLines(field, `${indent}  `)]),
  ]);
}

function chartReadme(): string {
  const rows = valueRows(valuesJsonSchema(), '');
  return `# pgspan

Made by \`npm run docs\`; do not edit. The operator of pgspan: one PostgreSQL database over several Kubernetes clusters.

\`\`\`
helm install pgspan charts/pgspan --namespace pgspan-system --create-namespace \\
  --set image.repository=registry.example.com/pgspan
\`\`\`

One release in a cluster: roles and the CustomResourceDefinition have fixed names. \`helm uninstall\` leaves the
CustomResourceDefinition, and with it every group and its data.

| value | default | meaning |
|---|---|---|
${rows.join('\n')}
`;
}

function valueRows(schema: ValueSchema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, field]) =>
    field.properties === undefined
      ? [`| \`${path}${key}\` | \`${JSON.stringify(field.default)}\` | ${field.description ?? ''} |`]
      : valueRows(field, `${path}${key}.`),
  );
}

const NOTES = `pgspan's operator is in namespace {{ include "pgspan.namespace" . }}.

A first group:

  kubectl apply -f - <<END
  apiVersion: pgspan.io/v1alpha1
  kind: PostgresGroup
  metadata: { name: leo }
  spec:
    connectivity:
      dns: { domain: db.example.com }
  END
  kubectl get pgg --watch
`;
