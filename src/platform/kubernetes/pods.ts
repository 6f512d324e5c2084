/** The pods of a global cluster, as far as the command line reads them. */
import * as z from 'zod';
import { LABEL } from '../../api/labels.ts';
import type { KubeObject } from './kube-object.ts';

const stateSchema = z.looseObject({
  waiting: z.looseObject({ reason: z.string().optional(), message: z.string().optional() }).nullish(),
  terminated: z.looseObject({ reason: z.string().optional(), exitCode: z.number().optional() }).nullish(),
});
const podSchema = z.looseObject({
  metadata: z.looseObject({
    name: z.string(),
    namespace: z.string(),
    labels: z.record(z.string(), z.string()).nullish(),
    deletionTimestamp: z.string().nullish(),
  }),
  spec: z.looseObject({
    containers: z.array(
      z.looseObject({
        name: z.string(),
        image: z.string(),
        command: z.array(z.string()).nullish(),
        ports: z.array(z.looseObject({ name: z.string().optional(), containerPort: z.int() })).nullish(),
      }),
    ),
  }),
  status: z
    .looseObject({
      phase: z.string().optional(),
      podIP: z.string().optional(),
      message: z.string().optional(),
      conditions: z
        .array(
          z.looseObject({
            type: z.string(),
            status: z.string(),
            reason: z.string().nullish(),
            message: z.string().nullish(),
          }),
        )
        .nullish(),
      containerStatuses: z
        .array(z.looseObject({ name: z.string(), ready: z.boolean(), state: stateSchema.nullish() }))
        .nullish(),
      initContainerStatuses: z
        .array(z.looseObject({ name: z.string(), ready: z.boolean(), state: stateSchema.nullish() }))
        .nullish(),
    })
    .nullish(),
});
type RawPod = z.infer<typeof podSchema>;

const WORKLOADS = ['postgres', 'proxy', 'pooler', 'etcd'] as const;

export interface GroupPod {
  readonly name: string;
  readonly namespace: string;
  readonly group: string;
  readonly workload: 'postgres' | 'proxy' | 'pooler' | 'etcd' | 'other';
  /** Of PostgreSQL's pods, else null. */
  readonly node: string | null;
  /** The first container: it is the one that everything happens in. */
  readonly container: string;
  readonly command: readonly string[];
  readonly image: string;
  /** Container ports by name. */
  readonly ports: Readonly<Record<string, number>>;
  readonly address: string | null;
  readonly isReady: boolean;
  readonly isEnding: boolean;
  /** Why its container does not run, as a sentence part; null: it runs. */
  readonly absence: string | null;
}

/** Throws ZodError for what is no pod. */
export function readPod(object: KubeObject): GroupPod {
  const pod = podSchema.parse(object);
  const labels = pod.metadata.labels ?? {};
  const container = pod.spec.containers[0];
  const workload = labels[LABEL.workloadType];
  return {
    name: pod.metadata.name,
    namespace: pod.metadata.namespace,
    group: labels[LABEL.group] ?? '',
    workload: WORKLOADS.find((known) => known === workload) ?? 'other',
    node: labels[LABEL.node] ?? null,
    container: container?.name ?? '',
    command: container?.command ?? [],
    image: container?.image ?? '',
    ports: Object.fromEntries((container?.ports ?? []).map(({ name, containerPort }) => [name ?? '', containerPort])),
    address: pod.status?.podIP ?? null,
    isReady: pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false,
    isEnding: pod.metadata.deletionTimestamp != null,
    absence: absenceOf(pod),
  };
}

/** In the words of Kubernetes, the innermost reason first. */
function absenceOf({ metadata, status }: RawPod): string | null {
  const own = status?.containerStatuses?.[0];
  if (status?.phase === 'Running' && own?.state?.waiting == null && own?.state?.terminated == null) return null;
  const states = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])].map(
    ({ state }) => state,
  );
  const waiting = states.find(
    (state) => state?.waiting?.reason !== undefined && state.waiting.reason !== 'PodInitializing',
  )?.waiting;
  const ended = states.find((state) => state?.terminated != null && state.terminated.exitCode !== 0)?.terminated;
  const unscheduled = status?.conditions?.find(
    ({ type, status: value }) => type === 'PodScheduled' && value === 'False',
  );
  const why =
    waiting != null
      ? `${waiting.reason}${waiting.message === undefined ? '' : `: ${waiting.message}`}`
      : ended != null
        ? `${ended.reason ?? 'it ended'} (exit code ${ended.exitCode})`
        : (unscheduled?.message ?? status?.message ?? null);
  return `its pod ${metadata.name} is ${status?.phase ?? 'unknown'}${why === null ? '' : ` (${why.slice(0, 200)})`}`;
}
