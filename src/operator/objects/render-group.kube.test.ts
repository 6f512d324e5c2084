/** What is rendered, given to a real API server: it takes all of it, as `restricted` pods, and twice is once. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { groupFacts } from '../../../test/kit/group-facts.ts';
import { openTestKube, type TestKube } from '../../../test/kit/kube-api.ts';
import { postgresGroup } from '../../../test/kit/manifests.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import { createKubeClient, type KubeClient, type NamedObject } from '../../platform/kubernetes/kube-client.ts';
import type { GroupObject } from '../../platform/kubernetes/object-types.ts';
import { objectKey, renderGroup } from './render-group.ts';

/** No machine has it, so that pods are made and not run. */
const NOWHERE = { nodeSelector: { 'pgspan.io/test': 'nowhere' } };

const EVERYTHING = {
  enableSuperuserAccess: true,
  resources: { requests: { cpu: '100m', memory: '256Mi' }, limits: { memory: '512Mi' } },
  storage: { size: '1Gi', storageClass: 'none', retain: false },
  scheduling: {
    ...NOWHERE,
    tolerations: [{ key: 'db', operator: 'Exists', effect: 'NoSchedule' }],
  },
  proxySettings: { enableReadNodeRouting: true },
  coordination: { store: 'kubernetes' },
  connectivity: {
    dns: { domain: 'db.example.com', additional: [{ domain: 'example.org', hostSuffix: '-x' }] },
    loadBalancer: { enabled: true, scope: 'node', allowedIPs: ['10.0.0.0/8', '203.0.113.7', '2001:db8::/32'] },
    networkPolicy: {
      enabled: true,
      clients: [{ podSelector: { matchLabels: { app: 'shop' } } }, { ipBlock: { cidr: '10.0.0.0/8' } }],
    },
    nodeServiceTemplate: {
      metadata: { annotations: { 'external-dns.alpha.kubernetes.io/hostname': '{fqdn}' } },
      spec: { externalTrafficPolicy: 'Local' },
    },
    proxyServiceTemplate: { updateStrategy: 'replace', spec: { type: 'NodePort' } },
  },
} as const;

const ETCD = {
  instances: 1,
  proxySettings: { instances: 0 },
  coordination: {
    store: 'etcd',
    etcd: { endpoints: ['https://etcd-1.example.com:2379'], secretRef: { name: 'etcd-client' } },
  },
};

suite('a real API server', needs('kubernetes'), () => {
  const renderIn = (namespace: string, spec: Readonly<Record<string, unknown>>): GroupObject[] => {
    const group = postgresGroup({ namespace, spec });
    const plan = planGlobalCluster([group]);
    return renderGroup(plan, group, groupFacts(plan)).map(({ object }) => object);
  };

  for (const [title, spec] of Object.entries({ defaults: {}, 'every feature': EVERYTHING, 'etcd, no proxies': ETCD })) {
    test(`takes all objects with ${title}, and their pods as restricted ones`, async () => {
      await using kube = await openTestKube();
      const client = createKubeClient(kube.dial);
      try {
        await restrict(kube);
        const objects = renderIn(kube.namespace, spec);
        for (const object of [...objects, ...objects.flatMap(podOf)]) await applyDry(client, object);
      } finally {
        client.close();
      }
    });
  }

  test('changes nothing when the same is applied again', async () => {
    await using kube = await openTestKube();
    const client = createKubeClient(kube.dial);
    try {
      const objects = renderIn(kube.namespace, { scheduling: NOWHERE });
      for (const object of objects) await client.apply(ownerless(object));
      for (const object of objects) {
        const again = await client.apply(ownerless(object));
        // Controllers write into `status` and annotations of these; `generation` counts changes of what is wanted.
        const { generation, managedFields } = again.metadata;
        const applied = managedFieldsOf(managedFields).filter(({ operation }) => operation === 'Apply');
        assert.equal(applied.length, 1, objectKey(object));
        if (generation !== undefined) assert.equal(generation, 1, objectKey(object));
      }
      const versions = async () => {
        const stored = await Promise.all(objects.filter(isQuiet).map((object) => client.apply(ownerless(object))));
        return stored.map(({ metadata }) => metadata.resourceVersion);
      };
      assert.deepEqual(await versions(), await versions());
    } finally {
      client.close();
    }
  });

  test('lets agents get, watch and update the one Lease and nothing else, proxies nothing', async () => {
    await using kube = await openTestKube();
    const client = createKubeClient(kube.dial);
    try {
      const { namespace } = kube;
      const access = renderIn(namespace, {}).filter(({ kind }) =>
        /^(Lease|Role|RoleBinding|ServiceAccount)$/.test(kind),
      );
      for (const object of access) await client.apply(ownerless(object));
      const may = async (account: string, verb: string, resource: string, name: string): Promise<boolean> => {
        const answer = (await kube.call('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', {
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SubjectAccessReview',
          spec: {
            user: `system:serviceaccount:${namespace}:${account}`,
            groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
            resourceAttributes: {
              namespace,
              verb,
              resource,
              name,
              group: resource === 'leases' ? 'coordination.k8s.io' : '',
            },
          },
        })) as { status: { allowed: boolean } };
        return answer.status.allowed;
      };
      for (const verb of ['get', 'watch', 'update']) {
        assert.equal(await may('leo-instance', verb, 'leases', 'orders'), true, verb);
        assert.equal(await may('leo-instance', verb, 'leases', 'another'), false, verb);
        assert.equal(await may('leo-proxy', verb, 'leases', 'orders'), false, verb);
      }
      for (const verb of ['patch', 'delete', 'create', 'list']) {
        assert.equal(await may('leo-instance', verb, 'leases', 'orders'), false, verb);
      }
      assert.equal(await may('leo-instance', 'get', 'secrets', 'leo-app'), false);
      assert.equal(await may('leo-instance', 'get', 'pods', 'leo-1-0'), false);
    } finally {
      client.close();
    }
  });
});

async function restrict({ call, namespace }: TestKube): Promise<void> {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
  await call('PATCH', `/api/v1/namespaces/${namespace}`, { metadata: { labels } });
}

/** The pods' own checks happen only when a controller makes them: here they are asked for at once. */
function podOf(object: GroupObject): NamedObject[] {
  if (object.kind !== 'StatefulSet' && object.kind !== 'Deployment') return [];
  const { metadata, spec } = object.spec.template;
  const volumes =
    object.kind === 'StatefulSet'
      ? object.spec.volumeClaimTemplates.map((claim) => ({ name: claim.metadata.name, emptyDir: {} }))
      : [];
  const name = `${object.metadata.name}-check`;
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name, namespace: object.metadata.namespace },
    spec: { ...spec, serviceAccountName: 'default', volumes: [...spec.volumes, ...volumes] },
  };
  return [pod];
}

async function applyDry(client: KubeClient, object: NamedObject): Promise<void> {
  await client.apply(object, { dryRun: true }).catch((error: Error) => {
    assert.fail(`${objectKey(object)}: ${error.message}`);
  });
}

/** There is no PostgresGroup here: the garbage collector would take what such an owner owned. */
function ownerless(object: GroupObject): GroupObject {
  const { ownerReferences: _, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/** No controller writes into these by itself. */
function isQuiet({ kind }: GroupObject): boolean {
  return !['StatefulSet', 'Deployment', 'PodDisruptionBudget', 'Service'].includes(kind);
}

function managedFieldsOf(value: unknown): { readonly operation?: string }[] {
  return Array.isArray(value) ? value : [];
}
