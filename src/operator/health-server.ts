/** /livez, /readyz and /metrics over plain HTTP, for the kubelet and Prometheus. A replica that waits is ready: to take over. */
import { createServer, type Server } from 'node:http';
import { UserError } from '../base/user-error.ts';

const REQUEST_TIMEOUT_MS = 5000;
const CONNECTIONS_MAX = 64;

/** Throws UserError OPERATOR_PORT_HELD. @param port 0: none is opened. */
export async function startHealthServer(port: number, metrics: () => Promise<string>): Promise<Server> {
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS },
    (request, response) => {
      const path = (request.url ?? '/').split('?')[0];
      if (path === '/livez' || path === '/readyz') return void response.end('ok\n');
      if (path !== '/metrics') return void response.writeHead(404).end();
      metrics().then(
        (text) => response.setHeader('content-type', 'text/plain; version=0.0.4').end(text),
        () => response.writeHead(500).end(),
      );
    },
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new UserError({
          code: 'OPERATOR_PORT_HELD',
          kind: 'missing',
          message: `Cannot listen on port ${port} for health and metrics: ${cause.message}`,
          todo: 'Choose another healthPort in the configuration of the operator.',
          cause,
        }),
      ),
    );
    server.listen(port, resolve);
  });
  return server;
}
