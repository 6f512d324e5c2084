import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { groupFacts } from '../../../test/kit/group-facts.ts';
import { type GroupFields, groupsOf, postgresGroup } from '../../../test/kit/manifests.ts';
import { instanceConfigSchema, proxyConfigSchema } from '../../api/agent-config.ts';
import { dnsConfigSchema } from '../../api/dns-config.ts';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import type { GroupObject, GroupObjectKind } from '../../platform/kubernetes/object-types.ts';
import { REVISION_ANNOTATION } from './pod-parts.ts';
import { objectKey, renderGroup, staleObjects } from './render-group.ts';
import type { GroupFacts } from './render-input.ts';

type ObjectOf<Kind extends GroupObjectKind> = Extract<GroupObject, { kind: Kind }>;

function render(fields: GroupFields = {}, change: Partial<GroupFacts> = {}): GroupObject[] {
  const group = postgresGroup(fields);
  const plan = planGlobalCluster([group]);
  return renderGroup(plan, group, groupFacts(plan, change)).map(({ object }) => object);
}

function find<Kind extends GroupObjectKind>(objects: readonly GroupObject[], kind: Kind, name: string): ObjectOf<Kind> {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === name);
  assert.ok(found !== undefined, `${kind} "${name}" is among ${objects.map(objectKey).join(', ')}`);
  return found as ObjectOf<Kind>;
}

function namesOf(objects: readonly GroupObject[], kind: GroupObjectKind): string[] {
  return objects.filter((object) => object.kind === kind).map(({ metadata }) => metadata.name);
}

function textOf(secret: ObjectOf<'Secret'>, key: string): string {
  return Buffer.from(secret.data[key] ?? '', 'base64').toString('utf8');
}

suite('objects of a group', () => {
  test('are those of the contract, each once, owned by the group and labelled', () => {
    const objects = render();
    assert.deepEqual(namesOf(objects, 'StatefulSet'), ['leo-1', 'leo-2', 'leo-3']);
    assert.deepEqual(namesOf(objects, 'Deployment'), ['leo-proxy']);
    assert.deepEqual(namesOf(objects, 'Lease'), ['orders']);
    assert.deepEqual(namesOf(objects, 'Service').toSorted(), [
      'leo',
      'leo-1',
      'leo-2',
      'leo-3',
      'leo-group',
      'leo-pods',
      'orders',
    ]);
    assert.deepEqual(namesOf(objects, 'ConfigMap'), [
      'leo-ca',
      'leo-1-config',
      'leo-2-config',
      'leo-3-config',
      'leo-proxy-config',
    ]);
    assert.deepEqual(namesOf(objects, 'Secret'), [
      'leo-1-tls',
      'leo-2-tls',
      'leo-3-tls',
      'leo-proxy-tls',
      'leo-app',
      'leo-roles',
    ]);
    assert.deepEqual(namesOf(objects, 'PodDisruptionBudget'), ['leo', 'leo-proxy']);
    assert.deepEqual(namesOf(objects, 'NetworkPolicy'), []);
    const keys = objects.map(objectKey);
    assert.equal(new Set(keys).size, keys.length);
    for (const { metadata } of objects) {
      assert.equal(metadata.namespace, 'default');
      assert.equal(metadata.labels?.['pgspan.io/group'], 'leo', metadata.name);
      assert.equal(metadata.ownerReferences?.[0]?.uid, '11111111-2222-3333-4444-555555555555', metadata.name);
    }
  });

  test('are the same for the same input, so that a second apply changes nothing', () => {
    assert.deepEqual(render(), render());
  });

  test('of a group in a namespace of its own all lie there', () => {
    const namespaces = render({ namespace: 'shop' }).map(({ metadata }) => metadata.namespace);
    assert.deepEqual([...new Set(namespaces)], ['shop']);
  });
});

