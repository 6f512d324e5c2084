/** The Helm chart: current, and for every choice of values the same objects as the install file. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { CHART_FOLDER, chartFiles } from '../../scripts/chart.ts';
import { chartValuesSchema } from '../../src/platform/kubernetes/install/helm-chart.ts';
import { INSTALL_DEFAULTS, installManifests } from '../../src/platform/kubernetes/install/install-manifests.ts';
import type { InstallOptions, Manifest } from '../../src/platform/kubernetes/install/manifest.ts';
import { findHelm, lintWithHelm, renderChart, renderWithHelm } from '../kit/helm-template.ts';

const FOLDER = join(resolve(import.meta.dirname, '../..'), CHART_FOLDER);
const helm = findHelm();
const render = helm === null ? renderChart : renderWithHelm.bind(null, helm);

interface Case {
  readonly values: Readonly<Record<string, unknown>>;
  readonly options: Partial<InstallOptions>;
}

/** Values of the chart, and the options of `pgspan install manifests` that mean the same. */
const CASES: Readonly<Record<string, Case>> = {
  defaults: { values: {}, options: {} },
  'an image of a registry': {
    values: { image: { repository: 'registry.example.com/pgspan', tag: '1.2.3', pullPolicy: 'Always' } },
    options: { image: 'registry.example.com/pgspan:1.2.3', imagePullPolicy: 'Always' },
  },
  'two namespaces': {
    values: { watchNamespaces: ['shop', '007'] },
    options: { watchNamespaces: ['shop', '007'] },
  },
  'another namespace, two replicas, a network policy, other resources': {
    values: {
      namespace: 'databases',
      replicas: 2,
      networkPolicy: true,
      resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { memory: '2Gi' } },
    },
    options: {
      namespace: 'databases',
      replicas: 2,
      networkPolicy: true,
      resources: { requests: { cpu: '1', memory: '1Gi' }, limits: { memory: '2Gi' } },
    },
  },
};

suite('the Helm chart', () => {
  test('is current (else: npm run docs)', () => {
    const files = chartFiles();
    for (const { path, text } of files) assert.equal(readFileSync(join(FOLDER, path), 'utf8'), text, path);
    assert.deepEqual(globSync('**/*.*', { cwd: FOLDER }).toSorted(), files.map(({ path }) => path).toSorted());
  });

  for (const [name, { values, options }] of Object.entries(CASES)) {
    test(`with ${name}, holds the objects of the install file (${helm === null ? 'own renderer' : 'helm'})`, () => {
      chartValuesSchema.parse(values);
      const install = installManifests({
        ...INSTALL_DEFAULTS,
        image: `pgspan:${versionOf(FOLDER)}`,
        imagePullPolicy: 'IfNotPresent',
        ...options,
      });
      const rendered = render(FOLDER, { namespace: INSTALL_DEFAULTS.namespace, values }) as Manifest[];
      assert.deepEqual(byName(rendered), byName(install.filter(({ kind }) => kind !== 'Namespace')));
    });
  }

  test('leaves the CustomResourceDefinition out if it is told to', () => {
    const rendered = render(FOLDER, { namespace: 'x', values: { crd: { install: false } } }) as Manifest[];
    assert.deepEqual(
      rendered.filter(({ kind }) => kind === 'CustomResourceDefinition'),
      [],
    );
  });

  test('keeps the CustomResourceDefinition, and so the groups, when it is uninstalled', () => {
    const rendered = render(FOLDER, { namespace: 'x', values: {} }) as Manifest[];
    const crd = rendered.find(({ kind }) => kind === 'CustomResourceDefinition');
    assert.deepEqual(crd?.metadata.annotations, { 'helm.sh/resource-policy': 'keep' });
  });

  for (const wrong of [{ replica: 2 }, { replicas: 0 }, { watchNamespaces: ['Shop'] }, { image: 'pgspan:dev' }]) {
    test(`refuses ${JSON.stringify(wrong)}`, () => {
      assert.equal(chartValuesSchema.safeParse(wrong).success, false);
      if (helm !== null) assert.throws(() => render(FOLDER, { namespace: 'x', values: wrong }), /schema/);
    });
  }

  if (helm !== null) test('passes `helm lint --strict`', () => lintWithHelm(helm, FOLDER));
});

function versionOf(folder: string): string {
  return /^appVersion: (.*)$/m.exec(readFileSync(join(folder, 'Chart.yaml'), 'utf8'))?.[1] ?? '';
}

/** Objects by kind and name, without what only the chart has: its policy for the CRD, its own digest. */
function byName(manifests: readonly Manifest[]): Record<string, unknown> {
  return Object.fromEntries(
    manifests.map((manifest) => {
      const { kind, metadata } = manifest;
      const copy = structuredClone(manifest) as Manifest & {
        metadata: { annotations?: unknown };
        spec: { template: { metadata: { annotations: Record<string, string> } } };
      };
      if (kind === 'CustomResourceDefinition') delete copy.metadata.annotations;
      if (kind === 'Deployment') {
        assert.match(copy.spec.template.metadata.annotations['pgspan.io/config'] ?? '', /^[0-9a-f]{64}$/);
        copy.spec.template.metadata.annotations = {};
      }
      if (kind === 'ConfigMap') return [`${kind} ${metadata.name}`, { ...copy, data: parsedData(copy) }];
      return [`${kind} ${metadata.namespace ?? ''}/${metadata.name}`, copy];
    }),
  );
}

function parsedData({ data }: Manifest): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(data as Record<string, string>).map(([key, text]) => [key, JSON.parse(text)]),
  );
}
