/**
 * A small client for the Kubernetes API: one object type, the verbs that pgspan uses, every answer bounded and checked.
 * Lists that stay current are in kube-cache.ts; who we are and where the server is, in kubeconfig.ts.
 * Why not @kubernetes/client-node: docs/decisions/kubernetes-client.md.
 */
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import * as z from 'zod';
import { readBounded } from '../../base/read-bounded.ts';
import { createLineReader } from '../../coordination/json-http.ts';
import { ApiError, ApiUnreachableError, isNotFound } from './api-error.ts';
import { collectionPath, type KubeKind, type KubeObject, kindOfObject, kubeObjectSchema } from './kube-object.ts';
import type { KubeDial } from './kubeconfig.ts';

/** Owner of the fields that pgspan sets by server-side apply. */
export const FIELD_MANAGER = 'pgspan';
/** An etcd value has at most 1.5 MiB; a page of a list is PAGE_SIZE of them at worst. */
const ANSWER_BYTES_MAX = 32 * 1024 * 1024;
const PAGE_SIZE = 250;
/** One object in one line. */
const WATCH_LINE_LENGTH_MAX = 4 * 1024 * 1024;
const REQUEST_TIMEOUT_MS = 15_000;
/** Requests at one time, watches not counted. The others wait. */
const CONNECTIONS_MAX = 8;
const WATCHES_MAX = 64;
/** The server closes a watch after this long, so that clients spread over servers that come and go. */
const WATCH_SECONDS = 540;
/** Longer without a byte, bookmarks (one a minute) included, means a connection that leads nowhere. */
const WATCH_SILENCE_MS = 150_000;

export interface ObjectRef {
  readonly kind: KubeKind;
  /** Null for what has none. */
  readonly namespace: string | null;
  readonly name: string;
}

export interface RequestOptions {
  /** Default 15 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface WriteOptions extends RequestOptions {
  /** `status`, `scale`; default: the object itself. */
  readonly subresource?: string;
  /** Checked and defaulted by the server, not stored. */
  readonly dryRun?: boolean;
}

export interface ApplyOptions extends WriteOptions {
  /** Take fields over that others have set. Default true: what pgspan renders is its own. */
  readonly force?: boolean;
  /** Default FIELD_MANAGER. */
  readonly fieldManager?: string;
}

export interface ListOptions extends RequestOptions {
  /** Null: all namespaces. */
  readonly namespace: string | null;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface DeleteOptions extends RequestOptions {
  /** Default `Background`. */
  readonly propagation?: 'Background' | 'Foreground' | 'Orphan';
  readonly gracePeriodSeconds?: number;
  /** Only this object, not another one that took its name since. */
  readonly uid?: string;
  /** Only as it was when it was read: refused with 409 if it was changed since. */
  readonly resourceVersion?: string;
}

export interface ObjectList {
  readonly items: KubeObject[];
  /** Where a watch goes on. */
  readonly resourceVersion: string;
}

export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: KubeObject }
  /** Nothing has changed up to this version. */
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string };

export interface WatchOptions extends Omit<ListOptions, 'timeoutMs' | 'signal'> {
  readonly resourceVersion: string;
  /** What it throws ends the watch. */
  readonly onEvent: (event: WatchEvent) => void;
  /** Once, unless closed: null when the server ended the watch in order, else ApiError or ApiUnreachableError. */
  readonly onEnd: (error: Error | null) => void;
}

/** For metrics. */
export interface RequestCount {
  readonly verb: string;
  readonly kind: string;
  /** HTTP status; 0: no answer. */
  readonly status: number;
}

