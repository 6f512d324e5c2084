/**
 * Requests to the API server of the current context of KUBECONFIG, as its user, and a namespace for the time of a test. No
 * client library: what a test checks must not stand on the client that is checked.
 */
import { randomBytes } from 'node:crypto';
import { request } from 'node:https';
import { type KubeDial, openKubeContext } from '../../src/platform/kubernetes/kubeconfig.ts';

export interface TestKube {
  /** `https://...` of the API server, and how to verify it. */
  readonly dial: KubeDial;
  /** Name of a fresh namespace; deleted with everything in it at the end. */
  readonly namespace: string;
  /** The answer's body. Throws when the status is not 2xx. */
  call(method: Method, path: string, body?: unknown): Promise<unknown>;
  /** The answer, whatever it is. */
  ask(method: Method, path: string, options?: AskOptions): Promise<KubeAnswer>;
  [Symbol.asyncDispose](): Promise<void>;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface AskOptions {
  readonly body?: unknown;
  /** Default: JSON, and a merge patch for PATCH. */
  readonly contentType?: string;
  /** Default: what the server likes best. */
  readonly accept?: string;
  /** In the name of this user, as `kubectl --as` does. */
  readonly as?: string;
}

export interface KubeAnswer {
  readonly status: number;
  /** Parsed JSON. */
  readonly body: unknown;
  /** What kubectl would print as warnings; null: none. */
  readonly warning: string | null;
}

const ANSWER_TIMEOUT_MS = 15_000;

export async function openTestKube(): Promise<TestKube> {
  const { dial } = await openKubeContext({});
  const namespace = `pgspan-test-${randomBytes(4).toString('hex')}`;
  const ask: TestKube['ask'] = (method, path, options = {}) => askApi(dial, method, path, options);
  const call: TestKube['call'] = async (method, path, body) => {
    const answer = await ask(method, path, { body });
    if (answer.status >= 200 && answer.status < 300) return answer.body;
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 500)}`);
  };
  await call('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  return {
    dial,
    namespace,
    call,
    ask,
    async [Symbol.asyncDispose]() {
      await call('DELETE', `/api/v1/namespaces/${namespace}`);
    },
  };
}

async function askApi(
  dial: KubeDial,
  method: Method,
  path: string,
  { body, contentType, accept, as }: AskOptions,
): Promise<KubeAnswer> {
  const text = body === undefined ? '' : JSON.stringify(body);
  const headers = {
    ...(await dial.headers()),
    'content-type': contentType ?? (method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'),
    'content-length': Buffer.byteLength(text),
    ...(accept === undefined ? {} : { accept }),
    ...(as === undefined ? {} : { 'impersonate-user': as }),
  };
  const url = new URL(path, dial.server);
  return await new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      { ...dial.tls, agent: false, method, headers, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) },
      (incoming) => {
        let answer = '';
        incoming.setEncoding('utf8').on('data', (chunk: string) => {
          answer += chunk;
        });
        incoming.once('error', reject).once('end', () => {
          const warning = incoming.headers.warning ?? null;
          resolve({ status: incoming.statusCode ?? 0, body: JSON.parse(answer), warning });
        });
      },
    );
    outgoing.once('error', reject).end(text);
  });
}
