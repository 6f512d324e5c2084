/**
 * The ports for clients: accepts, counts, reads the PROXY header where one is due, and makes sessions.
 */
import * as net from 'node:net';
import { DirectReadSocket } from '../../base/direct-read-socket.ts';
import { listenOn } from '../../base/listen-on.ts';
import { KEEPALIVE_MS } from '../../core/routing/limits.ts';
import type { Route } from '../../core/routing/routes.ts';
import { parseProxyHeader } from '../../wire/proxy-protocol.ts';
import { refusals, refuseInClear } from './refusal.ts';
import type { Router } from './router.ts';
import { Session } from './session.ts';

/** Connections waiting to be accepted: a burst of clients that all lost their leader. The system's somaxconn caps it. */
const BACKLOG = 4096;

export interface ClientListenerOptions {
  readonly route: Route;
  readonly address: string | null;
  readonly port: number;
  readonly router: Router;
  /** Who must begin with a PROXY header; others must not. */
  readonly proxyProtocolFrom: () => net.BlockList | null;
  readonly onDropped: (reason: 'too-many-connections' | 'proxy-header' | 'accept-failed', detail: string) => void;
}

/** Throws ListenError when the port cannot be had. */
export async function listenForClients(options: ClientListenerOptions): Promise<net.Server> {
  const server = net.createServer(
    {
      allowHalfOpen: true,
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_MS,
    },
    (socket) => accept(socket, options),
  );
  await listenOn(server, { ...options, backlog: BACKLOG });
  // No file descriptor left, as a rule: the connection is gone, the listener goes on.
  server.on('error', (error) => options.onDropped('accept-failed', error.message));
  return server;
}

function accept(socket: net.Socket, options: ClientListenerOptions): void {
  const { router, route } = options;
  const address = plainAddress(socket.remoteAddress);
  if (address === null) {
    socket.destroy();
    return;
  }
  const balancers = options.proxyProtocolFrom();
  const behindBalancer = balancers?.check(address, net.isIP(address) === 6 ? 'ipv6' : 'ipv4') ?? false;
  const client = DirectReadSocket.adopt(socket, () => {});
  if (router.sessions.size >= router.limits.connectionsMax) {
    client.socket.on('error', () => {});
    refuseInClear(client, refusals.tooManyConnections(router.limits.connectionsMax));
    options.onDropped('too-many-connections', address);
    return;
  }
  if (behindBalancer) readProxyHeader(client, address, options);
  else router.add(new Session(router, { client, route, source: address }));
}

/** The header's own address is only used to tell clients apart; it opens no door. */
function readProxyHeader(client: DirectReadSocket, balancer: string, options: ClientListenerOptions): void {
  const { router, route } = options;
  let received = Buffer.alloc(0);
  const drop = (detail: string): void => {
    clearTimeout(timer);
    client.onChunk = () => {};
    client.socket.destroy();
    options.onDropped('proxy-header', `${balancer}: ${detail}`);
  };
  const timer = setTimeout(() => drop('no header in time'), router.limits.firstBytesTimeoutMs);
  const onError = (): void => drop('it closed the connection');
  client.socket.on('error', onError).on('end', onError);
  client.onChunk = (chunk) => {
    received = Buffer.concat([received, chunk]);
    const header = parseProxyHeader(received);
    if (header.kind === 'incomplete') return;
    if (header.kind === 'invalid') return drop(header.reason);
    clearTimeout(timer);
    client.socket.off('error', onError).off('end', onError);
    const session = new Session(router, { client, route, source: header.source?.address ?? balancer });
    router.add(session);
    session.takeEarlyBytes(received.subarray(header.byteLength));
  };
}

/** IPv4 addresses of a dual-stack socket as IPv4; null if the client has gone already. */
function plainAddress(address: string | undefined): string | null {
  return address?.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/, '') ?? null;
}