/** All throw ApiError, or ApiUnreachableError. */
export interface KubeClient {
  get(ref: ObjectRef, options?: RequestOptions): Promise<KubeObject>;
  /** Null: there is none. */
  find(ref: ObjectRef, options?: RequestOptions): Promise<KubeObject | null>;
  /** All pages. */
  list(kind: KubeKind, options: ListOptions): Promise<ObjectList>;
  watch(kind: KubeKind, options: WatchOptions): { close(): void };
  create(object: NamedObject, options?: WriteOptions): Promise<KubeObject>;
  /** Server-side apply. */
  apply(object: NamedObject, options?: ApplyOptions): Promise<KubeObject>;
  /** Refused with 409 unless `metadata.resourceVersion` is the present one. */
  update(object: NamedObject, options?: WriteOptions): Promise<KubeObject>;
  /** RFC 7396: null takes a field away. */
  mergePatch(ref: ObjectRef, patch: unknown, options?: WriteOptions): Promise<KubeObject>;
  /** False: there was none. */
  delete(ref: ObjectRef, options?: DeleteOptions): Promise<boolean>;
  /** Anything else that answers with JSON or text, such as `/version` or a pod's log. */
  raw(path: string, options?: RequestOptions): Promise<unknown>;
  close(): void;
}

/** An object of ours on its way to the server. */
export interface NamedObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string | undefined };
}

export interface KubeClientOptions {
  /** Called once for each request that ended. */
  readonly onRequest?: (count: RequestCount) => void;
}

interface Call {
  readonly verb: string;
  /** Kind, or the path, for counting. */
  readonly kind: string;
  /** For messages: `get Pod "leo-1-0"`. */
  readonly action: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string;
}

