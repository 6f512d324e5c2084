/**
 * What the operator may do, and nobody else (docs/decisions/operator-rights.md).
 *
 *   everywhere                     read groups and the kinds of objects that it makes, Secrets and ConfigMaps excepted;
 *                                  write the status of groups; events
 *   in namespaces with a group     make and change those objects, and Secrets by name (pgspan-namespace)
 *   in its own namespace           its Lease
 *
 * Whoever can make pods in a namespace can read the Secrets there, so the right to make pods is given as sparsely as the
 * right to read Secrets. It comes with the first group: the operator binds itself to `pgspan-namespace`, and admission
 * policies refuse that wherever there is no group. With `watchNamespaces` it is bound there beforehand, and cannot bind itself.
 */
import { LABEL } from '../../../api/labels.ts';
import { OPERATOR_NAME } from '../../../api/operator-config.ts';
import { API_GROUP, PLURAL, VERSION } from './crd.ts';
import { INSTALL_LABELS, type InstallOptions, type Manifest } from './manifest.ts';

const RBAC = 'rbac.authorization.k8s.io';
export const NAMESPACE_ROLE = 'pgspan-namespace';
const BINDINGS_POLICY = 'pgspan-operator-bindings';
const ACCESS_POLICY = 'pgspan-operator-access';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

const READ = ['get', 'list', 'watch'] as const;
/** Server-side apply is `patch`, and `create` where there is nothing yet. */
const MANAGE = ['get', 'list', 'create', 'patch', 'delete'] as const;

/** Wherever groups are looked for. Nothing here shows a Secret or makes a pod. */
export const WATCH_RULES: readonly Rule[] = [
  { apiGroups: [API_GROUP], resources: [PLURAL], verbs: READ },
  { apiGroups: [API_GROUP], resources: [`${PLURAL}/status`], verbs: ['patch'] },
  // Owner of objects with blockOwnerDeletion.
  { apiGroups: [API_GROUP], resources: [`${PLURAL}/finalizers`], verbs: ['update'] },
  { apiGroups: ['apps'], resources: ['statefulsets', 'deployments'], verbs: READ },
  { apiGroups: [''], resources: ['pods', 'services', 'persistentvolumeclaims'], verbs: READ },
  { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create'] },
];

/** Where a group is. */
export const NAMESPACE_RULES: readonly Rule[] = [
  // Its finalizer on groups that have others: they are told before it goes.
  { apiGroups: [API_GROUP], resources: [PLURAL], verbs: ['patch'] },
  { apiGroups: ['apps'], resources: ['statefulsets', 'deployments'], verbs: MANAGE },
  { apiGroups: [''], resources: ['services', 'configmaps', 'serviceaccounts'], verbs: MANAGE },
  // By name only: neither list nor watch.
  { apiGroups: [''], resources: ['secrets'], verbs: ['get', 'create', 'patch', 'delete'] },
  // Made by the StatefulSets; labelled with their role, and deleted for a rolling change.
  { apiGroups: [''], resources: ['pods'], verbs: ['patch', 'delete'] },
  // Made by the StatefulSets, and deleted by them where the group does not retain them; grown by the operator.
  { apiGroups: [''], resources: ['persistentvolumeclaims'], verbs: ['patch'] },
  // Of the Services that lead to servers of other groups.
  { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: MANAGE },
  { apiGroups: ['policy'], resources: ['poddisruptionbudgets'], verbs: MANAGE },
  { apiGroups: ['networking.k8s.io'], resources: ['networkpolicies'], verbs: MANAGE },
  // Also what the agents get: nobody may hand on a right that it has not.
  { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: [...MANAGE, 'watch', 'update'] },
  { apiGroups: [RBAC], resources: ['roles', 'rolebindings'], verbs: MANAGE },
];

/** To bind itself, with the policy that keeps it to namespaces with groups. */
const SELF_BINDING_RULES: readonly Rule[] = [
  { apiGroups: [RBAC], resources: ['rolebindings'], verbs: ['get', 'create', 'patch'] },
  { apiGroups: [RBAC], resources: ['clusterroles'], resourceNames: [NAMESPACE_ROLE], verbs: ['bind'] },
];

const OWN_NAMESPACE_RULES: readonly Rule[] = [
  { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
  {
    apiGroups: ['coordination.k8s.io'],
    resources: ['leases'],
    resourceNames: [OPERATOR_NAME],
    verbs: ['get', 'update'],
  },
];

export function operatorRights(options: InstallOptions): Manifest[] {
  const { namespace, watchNamespaces } = options;
  const isEverywhere = watchNamespaces.length === 0;
  const ownRole = role('Role', OPERATOR_NAME, OWN_NAMESPACE_RULES, namespace);
  return [
    {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: OPERATOR_NAME, namespace, labels: INSTALL_LABELS },
      automountServiceAccountToken: false,
    },
    role('ClusterRole', OPERATOR_NAME, [...WATCH_RULES, ...(isEverywhere ? SELF_BINDING_RULES : [])]),
    role('ClusterRole', NAMESPACE_ROLE, NAMESPACE_RULES),
    ...peopleRoles(),
    ownRole,
    binding(OPERATOR_NAME, 'Role', OPERATOR_NAME, namespace, namespace),
    ...(isEverywhere
      ? [clusterBinding(namespace), ...accessPolicies(namespace)]
      : watchNamespaces.flatMap((watched) => watchedBindings(watched, namespace))),
  ];
}

/** What the operator holds in one of the namespaces that it is kept to. */
export function watchedBindings(watched: string, namespace: string): Manifest[] {
  return [
    binding(`${OPERATOR_NAME}-watch`, 'ClusterRole', OPERATOR_NAME, watched, namespace),
    binding(NAMESPACE_ROLE, 'ClusterRole', NAMESPACE_ROLE, watched, namespace),
  ];
}

/** Added to Kubernetes' own roles view, edit and admin: who may change a namespace may have a group there. */
function peopleRoles(): Manifest[] {
  const groups = (verbs: readonly string[]): Rule => ({ apiGroups: [API_GROUP], resources: [PLURAL], verbs });
  const scale: Rule = { apiGroups: [API_GROUP], resources: [`${PLURAL}/scale`], verbs: ['get', 'patch', 'update'] };
  const aggregate = (to: string) => ({ [`${RBAC}/aggregate-to-${to}`]: 'true' });
  return [
    role('ClusterRole', 'pgspan-view', [groups(READ)], undefined, {
      ...aggregate('view'),
      ...aggregate('edit'),
      ...aggregate('admin'),
    }),
    role(
      'ClusterRole',
      'pgspan-edit',
      [groups(['create', 'delete', 'deletecollection', 'patch', 'update']), scale],
      undefined,
      { ...aggregate('edit'), ...aggregate('admin') },
    ),
  ];
}

function role(
  kind: 'Role' | 'ClusterRole',
  name: string,
  rules: readonly Rule[],
  namespace?: string,
  labels: Readonly<Record<string, string>> = {},
): Manifest {
  return {
    apiVersion: `${RBAC}/v1`,
    kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }), labels: { ...INSTALL_LABELS, ...labels } },
    rules,
  };
}

