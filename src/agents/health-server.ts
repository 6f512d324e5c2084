/**
 * /livez, /readyz and /metrics of proxy and resolver over HTTPS, without a client certificate: kubelet and Prometheus have none.
 * A proxy has /v1/edges as well, for nodes and operators of its global cluster.
 * Ready means "send clients here": a proxy holds them while there is no leader, so a missing leader does not make it unready.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { TLSSocket } from 'node:tls';
import { EDGES_PATH } from '../api/edge-facts.ts';
import { listenOn } from '../base/listen-on.ts';
import { peerIdentity, type ReloadableTls } from '../base/mutual-tls.ts';
import { mayOrder } from './may-order.ts';

export interface HealthServerOptions {
  readonly address: string | null;
  readonly port: number;
  /** Null: plain HTTP. */
  readonly tls: ReloadableTls | null;
  /** Null: ready; otherwise why not. */
  readonly unready: () => string | null;
  readonly metrics: () => Promise<string>;
  /** What `GET /v1/edges` answers to those whom the certificate allows it; absent: there is no such path. */
  readonly edges?: { readonly globalCluster: string; examine(): Promise<unknown> };
}

/** Far more than probes and scrapers need, so that a few hundred idle strangers do not make a probe fail. */
const CONNECTIONS_MAX = 512;
/** For the handshake, and for a whole request. */
const PATIENCE_MS = 5000;

const REQUEST_LIMITS = {
  maxHeaderSize: 8192,
  headersTimeout: PATIENCE_MS,
  requestTimeout: PATIENCE_MS,
  connectionsCheckingInterval: PATIENCE_MS,
  keepAliveTimeout: 65_000,
} as const;

export async function startHealthServer(options: HealthServerOptions): Promise<http.Server> {
  const { tls } = options;
  const serve: http.RequestListener = (request, response) => {
    void answer(request, options).then(
      ({ status, type, body }) => {
        response.writeHead(status, { 'content-type': type }).end(request.method === 'HEAD' ? '' : body);
      },
      (error: Error) => response.writeHead(500).end(`${error.message}\n`),
    );
  };
  const server = tls === null ? http.createServer(REQUEST_LIMITS, serve) : httpsServer(tls, serve);
  server.maxConnections = CONNECTIONS_MAX;
  server.on('clientError', (_error, socket) => socket.destroy());
  await listenOn(server, options);
  server.on('error', () => {});
  return server;
}

function httpsServer(tls: ReloadableTls, serve: http.RequestListener): https.Server {
  const server = https.createServer(
    {
      ...tls.serverOptions(),
      ...REQUEST_LIMITS,
      // Probes have no certificate; the one path that needs it checks the identity itself.
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: PATIENCE_MS,
    },
    serve,
  );
  server.on('tlsClientError', () => {});
  tls.attach(server);
  return server;
}

async function answer(
  request: http.IncomingMessage,
  options: HealthServerOptions,
): Promise<{ status: number; type: string; body: string }> {
  const text = 'text/plain; charset=utf-8';
  switch (request.url?.split('?')[0]) {
    case '/livez':
      return { status: 200, type: text, body: 'ok\n' };
    case '/readyz': {
      const unready = options.unready();
      return unready === null
        ? { status: 200, type: text, body: 'ok\n' }
        : { status: 503, type: text, body: `${unready}\n` };
    }
    case '/metrics':
      return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: await options.metrics() };
    case EDGES_PATH:
      return await answerEdges(request, options);
    default:
      return { status: 404, type: text, body: 'There is /livez, /readyz and /metrics.\n' };
  }
}

async function answerEdges(
  { socket, method }: http.IncomingMessage,
  { edges }: HealthServerOptions,
): Promise<{ status: number; type: string; body: string }> {
  const json = (status: number, body: unknown) => ({
    status,
    type: 'application/json',
    body: `${JSON.stringify(body)}\n`,
  });
  const identity = socket instanceof TLSSocket ? peerIdentity(socket) : null;
  if (edges === undefined || method !== 'GET') return json(404, { error: 'There is no such path here' });
  if (identity?.globalCluster !== edges.globalCluster || !mayOrder(identity))
    return json(403, {
      error: `A certificate of a node or operator of global cluster "${edges.globalCluster}" is needed`,
    });
  return json(200, await edges.examine());
}
