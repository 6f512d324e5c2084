/**
 * One attempt to open a connection to one backend, up to its first answer: connect, send the opening bytes, wait.
 * "Connected" alone proves nothing: the kernel of a frozen server completes the TCP handshake, so one deadline covers the
 * answer as well, and only a backend that answered gets a client.
 */
import type { Endpoint } from '../../api/agent-config.ts';
import { DirectReadSocket } from '../../base/direct-read-socket.ts';
import { KEEPALIVE_MS } from '../../core/routing/limits.ts';

/** How the client opened: SSLRequest is answered with one byte, direct TLS with TLS records. */
export type TlsOpening = 'ssl-request' | 'direct-tls';

export interface AttemptOptions {
  readonly endpoint: Endpoint;
  readonly sourceAddress: string | null;
  readonly opening: TlsOpening;
  /** What is sent first: the SSLRequest alone, or the ClientHello. */
  readonly bytes: Buffer;
  readonly timeoutMs: number;
}

export type AttemptFailure =
  /** A kernel answers, and nobody listens. */
  | 'refused'
  /** No route, no such name. */
  | 'unreachable'
  | 'timeout'
  | 'closed'
  /** It answered the SSLRequest with `N`: its TLS is off. */
  | 'tls-off'
  /** It answered with an ErrorResponse (it could not fork, …) or with bytes that are no answer. */
  | 'bad-answer';

export type AttemptResult =
  /** `answer` goes to the client as it is. Reading is paused; errors of the socket are the receiver's from now on. */
  | { readonly kind: 'open'; readonly backend: DirectReadSocket; readonly answer: Buffer }
  | { readonly kind: 'failed'; readonly failure: AttemptFailure; readonly message: string };

export interface Attempt {
  /** Ends it; `onResult` is not called any more. */
  cancel(): void;
}

/** Calls `onResult` once, in at most `timeoutMs`, never before it returned. */
export function attemptBackend(options: AttemptOptions, onResult: (result: AttemptResult) => void): Attempt {
  const { endpoint, sourceAddress, opening, bytes, timeoutMs } = options;
  let settled = false;
  const settle = (result: AttemptResult | null): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    backend.socket.off('error', onError).off('end', onEnd).off('close', onEnd);
    if (result?.kind !== 'open') backend.socket.on('error', () => {}).destroy();
    if (result !== null) onResult(result);
  };
  const fail = (failure: AttemptFailure, message: string): void => settle({ kind: 'failed', failure, message });
  const onError = (error: NodeJS.ErrnoException): void =>
    fail(FAILURES[error.code ?? ''] ?? 'unreachable', error.message);
  const onEnd = (): void => fail('closed', 'it closed the connection without an answer');
  const backend = DirectReadSocket.connect(
    {
      host: endpoint.address ?? endpoint.host,
      port: endpoint.port,
      ...(sourceAddress === null ? {} : { localAddress: sourceAddress }),
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_MS,
    },
    (chunk) => {
      const failure = opening === 'ssl-request' ? judgeSslAnswer(chunk) : null;
      if (failure !== null) return fail(failure, answerMessage[failure]);
      backend.socket.pause();
      settle({ kind: 'open', backend, answer: Buffer.from(chunk) });
    },
  );
  const timer = setTimeout(() => fail('timeout', `no answer within ${timeoutMs} ms`), timeoutMs);
  backend.socket.on('error', onError).on('end', onEnd).on('close', onEnd);
  backend.socket.write(bytes);
  return { cancel: () => settle(null) };
}

const FAILURES: Readonly<Record<string, AttemptFailure>> = {
  ECONNREFUSED: 'refused',
  ECONNRESET: 'closed',
  EPIPE: 'closed',
  ETIMEDOUT: 'timeout',
};

const YES = 'S'.charCodeAt(0);
const NO = 'N'.charCodeAt(0);

/** Exactly one byte: anything after it came before TLS and must never be taken for its content (CVE-2021-23222). */
function judgeSslAnswer(answer: Buffer): 'tls-off' | 'bad-answer' | null {
  if (answer.length !== 1) return 'bad-answer';
  if (answer[0] === YES) return null;
  return answer[0] === NO ? 'tls-off' : 'bad-answer';
}

const answerMessage = {
  'tls-off': 'its TLS is off',
  'bad-answer': 'it answered the request for TLS with an error',
} as const;
