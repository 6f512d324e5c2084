/**
 * All objects of a group, in the order in which they are applied: what is referred to comes before what refers to it. Pure:
 * equal input gives equal objects, so that applying them again changes nothing.
 *
 *   Lease, accounts, roles - trust bundle, Secrets, ConfigMaps - Services - budgets, policies - StatefulSets - Deployment
 */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import type { GlobalPlan } from '../../core/topology/plan-types.ts';
import type { GroupObject } from '../../platform/kubernetes/object-types.ts';
import { renderConfigMaps, renderTrustBundle } from './config-maps.ts';
import { renderDisruptionBudgets } from './disruption-budgets.ts';
import { renderEtcdConfig, renderEtcdMember } from './etcd-member.ts';
import { renderNetworkPolicies } from './network-policies.ts';
import { renderProxyDeployment } from './proxy-deployment.ts';
import { renderRecordAccess } from './record-access.ts';
import { type GroupFacts, renderInput } from './render-input.ts';
import { renderSecrets } from './secrets.ts';
import { renderServices } from './services.ts';
import { renderStatefulSets } from './stateful-sets.ts';

export interface DesiredObject {
  readonly key: string;
  readonly object: GroupObject;
}

/** @throws RangeError if a certificate or a password that the plan needs is not among the facts. */
export function renderGroup(plan: GlobalPlan, group: PostgresGroup, facts: GroupFacts): DesiredObject[] {
  const input = renderInput(plan, group, facts);
  const deployment = renderProxyDeployment(input);
  const objects: GroupObject[] = [
    ...renderRecordAccess(input),
    renderTrustBundle(input),
    ...renderSecrets(input),
    ...renderConfigMaps(input),
    ...renderEtcdConfig(input),
    ...renderServices(input),
    ...renderDisruptionBudgets(input),
    ...renderNetworkPolicies(input),
    ...renderEtcdMember(input),
    ...renderStatefulSets(input),
    ...(deployment === null ? [] : [deployment]),
  ];
  return objects.map((object) => ({ key: objectKey(object), object }));
}

export interface ObjectIdentity {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

/** `apps/StatefulSet/leo-1`: one object of a namespace, whatever the version of its API. */
export function objectKey({ apiVersion, kind, metadata }: ObjectIdentity): string {
  const [group, version] = apiVersion.split('/');
  return [version === undefined ? '' : group, kind, metadata.name].join('/');
}

/** Kinds that renderGroup makes: what the operator looks through for what is no longer wanted. */
export const OWNED_KINDS = [
  { apiVersion: 'apps/v1', kind: 'Deployment', plural: 'deployments' },
  { apiVersion: 'apps/v1', kind: 'StatefulSet', plural: 'statefulsets' },
  { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', plural: 'networkpolicies' },
  { apiVersion: 'policy/v1', kind: 'PodDisruptionBudget', plural: 'poddisruptionbudgets' },
  { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', plural: 'endpointslices' },
  { apiVersion: 'v1', kind: 'Service', plural: 'services' },
  { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps' },
  { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' },
  { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'RoleBinding', plural: 'rolebindings' },
  { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', plural: 'roles' },
  { apiVersion: 'v1', kind: 'ServiceAccount', plural: 'serviceaccounts' },
  { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', plural: 'leases' },
] as const;

/**
 * Which of the stored objects go: owned by this group, and no longer wanted. In the order of OWNED_KINDS, what refers before
 * what is referred to. The operator's own Secrets are kept; nodes go by `core/rolling`, not from here.
 */
export function staleObjects<Stored extends StoredObject>(
  stored: readonly Stored[],
  desired: readonly DesiredObject[],
  { ownerUid, kept }: { readonly ownerUid: string; readonly kept: ReadonlySet<string> },
): Stored[] {
  const wanted = new Set(desired.map(({ key }) => key));
  const rank = ({ kind }: Stored) => OWNED_KINDS.findIndex((one) => one.kind === kind);
  return stored
    .filter(({ metadata }) => metadata.ownerReferences?.some(({ uid }) => uid === ownerUid) === true)
    .filter((object) => rank(object) >= 0)
    .filter((object) => !wanted.has(objectKey(object)) && !kept.has(objectKey(object)))
    .toSorted((a, b) => rank(a) - rank(b));
}

export interface StoredObject extends ObjectIdentity {
  readonly metadata: { readonly name: string; readonly ownerReferences?: readonly { readonly uid: string }[] };
}
