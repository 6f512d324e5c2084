/**
 * The CustomResourceDefinition on a real API server: what it accepts, fills in, shows and refuses, and in which words.
 * After a change of words: PGSPAN_UPDATE=1, and `npm run docs`.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse, stringify } from 'yaml';
import { parsePostgresGroup } from '../../src/api/parse-manifest.ts';
import {
  type GroupNodeStatus,
  type PostgresGroupStatus,
  postgresGroupStatusSchema,
} from '../../src/api/postgres-group-status.ts';
import { findProblems } from '../../src/core/topology/validate.ts';
import { exampleManifests, exampleObjects } from '../kit/examples.ts';
import { openTestKube, type TestKube } from '../kit/kube-api.ts';
import { applyCrd, groupsPath } from '../kit/kube-crd.ts';
import { groupManifest, mergeFields } from '../kit/manifests.ts';
import { needs } from '../kit/requirement.ts';
import { type Mistake, MISTAKES } from './manifest-mistakes.ts';

const WORDS_FILE = join(import.meta.dirname, 'manifest-mistakes.yaml');
const STRICT = 'fieldValidation=Strict';

/**
 * A group that is really made is one that nobody may lead: taken by the API server, refused by an operator that may run in this
 * cluster, so that none makes pods of it.
 */
const idleGroup = (name: string, spec: Readonly<Record<string, unknown>> = {}) =>
  mergeFields(groupManifest({ name, spec }), { spec: { coordination: { priority: 0 } } });

interface Refusal {
  readonly message: string;
  readonly details?: { readonly causes?: readonly { readonly field: string; readonly message: string }[] };
}