const listSchema = z.looseObject({
  metadata: z.looseObject({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z.array(z.unknown()).nullable(),
});

export function createKubeClient(dial: KubeDial, { onRequest = () => {} }: KubeClientOptions = {}): KubeClient {
  const { server } = dial;
  const isPlain = server.protocol === 'http:';
  const base = server.pathname.replace(/\/$/, '');
  const settings = { keepAlive: true, maxFreeSockets: 1, timeout: 60_000 };
  const makeAgent = (maxSockets: number) =>
    isPlain ? new HttpAgent({ ...settings, maxSockets }) : new HttpsAgent({ ...settings, ...dial.tls, maxSockets });
  const agent = makeAgent(CONNECTIONS_MAX);
  const watchAgent = makeAgent(WATCHES_MAX);

  const open = async (call: Call, agentOf: HttpAgent, signal: AbortSignal): Promise<IncomingMessage> => {
    const text = call.body === undefined ? undefined : JSON.stringify(call.body);
    const headers = {
      accept: 'application/json',
      'user-agent': 'pgspan',
      ...(await dial.headers()),
      ...(text === undefined
        ? {}
        : { 'content-type': call.contentType ?? 'application/json', 'content-length': Buffer.byteLength(text) }),
    };
    return await new Promise((resolve, reject) => {
      const outgoing = (isPlain ? httpRequest : httpsRequest)({
        ...(isPlain ? {} : dial.tls),
        agent: agentOf,
        host: server.hostname.replace(/^\[|\]$/g, ''),
        port: server.port === '' ? (isPlain ? 80 : 443) : Number(server.port),
        method: call.method,
        path: `${base}${call.path}`,
        headers,
        signal,
      });
      outgoing.once('response', resolve);
      outgoing.once('error', (error: NodeJS.ErrnoException) => {
        // The server closed a kept connection while we took it up: nothing was carried out.
        const isStale = outgoing.reusedSocket && error.code === 'ECONNRESET' && !signal.aborted;
        if (isStale && call.method !== 'POST') resolve(open(call, agentOf, signal));
        else reject(error);
      });
      outgoing.end(text);
    });
  };

  const unreachable = (call: Call, found: string, cause?: unknown): ApiUnreachableError =>
    new ApiUnreachableError(`Cannot ${call.action}: ${server.origin} ${found}`, { cause });

  const ask = async (call: Call, options: RequestOptions): Promise<unknown> => {
    const timeoutMs = options.timeoutMs ?? REQUEST_TIMEOUT_MS;
    const deadline = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal]);
    let status = 0;
    try {
      const incoming = await open(call, agent, signal);
      const text = await readText(incoming);
      status = incoming.statusCode ?? 0;
      const body = parseBody(text, incoming);
      if (status < 200 || status > 299) throw new ApiError(call.action, status, body, retryAfterMs(incoming));
      return body;
    } catch (error) {
      if (error instanceof ApiError) throw error;
      const found = deadline.aborted ? `gave no answer within ${timeoutMs} ms` : `failed (${(error as Error).message})`;
      throw unreachable(call, found, error);
    } finally {
      onRequest({ verb: call.verb, kind: call.kind, status });
    }
  };

  const askObject = async (call: Call, options: RequestOptions): Promise<KubeObject> =>
    parseObject(call, await ask(call, options));

  const parseObject = (call: Call, body: unknown): KubeObject => {
    const parsed = kubeObjectSchema.safeParse(body);
    if (parsed.success) return parsed.data;
    throw unreachable(call, 'answered with something that is no object of Kubernetes');
  };

  const objectCall = (verb: string, method: Call['method'], ref: ObjectRef): Call => ({
    verb,
    method,
    kind: ref.kind.kind,
    action: `${verb} ${ref.kind.kind} "${ref.name}"`,
    path: `${collectionPath(ref.kind, ref.namespace)}/${encodeURIComponent(ref.name)}`,
  });

  const write = async (
    call: Call,
    query: Readonly<Record<string, string>>,
    options: WriteOptions,
  ): Promise<KubeObject> => {
    const search = new URLSearchParams({
      fieldManager: FIELD_MANAGER,
      ...query,
      ...(options.dryRun === true ? { dryRun: 'All' } : {}),
    });
    const subresource = options.subresource === undefined ? '' : `/${options.subresource}`;
    return await askObject({ ...call, path: `${call.path}${subresource}?${search}` }, options);
  };

  const get: KubeClient['get'] = (ref, options = {}) => askObject(objectCall('get', 'GET', ref), options);

  return {
    get,
    async find(ref, options) {
      try {
        return await get(ref, options);
      } catch (error) {
        if (isNotFound(error)) return null;
        throw error;
      }
    },
    async list(kind, options) {
      const items: KubeObject[] = [];
      let token: string | undefined;
      for (;;) {
        const search = selection(options);
        search.set('limit', String(PAGE_SIZE));
        if (token !== undefined) search.set('continue', token);
        const path = `${collectionPath(kind, options.namespace)}?${search}`;
        const call: Call = { verb: 'list', method: 'GET', kind: kind.kind, action: `list ${kind.plural}`, path };
        const parsed = listSchema.safeParse(await ask(call, options));
        if (!parsed.success) throw unreachable(call, 'answered with something that is no list');
        const page = parsed.data;
        // Items of a list come without their kind.
        for (const item of page.items ?? [])
          items.push(parseObject(call, { ...(item as object), apiVersion: kind.apiVersion, kind: kind.kind }));
        token = page.metadata.continue;
        if (token === undefined || token === '') return { items, resourceVersion: page.metadata.resourceVersion };
      }
    },
    watch(kind, options) {
      const search = selection(options);
      search.set('watch', 'true');
      search.set('allowWatchBookmarks', 'true');
      search.set('resourceVersion', options.resourceVersion);
      search.set('timeoutSeconds', String(WATCH_SECONDS));
      const path = `${collectionPath(kind, options.namespace)}?${search}`;
      const call: Call = { verb: 'watch', method: 'GET', kind: kind.kind, action: `watch ${kind.plural}`, path };
      return followWatch(call, options);
    },
    create(object, options = {}) {
      const kind = kindOfObject(object);
      const path = collectionPath(kind, object.metadata.namespace ?? null);
      const action = `create ${kind.kind} "${object.metadata.name}"`;
      return write({ verb: 'create', method: 'POST', kind: kind.kind, action, path, body: object }, {}, options);
    },
    apply(object, options = {}) {
      const call = objectCall('apply', 'PATCH', refOf(object));
      const query = { force: String(options.force ?? true), fieldManager: options.fieldManager ?? FIELD_MANAGER };
      return write({ ...call, body: object, contentType: 'application/apply-patch+yaml' }, query, options);
    },
    update(object, options = {}) {
      return write({ ...objectCall('update', 'PUT', refOf(object)), body: object }, {}, options);
    },
    mergePatch(ref, patch, options = {}) {
      const call = objectCall('patch', 'PATCH', ref);
      return write({ ...call, body: patch, contentType: 'application/merge-patch+json' }, {}, options);
    },
    async delete(ref, options = {}) {
      const { uid, resourceVersion } = options;
      const preconditions = {
        ...(uid === undefined ? {} : { uid }),
        ...(resourceVersion === undefined ? {} : { resourceVersion }),
      };
      const body = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        propagationPolicy: options.propagation ?? 'Background',
        ...(options.gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds: options.gracePeriodSeconds }),
        ...(Object.keys(preconditions).length === 0 ? {} : { preconditions }),
      };
      try {
        await ask({ ...objectCall('delete', 'DELETE', ref), body }, options);
        return true;
      } catch (error) {
        if (isNotFound(error)) return false;
        throw error;
      }
    },
    raw: (path, options = {}) => ask({ verb: 'get', kind: 'raw', method: 'GET', action: `get ${path}`, path }, options),
    close() {
      agent.destroy();
      watchAgent.destroy();
    },
  };

  function followWatch(call: Call, { onEvent, onEnd }: WatchOptions): { close(): void } {
    const abort = new AbortController();
    let isOver = false;
    let silence: NodeJS.Timeout | undefined;
    const end = (error: Error | null): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(silence);
      abort.abort();
      onEnd(error);
    };
    const onSilence = (): void => end(unreachable(call, 'fell silent'));
    silence = setTimeout(onSilence, REQUEST_TIMEOUT_MS);
    const follow = async (): Promise<void> => {
      const incoming = await open(call, watchAgent, abort.signal);
      const status = incoming.statusCode ?? 0;
      onRequest({ verb: call.verb, kind: call.kind, status });
      if (status !== 200)
        throw new ApiError(call.action, status, parseBody(await readText(incoming), incoming), retryAfterMs(incoming));
      clearTimeout(silence);
      silence = setTimeout(onSilence, WATCH_SILENCE_MS);
      const lines = createLineReader((line) => {
        if (!isOver) onEvent(parseEvent(call, line));
      }, WATCH_LINE_LENGTH_MAX);
      for await (const chunk of incoming as AsyncIterable<Buffer>) {
        silence.refresh();
        lines.push(chunk);
      }
    };
    follow().then(
      () => end(null),
      (error: Error) => {
        const isKnown = error instanceof ApiError || error instanceof ApiUnreachableError;
        end(isKnown ? error : unreachable(call, `failed (${error.message})`, error));
      },
    );
    return {
      close() {
        isOver = true;
        clearTimeout(silence);
        abort.abort();
      },
    };
  }

  function parseEvent(call: Call, line: string): WatchEvent {
    const { type, object } = watchEventSchema.parse(JSON.parse(line));
    if (type === 'ERROR') throw new ApiError(call.action, errorCode(object), object);
    if (type === 'BOOKMARK') return { type, resourceVersion: bookmarkSchema.parse(object).metadata.resourceVersion };
    return { type, object: parseObject(call, object) };
  }
}

