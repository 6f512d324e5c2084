/** What the examples for Kubernetes say of each other: names of Secrets, ports and certificates that the group really has. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { planGlobalCluster } from '../../src/core/topology/plan.ts';
import { renderGroup } from '../../src/operator/objects/render-group.ts';
import type { GroupObject } from '../../src/platform/kubernetes/object-types.ts';
import { loadManifests } from '../../src/platform/manifest-files.ts';
import { groupFacts } from '../kit/group-facts.ts';

const EXAMPLES = resolve(import.meta.dirname, '../../examples');

const groups = await loadManifests(join(EXAMPLES, 'one-cluster'));
const [group = assert.fail('there is a group')] = groups;
const plan = planGlobalCluster(groups);
const objects = renderGroup(plan, group, groupFacts(plan)).map(({ object }) => object);
const find = (kind: GroupObject['kind'], name: string) =>
  objects.find((object) => object.kind === kind && object.metadata.name === name);

suite('examples for Kubernetes', () => {
  test('one-cluster has one group and asks for nothing that is not built', () => {
    assert.equal(groups.length, 1);
    assert.deepEqual(plan.notBuilt, []);
  });

  test('the application names a Secret of the group, and keys that it has', async () => {
    const text = await readFile(join(EXAMPLES, 'one-cluster/application.yaml'), 'utf8');
    const secret = find('Secret', 'leo-app');
    assert.ok(secret?.kind === 'Secret');
    const keys = [...text.matchAll(/secretKeyRef: \{ name: ([\w-]+), key: ([\w.-]+) \}/g)];
    assert.equal(keys.length, 5);
    for (const [, name, key = ''] of keys) {
      assert.equal(name, 'leo-app');
      assert.ok(key in secret.data, key);
    }
    assert.ok('ca.crt' in secret.data);
  });

  test('the pod monitors select pods, ports and names that are there', async () => {
    const text = await readFile(join(EXAMPLES, 'monitoring/pod-monitors.yaml'), 'utf8');
    const monitors = parseAllDocuments(text).map((document) => document.toJS() as PodMonitor);
    const certificates = [...(plan.groups[0]?.nodes ?? []), ...(plan.groups[0]?.proxies.slice(0, 1) ?? [])];
    for (const { spec } of monitors) {
      const templates = objects.flatMap((object) =>
        object.kind === 'StatefulSet' || object.kind === 'Deployment' ? [object.spec.template] : [],
      );
      const selected = templates.filter(({ metadata }) =>
        Object.entries(spec.selector.matchLabels).every(([key, value]) => metadata.labels[key] === value),
      );
      assert.notEqual(selected.length, 0);
      for (const { port, tlsConfig } of spec.podMetricsEndpoints) {
        for (const { spec: pod } of selected) {
          const ports = pod.containers.flatMap((container) => container.ports ?? []).map(({ name }) => name);
          assert.ok(ports.includes(port), port);
        }
        assert.notEqual(find('ConfigMap', tlsConfig.ca.configMap.name), undefined);
        const workload = spec.selector.matchLabels['pgspan.io/workloadType'];
        const carriers = certificates.filter(({ name }) => name.includes('proxy') === (workload === 'proxy'));
        assert.notEqual(carriers.length, 0);
        for (const { name, certificate } of carriers)
          assert.ok(certificate.dnsNames.includes(tlsConfig.serverName), `${name}: ${tlsConfig.serverName}`);
      }
    }
  });
});

interface PodMonitor {
  readonly spec: {
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly podMetricsEndpoints: readonly {
      readonly port: string;
      readonly tlsConfig: {
        readonly serverName: string;
        readonly ca: { readonly configMap: { readonly name: string } };
      };
    }[];
  };
}