describe('PostgresGroup on a real API server', needs('kubernetes'), () => {
  let kube: TestKube;
  before(async () => {
    kube = await openTestKube();
    await applyCrd(kube);
  });
  after(async () => await kube[Symbol.asyncDispose]());

  for (const { file, index, manifest } of exampleManifests()) {
    test(`${file}, document ${index + 1}, is accepted, and stored as pgspan itself reads it`, async () => {
      const { namespace: _elsewhere, ...metadata } = manifest.metadata as Record<string, unknown>;
      const here = { ...manifest, metadata };
      const answer = await kube.ask('POST', `${groupsPath(kube)}?dryRun=All&${STRICT}`, { body: here });
      assert.equal(answer.status, 201, JSON.stringify(answer.body));
      assert.deepEqual(specOf(answer.body), specOf(here));
    });
  }

  for (const { file, index, manifest } of exampleObjects().filter((one) => one.manifest.kind === 'Deployment')) {
    test(`${file}, document ${index + 1}, is accepted, and its pods pass \`restricted\``, async () => {
      const base = `/apis/apps/v1/namespaces/${kube.namespace}/deployments`;
      await kube.call('POST', `${base}?dryRun=All&${STRICT}`, manifest);
      const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
      await kube.call('PATCH', `/api/v1/namespaces/${kube.namespace}`, { metadata: { labels } });
      const { template } = (manifest as { spec: { template: { spec: object } } }).spec;
      const pod = { metadata: { name: 'example' }, spec: template.spec };
      await kube.call('POST', `/api/v1/namespaces/${kube.namespace}/pods?dryRun=All&${STRICT}`, pod);
    });
  }

  describe('refuses', () => {
    const words = parse(readFileSync(WORDS_FILE, 'utf8')) as Record<string, string | null>;
    const said: Record<string, string | null> = {};
    after(() => {
      if (process.env.PGSPAN_UPDATE === '1') writeFileSync(WORDS_FILE, stringify(said, { lineWidth: 0 }));
    });
    for (const mistake of MISTAKES) {
      test(mistake.title, async () => {
        said[mistake.title] = await refusal(kube, mistake);
        // What the API server lets through, pgspan itself refuses.
        if (said[mistake.title] === null) assert.notDeepEqual(problemsOf(mistake), []);
        if (process.env.PGSPAN_UPDATE !== '1') assert.equal(said[mistake.title], words[mistake.title]);
      });
    }
    test('and has words for no other mistake', () => {
      assert.deepEqual(Object.keys(words).toSorted(), MISTAKES.map(({ title }) => title).toSorted());
    });
  });

  test('the manifest of a group can be applied again, and grown', async () => {
    const path = groupsPath(kube);
    await kube.call('POST', path, idleGroup('again', { storage: { size: '1Gi' } }));
    for (const spec of [{ storage: { size: '1Gi' } }, { storage: { size: '1.5Gi' }, imageName: 'postgres:18.1' }]) {
      await kube.call('PATCH', `${path}/again?${STRICT}`, { spec });
    }
    await kube.call('DELETE', `${path}/again`);
  });

  test('a status with every field is stored as it was written, and shown by `kubectl get`', async () => {
    const path = groupsPath(kube);
    const status = postgresGroupStatusSchema.parse(FULL_STATUS);
    await kube.call('POST', path, idleGroup('shown'));
    const stored = (await kube.call('PATCH', `${path}/shown/status?${STRICT}`, { status })) as { status: unknown };
    assert.deepEqual(stored.status, status);
    // In the answer to the same request: an operator may write its own status at any moment.
    const { body } = await kube.ask('PATCH', `${path}/shown/status`, {
      body: { status },
      accept: 'application/json;as=Table;v=v1;g=meta.k8s.io',
    });
    const table = body as { columnDefinitions: { name: string; priority: number }[]; rows: { cells: unknown[] }[] };
    const shown = table.columnDefinitions.map(({ name, priority }, index) => [
      `${name}${priority > 0 ? ' (wide)' : ''}`,
      table.rows[0]?.cells[index],
    ]);
    assert.deepEqual(Object.keys(Object.fromEntries(shown)), [
      'Name',
      'Leader',
      'Ready',
      'Term',
      'Lag',
      'Age',
      'Reason',
      'Global (wide)',
      'Image (wide)',
      'Message (wide)',
    ]);
    const { Age: _age, ...cells } = Object.fromEntries(shown);
    assert.deepEqual(Object.values(cells), [
      'shown',
      'leo-1',
      '2/3',
      7,
      '3 MiB',
      'StandbyAway',
      'orders',
      'postgres:18',
      'Node "leo-3" does not stream',
    ]);
    await kube.call('DELETE', `${path}/shown`);
  });

  test('`kubectl scale` changes the number of nodes, within their range', async () => {
    const path = groupsPath(kube);
    await kube.call('POST', path, idleGroup('scaled'));
    await kube.call('PATCH', `${path}/scaled/status`, { status: { instances: 3, selector: 'pgspan.io/group=scaled' } });
    const scale = (await kube.call('GET', `${path}/scaled/scale`)) as { spec: object; status: object };
    assert.deepEqual(
      [scale.spec, scale.status],
      [{ replicas: 3 }, { replicas: 3, selector: 'pgspan.io/group=scaled' }],
    );
    await kube.call('PATCH', `${path}/scaled/scale`, { spec: { replicas: 5 } });
    const group = (await kube.call('GET', `${path}/scaled`)) as { spec: { instances: number } };
    assert.equal(group.spec.instances, 5);
    const { status } = await kube.ask('PATCH', `${path}/scaled/scale`, { body: { spec: { replicas: 33 } } });
    assert.equal(status, 422);
    await kube.call('DELETE', `${path}/scaled`);
  });

  test('every field is explained by `kubectl explain`', async () => {
    const openapi = (await kube.call('GET', '/openapi/v3/apis/pgspan.io/v1alpha1')) as {
      components: { schemas: Record<string, { properties: Record<string, Field> }> };
    };
    const group = openapi.components.schemas['io.pgspan.v1alpha1.PostgresGroup'];
    assert.deepEqual(undescribed(group?.properties.spec ?? {}, 'spec'), []);
    assert.deepEqual(undescribed(group?.properties.status ?? {}, 'status'), []);
  });
});

