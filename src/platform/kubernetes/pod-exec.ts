/**
 * Runs a command in a container, over the API server's WebSocket. Each message begins with the number of its stream:
 * 0 stdin, 1 stdout, 2 stderr, 3 the outcome (a Status, the last one), 4 the terminal's size, 255 "this stream has ended".
 * https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go
 */
import type { KubeDial } from './kubeconfig.ts';
import { openWebSocket, type WebSocketConnection } from './websocket-client.ts';

export interface PodExec {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
  /** A program and its arguments; no shell. They stand in the API server's audit log: never a secret. */
  readonly command: readonly string[];
  readonly stdin: boolean;
  readonly tty: boolean;
}

export interface ExecHandlers {
  onStdout(chunk: Buffer): void;
  onStderr(chunk: Buffer): void;
}

export interface ExecSession {
  /** @returns false: wait for `drained` before the next one. */
  write(chunk: Buffer): boolean;
  drained(): Promise<void>;
  /** End of stdin. The API server before 1.30 (v4) cannot say it alone: the whole session ends. */
  endStdin(): void;
  resize(size: { readonly columns: number; readonly rows: number }): void;
  pause(): void;
  resume(): void;
  /** Exit code of the command. Rejects when the stream broke before it was told. */
  readonly exited: Promise<number>;
  close(): void;
}

const STREAM = { stdin: 0, stdout: 1, stderr: 2, outcome: 3, size: 4, close: 255 } as const;
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
/** One message; larger ones only wait in buffers on the way. */
const CHUNK_BYTES_MAX = 32 * 1024;

/** Throws UserError KUBE_UNREACHABLE, KUBE_REFUSED. */
export async function execInPod(dial: KubeDial, exec: PodExec, handlers: ExecHandlers): Promise<ExecSession> {
  const { promise: exited, resolve, reject } = Promise.withResolvers<number>();
  exited.catch(() => {}); // whoever asks is told
  const connection = await openWebSocket(
    dial,
    { path: execPath(exec), protocols: PROTOCOLS, action: `run a command in pod "${exec.pod}"` },
    {
      onMessage: (message) => {
        const payload = message.subarray(1);
        // Each stream begins with an empty message.
        if (payload.length === 0) return;
        if (message[0] === STREAM.stdout) handlers.onStdout(payload);
        else if (message[0] === STREAM.stderr) handlers.onStderr(payload);
        else if (message[0] === STREAM.outcome) settle(payload, resolve, reject);
      },
      onClose: (error) => reject(error ?? new Error('the stream ended before the command did')),
    },
  );
  return sessionOver(connection, exited);
}

function sessionOver(connection: WebSocketConnection, exited: Promise<number>): ExecSession {
  const send = (stream: number, payload: Buffer) => connection.send(Buffer.concat([Buffer.from([stream]), payload]));
  return {
    write: (chunk) => {
      let isKeepingUp = true;
      for (let at = 0; at < chunk.length; at += CHUNK_BYTES_MAX)
        isKeepingUp = send(STREAM.stdin, chunk.subarray(at, at + CHUNK_BYTES_MAX));
      return isKeepingUp;
    },
    drained: () => connection.drained(),
    endStdin: () => {
      if (connection.protocol === PROTOCOLS[0]) send(STREAM.close, Buffer.from([STREAM.stdin]));
      else connection.close();
    },
    resize: ({ columns, rows }) =>
      void send(STREAM.size, Buffer.from(JSON.stringify({ Width: columns, Height: rows }))),
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    exited,
    close: () => connection.close(),
  };
}

function execPath({ namespace, pod, container, command, stdin, tty }: PodExec): string {
  const query = new URLSearchParams([
    ['container', container],
    ['stdin', String(stdin)],
    ['stdout', 'true'],
    // A terminal has one output.
    ['stderr', String(!tty)],
    ['tty', String(tty)],
    ...command.map((word): [string, string] => ['command', word]),
  ]);
  return `/api/v1/namespaces/${namespace}/pods/${pod}/exec?${query}`;
}

interface ExecOutcome {
  readonly status?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] };
}

/** `Success`, `NonZeroExitCode` with the code among the causes, or why the command could not be started. */
function settle(payload: Buffer, resolve: (code: number) => void, reject: (error: Error) => void): void {
  let outcome: ExecOutcome;
  try {
    outcome = JSON.parse(payload.toString('utf8')) as ExecOutcome;
  } catch {
    return reject(new Error(payload.toString('utf8').slice(0, 500)));
  }
  if (outcome.status === 'Success') return resolve(0);
  const code = outcome.details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (outcome.reason === 'NonZeroExitCode' && code !== undefined) return resolve(Number(code));
  reject(new Error(outcome.message ?? 'the command could not be started'));
}
