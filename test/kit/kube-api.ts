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
  call(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<unknown>;
  [Symbol.asyncDispose](): Promise<void>;
}

const ANSWER_TIMEOUT_MS = 15_000;

export async function openTestKube(): Promise<TestKube> {
  const { dial } = await openKubeContext({});
  const namespace = `pgspan-test-${randomBytes(4).toString('hex')}`;
  const call: TestKube['call'] = (method, path, body) => callApi(dial, method, path, body);
  await call('POST', '/api/v1/namespaces', { metadata: { name: namespace } });
  return {
    dial,
    namespace,
    call,
    async [Symbol.asyncDispose]() {
      await call('DELETE', `/api/v1/namespaces/${namespace}`);
    },
  };
}

async function callApi(dial: KubeDial, method: string, path: string, body: unknown): Promise<unknown> {
  const text = body === undefined ? '' : JSON.stringify(body);
  const headers = {
    ...(await dial.headers()),
    'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
    'content-length': Buffer.byteLength(text),
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
          const status = incoming.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(JSON.parse(answer));
          else reject(new Error(`${method} ${path}: ${status} ${answer.slice(0, 500)}`));
        });
      },
    );
    outgoing.once('error', reject).end(text);
  });
}