suite('pods', () => {
  const template = (fields: GroupFields = {}, change: Partial<GroupFacts> = {}) =>
    find(render(fields, change), 'StatefulSet', 'leo-1').spec.template;
  const revision = (fields: GroupFields = {}, change: Partial<GroupFacts> = {}) =>
    template(fields, change).metadata.annotations?.[REVISION_ANNOTATION];

  test('hold their own key only', () => {
    const secrets = JSON.stringify(template().spec.volumes).match(/leo-[a-z0-9-]*tls/g);
    assert.deepEqual(secrets, ['leo-1-tls']);
  });

  test('get a token of Kubernetes only where the record is a Lease, proxies never', () => {
    assert.equal(template().spec.automountServiceAccountToken, true);
    const etcd = { coordination: { store: 'etcd', etcd: { endpoints: ['https://etcd-1.example.com:2379'] } } };
    assert.equal(template({ spec: etcd }).spec.automountServiceAccountToken, false);
    assert.equal(find(render(), 'Deployment', 'leo-proxy').spec.template.spec.automountServiceAccountToken, false);
  });

  test('have another revision when, and only when, a new pod is needed for the change', () => {
    const before = revision();
    assert.notEqual(revision({ spec: { imageName: 'postgres:17' } }), before);
    assert.notEqual(revision({ spec: { resources: { limits: { memory: '2Gi' } } } }), before);
    assert.notEqual(revision({}, { programImage: 'pgspan:next' }), before);
    assert.equal(revision({ spec: { postgresql: { parameters: { work_mem: '8MB' } } } }), before);
    assert.equal(revision({ spec: { storage: { size: '20Gi' } } }), before);
    assert.equal(revision({ spec: { replication: { memberTimeout: '10s' } } }), before);
  });

  test('need not be made again for the superuser or a new role: what they mount is there, or may come', () => {
    assert.equal(revision({ spec: { enableSuperuserAccess: true } }), revision());
    assert.equal(revision({ spec: { roles: [{ name: 'anna', secretRef: { name: 'anna' } }] } }), revision());
    assert.match(JSON.stringify(template()), /"secretName":"leo-superuser".*?"optional":true/);
    assert.deepEqual(namesOf(render(), 'Secret').includes('leo-superuser'), false);
    const asked = render({ spec: { enableSuperuserAccess: true } });
    assert.equal(textOf(find(asked, 'Secret', 'leo-superuser'), 'password'), 'super');
  });

  test('find the passwords of roles by name, as far as they are known', () => {
    const roles = [
      { name: 'anna', secretRef: { name: 'anna' } },
      { name: 'bob', secretRef: { name: 'bob' } },
      { name: 'group_x' },
    ];
    const objects = render({ spec: { roles } }, { rolePasswords: { anna: 'a', stranger: 's' } });
    assert.deepEqual(Object.keys(find(objects, 'Secret', 'leo-roles').data), ['anna']);
    const config = JSON.parse(find(objects, 'ConfigMap', 'leo-1-config').data['instance.json'] ?? '');
    assert.deepEqual(
      config.roles.map(({ passwordFile }: { passwordFile: string | null }) => passwordFile),
      ['/etc/pgspan/roles/anna', '/etc/pgspan/roles/bob', null],
    );
  });

  test('carry what scheduling asks for', () => {
    const scheduling = {
      priorityClassName: 'high',
      nodeSelector: { disk: 'fast' },
      tolerations: [{ key: 'db', operator: 'Exists', effect: 'NoSchedule' }],
    };
    const { spec } = template({ spec: { scheduling } });
    assert.equal(spec.priorityClassName, 'high');
    assert.deepEqual(spec.nodeSelector, { disk: 'fast' });
    assert.deepEqual(spec.tolerations, [{ key: 'db', operator: 'Exists', effect: 'NoSchedule' }]);
  });

  test('take the resources of the manifest, the init container as well', () => {
    const { spec } = template({ spec: { resources: { requests: { cpu: '500m' }, limits: { memory: '1Gi' } } } });
    const resources = { requests: { cpu: '500m' }, limits: { memory: '1Gi' } };
    assert.deepEqual(
      [...(spec.initContainers ?? []), ...spec.containers].map((one) => one.resources),
      [resources, resources],
    );
  });
});

