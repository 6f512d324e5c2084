/**
 * The running operator: watches groups and what belongs to them, and gives each group that may have changed to reconcileGroup.
 * Watches nothing but PostgresGroups and objects with its own labels.
 */
import type { Logger } from 'pino';
import { LABEL } from '../api/labels.ts';
import type { OperatorConfig } from '../api/operator-config.ts';
import { globalClusterName, postgresGroupSchema } from '../api/postgres-group.ts';
import type { ClusterDns } from '../core/dns/pod-dns.ts';
import { ApiError, isNotFound } from '../platform/kubernetes/api-error.ts';
import { cacheObjects, type KubeCache } from '../platform/kubernetes/kube-cache.ts';
import type { KubeClient } from '../platform/kubernetes/kube-client.ts';
import { KUBE_KINDS, type KubeObject } from '../platform/kubernetes/kube-object.ts';
import { EventRecorder } from './events.ts';
import { GroupSession } from './group-session.ts';
import { type OperatorContext, WATCHED_KINDS, type WatchedKind } from './operator-context.ts';
import { reconcileGroup } from './reconcile-group.ts';
import { slimPod } from './stored-object.ts';
import { writeStandstill } from './write-status.ts';
import { WorkQueue } from './work-queue.ts';

/** Several changes come together: one look for all. */
const SETTLE_MS = 100;
/** Positions alone: so that status is not too old when it is written for another reason. */
const POSITIONS_MS = 60_000;

export interface OperatorOptions {
  readonly config: OperatorConfig;
  readonly client: KubeClient;
  readonly clusterDns: ClusterDns;
  /** Name of this process, for events. */
  readonly identity: string;
  readonly log: Logger;
}

export class Operator {
  readonly #context: OperatorContext;
  readonly #queue: WorkQueue;
  readonly #sessions = new Map<string, GroupSession>();
  readonly #log: Logger;
  readonly #counts = { looks: 0, failures: 0 };

  constructor({ config, client, clusterDns, identity, log }: OperatorOptions) {
    this.#log = log;
    const { watchNamespaces: namespaces } = config;
    const onError = (error: Error): void => log.warn({ error: error.message }, 'watch failed');
    const groups = cacheObjects(client, KUBE_KINDS.PostgresGroup, {
      namespaces,
      onChange: (object) => this.#queue.add(keyOf(object), SETTLE_MS),
      onError,
    });
    const labelSelector = LABEL.group;
    const cache = (kind: WatchedKind): KubeCache =>
      cacheObjects(client, KUBE_KINDS[kind], {
        namespaces,
        labelSelector,
        ...(kind === 'Pod' ? { keep: slimPod } : {}),
        onChange: (object) => this.#onOwned(object),
        onError,
      });
    const caches = Object.fromEntries(WATCHED_KINDS.map((kind) => [kind, cache(kind)])) as Record<
      WatchedKind,
      KubeCache
    >;
    const events = new EventRecorder({
      client,
      instance: identity,
      onError: (error) => log.warn({ error: error.message }, 'event not written'),
    });
    this.#context = { config, client, clusterDns, groups, caches, events, log };
    this.#queue = new WorkQueue({
      work: async (key) => await this.#look(key),
      onFailure: (key, error, retryMs) => {
        this.#counts.failures += 1;
        log.error(
          { group: key, error: error.message, code: (error as { code?: string }).code, retryMs },
          'group not reconciled',
        );
      },
    });
  }

  /** Resolves when everything was listed once. */
  async synced(): Promise<void> {
    const { groups, caches } = this.#context;
    await Promise.all([groups.synced, ...Object.values(caches).map(({ synced }) => synced)]);
  }

  get counts(): {
    readonly groups: number;
    readonly waiting: number;
    readonly looks: number;
    readonly failures: number;
  } {
    return { ...this.#counts, groups: this.#sessions.size, waiting: this.#queue.waiting };
  }

  async close(): Promise<void> {
    const { groups, caches } = this.#context;
    groups.close();
    for (const cache of Object.values(caches)) cache.close();
    await this.#queue.close();
    for (const session of this.#sessions.values()) session.close();
  }

  #onOwned({ metadata }: KubeObject): void {
    const group = metadata.labels?.[LABEL.group];
    if (group !== undefined) this.#queue.add(`${metadata.namespace}/${group}`, SETTLE_MS);
  }

  async #look(key: string): Promise<number | null> {
    await this.synced();
    this.#counts.looks += 1;
    const [namespace = '', name = ''] = key.split('/');
    const object = this.#context.groups.get(namespace, name);
    if (object === undefined) {
      this.#sessions.get(key)?.close();
      this.#sessions.delete(key);
      return null;
    }
    try {
      return await reconcileGroup(this.#context, this.#session(key, object), object);
    } catch (error) {
      // Deleted while it was looked at: the watch will tell.
      const path = { kind: KUBE_KINDS.PostgresGroup, namespace, name };
      if (isNotFound(error) && (await this.#context.client.find(path)) === null) return null;
      await this.#tellRefusal(object, error);
      throw error;
    }
  }

  /** What the API server refuses, people can do something about: a right, a quota, an admission policy, a field of a template. */
  async #tellRefusal(object: KubeObject, error: unknown): Promise<void> {
    if (!(error instanceof ApiError) || ![400, 403, 422].includes(error.status)) return;
    const { message } = error;
    await writeStandstill(this.#context, object, { condition: 'Progressing', reason: 'ObjectRefused', message });
  }

  #session(key: string, object: KubeObject): GroupSession {
    const uid = object.metadata.uid ?? '';
    const present = this.#sessions.get(key);
    if (present?.uid === uid) return present;
    present?.close();
    const session = new GroupSession({
      uid,
      globalCluster: nameOfCluster(object),
      onChange: (urgency) => this.#queue.add(key, urgency === 'now' ? SETTLE_MS : POSITIONS_MS),
    });
    this.#sessions.set(key, session);
    this.#log.info({ group: key, uid }, 'group taken up');
    return session;
  }
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace}/${metadata.name}`;
}

/** Cannot be changed in a group that exists, so it holds for the session. Of a manifest that is refused it is of no use. */
function nameOfCluster(object: KubeObject): string {
  const parsed = postgresGroupSchema.safeParse(object);
  return parsed.success ? globalClusterName(parsed.data) : object.metadata.name;
}
