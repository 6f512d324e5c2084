/** What the pod of a member of etcd tells, as the cache holds it. */
import * as z from 'zod';
import type { KubeObject } from '../../platform/kubernetes/kube-object.ts';
import { ETCD_CONTAINER } from '../objects/etcd-member.ts';
import { REVISION_ANNOTATION } from '../objects/pod-parts.ts';

const terminatedSchema = z.looseObject({ message: z.string().optional() }).nullish();
const podSchema = z.looseObject({
  status: z
    .looseObject({
      podIP: z.string().optional(),
      conditions: z.array(z.looseObject({ type: z.string(), status: z.string() })).nullish(),
      containerStatuses: z
        .array(
          z.looseObject({
            name: z.string(),
            state: z.looseObject({ running: z.unknown(), terminated: terminatedSchema }).nullish(),
            lastState: z.looseObject({ terminated: terminatedSchema }).nullish(),
          }),
        )
        .nullish(),
    })
    .optional(),
});

export interface EtcdPodFacts {
  readonly name: string;
  readonly address: string | null;
  readonly isReady: boolean;
  readonly revision: string | null;
  /** EtcdSnapshot.pod.foundNothing. */
  readonly foundNothing: boolean;
}

/** etcd's words, since 3.0, when it was told that there is a cluster, has no data, and is shown nobody to ask. */
const NOTHING_FOUND = /cannot fetch cluster info from peer urls/;

export function etcdPodFacts(pod: KubeObject): EtcdPodFacts | null {
  const status = podSchema.safeParse(pod).data?.status;
  const container = status?.containerStatuses?.find(({ name }) => name === ETCD_CONTAINER);
  const lastWords = container?.state?.terminated?.message ?? container?.lastState?.terminated?.message ?? '';
  const isRunning = container?.state?.running !== undefined;
  return {
    name: pod.metadata.name,
    address: status?.podIP ?? null,
    isReady: (status?.conditions ?? []).some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    revision: pod.metadata.annotations?.[REVISION_ANNOTATION] ?? null,
    foundNothing: !isRunning && NOTHING_FOUND.test(lastWords),
  };
}
