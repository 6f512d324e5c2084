/**
 * The operator dies at every step of making a group, and is started again. The API server is real; no pods are made (a quota of
 * none), because what is told here is about objects. Each write is carried out and its answer never seen, which is what a
 * kill -9 leaves; the process itself is killed in changes.kube.test.ts.
 */
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { after, before, suite, test } from 'node:test';
import pino from 'pino';
import { waitUntil } from '../../src/base/wait-until.ts';
import { Operator } from '../../src/operator/operator.ts';
import { createKubeClient, type KubeClient } from '../../src/platform/kubernetes/kube-client.ts';
import { KUBE_KINDS, type KubeKindName, type KubeObject } from '../../src/platform/kubernetes/kube-object.ts';
import { openTestKube, type TestKube } from '../kit/kube-api.ts';
import { applyCrd, groupsPath } from '../kit/kube-crd.ts';
import { groupManifest } from '../kit/manifests.ts';
import { needs } from '../kit/requirement.ts';
import { pauseInstalledOperator } from './kit/installed-operator.ts';

const SOON = { timeoutMs: 30_000, intervalMs: 50 } as const;
const WRITES = ['create', 'apply', 'update', 'mergePatch', 'delete'] as const;
/** Every kind that a group has, as core/render-group makes them. */
const KINDS: readonly KubeKindName[] = [
  'ConfigMap',
  'Deployment',
  'Lease',
  'PodDisruptionBudget',
  'Role',
  'RoleBinding',
  'Secret',
  'Service',
  'ServiceAccount',
  'StatefulSet',
];

suite('an operator that dies', needs('kubernetes'), () => {
  let kube: TestKube;
  let client: KubeClient;
  let installed: { resume(): Promise<void> } | undefined;
  before(async () => {
    kube = await openTestKube();
    await applyCrd(kube);
    client = createKubeClient(kube.dial);
    installed = await pauseInstalledOperator(kube);
    const quota = { metadata: { name: 'no-pods' }, spec: { hard: { pods: '0' } } };
    await kube.call('POST', `/api/v1/namespaces/${kube.namespace}/resourcequotas`, quota);
  });
  after(async () => {
    client?.close();
    await installed?.resume();
    await kube?.[Symbol.asyncDispose]();
  });

  test('after any of its writes leaves nothing that the next one does not bring to the same end', async () => {
    const undisturbed = await makeGroup('k0');
    await runToEnd('k0');
    const wanted = (await objectsOf('k0')).map(({ key }) => key.replaceAll('k0', '<group>'));
    assert.ok(wanted.length > 20, `only ${wanted.length} objects: ${wanted.join(', ')}`);
    await remove('k0', undisturbed);
    let deaths = 0;
    for (let writes = 1; ; writes++) {
      const name = `k${writes}`;
      const path = await makeGroup(name);
      const died = await runUntilWrite(name, writes);
      if (!died) break;
      deaths += 1;
      const password = await storedPassword(name);
      await runToEnd(name);
      const objects = await objectsOf(name);
      assert.deepEqual(
        objects.map(({ key }) => key.replaceAll(name, '<group>')),
        wanted,
        `after write ${writes}`,
      );
      await assertCertificatesVerify(name);
      if (password !== null) assert.equal(await storedPassword(name), password, `password after write ${writes}`);
      if (writes % 4 === 0) await runToEnd(name);
      assert.deepEqual(await objectsOf(name), objects, `a third operator changed something after write ${writes}`);
      await remove(name, path);
    }
    // Each object was written at least once.
    assert.ok(deaths >= wanted.length, `it died ${deaths} times, and there are ${wanted.length} objects`);
  });

  async function makeGroup(name: string): Promise<string> {
    const manifest = groupManifest({
      name,
      spec: {
        instances: 1,
        globalCluster: { name: `${name}-all` },
        proxySettings: { instances: 1, enableReadNodeRouting: true },
      },
    });
    await kube.call('POST', groupsPath(kube), manifest);
    return `${groupsPath(kube)}/${name}`;
  }

  async function remove(name: string, path: string): Promise<void> {
    await kube.call('DELETE', path);
    await waitUntil(`group "${name}" is gone`, SOON, async () => (await kube.ask('GET', path)).status === 404);
  }

  function startOperator(own: KubeClient): Operator {
    return new Operator({
      config: {
        programImage: 'pgspan:none',
        namespace: kube.namespace,
        serviceAccount: 'pgspan-operator',
        watchNamespaces: [kube.namespace],
        namespaceRole: null,
        healthPort: 8080,
      },
      client: own,
      clusterDns: {
        nameservers: ['10.96.0.10'],
        clusterDomain: 'cluster.local',
        machineSearch: [],
        options: ['ndots:5'],
      },
      identity: 'test',
      log: pino({ level: 'silent' }),
    });
  }

  /** Status is the last thing that a look writes. */
  async function runToEnd(name: string): Promise<void> {
    await kube.call('PATCH', `${groupsPath(kube)}/${name}/status`, { status: null });
    const operator = startOperator(client);
    try {
      await waitUntil(`group "${name}" has a status`, SOON, async () => {
        const { status } = (await kube.call('GET', `${groupsPath(kube)}/${name}`)) as { status?: { reason?: string } };
        return status?.reason !== undefined;
      });
    } finally {
      await operator.close();
    }
  }

  /** @returns false if it came to the end without so many writes. */
  async function runUntilWrite(name: string, writes: number): Promise<boolean> {
    const { promise: died, resolve } = Promise.withResolvers<boolean>();
    const operator = startOperator(mortal(client, writes, () => resolve(true)));
    const ended = waitUntil(`group "${name}" has a status`, SOON, async () => {
      const { status } = (await kube.call('GET', `${groupsPath(kube)}/${name}`)) as { status?: { reason?: string } };
      return status?.reason !== undefined;
    }).then(
      () => false,
      () => false,
    );
    try {
      return await Promise.race([died, ended]);
    } finally {
      await operator.close();
    }
  }

  async function objectsOf(name: string): Promise<{ key: string; version: string }[]> {
    const lists = await Promise.all(
      KINDS.map(async (kind) => {
        const labelSelector = `pgspan.io/group=${name}`;
        const { items } = await client.list(KUBE_KINDS[kind], { namespace: kube.namespace, labelSelector });
        return items.map((object) => ({ key: `${kind}/${object.metadata.name}`, version: versionOf(object) }));
      }),
    );
    return lists.flat().toSorted((a, b) => a.key.localeCompare(b.key));
  }

  /** Every leaf is signed by the CA that clients are told of. */
  async function assertCertificatesVerify(name: string): Promise<void> {
    const { namespace } = kube;
    const bundle = await client.get({ kind: KUBE_KINDS.ConfigMap, namespace, name: `${name}-ca` });
    const authority = new X509Certificate((bundle.data as Record<string, string>)['ca.crt'] ?? '');
    for (const secret of [`${name}-1-tls`, `${name}-proxy-tls`, `${name}-operator-tls`]) {
      const { data } = await client.get({ kind: KUBE_KINDS.Secret, namespace, name: secret });
      const texts = data as Record<string, string>;
      const leaf = new X509Certificate(Buffer.from(texts['tls.crt'] ?? '', 'base64'));
      assert.ok(leaf.verify(authority.publicKey), `${secret} is signed by another CA`);
    }
  }

  async function storedPassword(name: string): Promise<string | null> {
    const secret = await client.find({ kind: KUBE_KINDS.Secret, namespace: kube.namespace, name: `${name}-app` });
    return (secret?.data as Record<string, string> | undefined)?.password ?? null;
  }
});

