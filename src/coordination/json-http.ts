/**
 * JSON over HTTP to one endpoint of a store: requests with a deadline, and answers that never end, one JSON text a line
 * (the record server's watch, etcd's). Connections are kept; every byte count is bounded.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { connect as connectTcp, type TcpNetConnectOpts } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import { connect as connectTls } from 'node:tls';
import { describeDialError } from '../base/dial-tls.ts';
import type { DialTarget, ReloadableTls } from '../base/mutual-tls.ts';

export interface JsonHttpOptions {
  readonly target: DialTarget;
  /** Null: plain HTTP. */
  readonly tls: Pick<ReloadableTls, 'connectOptions'> | null;
  readonly sourceAddress: string | null;
}

export interface JsonRequest {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** It may be carried out twice: sent again if a kept connection turns out to be closed. Default false. */
  readonly repeatable?: boolean;
}

export interface JsonAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface LineListener {
  /** What it throws ends the answer. */
  onLine(value: unknown): void;
  /** Once, whatever the cause: refused, cut, silent for too long, ended by the server. Not after close(). */
  onEnd(error: Error): void;
}

export interface JsonHttpClient {
  /** Throws JsonHttpError in at most `timeoutMs`. */
  request(request: JsonRequest, options: { timeoutMs: number }): Promise<JsonAnswer>;
  /** `silenceMsMax`: longest time without a byte; null when the server may be silent. */
  lines(
    request: JsonRequest,
    listener: LineListener,
    options: { timeoutMs: number; silenceMsMax: number | null },
  ): { close(): void };
  /** `https://host:port`, for messages. */
  readonly origin: string;
  close(): void;
}