suite('volumes', () => {
  test('have the size and class of the manifest', () => {
    const [claim] = find(render({ spec: { storage: { size: '7Gi', storageClass: 'fast' } } }), 'StatefulSet', 'leo-1')
      .spec.volumeClaimTemplates;
    assert.equal(claim?.spec.resources.requests.storage, '7Gi');
    assert.equal(claim?.spec.storageClassName, 'fast');
  });

  test('of a stored StatefulSet keep what it says, since a template cannot change', () => {
    const storedVolumes = { 'leo-1': { size: '5Gi', storageClass: null } };
    const objects = render({ spec: { storage: { size: '7Gi', storageClass: 'fast' } } }, { storedVolumes });
    const [claim] = find(objects, 'StatefulSet', 'leo-1').spec.volumeClaimTemplates;
    assert.equal(claim?.spec.resources.requests.storage, '5Gi');
    assert.equal(claim?.spec.storageClassName, undefined);
  });

  test('go with the group only if they are not retained', () => {
    const policy = (retain: boolean) =>
      find(render({ spec: { storage: { retain } } }), 'StatefulSet', 'leo-1').spec.persistentVolumeClaimRetentionPolicy
        .whenDeleted;
    assert.equal(policy(true), 'Retain');
    assert.equal(policy(false), 'Delete');
  });
});

suite('configurations', () => {
  test('are what the agents accept', () => {
    const objects = render({ spec: { proxySettings: { enableReadNodeRouting: true } } });
    const instance = find(objects, 'ConfigMap', 'leo-2-config').data['instance.json'] ?? '';
    assert.equal(instanceConfigSchema.parse(JSON.parse(instance)).node, 'leo-2');
    const proxy = find(objects, 'ConfigMap', 'leo-proxy-config').data['proxy.json'] ?? '';
    assert.notEqual(proxyConfigSchema.parse(JSON.parse(proxy)).listen.read, null);
  });

  test('keep their generation while nothing else changes, and get the next one when something does', () => {
    const first = find(render(), 'ConfigMap', 'leo-1-config').data['instance.json'] ?? '';
    const storedConfigs = { 'leo-1-config': first };
    const again = find(render({}, { storedConfigs }), 'ConfigMap', 'leo-1-config').data['instance.json'];
    assert.equal(again, first);
    const changed = render({ spec: { postgresql: { parameters: { work_mem: '8MB' } } } }, { storedConfigs });
    const second = JSON.parse(find(changed, 'ConfigMap', 'leo-1-config').data['instance.json'] ?? '');
    assert.equal(JSON.parse(first).generation, 1);
    assert.equal(second.generation, 2);
  });

  test('name the Lease, or the etcd of the user with its certificates', () => {
    const storeOf = (fields: GroupFields) =>
      JSON.parse(find(render(fields), 'ConfigMap', 'leo-1-config').data['instance.json'] ?? '').store;
    assert.equal(storeOf({ namespace: 'shop' }).name, 'orders');
    assert.equal(storeOf({ namespace: 'shop' }).namespace, 'shop');
    const etcd = { endpoints: ['https://etcd-1.example.com:2379'], secretRef: { name: 'etcd-client' } };
    const fields = { spec: { coordination: { store: 'etcd', etcd } } };
    assert.equal(storeOf(fields).tls.certFile, '/etc/pgspan/etcd/tls.crt');
    assert.match(JSON.stringify(find(render(fields), 'StatefulSet', 'leo-1')), /"secretName":"etcd-client"/);
    assert.deepEqual(namesOf(render(fields), 'Lease'), []);
  });

  test('keep the record as long as the volumes', () => {
    const ownersOf = (volumes: { name: string; uid: string }[]) =>
      find(render({}, { volumes }), 'Lease', 'orders').metadata.ownerReferences?.map(
        ({ kind, uid }) => `${kind} ${uid}`,
      );
    assert.match(String(ownersOf([])), /^PostgresGroup /);
    const claims = [
      { name: 'data-leo-2-0', uid: 'b' },
      { name: 'data-leo-1-0', uid: 'a' },
    ];
    assert.deepEqual(ownersOf(claims), ['PersistentVolumeClaim a', 'PersistentVolumeClaim b']);
  });

  test('are made again where the stored text is none of ours', () => {
    const objects = render({}, { storedConfigs: { 'leo-1-config': 'not JSON' } });
    assert.equal(JSON.parse(find(objects, 'ConfigMap', 'leo-1-config').data['instance.json'] ?? '').generation, 1);
  });
});

