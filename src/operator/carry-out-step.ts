/** Carries out one step of a rolling change. Each is harmless when done twice. */
import { ApiError } from '../platform/kubernetes/api-error.ts';
import { KUBE_KINDS, type KubeObject } from '../platform/kubernetes/kube-object.ts';
import type { RollingStep } from '../core/rolling/rolling-snapshot.ts';
import type { GroupSession } from './group-session.ts';
import { nodePod, nodeStatefulSet, nodeVolumeClaim } from './objects/object-names.ts';
import type { OperatorContext } from './operator-context.ts';

/** PostgreSQL stops, starts and recovers; on a slow disk that takes its time, and the next look asks again. */
const RESTART_TIMEOUT_MS = 120_000;
/** The agent's own limit of a switchover is 30 s. */
const SWITCHOVER_TIMEOUT_MS = 45_000;

/** code is ORDER_FAILED. */
export class OrderFailedError extends Error {
  override name = 'OrderFailedError';
  readonly code = 'ORDER_FAILED';
}

/** Throws ApiError, OrderFailedError: the queue tries again. */
export async function carryOutStep(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  step: RollingStep,
): Promise<void> {
  const { caches } = context;
  const namespace = object.metadata.namespace ?? 'default';
  switch (step.kind) {
    case 'restart-postgres':
      return await order(session, step.node, '/v1/restart', {}, RESTART_TIMEOUT_MS);
    case 'switch-over':
      return await order(session, step.from, '/v1/switchover', { to: step.to }, SWITCHOVER_TIMEOUT_MS);
    case 'delete-pod': {
      const name = nodePod(step.node);
      const uid = caches.Pod.get(namespace, name)?.metadata.uid;
      // Only the pod that was seen: its successor may be there already.
      if (uid === undefined) return;
      await deleteSeen(context, { kind: KUBE_KINDS.Pod, namespace, name }, uid);
      return;
    }
    case 'retire-node':
      // Rendered with the next look, which follows at once: the annotation on its StatefulSet remembers it.
      session.retiring.add(step.node);
      return;
    case 'remove-node': {
      const name = nodeStatefulSet(step.node);
      const uid = caches.StatefulSet.get(namespace, name)?.metadata.uid;
      if (uid !== undefined) await deleteSeen(context, { kind: KUBE_KINDS.StatefulSet, namespace, name }, uid);
      session.retiring.delete(step.node);
      return;
    }
    case 'grow-volume':
      return await growVolume(context, session, namespace, step);
  }
}

async function order(
  session: GroupSession,
  node: string,
  path: string,
  body: unknown,
  timeoutMs: number,
): Promise<void> {
  const action = `order "${node}" to ${path === '/v1/restart' ? 'restart PostgreSQL' : 'hand over'}`;
  let answer: Awaited<ReturnType<GroupSession['agents']['order']>>;
  try {
    answer = await session.agents.order(node, path, body, timeoutMs);
  } catch (cause) {
    throw new OrderFailedError(`Cannot ${action}: ${(cause as Error).message}`, { cause });
  }
  if (answer.status === 200) return;
  const { error } = (answer.body ?? {}) as { error?: string };
  throw new OrderFailedError(`Cannot ${action}: ${error ?? `its agent answered ${answer.status}`}`);
}

/** 409: another object has the name by now, which is as good as gone. */
async function deleteSeen(
  { client, caches }: OperatorContext,
  ref: { kind: (typeof KUBE_KINDS)['Pod' | 'StatefulSet']; namespace: string; name: string },
  uid: string,
): Promise<void> {
  try {
    await client.delete(ref, { uid });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 409)) throw error;
  }
  // Until the watch tells: it is not there to be decided on again.
  const cache = ref.kind.kind === 'Pod' ? caches.Pod : caches.StatefulSet;
  const seen = cache.get(ref.namespace, ref.name);
  if (seen?.metadata.uid === uid) cache.markDeleting(seen);
}

/** A class that cannot grow volumes is found by trying: to read classes, the operator would need one more right. */
async function growVolume(
  { client, caches }: OperatorContext,
  session: GroupSession,
  namespace: string,
  { node, toBytes }: Extract<RollingStep, { kind: 'grow-volume' }>,
): Promise<void> {
  const name = nodeVolumeClaim(node);
  const claim = caches.PersistentVolumeClaim.get(namespace, name);
  try {
    const patch = { spec: { resources: { requests: { storage: String(toBytes) } } } };
    const ref = { kind: KUBE_KINDS.PersistentVolumeClaim, namespace, name };
    caches.PersistentVolumeClaim.put(await client.mergePatch(ref, patch));
  } catch (error) {
    const isRefused = error instanceof ApiError && (error.status === 403 || error.status === 422);
    if (!isRefused) throw error;
    session.refusedGrowth.set(`${claim?.metadata.uid}`, (error as ApiError).serverMessage);
  }
}
