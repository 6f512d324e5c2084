/**
 * A WebSocket to the API server: the way in which exec, attach and port-forward carry their streams.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/ and KEP-4006; the frames are in wire/websocket.ts.
 */
import { randomBytes } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { acceptOfKey, encodeClientFrame, OPCODE, WebSocketDecoder } from '../../wire/websocket.ts';
import type { KubeDial } from './kubeconfig.ts';
import { UserError } from '../../base/user-error.ts';

export interface WebSocketHandlers {
  onMessage(payload: Buffer): void;
  /** Once, whoever ended it. `error` null: an orderly end. */
  onClose(error: Error | null): void;
}

export interface WebSocketConnection {
  /** The subprotocol that the server chose. */
  readonly protocol: string;
  /** A binary message. @returns false when the other side does not keep up: wait for `drained`. */
  send(payload: Buffer): boolean;
  drained(): Promise<void>;
  /** Stops reading, and goes on: back-pressure. */
  pause(): void;
  resume(): void;
  close(): void;
}

/** The API server sends at most 32 KiB of a stream in one frame; a Status is smaller. */
const MESSAGE_BYTES_MAX = 1024 * 1024;
const OPEN_TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 64 * 1024;

/**
 * @param options.path with query. @param options.action for messages: `run a command in pod "leo-1-0"`.
 * Throws UserError KUBE_UNREACHABLE, KUBE_REFUSED.
 */
export async function openWebSocket(
  dial: KubeDial,
  options: { readonly path: string; readonly protocols: readonly string[]; readonly action: string },
  handlers: WebSocketHandlers,
): Promise<WebSocketConnection> {
  const { path, protocols, action } = options;
  const key = randomBytes(16).toString('base64');
  const headers = {
    ...(await dial.headers()),
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': key,
    'sec-websocket-protocol': protocols.join(', '),
  };
  const { server } = dial;
  const base = server.pathname.replace(/\/$/, '');
  const send = server.protocol === 'http:' ? httpRequest : httpsRequest;
  const outgoing = send({
    ...dial.tls,
    agent: false,
    hostname: server.hostname.replace(/^\[|\]$/g, ''),
    port: server.port === '' ? (server.protocol === 'http:' ? 80 : 443) : Number(server.port),
    path: `${base}${path}`,
    headers,
  });
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => outgoing.destroy(new Error(`no answer within ${OPEN_TIMEOUT_MS} ms`)),
      OPEN_TIMEOUT_MS,
    );
    outgoing.once('error', (error) => {
      clearTimeout(timer);
      reject(unreachable(action, server, error));
    });
    outgoing.once('response', (response) => {
      void refusal(response, action).then((error) => {
        clearTimeout(timer);
        reject(error);
      });
    });
    outgoing.once('upgrade', (response, socket, head) => {
      clearTimeout(timer);
      const protocol = String(response.headers['sec-websocket-protocol'] ?? '');
      const isAccepted = response.headers['sec-websocket-accept'] === acceptOfKey(key) && protocols.includes(protocol);
      if (isAccepted) return resolve(startConnection(socket as Socket, head, protocol, handlers));
      socket.destroy();
      reject(unreachable(action, server, new Error(`it answered with the protocol "${protocol}"`)));
    });
    outgoing.end();
  });
}

async function refusal(response: IncomingMessage, action: string): Promise<UserError> {
  let text = '';
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      text += chunk.toString('utf8');
      if (text.length > ANSWER_BYTES_MAX) break;
    }
  } catch {
    // What came so far has to do.
  }
  return refused(action, response.statusCode ?? 0, text);
}

function unreachable(action: string, server: URL, cause: Error): UserError {
  return new UserError({
    code: 'KUBE_UNREACHABLE',
    message: `Cannot ${action}: the API server at ${server.origin} cannot be reached: ${cause.message}`,
    todo: 'Check the context (`kubectl config get-contexts`, --context) and the way to the API server (`kubectl version`).',
    cause,
  });
}

/** @param text a Status of Kubernetes, or whatever a proxy before the API server says. */
function refused(action: string, status: number, text: string): UserError {
  const message = statusMessage(text);
  return new UserError({
    code: 'KUBE_REFUSED',
    kind: status === 403 || status === 401 ? 'missing' : 'failed',
    message: `Cannot ${action}: the API server answered ${status}: ${message}`,
    todo:
      status === 403
        ? 'Ask for the right that it names (docs/connecting.md lists those that pgspan uses), or use another --context.'
        : 'Look at the pod (`kubectl describe pod`), and try again.',
  });
}

function statusMessage(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === 'string') return message.slice(0, 500);
  } catch {
    // No Status: its own words.
  }
  return text.trim().slice(0, 300);
}

function startConnection(
  socket: Socket,
  head: Buffer,
  protocol: string,
  { onMessage, onClose }: WebSocketHandlers,
): WebSocketConnection {
  const decoder = new WebSocketDecoder({ messageBytesMax: MESSAGE_BYTES_MAX });
  const write = (opcode: number, payload: Buffer) => socket.write(encodeClientFrame(opcode, payload, randomBytes(4)));
  let isClosed = false;
  const close = (error: Error | null): void => {
    if (isClosed) return;
    isClosed = true;
    // Our own close frame, then the end; an API server that does not read any more must not hold us.
    if (!socket.destroyed && socket.writable) write(OPCODE.close, Buffer.from([0x03, 0xe8]));
    socket.end();
    socket.destroySoon();
    onClose(error);
  };
  const onData = (chunk: Buffer): void => {
    try {
      decoder.push(chunk, ({ opcode, payload }) => {
        if (isClosed) return;
        if (opcode === OPCODE.ping) write(OPCODE.pong, payload);
        else if (opcode === OPCODE.close) close(closeError(payload));
        else if (opcode !== OPCODE.pong) onMessage(payload);
      });
    } catch (error) {
      close(error as Error);
    }
  };
  socket.setNoDelay(true);
  socket.setKeepAlive(true, 15_000);
  socket.on('error', (error) => close(error));
  socket.on('close', () => close(new Error('the API server closed the connection')));
  socket.on('data', onData);
  // After the caller has the connection: what came with the answer may be its first message.
  if (head.length > 0) queueMicrotask(() => onData(head));
  return {
    protocol,
    send: (payload) => !isClosed && write(OPCODE.binary, payload),
    drained: () =>
      new Promise((resolve) => {
        if (socket.destroyed || !socket.writableNeedDrain) return resolve();
        const done = () => {
          socket.removeListener('drain', done);
          socket.removeListener('close', done);
          resolve();
        };
        socket.once('drain', done);
        socket.once('close', done);
      }),
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    close: () => close(null),
  };
}

/** 1000: normal. Others come with a reason of the server. */
function closeError(payload: Buffer): Error | null {
  const code = payload.length >= 2 ? payload.readUInt16BE(0) : 1000;
  if (code === 1000) return null;
  return new Error(`the API server ended the stream (${code} ${payload.toString('utf8', 2)})`.replace(/ \)$/, ')'));
}
