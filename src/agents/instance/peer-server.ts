/**
 * The agent's HTTPS port: the stream that other nodes and proxies subscribe to, health, status, metrics and the few orders.
 * Who may do what is decided from the certificate alone:
 *
 *   no certificate        /livez /readyz /metrics, requests to join (join-routes.ts)
 *   any of this cluster   + /v1/status, the stream (states)
 *   a node                + beats, echoes and requests on the stream
 *   operator, cli, node   + POST orders, /v1/edges
 *   any / own operator    + GET / PUT cards of groups (card-routes.ts)
 *   operators             + the application's login; the own one fetches requests to join (join-routes.ts)
 */
import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { EDGES_PATH } from '../../api/edge-facts.ts';
import {
  type BeatMessage,
  type EchoMessage,
  LINE_BYTES_MAX,
  readEcho,
  readUnknownRequest,
  type UnknownRequest,
  type RequestMessage,
  type ResponseMessage,
  type StateMessage,
  STREAM_PATH,
  STREAM_PROTOCOL,
  subscriberMessageSchema,
} from '../../api/peer-stream.ts';
import { CARDS_PATH } from '../../api/group-card.ts';
import { JOIN_PATH, OPERATOR_PATHS } from '../../api/invitation.ts';
import { peerIdentity, type ReloadableTls } from '../../base/mutual-tls.ts';
import { isNodeIdentity, type SpiffeIdentity } from '../../base/spiffe-identity.ts';
import { mayOrder } from '../may-order.ts';
import { encodeJsonLine, LineDecoder, parseJsonLine } from '../../wire/ndjson.ts';
import type { CardAnswer, CardRequest } from './card-routes.ts';
import type { JoinRoutes } from './join-routes.ts';

/** Nodes and proxies of the largest global cluster that the API allows, with room for people's tools. */
const STREAMS_MAX = 512;
const CONNECTIONS_MAX = 1024;
/** A subscriber that does not read: its stream is closed when this much waits for it. */
const UNSENT_BYTES_MAX = 256 * 1024;
const HEADERS_TIMEOUT_MS = 5000;
/** Node looks this often for requests that exceeded their time; its default of 30 s would let slow senders hold connections. */
const TIMEOUT_CHECK_INTERVAL_MS = 1000;
const BODY_BYTES_MAX = 16 * 1024;
/** A node's requests that are being answered at one time. */
const REQUESTS_PER_STREAM_MAX = 64;

export interface OrderResult {
  readonly status: number;
  readonly body: unknown;
}

export interface PeerServerHandlers {
  /** The state to send to a new subscriber. */
  state(): StateMessage;
  onEcho(node: string, echo: EchoMessage): void;
  onRequest(node: string, request: RequestMessage): Promise<Omit<ResponseMessage, 'type' | 'id'>>;
  isLive(): boolean;
  isReady(): boolean;
  status(): Promise<unknown>;
  /** This agent's own edges, tried now. */
  edges(): Promise<unknown>;
  metrics(): Promise<{ readonly contentType: string; readonly body: string }>;
  /** POST orders by path; null: no such order. */
  order(path: string, body: unknown): Promise<OrderResult | null>;
  /** GET and PUT of `/v1/cards`. */
  cards(request: CardRequest): Promise<CardAnswer>;
  readonly joining: Pick<JoinRoutes, 'visit' | 'answer'>;
  onError(error: Error, context: string): void;
}

interface Subscriber {
  readonly socket: TLSSocket;
  readonly identity: SpiffeIdentity;
  readonly isNode: boolean;
}

export class PeerServer {
  readonly #server: Server;
  readonly #subscribers = new Set<Subscriber>();
  readonly #handlers: PeerServerHandlers;
  readonly #globalCluster: string;

