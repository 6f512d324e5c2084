/**
 * The operator's own rights where a group is: it binds itself to a ClusterRole that the install file brings. First of all
 * objects, since nothing else of the group can be read or made before; goes with the group.
 * Why it may do that nowhere else: docs/decisions/operator-rights.md.
 */
import { LABEL } from '../../api/labels.ts';
import type { OperatorConfig } from '../../api/operator-config.ts';
import { API_VERSION, KIND } from '../../api/postgres-group.ts';

export interface OperatorAccess {
  readonly apiVersion: 'rbac.authorization.k8s.io/v1';
  readonly kind: 'RoleBinding';
  readonly metadata: { readonly name: string; readonly namespace: string; readonly [field: string]: unknown };
  readonly roleRef: {
    readonly apiGroup: 'rbac.authorization.k8s.io';
    readonly kind: 'ClusterRole';
    readonly name: string;
  };
  readonly subjects: readonly { readonly kind: 'ServiceAccount'; readonly name: string; readonly namespace: string }[];
}

export interface GroupIdentity {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

/** Null: the operator holds its rights already (`watchNamespaces`). */
export function renderOperatorAccess(group: GroupIdentity, operator: OperatorConfig): OperatorAccess | null {
  if (operator.namespaceRole === null) return null;
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: {
      name: `${group.name}-operator`,
      namespace: group.namespace,
      labels: {
        [LABEL.group]: group.name,
        [LABEL.access]: 'operator',
        [LABEL.partOf]: 'pgspan',
        [LABEL.managedBy]: 'pgspan',
      },
      ownerReferences: [
        {
          apiVersion: API_VERSION,
          kind: KIND,
          name: group.name,
          uid: group.uid,
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: operator.namespaceRole },
    subjects: [{ kind: 'ServiceAccount', name: operator.serviceAccount, namespace: operator.namespace }],
  };
}