suite('the application Secret', () => {
  const KEYS = [
    'ca.crt',
    'dbname',
    'failover-uri',
    'host',
    'jdbc-uri',
    'password',
    'pgpass',
    'port',
    'uri',
    'username',
  ];

  test('has every key that an application may want, with the global name', () => {
    const secret = find(render(), 'Secret', 'leo-app');
    for (const key of KEYS) assert.notEqual(textOf(secret, key), '', key);
    assert.equal(textOf(secret, 'host'), 'orders.db.example.com');
    assert.match(textOf(secret, 'uri'), /^postgresql:\/\/app:p%40ss%3Aw%2Frd@orders\.db\.example\.com:5432\/app\?/);
    assert.match(textOf(secret, 'uri'), /sslmode=verify-full&sslrootcert=\/etc\/pgspan\/app\/ca\.crt/);
    assert.match(
      textOf(secret, 'failover-uri'),
      /@leo-1\.db\.example\.com:5432,leo-2.*target_session_attrs=read-write/,
    );
    assert.match(textOf(secret, 'pgpass'), /^orders\.db\.example\.com:5432:app:app:p@ss\\:w\/rd$/m);
  });

  test('names Services where clients are told to use them', () => {
    const secret = find(
      render({ namespace: 'shop', spec: { connectivity: { clientTrafficStrategy: 'ServiceName' } } }),
      'Secret',
      'leo-app',
    );
    assert.equal(textOf(secret, 'host'), 'orders.shop.svc');
  });

  test('says where reads go if there is a read route', () => {
    const secret = find(render({ spec: { proxySettings: { enableReadNodeRouting: true } } }), 'Secret', 'leo-app');
    assert.equal(textOf(secret, 'read-host'), 'orders-r.db.example.com');
  });
});

suite('budgets keep the write quorum', () => {
  // Writes need w of the members, a new leader v: with k pods left both must be reached, one loss more from five nodes on.
  const cases = [
    { instances: 1, minAvailable: null },
    { instances: 2, minAvailable: 1 },
    { instances: 3, minAvailable: 2 },
    { instances: 4, minAvailable: 3 },
    { instances: 5, minAvailable: 4 },
    { instances: 7, minAvailable: 5 },
  ];
  for (const { instances, minAvailable } of cases) {
    test(`${instances} nodes: ${minAvailable ?? 'no budget'}`, () => {
      const budget = render({ spec: { instances } }).find(
        ({ kind, metadata }) => kind === 'PodDisruptionBudget' && metadata.name === 'leo',
      ) as ObjectOf<'PodDisruptionBudget'> | undefined;
      assert.equal(budget?.spec.minAvailable ?? null, minAvailable);
    });
  }
});

suite('network policies', () => {
  test('are made on request, and let clients in by load balancers', () => {
    const connectivity = {
      networkPolicy: { enabled: true, clients: [{ podSelector: { matchLabels: { app: 'shop' } } }] },
      loadBalancer: { enabled: true, scope: 'node', allowedIPs: ['203.0.113.7'] },
    };
    const objects = render({ spec: { connectivity } });
    const nodes = JSON.stringify(find(objects, 'NetworkPolicy', 'leo').spec.ingress);
    assert.match(nodes, /"cidr":"203\.0\.113\.7\/32"/);
    const proxies = JSON.stringify(find(objects, 'NetworkPolicy', 'leo-proxy').spec.ingress);
    assert.match(proxies, /"app":"shop"/);
  });
});

suite('what is no longer wanted', () => {
  test('is found among owned objects only, and not if it is kept', () => {
    const group = groupsOf([3])[0] ?? assert.fail();
    const plan = planGlobalCluster([group]);
    const facts = groupFacts(plan);
    const desired = renderGroup(plan, group, facts);
    const owned = (apiVersion: string, kind: string, name: string, uid = facts.ownerUid) => ({
      apiVersion,
      kind,
      metadata: { name, ownerReferences: [{ uid }] },
    });
    const stored = [
      ...desired.map(({ object: { apiVersion, kind, metadata } }) => owned(apiVersion, kind, metadata.name)),
      owned('v1', 'ConfigMap', 'leo-4-config'),
      owned('apps/v1', 'StatefulSet', 'leo-4'),
      owned('v1', 'Secret', 'leo-ca-key'),
      owned('v1', 'Service', 'somebody-elses', 'another'),
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 'by-hand' } },
    ];
    const stale = staleObjects(stored, desired, { ownerUid: facts.ownerUid, kept: new Set(['/Secret/leo-ca-key']) });
    assert.deepEqual(stale.map(objectKey), ['apps/StatefulSet/leo-4', '/ConfigMap/leo-4-config']);
  });
});