function binding(
  name: string,
  kind: 'Role' | 'ClusterRole',
  roleName: string,
  namespace: string,
  operatorNamespace: string,
): Manifest {
  return {
    apiVersion: `${RBAC}/v1`,
    kind: 'RoleBinding',
    metadata: { name, namespace, labels: INSTALL_LABELS },
    roleRef: { apiGroup: RBAC, kind, name: roleName },
    subjects: [{ kind: 'ServiceAccount', name: OPERATOR_NAME, namespace: operatorNamespace }],
  };
}

function clusterBinding(namespace: string): Manifest {
  return {
    apiVersion: `${RBAC}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: OPERATOR_NAME, labels: INSTALL_LABELS },
    roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: OPERATOR_NAME },
    subjects: [{ kind: 'ServiceAccount', name: OPERATOR_NAME, namespace }],
  };
}

/**
 * Two policies for RoleBindings. Of those that the operator makes, one demands their shape: an account of the namespace to a Role
 * of the namespace, or itself to its ClusterRole, with a label. The other demands of what has that label, whoever makes it, that
 * there is a PostgresGroup in the namespace: the parameter that must be found.
 *
 * Two, because parameters are looked for before any match condition: one policy would refuse everybody's RoleBindings in
 * namespaces without a group. Selectors are asked first.
 */
function accessPolicies(namespace: string): Manifest[] {
  const user = `system:serviceaccount:${namespace}:${OPERATOR_NAME}`;
  return [
    ...admissionPolicy(BINDINGS_POLICY, {
      matchConstraints: { resourceRules: [ROLE_BINDINGS] },
      matchConditions: [{ name: 'by-the-operator', expression: `request.userInfo.username == '${user}'` }],
      validations: [
        {
          expression: `object.roleRef.kind == 'Role' || (object.roleRef.name == '${NAMESPACE_ROLE}' && object.metadata.?labels['${LABEL.access}'].orValue('') == 'operator')`,
          message: `the operator may bind to Roles, and with the label ${LABEL.access}: operator to the ClusterRole ${NAMESPACE_ROLE}`,
        },
        {
          expression: `has(object.subjects) && object.subjects.all(subject, subject.kind == 'ServiceAccount' && (object.roleRef.kind == 'Role' ? subject.namespace == object.metadata.namespace : subject.namespace == '${namespace}' && subject.name == '${OPERATOR_NAME}'))`,
          message: `the operator may bind accounts of this namespace to its Roles, and nobody but itself to the ClusterRole ${NAMESPACE_ROLE}`,
        },
      ],
    }),
    ...admissionPolicy(
      ACCESS_POLICY,
      {
        paramKind: { apiVersion: `${API_GROUP}/${VERSION}`, kind: 'PostgresGroup' },
        matchConstraints: {
          resourceRules: [ROLE_BINDINGS],
          objectSelector: { matchLabels: { [LABEL.access]: 'operator' } },
        },
        validations: [
          {
            expression: 'params.metadata.namespace == object.metadata.namespace',
            message: 'the operator has rights only in namespaces with a PostgresGroup',
          },
        ],
      },
      // Without a namespace here, that of the RoleBinding is meant.
      { paramRef: { selector: {}, parameterNotFoundAction: 'Deny' } },
    ),
  ];
}

const ROLE_BINDINGS = {
  apiGroups: [RBAC],
  apiVersions: ['*'],
  operations: ['CREATE', 'UPDATE'],
  resources: ['rolebindings'],
} as const;

function admissionPolicy(name: string, spec: object, binding: object = {}): Manifest[] {
  return [
    {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name, labels: INSTALL_LABELS },
      spec: { failurePolicy: 'Fail', ...spec },
    },
    {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name, labels: INSTALL_LABELS },
      spec: { policyName: name, validationActions: ['Deny'], ...binding },
    },
  ];
}
