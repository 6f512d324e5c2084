/** Metadata that all objects of a group have in common. */
import { API_VERSION, KIND } from '../../api/postgres-group.ts';
import { objectLabels, type WorkloadType } from '../../api/labels.ts';
import type { ObjectMeta } from '../../platform/kubernetes/object-types.ts';
import type { RenderInput } from './render-input.ts';

export interface MetadataOptions {
  /** Default `postgres`. */
  readonly workload?: WorkloadType;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Default: the PostgresGroup. */
  readonly owners?: ObjectMeta['ownerReferences'];
}

export function groupLabels({ plan, groupPlan }: RenderInput, workload: WorkloadType): Record<string, string> {
  return objectLabels({ globalCluster: plan.globalCluster, group: groupPlan.name, workload });
}

/** Owned by the PostgresGroup, if nothing else is said: Kubernetes deletes the object after its owners. */
export function ownedMetadata(input: RenderInput, name: string, options: MetadataOptions = {}): ObjectMeta {
  const { workload = 'postgres', labels = {}, annotations = {} } = options;
  const { group, groupPlan, facts } = input;
  return {
    name,
    namespace: groupPlan.namespace,
    labels: { ...labels, ...groupLabels(input, workload) },
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ownerReferences: options.owners ?? [
      {
        apiVersion: API_VERSION,
        kind: KIND,
        name: group.metadata.name,
        uid: facts.ownerUid,
        controller: true,
        blockOwnerDeletion: true,
      },
    ],
  };
}
