/**
 * Serves the record of one global cluster over mutual TLS: the local platform's stand-in for etcd, a process of its own so
 * that faults reach it. The rules are RecordCell's, the durability record-file.ts', the interface is described in
 * api/record-server-config.ts. Whoever connects is taken as hostile: limits on time, size and number, see below.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import * as z from 'zod';
import {
  LEASE_PATH,
  leaseRequestSchema,
  RECORD_PATH,
  type RecordServerConfig,
  SWAP_PATH,
  swapRequestSchema,
  WATCH_BEAT_MS,
  WATCH_PATH,
} from '../api/record-server-config.ts';
import { createReloadableTls, peerIdentity, type TlsRefusal } from '../base/mutual-tls.ts';
import { isNodeIdentity, type SpiffeIdentity } from '../base/spiffe-identity.ts';
import { RecordCell } from './record-cell.ts';
import { readRecordFile, writeRecordFile } from './record-file.ts';
import { StoreUnavailableError } from './store.ts';
import { RECORD_BYTES_MAX } from './stored-text.ts';

export interface RecordServer {
  readonly port: number;
  /** Takes renewed certificates. Throws TlsFilesError and goes on with the old ones when they do not fit together. */
  reload(): Promise<void>;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** A request holds one record and little else. */
const BODY_BYTES_MAX = RECORD_BYTES_MAX + 1024;
/** 64 nodes with two connections each, their operators, and a reader or two. */
const CONNECTIONS_MAX = 256;
const HANDSHAKE_TIMEOUT_MS = 5000;
/** A slow-loris client is cut off this long after its first byte, at the latest one check interval later. */
const HEADERS_TIMEOUT_MS = 5000;
const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTIONS_CHECK_MS = 1000;
const KEEP_ALIVE_TIMEOUT_MS = 60_000;
const HEADER_BYTES_MAX = 8 * 1024;

export interface RecordServerEvents {
  /** A client failed in the handshake: garbage, or a certificate that is not accepted. As often as clients like. */
  onRefused?(refusal: TlsRefusal): void;
}

export async function startRecordServer(
  config: RecordServerConfig,
  events: RecordServerEvents = {},
): Promise<RecordServer> {
  const credentials = await createReloadableTls(config.tls);
  const cell = new RecordCell(await readRecordFile(config.dataFile), (state) =>
    writeRecordFile(config.dataFile, state),
  );
  const server = https.createServer(
    {
      ...credentials.serverOptions(),
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      maxHeaderSize: HEADER_BYTES_MAX,
    },
    (request, response) => {
      handle(cell, config.globalCluster, request, response).catch((error: unknown) => answerError(response, error));
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  credentials.attach(server, (refusal) => events.onRefused?.(refusal));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.listen.port, config.listen.address ?? undefined, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    async reload() {
      await credentials.reload();
    },
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      return closed;
    },
  };
}

/** An answer other than 200, on purpose. */
class HttpProblem extends Error {
  readonly status: number;
  readonly code: string;
  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function handle(
  cell: RecordCell,
  globalCluster: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const identity = allowedIdentity(request, globalCluster);
  switch (`${request.method} ${request.url}`) {
    case 'GET /livez':
      return answer(response, 200, {});
    case `GET ${RECORD_PATH}`:
      return answer(response, 200, await cell.read());
    case `GET ${WATCH_PATH}`:
      return watch(cell, response);
    case `POST ${SWAP_PATH}`:
      return swap(cell, globalCluster, identity, request, response);
    case `POST ${LEASE_PATH}`:
      return renew(cell, identity, request, response);
    default:
      throw new HttpProblem(404, 'NOT_FOUND', 'Cannot answer: no such method and path');
  }
}

async function swap(
  cell: RecordCell,
  globalCluster: string,
  identity: SpiffeIdentity,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  demandNode(identity);
  const { expected, next, unlessLeased } = await readBody(request, swapRequestSchema);
  if (next.globalCluster !== globalCluster) {
    throw new HttpProblem(
      400,
      'WRONG_CLUSTER',
      `Cannot swap: the record is of "${next.globalCluster}", this server keeps "${globalCluster}"`,
    );
  }
  const result = unlessLeased ? await cell.swapUnlessLeased(expected, next) : await cell.swap(expected, next);
  if (result.kind === 'leased') return answer(response, 423, { by: result.by });
  answer(response, result.kind === 'swapped' ? 200 : 409, result.stored);
}

async function renew(
  cell: RecordCell,
  identity: SpiffeIdentity,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  demandNode(identity);
  const { expected, lease } = await readBody(request, leaseRequestSchema);
  if (lease.holder !== identity.name) {
    throw new HttpProblem(
      403,
      'FORBIDDEN',
      `Cannot renew the lease of "${lease.holder}": the caller is "${identity.name}"`,
    );
  }
  const result = await cell.renew(lease, expected);
  answer(response, result.kind === 'held' ? 200 : 409, result.kind === 'held' ? {} : result.stored);
}

/** The newest value only: a watcher that reads slowly misses what lies between, and never makes this process grow. */
function watch(cell: RecordCell, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  let blocked = false;
  let due = true;
  const send = (): void => {
    due = blocked;
    if (!blocked) blocked = !response.write(`${JSON.stringify(cell.stored)}\n`);
  };
  const end = cell.subscribe(send);
  const beat = setInterval(() => {
    if (!blocked) blocked = !response.write('\n');
  }, WATCH_BEAT_MS);
  response.on('drain', () => {
    blocked = false;
    if (due) send();
  });
  response.once('close', () => {
    end();
    clearInterval(beat);
  });
  send();
}

function allowedIdentity(request: IncomingMessage, globalCluster: string): SpiffeIdentity {
  const identity = peerIdentity(request.socket as TLSSocket);
  if (identity?.globalCluster === globalCluster) return identity;
  const found = identity === null ? 'no identity' : `an identity of "${identity.globalCluster}"`;
  throw new HttpProblem(
    403,
    'FORBIDDEN',
    `Cannot serve the caller: its certificate holds ${found}, not of "${globalCluster}"`,
  );
}

function demandNode(identity: SpiffeIdentity): void {
  if (isNodeIdentity(identity)) return;
  throw new HttpProblem(403, 'FORBIDDEN', `Cannot change the record for "${identity.name}": only nodes may`);
}

async function readBody<Schema extends z.ZodType>(request: IncomingMessage, schema: Schema): Promise<z.infer<Schema>> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX)
      throw new HttpProblem(413, 'BODY_TOO_LARGE', `Cannot read the request: over ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    throw new HttpProblem(400, 'BODY_INVALID', 'Cannot read the request: it is no JSON');
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new HttpProblem(400, 'BODY_INVALID', `Cannot read the request: ${z.prettifyError(parsed.error).slice(0, 500)}`);
}

function answer(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

function answerError(response: ServerResponse, error: unknown): void {
  // The rest of a body that is not read to its end would be taken for the next request.
  response.shouldKeepAlive = false;
  if (response.headersSent || response.destroyed) {
    response.destroy();
  } else if (error instanceof HttpProblem) {
    answer(response, error.status, { code: error.code, message: error.message });
  } else if (error instanceof StoreUnavailableError) {
    answer(response, 503, { code: error.code, message: error.message });
  } else {
    answer(response, 500, { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error) });
  }
}
