/** Logs of pods as the verb `logs` reads them. PostgreSQL and its agent write into one stream; the agent's lines are JSON. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';
import { UserError } from '../../base/user-error.ts';
import type { LogSource } from '../ports.ts';
import type { KubeDial } from './kubeconfig.ts';
import type { GroupPod } from './pods.ts';

const PARTS = ['agent', 'postgres'] as const;
const isAgentLine = (line: string): boolean => line.startsWith('{"level":');

/** @param target `leo-1`, `leo-1/agent`, `leo-1/postgres`, a pod, a group, or the global cluster. Throws UserError TARGET_UNKNOWN. */
export function podLogs(
  dial: KubeDial,
  pods: readonly GroupPod[],
  { target, globalCluster }: { readonly target: string; readonly globalCluster: string },
): LogSource[] {
  const [name = '', part] = target.split('/', 2);
  const isPart = part === undefined || (PARTS as readonly string[]).includes(part);
  const meant = pods.filter(
    (pod) =>
      name === pod.node || name === pod.name || (part === undefined && (name === pod.group || name === globalCluster)),
  );
  if (meant.length === 0 || !isPart) throw unknownTarget(target, pods);
  return meant.map((pod) => ({
    part: `${pod.node ?? pod.name}${part === undefined ? '' : `/${part}`}`,
    read: (options) => readPodLog(dial, pod, { ...options, part }),
  }));
}

interface ReadOptions {
  readonly lines: number;
  readonly follow: boolean;
  readonly signal: AbortSignal;
  readonly part: string | undefined;
}

async function* readPodLog(
  dial: KubeDial,
  pod: GroupPod,
  { lines, follow, signal, part }: ReadOptions,
): AsyncGenerator<string> {
  const query = new URLSearchParams({
    container: pod.container,
    tailLines: String(lines),
    follow: String(follow),
  });
  const path = `/api/v1/namespaces/${pod.namespace}/pods/${pod.name}/log?${query}`;
  const answer = await openStream(dial, path, signal, `read the log of pod "${pod.name}"`);
  for await (const line of createInterface({ input: answer, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (part === undefined || (part === 'agent') === isAgentLine(line)) yield line;
  }
}

async function openStream(dial: KubeDial, path: string, signal: AbortSignal, action: string): Promise<IncomingMessage> {
  const { server, tls } = dial;
  const headers = await dial.headers();
  const base = server.pathname.replace(/\/$/, '');
  return await new Promise((resolve, reject) => {
    const isPlain = server.protocol === 'http:';
    const outgoing = (isPlain ? httpRequest : httpsRequest)({
      ...(isPlain ? {} : tls),
      agent: false,
      host: server.hostname.replace(/^\[|\]$/g, ''),
      port: server.port === '' ? (isPlain ? 80 : 443) : Number(server.port),
      path: `${base}${path}`,
      headers,
      signal,
    });
    const fail = (found: string, cause?: unknown): void =>
      reject(
        new UserError({
          code: 'KUBE_REFUSED',
          message: `Cannot ${action}: ${found}`,
          todo: '`kubectl describe pod` says whether its container has started; `kubectl logs --previous` has the one before.',
          cause,
        }),
      );
    outgoing.once('error', (error) => fail(error.message, error));
    outgoing.once('response', (response) => {
      if (response.statusCode === 200) return resolve(response);
      response.resume();
      fail(`the API server answered ${response.statusCode}`);
    });
    outgoing.end();
  });
}

function unknownTarget(target: string, pods: readonly GroupPod[]): UserError {
  const names = [...new Set(pods.flatMap(({ group, node, name }) => [group, node ?? name]))].sort();
  return new UserError({
    code: 'TARGET_UNKNOWN',
    kind: 'not-found',
    message: `Cannot find "${target}": it is no node, group or pod of this cluster`,
    todo:
      names.length === 0
        ? 'No pod is there yet.'
        : `Name one of ${names.join(', ')}; of a node also /agent or /postgres.`,
  });
}
