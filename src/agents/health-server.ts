/**
 * /livez, /readyz and /metrics of proxy and resolver over HTTPS, without a client certificate: kubelet and Prometheus have none.
 * Ready means "send clients here": a proxy holds them while there is no leader, so a missing leader does not make it unready.
 */
import * as http from 'node:http';
import * as https from 'node:https';
import { listenOn } from '../base/listen-on.ts';
import type { ReloadableTls } from '../base/mutual-tls.ts';

export interface HealthServerOptions {
  readonly address: string | null;
  readonly port: number;
  /** Null: plain HTTP. */
  readonly tls: ReloadableTls | null;
  /** Null: ready; otherwise why not. */
  readonly unready: () => string | null;
  readonly metrics: () => Promise<string>;
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
    void answer(request.url ?? '', options).then(
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
      requestCert: false,
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
  url: string,
  options: HealthServerOptions,
): Promise<{ status: number; type: string; body: string }> {
  const text = 'text/plain; charset=utf-8';
  switch (url.split('?')[0]) {
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
    default:
      return { status: 404, type: text, body: 'There is /livez, /readyz and /metrics.\n' };
  }
}
