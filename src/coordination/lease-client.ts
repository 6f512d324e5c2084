/**
 * One Lease of the Kubernetes API and nothing else: read, replace, watch. Small on purpose: agents need no more, and may do no
 * more (design.md section 9).
 *
 * Token and CA are files that the kubelet renews; they are read again for each request, which are few.
 */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import * as tls from 'node:tls';
import * as z from 'zod';
import type { DialTarget, ReloadableTls } from '../base/mutual-tls.ts';
import { createJsonHttpClient, type LineListener } from './json-http.ts';
import { StoreUnavailableError } from './store.ts';

export interface LeaseClientOptions {
  /** The API server; null: where Kubernetes' environment variables say, which every container has. */
  readonly target: DialTarget | null;
  readonly namespace: string;
  readonly name: string;
  /** Path of the service account's token. */
  readonly tokenFile: string;
  /** PEM path: the CA of the API server. */
  readonly caFile: string;
}

/** Fields that are not ours are kept as they came. */
const leaseSchema = z.looseObject({
  metadata: z.looseObject({
    resourceVersion: z.string().min(1).max(128),
    annotations: z.record(z.string(), z.string()).optional(),
  }),
  spec: z.looseObject({}).optional(),
});
export type LeaseObject = z.infer<typeof leaseSchema>;

const statusSchema = z.looseObject({ message: z.string().optional(), reason: z.string().optional() });

const watchEventSchema = z.looseObject({
  // No BOOKMARK: they come when asked for only, and their object is none.
  type: z.enum(['ADDED', 'MODIFIED', 'DELETED', 'ERROR']),
  object: z.unknown(),
});

export type LeaseEvent =
  /** null: it was deleted. */
  { readonly lease: LeaseObject | null } | { readonly error: string };

export type ReplaceResult =
  | { readonly kind: 'replaced'; readonly lease: LeaseObject }
  /** There is another version of it. */
  | { readonly kind: 'conflict' }
  | { readonly kind: 'absent' };

export interface LeaseClient {
  /** `https://10.96.0.1:443, Lease orders of namespace db`, for messages. */
  readonly where: string;
  /** Linearizable; null: there is no such Lease. Throws StoreUnavailableError. */
  get(deadlineMs: number): Promise<LeaseObject | null>;
  /** Carried out only if the object is still at the resourceVersion in `lease`. Throws StoreUnavailableError. */
  replace(lease: LeaseObject, deadlineMs: number): Promise<ReplaceResult>;
  /** First the present object, if there is one, then each change. `onEnd` once, not after close(). */
  watch(onEvent: (event: LeaseEvent) => void, onEnd: (error: Error) => void, timeoutMs: number): { close(): void };
  close(): void;
}

/** The server ends a watch after this long, so that servers that come and go share the load. */
const WATCH_SECONDS = 1800;
const FILE_BYTES_MAX = 256 * 1024;
const FIELD_MANAGER = 'pgspan-agent';

