/** The install file on a real API server: every object is taken, its pods pass `restricted`, and rights end where they should. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { operatorConfigSchema, OPERATOR_NAME } from '../../src/api/operator-config.ts';
import { type GroupIdentity, renderOperatorAccess } from '../../src/operator/objects/operator-access.ts';
import { INSTALL_DEFAULTS, installManifests } from '../../src/platform/kubernetes/install/install-manifests.ts';
import type { InstallOptions, Manifest } from '../../src/platform/kubernetes/install/manifest.ts';
import { operatorConfig } from '../../src/platform/kubernetes/install/operator-deployment.ts';
import { NAMESPACE_ROLE, operatorRights } from '../../src/platform/kubernetes/install/operator-rights.ts';
import { KUBE_KINDS } from '../../src/platform/kubernetes/kube-object.ts';
import { openTestKube, type KubeAnswer, type TestKube } from '../kit/kube-api.ts';
import { applyCrd, groupsPath } from '../kit/kube-crd.ts';
import { groupManifest } from '../kit/manifests.ts';
import { needs } from '../kit/requirement.ts';
import { waitUntil } from '../../src/base/wait-until.ts';

const RBAC = '/apis/rbac.authorization.k8s.io/v1';
const APPLY = 'application/apply-patch+yaml';

/** Kinds that the operator itself never reads or writes. */
const POLICIES: Readonly<Record<string, string>> = {
  ValidatingAdmissionPolicy: '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies',
  ValidatingAdmissionPolicyBinding: '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings',
};

