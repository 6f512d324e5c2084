/** Events of a PostgresGroup, as `kubectl describe` shows them. The same one is not said again within EVENT_QUIET_MS. */
import { randomBytes } from 'node:crypto';
import type { KubeClient } from '../platform/kubernetes/kube-client.ts';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';

export interface GroupEvent {
  readonly type: 'Normal' | 'Warning';
  /** CamelCase. */
  readonly reason: string;
  /** What was done or tried, CamelCase: `RollingChange`. */
  readonly action: string;
  readonly note: string;
}

const EVENT_QUIET_MS = 600_000;
/** Kubernetes' own limit of a note. */
const NOTE_LENGTH_MAX = 1024;
const REMEMBERED_MAX = 200;

export class EventRecorder {
  readonly #client: KubeClient;
  readonly #instance: string;
  readonly #onError: (error: Error) => void;
  readonly #saidAtMs = new Map<string, number>();

  constructor(options: { client: KubeClient; instance: string; onError: (error: Error) => void }) {
    this.#client = options.client;
    this.#instance = options.instance;
    this.#onError = options.onError;
  }

  /** Does not wait, and does not fail: an event is for people. */
  say(group: KubeObject, event: GroupEvent): void {
    const { name, namespace = 'default', uid } = group.metadata;
    const key = JSON.stringify([uid, event]);
    const nowMs = performance.now();
    if (nowMs - (this.#saidAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < EVENT_QUIET_MS) return;
    this.#saidAtMs.delete(key);
    this.#saidAtMs.set(key, nowMs);
    const [oldest] = this.#saidAtMs.keys();
    if (this.#saidAtMs.size > REMEMBERED_MAX && oldest !== undefined) this.#saidAtMs.delete(oldest);
    const object = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: `${name}.${randomBytes(8).toString('hex')}`, namespace },
      eventTime: new Date().toISOString().replace('Z', '000Z'),
      reportingController: 'pgspan.io/operator',
      reportingInstance: this.#instance.slice(0, 128),
      regarding: { apiVersion: group.apiVersion, kind: group.kind, name, namespace, uid },
      type: event.type,
      reason: event.reason,
      action: event.action,
      note: event.note.slice(0, NOTE_LENGTH_MAX),
    };
    this.#client.create(object).catch(this.#onError);
  }
}
