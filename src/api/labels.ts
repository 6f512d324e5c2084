/** Labels of every object that pgspan makes, for ingress, load balancers and people to select by (requirement A8). */

export const LABEL = {
  group: 'pgspan.io/group',
  globalCluster: 'pgspan.io/globalCluster',
  node: 'pgspan.io/node',
  workloadType: 'pgspan.io/workloadType',
  /** Set by the operator, for people and tools only: no route of ours depends on it. */
  role: 'pgspan.io/role',
  /** On the operator's own RoleBindings: an admission policy looks at those with the value `operator`. */
  access: 'pgspan.io/access',
  name: 'app.kubernetes.io/name',
  instance: 'app.kubernetes.io/instance',
  component: 'app.kubernetes.io/component',
  partOf: 'app.kubernetes.io/part-of',
  managedBy: 'app.kubernetes.io/managed-by',
} as const;

export type WorkloadType = 'postgres' | 'proxy' | 'pooler' | 'etcd';

/** What a Service selects pods by: never the role, which changes with a failover. */
export function workloadLabels(of: {
  readonly group: string;
  readonly workload: WorkloadType;
}): Record<string, string> {
  return { [LABEL.group]: of.group, [LABEL.workloadType]: of.workload };
}

/** The whole set for an object of a group. */
export function objectLabels(of: {
  readonly globalCluster: string;
  readonly group: string;
  readonly workload: WorkloadType;
}): Record<string, string> {
  return {
    ...workloadLabels(of),
    [LABEL.globalCluster]: of.globalCluster,
    [LABEL.name]: of.workload === 'postgres' ? 'postgresql' : of.workload,
    [LABEL.instance]: of.group,
    [LABEL.component]: of.workload,
    [LABEL.partOf]: 'pgspan',
    [LABEL.managedBy]: 'pgspan',
  };
}
