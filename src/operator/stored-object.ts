/** Reading what lies in stored objects. All of it may have been changed by others: nothing is believed before it is checked. */
import * as z from 'zod';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';

const dataSchema = z.record(z.string(), z.string());

/** Texts of a Secret. */
export function secretTexts(secret: KubeObject | null): Readonly<Record<string, string>> {
  const parsed = dataSchema.safeParse(secret?.data).data ?? {};
  return Object.fromEntries(
    Object.entries(parsed).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]),
  );
}

/** Texts of a ConfigMap. */
export function configMapTexts(configMap: KubeObject | null): Readonly<Record<string, string>> {
  return dataSchema.safeParse(configMap?.data).data ?? {};
}

const podSchema = z.looseObject({
  spec: z.looseObject({ containers: z.array(z.looseObject({ name: z.string(), image: z.string() })) }),
  status: z
    .looseObject({
      phase: z.string().optional(),
      podIP: z.string().optional(),
      reason: z.string().optional(),
      message: z.string().optional(),
      conditions: z
        .array(z.looseObject({ type: z.string(), status: z.string(), message: z.string().optional() }))
        .nullish(),
      containerStatuses: z.array(containerStatusSchema()).nullish(),
      initContainerStatuses: z.array(containerStatusSchema()).nullish(),
    })
    .optional(),
});

function containerStatusSchema() {
  const state = z
    .looseObject({
      waiting: z.looseObject({ reason: z.string().optional(), message: z.string().optional() }).optional(),
    })
    .optional();
  const lastState = z
    .looseObject({
      terminated: z
        .looseObject({
          exitCode: z.number(),
          reason: z.string().optional(),
          startedAt: z.string().optional(),
          finishedAt: z.string().optional(),
        })
        .optional(),
    })
    .optional();
  return z.looseObject({ name: z.string(), image: z.string(), restartCount: z.number().optional(), state, lastState });
}

export interface PodFacts {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly address: string | null;
  readonly isReady: boolean;
  readonly isTerminating: boolean;
  /** Image of its first container. */
  readonly image: string;
  /** What Kubernetes says that it waits for: `ImagePullBackOff: ...`; null: nothing. */
  readonly trouble: string | null;
  /** RollingNode.pod.isHeldBack of core/rolling. */
  readonly isHeldBack: boolean;
}

/** Null for something that is no pod. */
export function podFacts(pod: KubeObject): PodFacts | null {
  const parsed = podSchema.safeParse(pod);
  if (!parsed.success) return null;
  const { spec, status } = parsed.data;
  const { metadata } = pod;
  const conditions = status?.conditions ?? [];
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? '',
    uid: metadata.uid ?? '',
    labels: metadata.labels ?? {},
    annotations: metadata.annotations ?? {},
    address: status?.podIP ?? null,
    isReady: conditions.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    isTerminating: metadata.deletionTimestamp != null,
    image: spec.containers[0]?.image ?? '',
    trouble: troubleOf(status),
    isHeldBack: (status?.containerStatuses ?? []).some(isHeldBack),
  };
}

/** What a container says while all is going well. */
const USUAL = new Set(['PodInitializing', 'ContainerCreating']);

function troubleOf(status: z.infer<typeof podSchema>['status']): string | null {
  const scheduled = status?.conditions?.find(({ type }) => type === 'PodScheduled');
  if (scheduled?.status === 'False') return `it is not scheduled: ${scheduled.message ?? ''}`.slice(0, 500);
  for (const { name, state } of [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]) {
    const { reason, message } = state?.waiting ?? {};
    if (reason !== undefined && !USUAL.has(reason))
      return `container "${name}" waits: ${reason}${message === undefined ? '' : ` (${message})`}`.slice(0, 500);
  }
  return null;
}

/** A container that ends sooner after its start fails by itself, or as good as. */
const RUN_SECONDS_MIN = 10;
/** 128 + SIGKILL. */
const EXIT_KILLED = 137;

/** Not so for want of memory: that would come again at once. */
function isHeldBack({ state, lastState }: z.infer<ReturnType<typeof containerStatusSchema>>): boolean {
  const last = lastState?.terminated;
  if (state?.waiting?.reason !== 'CrashLoopBackOff' || last?.exitCode !== EXIT_KILLED || last.reason === 'OOMKilled')
    return false;
  return Date.parse(last.finishedAt ?? '') - Date.parse(last.startedAt ?? '') >= RUN_SECONDS_MIN * 1000;
}

/** What the operator remembers of a pod: no environment, no volumes. */
export function slimPod(pod: KubeObject): KubeObject {
  const parsed = podSchema.safeParse(pod);
  if (!parsed.success) return pod;
  const { apiVersion, kind, metadata } = pod;
  const { spec, status } = parsed.data;
  return {
    apiVersion,
    kind,
    metadata,
    spec: { containers: spec.containers.map(({ name, image }) => ({ name, image })) },
    ...(status === undefined ? {} : { status }),
  };
}

const claimSchema = z.looseObject({
  spec: z.looseObject({
    storageClassName: z.string().nullish(),
    resources: z.looseObject({ requests: z.looseObject({ storage: z.string().optional() }).optional() }).optional(),
  }),
});

/** What a volume's claim asks for. */
export function claimFacts(claim: KubeObject): { readonly size: string | null; readonly storageClass: string | null } {
  const spec = claimSchema.safeParse(claim).data?.spec;
  return { size: spec?.resources?.requests?.storage ?? null, storageClass: spec?.storageClassName ?? null };
}

const statefulSetSchema = z.looseObject({
  spec: z.looseObject({ volumeClaimTemplates: z.array(claimSchema).nullish() }),
});

/** Size and class in the template of a StatefulSet; null: it has none. */
export function templateFacts(
  statefulSet: KubeObject,
): { readonly size: string; readonly storageClass: string | null } | null {
  const template = statefulSetSchema.safeParse(statefulSet).data?.spec.volumeClaimTemplates?.[0];
  const size = template?.spec.resources?.requests?.storage;
  return size === undefined ? null : { size, storageClass: template?.spec.storageClassName ?? null };
}