  constructor(options: {
    readonly globalCluster: string;
    readonly credentials: ReloadableTls;
    readonly handlers: PeerServerHandlers;
  }) {
    this.#globalCluster = options.globalCluster;
    this.#handlers = options.handlers;
    this.#server = createServer(
      {
        ...options.credentials.serverOptions(),
        // Probes have no certificate; every other path checks the identity itself.
        rejectUnauthorized: false,
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: HEADERS_TIMEOUT_MS,
        handshakeTimeout: HEADERS_TIMEOUT_MS,
        keepAliveTimeout: HEADERS_TIMEOUT_MS,
        connectionsCheckingInterval: TIMEOUT_CHECK_INTERVAL_MS,
        maxHeaderSize: 8192,
      },
      (request, response) => void this.#onRequest(request, response),
    );
    options.credentials.attach(this.#server);
    this.#server.maxConnections = CONNECTIONS_MAX;
    this.#server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket as TLSSocket, head));
    this.#server.on('tlsClientError', () => {});
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  async listen(address: string | null, port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ port, ...(address === null ? {} : { host: address }) }, () => {
        this.#server.removeListener('error', reject);
        resolve();
      });
    });
  }

  /** To every subscriber. */
  publish(state: StateMessage): void {
    const line = encodeJsonLine(state, LINE_BYTES_MAX);
    for (const subscriber of this.#subscribers) this.#send(subscriber, line);
  }

  /** To the nodes. */
  beat(beat: BeatMessage): void {
    const line = encodeJsonLine(beat, LINE_BYTES_MAX);
    for (const subscriber of this.#subscribers) if (subscriber.isNode) this.#send(subscriber, line);
  }

  get subscriberCount(): number {
    return this.#subscribers.size;
  }

  async close(): Promise<void> {
    for (const { socket } of this.#subscribers) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #send(subscriber: Subscriber, line: Buffer): void {
    if (subscriber.socket.writableLength > UNSENT_BYTES_MAX) subscriber.socket.destroy();
    else subscriber.socket.write(line);
  }

  /** A refusal is told to the other side, whose owner can do something about it. */
  #identify(socket: TLSSocket): { readonly identity: SpiffeIdentity } | { readonly refusal: string } {
    const identity = peerIdentity(socket);
    if (identity?.globalCluster === this.#globalCluster) return { identity };
    if (identity !== null)
      return {
        refusal: `The client certificate is of global cluster "${identity.globalCluster}", this is "${this.#globalCluster}"`,
      };
    return {
      refusal: `A client certificate of global cluster "${this.#globalCluster}" is needed: ${certificateProblem(socket)}`,
    };
  }

  #onUpgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): void {
    const refuse = (status: string, error: string): void => {
      const body = `${JSON.stringify({ error })}\n`;
      socket.end(
        `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
    };
    socket.on('error', () => socket.destroy());
    const visitor = this.#identify(socket);
    if ('refusal' in visitor) return refuse('403 Forbidden', visitor.refusal);
    const { identity } = visitor;
    if (request.url !== STREAM_PATH || request.headers.upgrade !== STREAM_PROTOCOL)
      return refuse('400 Bad Request', `There is only the upgrade to "${STREAM_PROTOCOL}", at ${STREAM_PATH}`);
    if (this.#subscribers.size >= STREAMS_MAX)
      return refuse('503 Service Unavailable', `There are ${STREAMS_MAX} subscribers already`);
    const subscriber: Subscriber = { socket, identity, isNode: isNodeIdentity(identity) };
    const decoder = new LineDecoder(LINE_BYTES_MAX);
    let requests = 0;
    const onLine = (line: string): void => {
      if (!subscriber.isNode) throw new Error('only nodes may send on the stream');
      const value = parseJsonLine(line);
      const echo = readEcho(value);
      if (echo !== null) return this.#handlers.onEcho(identity.name, echo);
      const unknown = readUnknownRequest(value);
      if (unknown !== null) return this.#refuseUnknown(subscriber, unknown);
      const message = subscriberMessageSchema.parse(value);
      if (message.type === 'echo') return this.#handlers.onEcho(identity.name, message);
      if (requests >= REQUESTS_PER_STREAM_MAX) throw new Error('too many requests at a time');
      requests++;
      void this.#answer(subscriber, message).finally(() => requests--);
    };
    const onData = (chunk: Buffer): void => {
      try {
        decoder.push(chunk, onLine);
      } catch (error) {
        this.#handlers.onError(error as Error, `stream of "${identity.name}"`);
        socket.destroy();
      }
    };
    socket.setTimeout(0);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 1000);
    socket.on('close', () => this.#subscribers.delete(subscriber));
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${STREAM_PROTOCOL}\r\n\r\n`);
    this.#subscribers.add(subscriber);
    this.#send(subscriber, encodeJsonLine(this.#handlers.state(), LINE_BYTES_MAX));
    socket.on('data', onData);
    if (head.length > 0) onData(head);
  }

  #refuseUnknown(subscriber: Subscriber, { id, method }: UnknownRequest): void {
    const error = `Cannot answer "${method}": this agent does not know it, and is of an older version`;
    this.#send(subscriber, encodeJsonLine({ type: 'response', id, error }, LINE_BYTES_MAX));
  }

  async #answer(subscriber: Subscriber, request: RequestMessage): Promise<void> {
    let body: Omit<ResponseMessage, 'type' | 'id'>;
    try {
      body = await this.#handlers.onRequest(subscriber.identity.name, request);
    } catch (error) {
      body = { error: (error as Error).message.slice(0, 1000) };
    }
    this.#send(subscriber, encodeJsonLine({ type: 'response', id: request.id, ...body }, LINE_BYTES_MAX));
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?')[0] as string;
    try {
      const result = await this.#route(request, path);
      const body = typeof result.body === 'string' ? result.body : `${JSON.stringify(result.body)}\n`;
      response.writeHead(result.status, { 'content-type': result.contentType ?? 'application/json' });
      response.end(body);
    } catch (error) {
      if (!(error instanceof RequestBodyError)) this.#handlers.onError(error as Error, `${request.method} ${path}`);
      const status = error instanceof RequestBodyError ? 400 : 500;
      if (!response.headersSent) response.writeHead(status, { 'content-type': 'application/json' });
      response.end(`${JSON.stringify({ error: (error as Error).message })}\n`);
    }
  }

  async #route(
    request: IncomingMessage,
    path: string,
  ): Promise<{ readonly status: number; readonly body: unknown; readonly contentType?: string }> {
    const handlers = this.#handlers;
    if (request.method === 'GET' || request.method === 'HEAD') {
      if (path === '/livez') return { status: handlers.isLive() ? 200 : 503, body: { live: handlers.isLive() } };
      if (path === '/readyz') return { status: handlers.isReady() ? 200 : 503, body: { ready: handlers.isReady() } };
      if (path === '/metrics') {
        const { contentType, body } = await handlers.metrics();
        return { status: 200, body, contentType };
      }
    }
    if (path === JOIN_PATH) {
      const from = request.socket.remoteAddress ?? '';
      return await handlers.joining.visit({ ...readable(request), from });
    }
    const visitor = this.#identify(request.socket as TLSSocket);
    if ('refusal' in visitor) return { status: 403, body: { error: visitor.refusal } };
    const { identity } = visitor;
    if (request.method === 'GET' && path === '/v1/status') return { status: 200, body: await handlers.status() };
    if (path === CARDS_PATH) return await handlers.cards(cardRequest(request, identity));
    if (OPERATOR_PATHS.includes(path)) return await handlers.joining.answer(path, cardRequest(request, identity));
    if (request.method === 'GET' && path === EDGES_PATH && mayOrder(identity))
      return { status: 200, body: await handlers.edges() };
    if (request.method === 'POST' && mayOrder(identity)) {
      const result = await handlers.order(path, await readJsonBody(request, BODY_BYTES_MAX));
      if (result !== null) return result;
    }
    return {
      status: 404,
      body: { error: `There is no ${request.method} ${path.slice(0, 100)} here for "${identity.name}"` },
    };
  }
}