/** Codes: HTTP_TIMEOUT, HTTP_FAILED, HTTP_ANSWER_INVALID. Whether the server has carried out the request, none of them tells. */
export class JsonHttpError extends Error {
  override name = 'JsonHttpError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** An answer holds the record (16 KiB at most) once or twice, in etcd's Base64. */
const ANSWER_BYTES_MAX = 256 * 1024;
/** One request at a time and a watch are usual; more than this many at once is a caller gone wrong, and waits. */
const CONNECTIONS_MAX = 8;
/** A silent connection is probed after this long, then every second; after ten probes without an answer the kernel ends it. */
const TCP_KEEPALIVE_MS = 5000;

export function createJsonHttpClient(options: JsonHttpOptions): JsonHttpClient {
  const { target, tls } = options;
  const origin = `${tls === null ? 'http' : 'https'}://${target.host}:${target.port}`;
  const agent = createTargetAgent(options);
  const protocol = tls === null ? http : https;

  const open = (request: JsonRequest): http.ClientRequest => {
    const body = encodeBody(request);
    const content =
      body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    return protocol.request({
      agent,
      host: target.host,
      port: target.port,
      method: request.method,
      path: request.path,
      headers: { ...content, ...request.headers },
    });
  };

  /** What Node or OpenSSL said, in words. */
  const failure = (error: Error): JsonHttpError => {
    if (error instanceof JsonHttpError) return error;
    return new JsonHttpError('HTTP_FAILED', describeDialError(target, error).message, { cause: error });
  };

  const exchange = (request: JsonRequest, deadlineMs: number, mayRepeat: boolean): Promise<JsonAnswer> =>
    new Promise((resolve, reject) => {
      const outgoing = open(request);
      const timer = setTimeout(
        () => {
          const message = `Cannot ask "${origin}": no answer within the time allowed`;
          outgoing.destroy(new JsonHttpError('HTTP_TIMEOUT', message));
        },
        Math.max(1, deadlineMs - performance.now()),
      );
      outgoing.once('error', (error) => {
        clearTimeout(timer);
        // The server closed a kept connection while we took it up.
        const isStale = outgoing.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET';
        if (mayRepeat && isStale) resolve(exchange(request, deadlineMs, false));
        else reject(failure(error));
      });
      outgoing.once('response', (incoming) => {
        readAnswer(incoming, origin)
          .then(resolve, (error: Error) => reject(failure(error)))
          .finally(() => clearTimeout(timer));
      });
      outgoing.end(encodeBody(request));
    });

  const follow: JsonHttpClient['lines'] = (request, listener, { timeoutMs, silenceMsMax }) => {
    const outgoing = open(request);
    let isOver = false;
    const end = (error: Error): void => {
      if (isOver) return;
      close();
      listener.onEnd(error);
    };
    const close = (): void => {
      isOver = true;
      clearTimeout(timer);
      outgoing.destroy();
    };
    const cannotWatch = (code: string, found: string): void =>
      end(new JsonHttpError(code, `Cannot watch "${origin}": it ${found}`));
    const onSilence = (): void => cannotWatch('HTTP_TIMEOUT', 'fell silent');
    let timer: NodeJS.Timeout | undefined = setTimeout(onSilence, timeoutMs);
    const lines = createLineReader((line) => {
      if (!isOver) listener.onLine(parseJson(line, origin));
    });
    outgoing.on('error', (error) => end(failure(error)));
    outgoing.once('response', (incoming) => {
      clearTimeout(timer);
      if (incoming.statusCode !== 200) return cannotWatch('HTTP_ANSWER_INVALID', `answered ${incoming.statusCode}`);
      timer = silenceMsMax === null ? undefined : setTimeout(onSilence, silenceMsMax);
      const onEnd = (): void => cannotWatch('HTTP_FAILED', 'ended the answer');
      incoming.once('end', onEnd).once('close', onEnd);
      incoming.once('error', (error) => end(failure(error)));
      incoming.on('data', (chunk: Buffer) => {
        timer?.refresh();
        try {
          lines.push(chunk);
        } catch (error) {
          // A line that is too long or no JSON, or what the listener thinks of it.
          end(error as Error);
        }
      });
    });
    outgoing.end(encodeBody(request));
    return { close };
  };

  return {
    origin,
    request: (request, { timeoutMs }) => exchange(request, performance.now() + timeoutMs, request.repeatable === true),
    lines: follow,
    close: () => agent.destroy(),
  };
}

function encodeBody(request: JsonRequest): string | undefined {
  return request.body === undefined ? undefined : JSON.stringify(request.body);
}

/**
 * Keeps connections to one target. They are opened here and not by options of the request, because Node throws away a
 * connection that a request's own checkServerIdentity has judged.
 */
function createTargetAgent({ target, tls, sourceAddress }: JsonHttpOptions): http.Agent {
  const settings = {
    keepAlive: true,
    keepAliveMsecs: TCP_KEEPALIVE_MS,
    maxSockets: CONNECTIONS_MAX,
    maxFreeSockets: 1,
  };
  const agent = tls === null ? new http.Agent(settings) : new https.Agent(settings);
  agent.createConnection = () => {
    const socket =
      tls === null
        ? connectTcp(tcpOptions(target, sourceAddress))
        : connectTls(tls.connectOptions(target, { sourceAddress }));
    return socket.setNoDelay(true).setKeepAlive(true, TCP_KEEPALIVE_MS);
  };
  return agent;
}

function tcpOptions({ host, address, port }: DialTarget, sourceAddress: string | null): TcpNetConnectOpts {
  return { host: address ?? host, port, ...(sourceAddress === null ? {} : { localAddress: sourceAddress }) };
}

async function readAnswer(incoming: http.IncomingMessage, origin: string): Promise<JsonAnswer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) {
      incoming.destroy();
      throw new JsonHttpError(
        'HTTP_ANSWER_INVALID',
        `Cannot read the answer of "${origin}": over ${ANSWER_BYTES_MAX} bytes`,
      );
    }
    chunks.push(chunk);
  }
  return { status: incoming.statusCode ?? 0, body: parseJson(Buffer.concat(chunks).toString(), origin) };
}

function parseJson(text: string, origin: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new JsonHttpError('HTTP_ANSWER_INVALID', `Cannot read the answer of "${origin}": it is no JSON`, {
      cause: error,
    });
  }
}

/** Splits bytes into lines; empty ones (keep-alives) are passed over. `push` throws when a line grows too long. */
export function createLineReader(
  onLine: (line: string) => void,
  lineLengthMax = ANSWER_BYTES_MAX,
): { push(chunk: Buffer): void } {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  return {
    push(chunk) {
      const lines = (rest + decoder.write(chunk)).split('\n');
      rest = lines.pop() as string;
      for (const line of lines) if (line.trim() !== '') onLine(line);
      if (rest.length > lineLengthMax) {
        throw new JsonHttpError('HTTP_ANSWER_INVALID', `Cannot read a line: it has over ${lineLengthMax} characters`);
      }
    },
  };
}
