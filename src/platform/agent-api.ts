/**
 * Asks an agent over HTTPS: health without a certificate, status and orders with one. Every request has a deadline over
 * all of it, because the kernel of a frozen agent still completes the TCP handshake.
 */
import { request } from 'node:https';
import type { DialTarget, ReloadableTls } from '../base/mutual-tls.ts';
import { describeDialError } from '../base/dial-tls.ts';
import { readBounded } from '../base/read-bounded.ts';

export interface AgentAnswer {
  readonly status: number;
  /** Parsed JSON, or null if the body was none. */
  readonly body: unknown;
}

export interface AgentRequest {
  readonly target: DialTarget;
  readonly credentials: ReloadableTls;
  readonly method?: 'GET' | 'POST' | 'PUT';
  /** Such as `/v1/status`. */
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

/** A status of 64 nodes is under 64 KiB. */
const ANSWER_BYTES_MAX = 1024 * 1024;

/** Throws DialError. An answer other than 200 is an answer. */
export function askAgent(options: AgentRequest): Promise<AgentAnswer> {
  const { target, credentials, timeoutMs } = options;
  const text = options.body === undefined ? '' : JSON.stringify(options.body);
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(describeDialError(target, error));
    const outgoing = request(
      {
        ...credentials.connectOptions(target),
        agent: false,
        method: options.method ?? 'GET',
        path: options.path,
        headers: text === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
        signal: AbortSignal.any([
          AbortSignal.timeout(timeoutMs),
          ...(options.signal === undefined ? [] : [options.signal]),
        ]),
      },
      (response) => {
        readBounded(response, ANSWER_BYTES_MAX).then(
          (bytes) => resolve({ status: response.statusCode ?? 0, body: parseJson(bytes) }),
          fail,
        );
      },
    );
    outgoing.once('error', (error) =>
      fail(
        error.name === 'AbortError' || error.name === 'TimeoutError'
          ? new Error(`no answer within ${timeoutMs} ms`)
          : error,
      ),
    );
    outgoing.end(text);
  });
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return null;
  }
}
