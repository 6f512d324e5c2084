/**
 * The record's Lease, and who may change it: the agents of this group, this one object and nothing else (design.md section 9).
 * What the record says is the agents' own; the operator makes the empty Lease and never writes into it.
 *
 * Without its record a database is not started again, since nobody could say who holds all of it. So the Lease stays as long as
 * the volumes do: their claims own it, and a group that is made again on kept volumes goes on. The last claim takes it along.
 */
import type { WorkloadType } from '../../api/labels.ts';
import type { Lease, Role, RoleBinding, ServiceAccount } from '../../platform/kubernetes/object-types.ts';
import { type MetadataOptions, ownedMetadata } from './metadata.ts';
import { etcdAccount, instanceAccount, proxyAccount, recordLease } from './object-names.ts';
import type { RenderInput } from './render-input.ts';
import { usesLease } from './store-config.ts';

export function renderRecordAccess(input: RenderInput): (Lease | ServiceAccount | Role | RoleBinding)[] {
  const { plan, groupPlan } = input;
  const accounts = [account(input, instanceAccount(groupPlan.name), 'postgres')];
  if (groupPlan.proxies.length > 0) accounts.push(account(input, proxyAccount(groupPlan.name), 'proxy'));
  if (groupPlan.etcd !== null) accounts.push(account(input, etcdAccount(groupPlan.etcd.name), 'etcd'));
  if (!usesLease(input)) return accounts;
  const name = instanceAccount(groupPlan.name);
  const lease: Lease = {
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: ownedMetadata(input, recordLease(plan.globalCluster), ownedByVolumes(input)),
  };
  const role: Role = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: ownedMetadata(input, name),
    rules: [
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        resourceNames: [recordLease(plan.globalCluster)],
        // A watch of one name is asked for with a field selector (fieldSelector=metadata.name=...).
        verbs: ['get', 'watch', 'update'],
      },
    ],
  };
  const binding: RoleBinding = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: ownedMetadata(input, name),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace: groupPlan.namespace }],
  };
  return [lease, ...accounts, role, binding];
}

/** Until there are claims it goes with the group. */
function ownedByVolumes({ facts: { volumes } }: RenderInput): MetadataOptions {
  if (volumes.length === 0) return {};
  const sorted = volumes.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return { owners: sorted.map(({ name, uid }) => ({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, uid })) };
}

/** Tokens are mounted by the pods that need one, not by everything that may use the account. */
function account(input: RenderInput, name: string, workload: WorkloadType): ServiceAccount {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: ownedMetadata(input, name, { workload }),
    automountServiceAccountToken: false,
  };
}