const watchEventSchema = z.looseObject({
  type: z.enum(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']),
  object: z.unknown(),
});
const bookmarkSchema = z.looseObject({ metadata: z.looseObject({ resourceVersion: z.string() }) });

function errorCode(status: unknown): number {
  const { code } = (status ?? {}) as { code?: unknown };
  return typeof code === 'number' ? code : 500;
}

/** @returns where an object of ours is served. */
export function refOf(object: NamedObject): ObjectRef {
  return { kind: kindOfObject(object), namespace: object.metadata.namespace ?? null, name: object.metadata.name };
}

function selection(options: Pick<ListOptions, 'labelSelector' | 'fieldSelector'>): URLSearchParams {
  return new URLSearchParams({
    ...(options.labelSelector === undefined ? {} : { labelSelector: options.labelSelector }),
    ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector }),
  });
}

async function readText(incoming: IncomingMessage): Promise<string> {
  return (await readBounded(incoming, ANSWER_BYTES_MAX)).toString('utf8');
}

/** Text stays text: a log, or the words of something between us and the server. */
function parseBody(text: string, incoming: IncomingMessage): unknown {
  if (!(incoming.headers['content-type'] ?? '').startsWith('application/json')) return text;
  return JSON.parse(text);
}

function retryAfterMs(incoming: IncomingMessage): number | null {
  const seconds = Number(incoming.headers['retry-after'] ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}
