/**
 * Ports of this machine that lead to a port of a pod, through the API server (`pods/portforward`). One WebSocket for each
 * connection. Message: number of the stream (0 data, 1 error), then bytes; each stream's first message is the port's number.
 * https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { KubeDial } from './kubeconfig.ts';
import { openWebSocket } from './websocket-client.ts';

export interface PodPort {
  readonly namespace: string;
  readonly pod: string;
  readonly port: number;
}

export interface ForwardedPort {
  readonly address: string;
  readonly port: number;
  close(): Promise<void>;
}

const LOOPBACK = '127.0.0.1';
const PROTOCOL = 'v4.channel.k8s.io';
const STREAM = { data: 0, error: 1 } as const;
const CHUNK_BYTES_MAX = 32 * 1024;
const CONNECTIONS_MAX = 64;

/**
 * Listens on a free port of 127.0.0.1. @param choose the pod of each new connection, so that a lost one does not end the forwarding.
 * @param onError why a connection could not be forwarded; its client sees the connection closed.
 */
export async function forwardPort(
  dial: KubeDial,
  choose: () => Promise<PodPort>,
  onError: (error: Error) => void,
): Promise<ForwardedPort> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    void choose()
      .then((target) => forwardConnection(dial, target, socket, onError))
      .catch((error: Error) => {
        onError(error);
        socket.destroy();
      });
  });
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: LOOPBACK, port: 0 }, resolve);
  });
  return {
    address: LOOPBACK,
    port: portOf(server),
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function forwardConnection(
  dial: KubeDial,
  { namespace, pod, port }: PodPort,
  socket: Socket,
  onError: (error: Error) => void,
): Promise<void> {
  const seen = new Set<number>();
  const connection = await openWebSocket(
    dial,
    {
      path: `/api/v1/namespaces/${namespace}/pods/${pod}/portforward?ports=${port}`,
      protocols: [PROTOCOL],
      action: `reach port ${port} of pod "${pod}"`,
    },
    {
      onMessage: (message) => {
        const stream = message[0] as number;
        // The first message of each stream is the port's number, two bytes.
        if (!seen.has(stream)) return void seen.add(stream);
        const payload = message.subarray(1);
        if (stream === STREAM.error && payload.length > 0) {
          onError(new Error(`Cannot reach port ${port} of pod "${pod}": ${payload.toString('utf8').slice(0, 300)}`));
          return socket.destroy();
        }
        if (stream !== STREAM.data || socket.destroyed || socket.write(payload)) return;
        connection.pause();
        socket.once('drain', () => connection.resume());
      },
      onClose: () => socket.end(),
    },
  );
  if (socket.destroyed) return connection.close();
  socket.once('close', () => connection.close());
  // The protocol cannot say "no more from me": what the client has to say is said when it ends its side.
  socket.once('end', () => connection.close());
  socket.on('data', (chunk: Buffer) => {
    let isKeepingUp = true;
    for (let at = 0; at < chunk.length; at += CHUNK_BYTES_MAX)
      isKeepingUp = connection.send(
        Buffer.concat([Buffer.from([STREAM.data]), chunk.subarray(at, at + CHUNK_BYTES_MAX)]),
      );
    if (isKeepingUp) return;
    socket.pause();
    void connection.drained().then(() => socket.resume());
  });
  socket.resume();
}
