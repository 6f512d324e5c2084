/**
 * A pod as the vantage of the command line: `pgspan vantage` runs beside PostgreSQL for as long as it is asked, with the pod's
 * own certificate. Why exec and not a port-forward with a key of the person: docs/decisions/reaching-agents-in-pods.md.
 *
 * A pod that is frozen takes an exec and says nothing, so others are tried when the first has not greeted.
 */
import { dirname, join } from 'node:path/posix';
import { setTimeout as delay } from 'node:timers/promises';
import { EXAMINATION_TIMEOUT_MS } from '../../api/edge-facts.ts';
import { type RemoteVantage, vantageOverLines } from '../vantage-lines.ts';
import type { AgentQuestion, Vantage } from '../vantage.ts';
import type { KubeDial } from './kubeconfig.ts';
import { execInPod, type ExecSession } from './pod-exec.ts';
import type { GroupPod } from './pods.ts';

/** Node starts in the pod in a quarter of a second; a busy machine takes several times that. Then another pod is tried beside. */
const NEXT_POD_AFTER_MS = 2000;
const GREETING_TIMEOUT_MS = 8000;
const STDERR_CHARS_MAX = 2000;

export interface PodVantage extends Vantage {
  /** False: the session broke, and another pod is to be tried. */
  readonly isUsable: boolean;
  close(): void;
}

interface Session {
  readonly pod: string;
  readonly vantage: RemoteVantage;
  readonly exec: ExecSession;
}

/** Begins nothing before the first question. @param pods those to try, the best first. */
export function vantageInPod(dial: KubeDial, pods: readonly GroupPod[]): PodVantage {
  let opening: Promise<Session> | null = null;
  let isUsable = true;
  let isClosed = false;
  const session = (): Promise<Session> => {
    opening ??= openFirst(dial, pods, () => {
      isUsable = false;
    });
    return opening;
  };
  const through = async <T>(work: (vantage: Vantage) => Promise<T>): Promise<T> => {
    try {
      return await work((await session()).vantage);
    } catch (error) {
      // Not opened at all: the next look at the cluster tries again.
      if (opening !== null && (await isRejected(opening))) isUsable = false;
      throw error;
    }
  };
  const close = (): void => {
    isClosed = true;
    opening?.then(
      ({ exec }) => exec.close(),
      () => {},
    );
  };
  return {
    name: pods[0]?.node ?? 'here',
    get isUsable() {
      return isUsable && !isClosed;
    },
    ask: (question: AgentQuestion) => through((vantage) => withDeadline(vantage.ask(question), question.timeoutMs)),
    examine: (questions) => through((vantage) => withDeadline(vantage.examine(questions), EXAMINATION_TIMEOUT_MS)),
    close,
  };
}

async function isRejected(promise: Promise<unknown>): Promise<boolean> {
  return await promise.then(
    () => false,
    () => true,
  );
}

/** The question's own deadline runs in the pod; this one is for a pod that froze or was cut off meanwhile. */
const WAY_MS = 2000;

async function withDeadline<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  const timer = new AbortController();
  const late = delay(timeoutMs + WAY_MS, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`the pod that was asked through gave no answer within ${timeoutMs + WAY_MS} ms`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
  }
}

/** The first pod that greets. Each next one begins when the one before it has failed, or is slow; late ones are ended. */
function openFirst(dial: KubeDial, pods: readonly GroupPod[], onEnd: () => void): Promise<Session> {
  return new Promise((resolve, reject) => {
    const failures: string[] = [];
    let isDecided = false;
    let tried = 0;
    let underWay = 0;
    const tryNext = (): void => {
      const pod = pods[tried];
      if (isDecided) return;
      if (pod === undefined) {
        if (underWay === 0) reject(new Error(failures.join('; ') || 'no pod runs that could be asked through'));
        return;
      }
      tried += 1;
      underWay += 1;
      const timer = setTimeout(tryNext, NEXT_POD_AFTER_MS);
      const settled = (): void => {
        clearTimeout(timer);
        underWay -= 1;
      };
      openIn(dial, pod, onEnd).then(
        (session) => {
          settled();
          if (isDecided) return session.exec.close();
          isDecided = true;
          resolve(session);
        },
        (error: Error) => {
          settled();
          failures.push(`${pod.name}: ${error.message}`);
          tryNext();
        },
      );
    };
    tryNext();
  });
}

async function openIn(dial: KubeDial, pod: GroupPod, onEnd: () => void): Promise<Session> {
  const [program, config] = pod.command;
  if (program === undefined || config === undefined) throw new Error('its container was not started by pgspan');
  const greeting = Promise.withResolvers<void>();
  let errors = '';
  let send: (line: Buffer) => void = () => {};
  const vantage = vantageOverLines(pod.node ?? pod.name, (line) => send(line), greeting.resolve);
  const exec = await execInPod(
    dial,
    {
      namespace: pod.namespace,
      pod: pod.name,
      container: pod.container,
      // Started as the agent itself was: the same program folder, the same configuration.
      command: [join(dirname(program), 'pgspan'), 'vantage', '--config', config],
      stdin: true,
      tty: false,
    },
    {
      onStdout: (chunk) => vantage.push(chunk),
      onStderr: (chunk) => {
        errors = (errors + chunk.toString('utf8')).slice(-STDERR_CHARS_MAX);
      },
    },
  );
  send = (line) => void exec.write(line);
  const ended = (error: Error): void => {
    onEnd();
    greeting.reject(error);
    vantage.fail(error);
  };
  exec.exited.then(
    (code) => ended(new Error(`the program in it ended with ${code}${errors === '' ? '' : `: ${errors.trim()}`}`)),
    (error: Error) => ended(error),
  );
  const timer = setTimeout(
    () => greeting.reject(new Error(`no answer within ${GREETING_TIMEOUT_MS} ms`)),
    GREETING_TIMEOUT_MS,
  );
  try {
    await greeting.promise;
  } catch (error) {
    exec.close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return { pod: pod.name, vantage, exec };
}