/** Null: accepted. Else what kubectl prints, without the name of the group and the sentence that more might be wrong. */
async function refusal(kube: TestKube, { name = 'leo', spec, before: first }: Mistake): Promise<string | null> {
  const path = groupsPath(kube);
  const manifest = mergeFields(groupManifest({ name, spec: first ?? {} }), { spec });
  if (first !== undefined) await kube.call('POST', path, idleGroup(name, first));
  try {
    const answer =
      first === undefined
        ? await kube.ask('POST', `${path}?dryRun=All&${STRICT}`, { body: manifest })
        : await kube.ask('PATCH', `${path}/${name}?dryRun=All&${STRICT}`, { body: { spec } });
    if (answer.status < 300) return null;
    const { message, details } = answer.body as Refusal;
    const causes = (details?.causes ?? [])
      .filter(({ message: text }) => !text.includes('some validation rules were not checked'))
      .map(({ field, message: text }) => (field === '<nil>' ? text : `${field}: ${text}`));
    return causes.length === 0 ? message : causes.join('\n');
  } finally {
    if (first !== undefined) await kube.call('DELETE', `${path}/${name}`);
  }
}

function problemsOf({ name = 'leo', spec, before: first = {} }: Mistake): readonly unknown[] {
  const parsed = parsePostgresGroup(mergeFields(groupManifest({ name, spec: first }), { spec }));
  return parsed.kind === 'refused' ? parsed.problems : findProblems([parsed.group]);
}

/** `.spec` of a manifest with defaults as pgspan fills them in. */
function specOf(manifest: unknown): unknown {
  const parsed = parsePostgresGroup(manifest);
  assert.equal(parsed.kind, 'accepted', JSON.stringify(parsed));
  return parsed.group.spec;
}

interface Field {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Field>>;
  readonly items?: Field;
}

function undescribed(field: Field, path: string): string[] {
  const own = (field.description ?? '') === '' ? [path] : [];
  const fields = Object.entries((field.items ?? field).properties ?? {});
  return [...own, ...fields.flatMap(([key, child]) => undescribed(child, `${path}.${key}`))];
}

const NODE: Omit<GroupNodeStatus, 'name'> = {
  role: 'follower',
  activity: 'following',
  ready: true,
  member: true,
  streaming: true,
  timeline: 7,
  lsn: '0/3000148',
  lagBytes: 0,
  progressPercent: 42.5,
  certificateExpiry: '2027-01-01T00:00:00Z',
  configurationGeneration: 4,
  image: 'postgres:18',
  pendingRestart: ['max_connections'],
  reason: 'Streaming',
  message: 'Streams from "leo-1"',
};

const FULL_STATUS = {
  observedGeneration: 3,
  conditions: [
    {
      type: 'Ready',
      status: 'False',
      reason: 'StandbyAway',
      message: 'Node "leo-3" does not stream',
      lastTransitionTime: '2026-11-21T15:00:00Z',
      observedGeneration: 3,
    },
  ],
  reason: 'StandbyAway',
  message: 'Node "leo-3" does not stream',
  globalCluster: 'orders',
  leader: 'leo-1',
  phase: 'published',
  term: 7,
  timeline: 7,
  members: ['leo-1', 'leo-2', 'leo-3'],
  writeQuorum: 2,
  paused: false,
  instances: 3,
  readyInstances: 2,
  ready: '2/3',
  selector: 'pgspan.io/group=leo',
  lag: '3 MiB',
  proxies: { instances: 2, ready: 2 },
  nodes: [
    { ...NODE, name: 'leo-1', role: 'leader', activity: 'leading' },
    { ...NODE, name: 'leo-2' },
  ],
  addresses: [
    { service: 'orders', purpose: 'write', fqdn: 'orders.db.example.com', hosts: ['203.0.113.7'], port: 5432 },
  ],
  lastFailover: {
    term: 7,
    leader: 'leo-1',
    formerLeader: 'leo-2',
    reason: 'silence',
    suspectedAt: '2026-11-21T14:59:58.250Z',
    promisedMs: 20.5,
    swappedMs: 31,
    promotedMs: 90,
    publishedMs: 140,
    loss: { lagBytes: 4096, heardAt: '2026-11-21T14:59:57.000Z' },
  },
  survives: ['the loss of any one node'],
  doesNotSurvive: ['the loss of two nodes at once'],
  certificateAuthorityExpiry: '2036-11-21T00:00:00Z',
} satisfies PostgresGroupStatus;
