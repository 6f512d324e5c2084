/**
 * Passes a CancelRequest on to the backends that may have its query. The client sent it in the clear, as every libpq before
 * 17 does; from here it travels inside verified TLS. Which backends: core/routing decideCancelTargets, and
 * docs/decisions/proxy-cancel.md. There is no answer to a cancel request, so none is waited for by the client.
 */
import * as net from 'node:net';
import * as tls from 'node:tls';
import type { Peer } from '../../api/agent-config.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';
import { CANCEL_TIMEOUT_MS, CANCELS_MAX } from '../../core/routing/limits.ts';
import type { Route } from '../../core/routing/routes.ts';
import { encodeSslRequest } from '../../wire/postgres-opening.ts';
import type { CancelForwarder } from './router.ts';

export type CancelResult = 'sent' | 'failed' | 'dropped';

export interface CancelForwarderOptions {
  readonly tls: ReloadableTls;
  readonly sourceAddress: () => string | null;
  readonly onResult: (route: Route, node: string, result: CancelResult, error: Error | null) => void;
}

export function createCancelForwarder(options: CancelForwarderOptions): CancelForwarder {
  let running = 0;
  return {
    forward(peers, packet, route) {
      for (const peer of peers) {
        if (running >= CANCELS_MAX) {
          options.onResult(route, peer.node, 'dropped', null);
          continue;
        }
        running += 1;
        void sendCancel(peer, packet, options)
          .then(
            () => options.onResult(route, peer.node, 'sent', null),
            (error: Error) => options.onResult(route, peer.node, 'failed', error),
          )
          .finally(() => {
            running -= 1;
          });
      }
    },
  };
}

/** Resolves when the server has closed the connection, which it does after it has sent the signal. */
async function sendCancel(peer: Peer, packet: Buffer, options: CancelForwarderOptions): Promise<void> {
  const { address, host, port } = peer.postgres;
  const sourceAddress = options.sourceAddress();
  const socket = net.connect({
    host: address ?? host,
    port,
    noDelay: true,
    ...(sourceAddress === null ? {} : { localAddress: sourceAddress }),
  });
  const timer = setTimeout(
    () => socket.destroy(new Error(`Cannot cancel at "${peer.node}": no answer within ${CANCEL_TIMEOUT_MS} ms`)),
    CANCEL_TIMEOUT_MS,
  );
  try {
    await askForTls(socket, peer.node);
    await sendInsideTls(socket, packet, options.tls.connectOptions(peer.postgres));
  } finally {
    clearTimeout(timer);
    socket.on('error', () => {}).destroy();
  }
}

function askForTls(socket: net.Socket, node: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`Cannot cancel at "${node}": it closed the connection`)));
    socket.once('data', (answer: Buffer) => {
      socket.pause();
      if (answer.length === 1 && answer.toString('latin1') === 'S') resolve();
      else reject(new Error(`Cannot cancel at "${node}": it does not take TLS`));
    });
    socket.write(encodeSslRequest());
  });
}

function sendInsideTls(socket: net.Socket, packet: Buffer, options: tls.ConnectionOptions): Promise<void> {
  const {
    host: _host,
    port: _port,
    localAddress: _localAddress,
    ...tlsOptions
  } = options as tls.ConnectionOptions & {
    localAddress?: string;
  };
  return new Promise((resolve, reject) => {
    const secure = tls.connect({ ...tlsOptions, socket });
    let sent = false;
    secure.once('secureConnect', () => secure.write(packet, () => (sent = true)));
    // A server that ends without TLS's closing alert is usual here.
    secure.on('error', (error) => (sent ? resolve() : reject(error)));
    secure.once('close', () => (sent ? resolve() : reject(new Error('the connection was closed during TLS'))));
    secure.resume();
  });
}