suite('SplitDNS', () => {
  const split = {
    internodeTrafficStrategy: 'SplitDNS',
    splitDNS: { extraRules: [{ host: 'x.corp', result: '10.0.0.1' }] },
  };
  const pod = (spec: Record<string, unknown>) =>
    find(render({ namespace: 'shop', spec }), 'StatefulSet', 'leo-1').spec.template.spec;

  test('puts a resolver beside each server, which the pod asks first', () => {
    const { initContainers, dnsPolicy, dnsConfig, securityContext } = pod({ connectivity: split });
    const resolver = initContainers?.find(({ name }) => name === 'dns');
    assert.equal(resolver?.restartPolicy, 'Always');
    assert.deepEqual(securityContext.sysctls, [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '53' }]);
    assert.equal(dnsPolicy, 'None');
    assert.deepEqual(dnsConfig, {
      nameservers: ['127.0.0.1', '10.96.0.10'],
      searches: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'corp.example'],
      options: [{ name: 'ndots', value: '5' }],
    });
  });

  test('puts one beside each proxy: it dials servers by the same names', () => {
    const { spec } = find(render({ spec: { connectivity: split } }), 'Deployment', 'leo-proxy').spec.template;
    assert.deepEqual(
      spec.initContainers?.map(({ name }) => name),
      ['dns'],
    );
    assert.equal(spec.dnsPolicy, 'None');
  });

  test('leaves pods without it as they were', () => {
    const { initContainers, dnsPolicy, securityContext } = pod({});
    assert.deepEqual(
      initContainers?.map(({ name }) => name),
      ['program'],
    );
    assert.equal(dnsPolicy, undefined);
    assert.equal('sysctls' in securityContext, false);
    assert.equal(namesOf(render(), 'ConfigMap').includes('leo-dns-config'), false);
  });

  test('leads the FQDNs of the nodes, in every domain, to their pods; then come the rules of the user', () => {
    const dns = { domain: 'db.example.com', additional: [{ domain: 'corp.example' }] };
    const objects = render({ namespace: 'shop', spec: { instances: 1, connectivity: { ...split, dns } } });
    const config = dnsConfigSchema.parse(
      JSON.parse(find(objects, 'ConfigMap', 'leo-dns-config').data['dns.json'] ?? ''),
    );
    const result = 'leo-1-0.leo-pods.shop.svc.cluster.local';
    assert.deepEqual(config.rules, [
      { host: 'leo-1.db.example.com', result, regex: false },
      { host: 'leo-1.corp.example', result, regex: false },
      { host: 'x.corp', result: '10.0.0.1', regex: false },
    ]);
    assert.deepEqual(config.listen.dns, { address: '127.0.0.1', port: 53 });
    assert.equal(config.upstreams, null);
  });

  test('changes no pod with its rules', () => {
    const revision = (rules: unknown[]) =>
      find(render({ spec: { connectivity: { ...split, splitDNS: { extraRules: rules } } } }), 'StatefulSet', 'leo-1')
        .spec.template.metadata.annotations?.[REVISION_ANNOTATION];
    assert.equal(revision([]), revision([{ host: 'y.corp', result: '10.0.0.2' }]));
  });

  test('keeps a Guaranteed pod Guaranteed', () => {
    const both = { cpu: '1', memory: '2Gi' };
    const { initContainers } = pod({ resources: { requests: both, limits: both }, connectivity: split });
    const { requests, limits } = initContainers?.find(({ name }) => name === 'dns')?.resources ?? {};
    assert.notEqual(limits, undefined);
    assert.deepEqual(requests, limits);
  });
});
