/**
 * Objects of one kind, kept current: one list, then a watch from there; after a break the watch goes on where it was, and begins
 * anew with a list when the server no longer knows that point (410) or when going on failed often.
 *
 *   listing --ok--> watching --end--> watching (from the last version)
 *      ^                | expired, or RELIST_AFTER_FAILURES in a row
 *      +--- back-off ---+
 */
import { isExpired } from './api-error.ts';
import type { KubeClient, WatchEvent } from './kube-client.ts';
import type { KubeKind, KubeObject } from './kube-object.ts';

export interface KubeCacheOptions {
  /** Empty: all namespaces. */
  readonly namespaces: readonly string[];
  readonly labelSelector?: string;
  /** What is kept of an object, to save memory. `managedFields` never are. Default: all the rest. */
  readonly keep?: (object: KubeObject) => KubeObject;
  /** One came, changed (in more than its version) or went. Not called for what a write of ours put in. */
  readonly onChange: (object: KubeObject, isGone: boolean) => void;
  /** A list or watch failed; it is tried again. */
  readonly onError: (error: Error) => void;
}

export interface KubeCache {
  get(namespace: string, name: string): KubeObject | undefined;
  values(): IterableIterator<KubeObject>;
  /** Takes what a write returned, unless it is older than what is there. */
  put(object: KubeObject): void;
  /** It was told to go: shown as going until the watch tells more. */
  markDeleting(object: KubeObject): void;
  /** Resolves when every namespace was listed once. */
  readonly synced: Promise<void>;
  close(): void;
}

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 30_000;
const RELIST_AFTER_FAILURES = 3;

export function cacheObjects(client: KubeClient, kind: KubeKind, options: KubeCacheOptions): KubeCache {
  const objects = new Map<string, KubeObject>();
  const { keep = (object) => object, onChange, onError } = options;
  const scopes: readonly (string | null)[] = options.namespaces.length === 0 ? [null] : options.namespaces;
  const closers = new Set<() => void>();
  let isClosed = false;

  const take = (object: KubeObject): void => {
    const key = keyOf(object);
    const before = objects.get(key);
    if (before !== undefined && !isNewer(object, before)) return;
    objects.set(key, keep(withoutManagedFields(object)));
    onChange(object, false);
  };
  const drop = (object: KubeObject): void => {
    const before = objects.get(keyOf(object));
    // The name may have been taken again since.
    if (before === undefined || before.metadata.uid !== object.metadata.uid) return;
    objects.delete(keyOf(object));
    onChange(object, true);
  };

  const follow = (namespace: string | null, onSynced: () => void): void => {
    let version: string | null = null;
    let failures = 0;
    let timer: NodeJS.Timeout | undefined;
    let watch: { close(): void } | undefined;
    const selection = {
      namespace,
      ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
    };

    const again = (error: Error | null): void => {
      if (isClosed) return;
      if (error === null) return open();
      failures += 1;
      if (isExpired(error) || failures >= RELIST_AFTER_FAILURES) version = null;
      if (!isExpired(error)) onError(error);
      timer = setTimeout(open, retryDelayMs(failures));
    };

    const list = async (): Promise<string> => {
      const { items, resourceVersion } = await client.list(kind, selection);
      const present = new Set(items.map(keyOf));
      for (const object of [...objects.values()]) {
        const isInScope = namespace === null || object.metadata.namespace === namespace;
        if (isInScope && !present.has(keyOf(object))) drop(object);
      }
      for (const object of items) take(object);
      return resourceVersion;
    };

    const onEvent = (event: WatchEvent): void => {
      failures = 0;
      if (event.type === 'BOOKMARK') version = event.resourceVersion;
      else {
        version = event.object.metadata.resourceVersion ?? version;
        if (event.type === 'DELETED') drop(event.object);
        else take(event.object);
      }
    };

    const open = (): void => {
      if (isClosed) return;
      if (version === null) {
        list().then(
          (listed) => {
            version = listed;
            onSynced();
            open();
          },
          (error: Error) => again(error),
        );
        return;
      }
      watch = client.watch(kind, { ...selection, resourceVersion: version, onEvent, onEnd: again });
    };

    closers.add(() => {
      clearTimeout(timer);
      watch?.close();
    });
    open();
  };

  const synced = Promise.all(scopes.map((scope) => new Promise<void>((resolve) => follow(scope, resolve))));
  return {
    get: (namespace, name) => objects.get(`${namespace}/${name}`),
    values: () => objects.values(),
    put(object) {
      const before = objects.get(keyOf(object));
      if (before === undefined || isNewer(object, before))
        objects.set(keyOf(object), keep(withoutManagedFields(object)));
    },
    markDeleting(object) {
      if (objects.get(keyOf(object)) !== object || object.metadata.deletionTimestamp != null) return;
      const metadata = { ...object.metadata, deletionTimestamp: new Date().toISOString() };
      objects.set(keyOf(object), { ...object, metadata });
    },
    synced: synced.then(() => {}),
    close() {
      isClosed = true;
      for (const close of closers) close();
    },
  };
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`;
}

/**
 * Versions of one kind grow, and may be compared as numbers (KEP-5504; so since etcd 3). Where they are none, the later to come
 * is the newer.
 */
function isNewer(object: KubeObject, than: KubeObject): boolean {
  const [a, b] = [Number(object.metadata.resourceVersion), Number(than.metadata.resourceVersion)];
  return Number.isFinite(a) && Number.isFinite(b)
    ? a > b
    : object.metadata.resourceVersion !== than.metadata.resourceVersion;
}

function withoutManagedFields(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata } as KubeObject;
}

/** Doubles, with jitter, so that many clients do not come back at once. */
function retryDelayMs(failures: number): number {
  return Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(failures - 1, 10)) * (0.5 + Math.random() / 2);
}