/** What controllers of Kubernetes write into `.status` is not the operator's. */
function versionOf({ metadata, kind, status: _status, ...rest }: KubeObject): string {
  const { resourceVersion: _version, managedFields: _fields, annotations, ...own } = metadata;
  const seen = { kind, own: { uid: own.uid, labels: own.labels, generation: own.generation }, annotations, rest };
  return createHash('sha256').update(JSON.stringify(seen)).digest('hex').slice(0, 16);
}

/** Carries out so many writes; of the last one no answer comes, and of nothing after it. */
function mortal(client: KubeClient, writes: number, onDeath: () => void): KubeClient {
  let left = writes;
  const isDead = (): boolean => left <= 0;
  const dying: Partial<Record<string, unknown>> = {};
  for (const verb of WRITES) {
    dying[verb] = async (...args: unknown[]) => {
      if (isDead()) throw new Error('dead');
      const [object] = args as [{ kind?: unknown }];
      // Said in the background, and of no consequence.
      const isEvent = object.kind === 'Event';
      const answer = await (client[verb] as (...all: unknown[]) => Promise<unknown>)(...args);
      if (isEvent) return answer;
      left -= 1;
      if (!isDead()) return answer;
      onDeath();
      throw new Error('dead');
    };
  }
  for (const verb of ['get', 'find', 'list'] as const) {
    dying[verb] = async (...args: unknown[]) => {
      if (isDead()) throw new Error('dead');
      return await (client[verb] as (...all: unknown[]) => Promise<unknown>)(...args);
    };
  }
  return { ...client, ...dying, close: () => {} } as KubeClient;
}
