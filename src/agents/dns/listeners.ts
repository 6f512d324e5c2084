/** The resolver's ports: UDP and TCP on one address. RFC 7766 for TCP: several questions on a connection, answers as they come. */
import * as dgram from 'node:dgram';
import * as net from 'node:net';
import { ListenError, listenOn } from '../../base/listen-on.ts';
import type { DnsEndpoint } from '../../core/dns/resolv-conf.ts';
import { TCP_BYTES_MAX, udpBytesMax } from '../../wire/dns-answer.ts';
import type { Resolver } from './resolver.ts';

export interface ListenerOptions {
  readonly where: DnsEndpoint;
  readonly resolver: Resolver;
  readonly udpBytesMax: () => number;
  readonly tcpConnectionsMax: number;
  readonly onQuery: (protocol: 'udp' | 'tcp') => void;
}

/** A burst of questions while the process collects garbage. */
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

/** Throws ListenError. */
export async function listenByUdp({
  where,
  resolver,
  udpBytesMax: ownMax,
  onQuery,
}: ListenerOptions): Promise<dgram.Socket> {
  const { address, port } = where;
  const socket = dgram.createSocket({
    type: net.isIP(address) === 6 ? 'udp6' : 'udp4',
    recvBufferSize: RECEIVE_BUFFER_BYTES,
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once('error', (error: NodeJS.ErrnoException) => {
    reject(new ListenError(`Cannot listen on "${address}" port ${port} (UDP): ${error.message}`, { cause: error }));
  });
  socket.bind({ address, port, exclusive: true }, resolve);
  await promise;
  // An answer that cannot be sent is a client that has gone.
  socket.on('error', () => {});
  socket.on('message', (message, from) => {
    onQuery('udp');
    const answer = resolver.answer(message, (query) => udpBytesMax(query, ownMax()));
    if (answer === null) return;
    if (answer instanceof Promise) void answer.then((late) => send(socket, late, from));
    else send(socket, answer, from);
  });
  return socket;
}

function send(socket: dgram.Socket, answer: Buffer, { port, address }: dgram.RemoteInfo): void {
  try {
    socket.send(answer, port, address, () => {});
  } catch {
    // Closed meanwhile, or a port 0 that nobody can be answered at.
  }
}

/** Between two questions of a connection. Clients open another one when they need it. */
const IDLE_MS = 10_000;
/** Questions of one connection that may be under way; it is read on when one is answered. */
const PIPELINE_MAX = 32;
/** Answers that a client does not take. */
const UNSENT_BYTES_MAX = 256 * 1024;

/** Throws ListenError. */
export async function listenByTcp(options: ListenerOptions): Promise<net.Server> {
  const server = net.createServer({ noDelay: true }, (socket) => serveConnection(socket, options));
  server.maxConnections = options.tcpConnectionsMax;
  await listenOn(server, { ...options.where, backlog: 128 });
  server.on('error', () => {});
  return server;
}

function serveConnection(socket: net.Socket, { resolver, onQuery }: ListenerOptions): void {
  let received: Buffer = Buffer.alloc(0);
  let underWay = 0;
  const reply = (answer: Buffer | null): void => {
    if (answer === null || socket.destroyed) return;
    const length = Buffer.alloc(2);
    length.writeUInt16BE(answer.length, 0);
    socket.write(Buffer.concat([length, answer]));
    if (socket.writableLength > UNSENT_BYTES_MAX) socket.destroy();
  };
  const serve = (): void => {
    while (underWay < PIPELINE_MAX && received.length >= 2) {
      const end = 2 + received.readUInt16BE(0);
      if (received.length < end) break;
      const message = received.subarray(2, end);
      received = received.subarray(end);
      onQuery('tcp');
      const answer = resolver.answer(message, () => TCP_BYTES_MAX);
      if (!(answer instanceof Promise)) {
        reply(answer);
        continue;
      }
      underWay++;
      void answer.then((late) => {
        underWay--;
        reply(late);
        if (socket.isPaused()) socket.resume();
        serve();
      });
    }
    // One message more than is under way is kept at most, and what came with it.
    if (underWay >= PIPELINE_MAX) socket.pause();
  };
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    serve();
  });
}