describe('the install file on a real API server', needs('kubernetes'), () => {
  let kube: TestKube;
  before(async () => {
    kube = await openTestKube();
    await applyCrd(kube);
  });
  after(async () => await kube[Symbol.asyncDispose]());

  const options = (more: Partial<InstallOptions> = {}): InstallOptions => ({
    ...INSTALL_DEFAULTS,
    image: 'pgspan:dev',
    namespace: kube.namespace,
    networkPolicy: true,
    ...more,
  });

  for (const mode of ['all namespaces', 'one namespace'] as const) {
    test(`every object for ${mode} is taken, without a warning`, async () => {
      const watchNamespaces = mode === 'one namespace' ? [kube.namespace] : [];
      for (const manifest of installManifests(options({ watchNamespaces }))) {
        const answer = await apply(kube, manifest, '&dryRun=All&fieldValidation=Strict');
        assert.ok(answer.status < 300, `${manifest.kind} ${manifest.metadata.name}: ${JSON.stringify(answer.body)}`);
        assert.equal(answer.warning, null);
      }
    });
  }

  test('the pod of the operator passes the Pod Security Standard `restricted`', async () => {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await kube.call('PATCH', `/api/v1/namespaces/${kube.namespace}`, { metadata: { labels } });
    const deployment = installManifests(options()).find(({ kind }) => kind === 'Deployment');
    const { template } = (deployment as Manifest & { spec: { template: { spec: object } } }).spec;
    const spec = { ...template.spec, serviceAccountName: 'default' };
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'operator' }, spec };
    await kube.call('POST', `/api/v1/namespaces/${kube.namespace}/pods?dryRun=All&fieldValidation=Strict`, pod);
  });

  describe('the operator', () => {
    // With names of its own, so that an operator that is installed here keeps its rights.
    const own = <T>(value: T): T =>
      JSON.parse(
        JSON.stringify(value).replaceAll(/pgspan-(operator|namespace|view|edit)\b/g, `$&-${kube.namespace}`),
      ) as T;
    const made: Manifest[] = [];
    let user: string;

    before(async () => {
      user = own(`system:serviceaccount:${kube.namespace}:${OPERATOR_NAME}`);
      for (const manifest of own(operatorRights(options()))) {
        const answer = await apply(kube, manifest);
        assert.ok(answer.status < 300, JSON.stringify(answer.body));
        if (manifest.metadata.namespace === undefined) made.push(manifest);
      }
      // Nobody may lead: an operator that is installed here refuses it, and makes nothing of it.
      await kube.call('POST', groupsPath(kube), groupManifest({ spec: { coordination: { priority: 0 } } }));
      // The API server takes a new policy into account a moment later.
      await waitUntil('the policies are in force', { timeoutMs: 20_000, intervalMs: 100 }, async () =>
        /no params found/.test(said(await bindIn('kube-public', (one) => one, '&dryRun=All'))),
      );
    });
    after(async () => {
      for (const { kind, metadata } of made) await kube.call('DELETE', `${collection(kind)}/${metadata.name}`);
    });

    const config = () => operatorConfigSchema.parse(own(operatorConfig(options())));
    const bindIn = async (namespace: string, change: (binding: Manifest) => Manifest = (one) => one, query = '') => {
      const group = (await kube.call('GET', `${groupsPath(kube)}/leo`)) as { metadata: GroupIdentity };
      const access = renderOperatorAccess({ name: 'leo', namespace, uid: group.metadata.uid }, config());
      assert.ok(access !== null);
      // An owner of another namespace is none.
      const { ownerReferences: _owners, ...metadata } = access.metadata;
      const binding = change(namespace === kube.namespace ? { ...access } : { ...access, metadata });
      const path = `${RBAC}/namespaces/${namespace}/rolebindings/${binding.metadata.name}?fieldManager=pgspan&force=true${query}`;
      return await kube.ask('PATCH', path, { body: binding, contentType: APPLY, as: user });
    };
    const may = async (verb: string, resource: string, namespace: string, group = ''): Promise<boolean> => {
      const resourceAttributes = { verb, resource, namespace, group, name: verb === 'create' ? '' : 'x' };
      const review = {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        spec: { user, resourceAttributes },
      };
      const answer = await kube.call('POST', '/apis/authorization.k8s.io/v1/subjectaccessreviews', review);
      return (answer as { status: { allowed: boolean } }).status.allowed;
    };
    const said = ({ body }: KubeAnswer) => (body as { message?: string }).message ?? '';

    test('reads no Secret and makes no pod before it has bound itself', async () => {
      for (const verb of ['get', 'list', 'watch', 'create', 'patch', 'update', 'delete'])
        assert.equal(await may(verb, 'secrets', kube.namespace), false, verb);
      assert.equal(await may('create', 'pods', kube.namespace), false);
      assert.equal(await may('create', 'statefulsets', kube.namespace, 'apps'), false);
      assert.equal(await may('create', 'postgresgroups', kube.namespace, 'pgspan.io'), false);
    });

    test('is refused where there is no group', async () => {
      for (const namespace of ['kube-system', 'kube-public']) {
        const answer = await bindIn(namespace);
        assert.equal(answer.status, 422);
        assert.match(said(answer), /no params found/);
      }
    });

    test("is in nobody else's way", async () => {
      const binding = {
        metadata: { name: 'people' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
        subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: 'default' }],
      };
      await kube.call('POST', `${RBAC}/namespaces/kube-public/rolebindings?dryRun=All`, binding);
    });

    test('is refused without the label, another role, and another account', async () => {
      const other = (name: string, more: object) => (one: Manifest) => ({
        ...one,
        ...more,
        metadata: { ...one.metadata, name },
      });
      const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' };
      assert.match(said(await bindIn(kube.namespace, other('x', { roleRef }))), /forbidden|may bind to Roles/);
      const unlabelled = (one: Manifest) => ({ ...one, metadata: { ...one.metadata, name: 'z', labels: {} } });
      assert.match(said(await bindIn(kube.namespace, unlabelled)), /with the label/);
      assert.match(said(await bindIn('kube-public', unlabelled)), /with the label/);
      const subjects = [{ kind: 'ServiceAccount', name: 'default', namespace: kube.namespace }];
      assert.match(said(await bindIn(kube.namespace, other('y', { subjects }))), /nobody but itself/);
    });

    test('binds itself in the namespace of a group, and then reads Secrets by name there, and nowhere else', async () => {
      const patience = { timeoutMs: 20_000, intervalMs: 200 };
      await waitUntil(
        'the operator may bind itself',
        patience,
        async () => (await bindIn(kube.namespace)).status < 300,
      );
      assert.equal(await may('get', 'secrets', kube.namespace), true);
      assert.equal(await may('list', 'secrets', kube.namespace), false);
      assert.equal(await may('watch', 'secrets', kube.namespace), false);
      assert.equal(await may('get', 'secrets', 'kube-system'), false);
      assert.equal(await may('create', 'statefulsets', 'kube-system', 'apps'), false);
      assert.equal(await may('create', 'statefulsets', kube.namespace, 'apps'), true);
    });

    test('may give agents their Lease, and nothing that it has not itself', async () => {
      const roles = `${RBAC}/namespaces/${kube.namespace}/roles?dryRun=All`;
      const role = (resources: string[], verbs: string[], apiGroups: string[]) => ({
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'Role',
        metadata: { name: 'agents' },
        rules: [{ apiGroups, resources, verbs }],
      });
      const lease = role(['leases'], ['get', 'watch', 'update'], ['coordination.k8s.io']);
      assert.equal((await kube.ask('POST', roles, { body: lease, as: user })).status, 201);
      const secrets = role(['secrets'], ['list'], ['']);
      assert.equal((await kube.ask('POST', roles, { body: secrets, as: user })).status, 403);
    });

    test('loses its rights with the group', async () => {
      await kube.call('DELETE', `${groupsPath(kube)}/leo`);
      const patience = { timeoutMs: 30_000, intervalMs: 200 };
      await waitUntil('its RoleBinding is gone', patience, async () => !(await may('get', 'secrets', kube.namespace)));
    });
  });

  test('who may change a namespace may have a group there', async () => {
    const edit = (await kube.call('GET', `${RBAC}/clusterroles/edit`)) as { aggregationRule?: unknown };
    assert.ok(edit.aggregationRule !== undefined);
    const rights = operatorRights(options()).find(({ metadata }) => metadata.name === 'pgspan-edit');
    assert.equal(rights?.metadata.labels?.['rbac.authorization.k8s.io/aggregate-to-edit'], 'true');
  });

  test('kept to namespaces, the operator has no right in the whole cluster and cannot bind itself', () => {
    const rights = operatorRights(options({ watchNamespaces: ['shop'] }));
    assert.deepEqual(
      rights.filter(({ kind }) => kind === 'ClusterRoleBinding' || kind in POLICIES),
      [],
    );
    const bound = rights.filter(({ kind, metadata }) => kind === 'RoleBinding' && metadata.namespace === 'shop');
    assert.deepEqual(
      bound.map(({ roleRef }) => (roleRef as { name: string }).name),
      [OPERATOR_NAME, NAMESPACE_ROLE],
    );
    assert.ok(!JSON.stringify(rights).includes('"bind"'));
    assert.equal(operatorConfig(options({ watchNamespaces: ['shop'] })).namespaceRole, null);
  });
});

async function apply(kube: TestKube, manifest: Manifest, query = ''): Promise<KubeAnswer> {
  const { kind, metadata } = manifest;
  const path = `${collection(kind, metadata.namespace)}/${metadata.name}?fieldManager=kubectl&force=true${query}`;
  return await kube.ask('PATCH', path, { body: manifest, contentType: APPLY });
}

function collection(kind: string, namespace?: string): string {
  const policy = POLICIES[kind];
  if (policy !== undefined) return policy;
  const { apiVersion, plural } = KUBE_KINDS[kind as keyof typeof KUBE_KINDS];
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return `${root}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}`;
}