function cardRequest(request: IncomingMessage, identity: SpiffeIdentity): CardRequest {
  const query = new URLSearchParams((request.url ?? '').split('?')[1] ?? '');
  return { ...readable(request), query, identity };
}

function readable(request: IncomingMessage): Omit<CardRequest, 'query' | 'identity'> {
  const gone = new AbortController();
  request.socket.once('close', () => gone.abort());
  return {
    method: request.method ?? '',
    body: (bytesMax) => readJsonBody(request, bytesMax),
    signal: gone.signal,
  };
}

/** What is wrong with the certificate of a visitor, in words; the codes are OpenSSL's. */
function certificateProblem(socket: TLSSocket): string {
  if (socket.getPeerX509Certificate() === undefined) return 'none was sent';
  // Node's types say Error; it is the code of the check.
  const code = String(socket.authorizationError ?? '');
  if (code === 'CERT_HAS_EXPIRED') return 'the one that was sent has expired; renew it, and compare the clocks';
  if (code === 'CERT_NOT_YET_VALID') return 'the one that was sent is not valid yet; compare the clocks';
  if (code === '') return 'the one that was sent names nobody of ours';
  return `the one that was sent is not signed by a CA of our trust bundle (${code})`;
}

/** The sender's fault: answered with 400. */
class RequestBodyError extends Error {
  override name = 'RequestBodyError';
}

async function readJsonBody(request: IncomingMessage, bytesMax: number): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > bytesMax) throw new RequestBodyError(`Cannot read the request: it has more than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  if (length === 0) return {};
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new RequestBodyError('Cannot read the request: its body is no JSON', { cause });
  }
}