export function createLeaseClient(options: LeaseClientOptions): LeaseClient {
  const target = options.target ?? targetOfEnvironment();
  const collection = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(options.namespace)}/leases`;
  const path = `${collection}/${encodeURIComponent(options.name)}`;
  const authority = createAuthority();
  const http = createJsonHttpClient({ target, tls: authority, sourceAddress: null });
  const where = `${http.origin}, Lease "${options.name}" of namespace "${options.namespace}"`;

  const credentials = async (): Promise<Record<string, string>> => {
    const [token, ca] = await Promise.all([readSmall(options.tokenFile), readSmall(options.caFile)]);
    authority.trust(ca);
    return { authorization: `Bearer ${token.trim()}`, accept: 'application/json' };
  };

  const ask = async (
    request: { method: 'GET' | 'PUT'; path: string; body?: unknown },
    deadlineMs: number,
  ): Promise<{ status: number; body: unknown }> => {
    try {
      const headers = await credentials();
      const timeoutMs = Math.max(1, deadlineMs - performance.now());
      return await http.request({ ...request, headers, repeatable: true }, { timeoutMs });
    } catch (error) {
      throw new StoreUnavailableError((error as Error).message, { cause: error });
    }
  };

  const parse = (body: unknown): LeaseObject => {
    const parsed = leaseSchema.safeParse(body);
    if (parsed.success) return parsed.data;
    throw new StoreUnavailableError(`"${where}" answered with something that is no Lease`);
  };

  return {
    where,
    async get(deadlineMs) {
      const { status, body } = await ask({ method: 'GET', path }, deadlineMs);
      if (status === 404) return null;
      if (status !== 200) throw refusal(where, status, body);
      return parse(body);
    },
    async replace(lease, deadlineMs) {
      const { managedFields: _, ...metadata } = lease.metadata;
      const request = {
        method: 'PUT' as const,
        path: `${path}?fieldManager=${FIELD_MANAGER}`,
        body: { ...lease, metadata },
      };
      const { status, body } = await ask(request, deadlineMs);
      if (status === 409) return { kind: 'conflict' };
      if (status === 404) return { kind: 'absent' };
      if (status !== 200) throw refusal(where, status, body);
      return { kind: 'replaced', lease: parse(body) };
    },
    watch(onEvent, onEnd, timeoutMs) {
      // Without a resourceVersion: from the present state on. That of an old object may be compacted away.
      const query = new URLSearchParams({
        watch: 'true',
        fieldSelector: `metadata.name=${options.name}`,
        timeoutSeconds: String(WATCH_SECONDS),
      });
      let isClosed = false;
      let stream: { close(): void } | null = null;
      const listener: LineListener = { onLine: (line) => onEvent(decodeEvent(line)), onEnd };
      credentials().then(
        (headers) => {
          if (isClosed) return;
          const request = { method: 'GET' as const, path: `${collection}?${query}`, headers };
          stream = http.lines(request, listener, { timeoutMs, silenceMsMax: null });
        },
        (error: Error) => {
          if (!isClosed) onEnd(error);
        },
      );
      return {
        close() {
          isClosed = true;
          stream?.close();
        },
      };
    },
    close: () => http.close(),
  };
}

function decodeEvent(line: unknown): LeaseEvent {
  const { type, object } = watchEventSchema.parse(line);
  switch (type) {
    case 'ERROR':
      return { error: statusSchema.safeParse(object).data?.message ?? 'no reason given' };
    case 'DELETED':
      return { lease: null };
    case 'ADDED':
    case 'MODIFIED':
      return { lease: leaseSchema.parse(object) };
  }
}

function refusal(where: string, status: number, body: unknown): StoreUnavailableError {
  const words = (statusSchema.safeParse(body).data?.message ?? '').slice(0, 300);
  return new StoreUnavailableError(`"${where}" answered ${status} (${words})`);
}

/** Verifies the API server by the CA that was read last; no certificate of ours is shown, the token says who we are. */
function createAuthority(): Pick<ReloadableTls, 'connectOptions'> & { trust(ca: string): void } {
  let trusted = '';
  let secureContext: tls.SecureContext | undefined;
  return {
    trust(ca) {
      if (ca === trusted) return;
      secureContext = tls.createSecureContext({ ca, minVersion: 'TLSv1.2' });
      trusted = ca;
    },
    connectOptions: ({ host, address, port }) => ({
      host: address ?? host,
      port,
      servername: isIP(host) === 0 ? host : '',
      secureContext,
      rejectUnauthorized: true,
      checkServerIdentity: (_dialled, certificate) => tls.checkServerIdentity(host, certificate),
    }),
  };
}

/** https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api: an address, so no name server is needed. */
/** The Kubernetes API as every container is told of it. Throws StoreUnavailableError. */
export function targetOfEnvironment(): DialTarget {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT_HTTPS: port } = process.env;
  if (host === undefined || host === '') {
    throw new StoreUnavailableError(
      'Cannot reach the Kubernetes API: KUBERNETES_SERVICE_HOST is not set; run the agent in a pod, or give the store an endpoint',
    );
  }
  return { host, address: null, port: Number(port ?? 443) };
}

async function readSmall(path: string): Promise<string> {
  const text = await readFile(path, 'utf8');
  if (text.length > FILE_BYTES_MAX) throw new Error(`Cannot use "${path}": it has over ${FILE_BYTES_MAX} bytes`);
  return text;
}
