/** Reads the ConfigMaps and Secrets that a manifest names. They are the user's and not watched, so they are read again at times. */
import type { PostgresGroup } from '../api/postgres-group.ts';
import { KUBE_KINDS } from '../platform/kubernetes/kube-object.ts';
import type { KubeClient } from '../platform/kubernetes/kube-client.ts';
import { configMapTexts, secretTexts } from './stored-object.ts';
import { type SourceRef, sourceKey, sourceRefs, type SourceTexts } from './take-sources.ts';

/** A change of theirs is taken within this; each costs two requests a minute, and only groups that name some pay for it. */
export const SOURCES_FRESH_MS = 30_000;

/** By sourceKey. `readAtMs` by performance.now(). */
export type SourceMemory = Map<string, { readonly texts: SourceTexts; readonly readAtMs: number }>;

/** Throws ApiError. */
export async function readSources(
  client: KubeClient,
  group: PostgresGroup,
  memory: SourceMemory,
): Promise<Map<string, SourceTexts>> {
  const refs = new Map(sourceRefs(group).map((ref) => [sourceKey(ref), ref]));
  for (const key of memory.keys()) if (!refs.has(key)) memory.delete(key);
  await Promise.all(
    [...refs].map(async ([key, ref]) => {
      const known = memory.get(key);
      if (known !== undefined && performance.now() - known.readAtMs < SOURCES_FRESH_MS) return;
      const texts = await readTexts(client, group.metadata.namespace, ref);
      memory.set(key, { texts, readAtMs: performance.now() });
    }),
  );
  return new Map([...memory].map(([key, { texts }]) => [key, texts]));
}

async function readTexts(client: KubeClient, namespace: string, { kind, name }: SourceRef): Promise<SourceTexts> {
  const found = await client.find({ kind: KUBE_KINDS[kind], namespace, name });
  if (found === null) return null;
  return kind === 'Secret' ? secretTexts(found) : configMapTexts(found);
}
