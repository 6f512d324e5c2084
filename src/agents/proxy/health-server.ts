/**
 * /livez, /readyz and /metrics over HTTPS, without a client certificate: kubelet and Prometheus have none.
 * Ready means "send clients here": it holds them while there is no leader, so a missing leader does not make it unready.
 */
import * as https from 'node:https';
import { listenOn } from '../../base/listen-on.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';

export interface HealthServerOptions {
  readonly address: string | null;
  readonly port: number;
  readonly tls: ReloadableTls;
  /** Null: ready; otherwise why not. */
  readonly unready: () => string | null;
  readonly metrics: () => Promise<string>;
}

/** Far more than probes and scrapers need, so that a few hundred idle strangers do not make a probe fail. */
const CONNECTIONS_MAX = 512;
/** For the handshake, and for a whole request. */
const PATIENCE_MS = 5000;

export async function startHealthServer(options: HealthServerOptions): Promise<https.Server> {
  const server = https.createServer(
    {
      ...options.tls.serverOptions(),
      requestCert: false,
      rejectUnauthorized: false,
      maxHeaderSize: 8192,
      handshakeTimeout: PATIENCE_MS,
      headersTimeout: PATIENCE_MS,
      requestTimeout: PATIENCE_MS,
      connectionsCheckingInterval: PATIENCE_MS,
      keepAliveTimeout: 65_000,
    },
    (request, response) => {
      void answer(request.url ?? '', options).then(
        ({ status, type, body }) => {
          response.writeHead(status, { 'content-type': type }).end(request.method === 'HEAD' ? '' : body);
        },
        (error: Error) => response.writeHead(500).end(`${error.message}\n`),
      );
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  server.on('clientError', (_error, socket) => socket.destroy());
  server.on('tlsClientError', () => {});
  options.tls.attach(server);
  await listenOn(server, options);
  server.on('error', () => {});
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
