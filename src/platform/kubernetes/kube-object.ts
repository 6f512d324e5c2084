/** Objects as the API server gives them, and where their kinds live. What pgspan writes has types of its own (object-types.ts). */
import * as z from 'zod';

/** Only what every caller reads is checked; the rest stays as it came. */
export const kubeObjectSchema = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string().optional(),
    uid: z.string().optional(),
    resourceVersion: z.string().optional(),
    generation: z.number().optional(),
    creationTimestamp: z.string().nullish(),
    deletionTimestamp: z.string().nullish(),
    labels: z.record(z.string(), z.string()).nullish(),
    annotations: z.record(z.string(), z.string()).nullish(),
    finalizers: z.array(z.string()).nullish(),
    ownerReferences: z.array(z.looseObject({ kind: z.string(), name: z.string(), uid: z.string() })).nullish(),
  }),
});
export type KubeObject = z.infer<typeof kubeObjectSchema>;

/** Where objects of one kind are served. */
export interface KubeKind {
  /** `v1`, `apps/v1`. */
  readonly apiVersion: string;
  readonly kind: string;
  /** In paths: `statefulsets`. */
  readonly plural: string;
  readonly isNamespaced: boolean;
}

function kindOf(apiVersion: string, kind: string, plural: string, isNamespaced = true): KubeKind {
  return { apiVersion, kind, plural, isNamespaced };
}

/** The kinds that pgspan reads or writes. */
export const KUBE_KINDS = {
  ConfigMap: kindOf('v1', 'ConfigMap', 'configmaps'),
  Event: kindOf('events.k8s.io/v1', 'Event', 'events'),
  Namespace: kindOf('v1', 'Namespace', 'namespaces', false),
  Node: kindOf('v1', 'Node', 'nodes', false),
  PersistentVolumeClaim: kindOf('v1', 'PersistentVolumeClaim', 'persistentvolumeclaims'),
  Pod: kindOf('v1', 'Pod', 'pods'),
  Secret: kindOf('v1', 'Secret', 'secrets'),
  Service: kindOf('v1', 'Service', 'services'),
  ServiceAccount: kindOf('v1', 'ServiceAccount', 'serviceaccounts'),
  Deployment: kindOf('apps/v1', 'Deployment', 'deployments'),
  StatefulSet: kindOf('apps/v1', 'StatefulSet', 'statefulsets'),
  Lease: kindOf('coordination.k8s.io/v1', 'Lease', 'leases'),
  EndpointSlice: kindOf('discovery.k8s.io/v1', 'EndpointSlice', 'endpointslices'),
  NetworkPolicy: kindOf('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies'),
  PodDisruptionBudget: kindOf('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets'),
  ClusterRole: kindOf('rbac.authorization.k8s.io/v1', 'ClusterRole', 'clusterroles', false),
  ClusterRoleBinding: kindOf('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'clusterrolebindings', false),
  Role: kindOf('rbac.authorization.k8s.io/v1', 'Role', 'roles'),
  RoleBinding: kindOf('rbac.authorization.k8s.io/v1', 'RoleBinding', 'rolebindings'),
  StorageClass: kindOf('storage.k8s.io/v1', 'StorageClass', 'storageclasses', false),
  CustomResourceDefinition: kindOf(
    'apiextensions.k8s.io/v1',
    'CustomResourceDefinition',
    'customresourcedefinitions',
    false,
  ),
  PostgresGroup: kindOf('pgspan.io/v1alpha1', 'PostgresGroup', 'postgresgroups'),
} as const satisfies Readonly<Record<string, KubeKind>>;
export type KubeKindName = keyof typeof KUBE_KINDS;

/** The kind of an object of ours. Throws RangeError for one that pgspan does not write. */
export function kindOfObject(object: { readonly kind: string }): KubeKind {
  if (Object.hasOwn(KUBE_KINDS, object.kind)) return KUBE_KINDS[object.kind as KubeKindName];
  throw new RangeError(`Cannot find where objects of kind "${object.kind}" are served`);
}

/** Path of a kind's objects: of one namespace, or of all. */
export function collectionPath({ apiVersion, plural, isNamespaced }: KubeKind, namespace: string | null): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const inside = isNamespaced && namespace !== null ? `/namespaces/${encodeURIComponent(namespace)}` : '';
  return `${root}${inside}/${plural}`;
}
