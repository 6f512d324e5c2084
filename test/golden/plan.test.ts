/**
 * The plans of the examples, as files. A change of the plan shows here as a difference to read; if it is meant:
 *   PGSPAN_UPDATE_GOLDEN=1 node --test test/golden/plan.test.ts
 */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { stringify } from 'yaml';
import { formatPlan } from '../../src/cli/plan-text.ts';
import { planGlobalCluster } from '../../src/core/topology/plan.ts';
import { loadManifests } from '../../src/platform/manifest-files.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** The five common set-ups of requirement C7, and those of the local platform. */
const EXAMPLES = [
  'traffic-one-cluster',
  'traffic-anywhere',
  'traffic-peered-by-service-name',
  'traffic-peered-by-fqdn',
  'traffic-public-entry',
  'three-groups-local',
  'one-group-local',
];

suite('plans of the examples', () => {
  for (const example of EXAMPLES) {
    test(`${example}, as text with all details`, async () => {
      const plan = planGlobalCluster(await loadManifests(join(ROOT, 'examples', `${example}.yaml`)));
      const text = formatPlan(plan, { width: 120, details: true, style: (_kind, words) => words });
      await compare(`${example}.txt`, text);
    });
  }

  test('three-groups-local, as YAML', async () => {
    const plan = planGlobalCluster(await loadManifests(join(ROOT, 'examples/three-groups-local.yaml')));
    await compare('three-groups-local.yaml', stringify(plan, { lineWidth: 0, aliasDuplicateObjects: false }));
  });

  test('three-clusters is the same database as three-groups-local, as a folder', async () => {
    const folder = planGlobalCluster(await loadManifests(join(ROOT, 'examples/three-clusters')));
    const file = planGlobalCluster(await loadManifests(join(ROOT, 'examples/three-groups-local.yaml')));
    const names = (plan: typeof file) => plan.groups.flatMap((group) => group.nodes.map(({ name }) => name)).toSorted();
    assert.deepEqual(names(folder), names(file));
    assert.equal(folder.bootstrapNode, file.bootstrapNode);
  });
});

async function compare(name: string, text: string): Promise<void> {
  const path = join(import.meta.dirname, 'plans', name);
  if (process.env.PGSPAN_UPDATE_GOLDEN === '1') await writeFile(path, text);
  assert.equal(text, await readFile(path, 'utf8'));
}
