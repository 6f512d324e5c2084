/** Makes the stored objects of a group those that were rendered: applies what differs, deletes what is no longer wanted. */
import { LABEL } from '../api/labels.ts';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';
import { KUBE_KINDS, type KubeKindName } from '../platform/kubernetes/kube-object.ts';
import { refOf } from '../platform/kubernetes/kube-client.ts';
import type { GroupSession } from './group-session.ts';
import { withoutBalancer } from './objects/balancer-class.ts';
import { caKeySecret, operatorTlsSecret } from './objects/object-names.ts';
import { type DesiredObject, objectKey, OWNED_KINDS, staleObjects } from './objects/render-group.ts';
import { type OperatorContext, WATCHED_KINDS, type WatchedKind } from './operator-context.ts';

export interface ApplySummary {
  /** Keys of what was written anew. */
  readonly changed: readonly string[];
  readonly deleted: readonly string[];
}

/** Throws ApiError at the first object that is refused: what follows refers to it. */
export async function applyObjects(
  context: OperatorContext,
  session: GroupSession,
  desired: readonly DesiredObject[],
): Promise<string[]> {
  const changed: string[] = [];
  for (const { key, object } of desired) {
    const cache = cacheOf(context, object.kind);
    const live = cache === null ? null : cache.get(object.metadata.namespace, object.metadata.name);
    const first = withoutBalancer(live, object);
    if (first !== null) await context.client.apply(first);
    const result = await session.applied.apply(context.client, key, object, live);
    if (result.object !== null) cache?.put(result.object);
    if (result.isChanged) changed.push(key);
  }
  return changed;
}

/** StatefulSets of nodes go by core/rolling, not from here; by then they are neither applied nor wanted. */
export async function deleteStale(
  context: OperatorContext,
  session: GroupSession,
  desired: readonly DesiredObject[],
  group: { readonly name: string; readonly namespace: string; readonly uid: string },
): Promise<string[]> {
  const wanted = new Set(desired.map(({ key }) => key));
  const deleted: string[] = [];
  for (const key of [...session.applied.keys].filter((one) => !wanted.has(one))) {
    const [apiGroup = '', kind = '', name = ''] = key.split('/');
    const known = KUBE_KINDS[kind as KubeKindName];
    if (known !== undefined && (await context.client.delete({ kind: known, namespace: group.namespace, name })))
      deleted.push([apiGroup, kind, name].join('/'));
    session.applied.drop(key);
  }
  if (!session.isSwept) deleted.push(...(await sweep(context, desired, group)));
  session.isSwept = true;
  return deleted;
}

/** Once after a start: what an operator before this one has left. Secrets are not listed: nobody may (operator-rights.md). */
async function sweep(
  { client }: OperatorContext,
  desired: readonly DesiredObject[],
  group: { readonly name: string; readonly namespace: string; readonly uid: string },
): Promise<string[]> {
  const kinds = OWNED_KINDS.filter(({ kind }) => kind !== 'Secret' && kind !== 'StatefulSet');
  const lists = await Promise.all(
    kinds.map(({ kind }) =>
      client.list(KUBE_KINDS[kind], { namespace: group.namespace, labelSelector: `${LABEL.group}=${group.name}` }),
    ),
  );
  const kept = new Set([
    objectKey({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: `${group.name}-operator` },
    }),
    objectKey({ apiVersion: 'v1', kind: 'Secret', metadata: { name: caKeySecret(group.name) } }),
    objectKey({ apiVersion: 'v1', kind: 'Secret', metadata: { name: operatorTlsSecret(group.name) } }),
  ]);
  const stored = lists.flatMap(({ items }) => items).map(asStored);
  const deleted: string[] = [];
  for (const { object } of staleObjects(stored, desired, { ownerUid: group.uid, kept })) {
    const namespaced = { ...object, metadata: { name: object.metadata.name, namespace: group.namespace } };
    await client.delete(refOf(namespaced), object.metadata.uid === undefined ? {} : { uid: object.metadata.uid });
    deleted.push(objectKey(object));
  }
  return deleted;
}

function asStored(object: KubeObject) {
  const { apiVersion, kind, metadata } = object;
  const ownerReferences = metadata.ownerReferences ?? [];
  return { apiVersion, kind, metadata: { name: metadata.name, ownerReferences }, object };
}

function cacheOf({ caches }: OperatorContext, kind: string) {
  return (WATCHED_KINDS as readonly string[]).includes(kind) ? caches[kind as WatchedKind] : null;
}
