/**
 * A TCP link in front of a server, with the faults of a network: slow answers, answers that never come, a cut.
 * TLS passes through untouched, so both ends are the real ones.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface Link {
  readonly address: string;
  readonly port: number;
  /** How long each piece of an answer is held back. Default 0. */
  answerDelayMs: number;
  /** True: requests arrive, answers are thrown away. */
  losesAnswers: boolean;
  /** Resets all connections and refuses new ones, until heal. */
  cut(): void;
  heal(): void;
  /** Connections accepted so far. */
  readonly connectionCount: number;
  [Symbol.asyncDispose](): Promise<void>;
}

export async function openLink(options: {
  listenAddress: string;
  to: { address: string; port: number };
}): Promise<Link> {
  const sockets = new Set<Socket>();
  let isCut = false;
  let connectionCount = 0;
  const server = createServer((near) => {
    if (isCut) return near.resetAndDestroy();
    connectionCount += 1;
    const far = connect(options.to.port, options.to.address);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.once('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    near.on('data', (bytes) => far.write(bytes));
    far.on('data', (bytes) => {
      if (link.losesAnswers) return;
      if (link.answerDelayMs === 0) near.write(bytes);
      else setTimeout(() => near.writable && near.write(bytes), link.answerDelayMs);
    });
  });
  server.listen(0, options.listenAddress);
  await once(server, 'listening');
  const link: Link = {
    address: options.listenAddress,
    port: (server.address() as AddressInfo).port,
    answerDelayMs: 0,
    losesAnswers: false,
    cut() {
      isCut = true;
      for (const socket of sockets) socket.resetAndDestroy();
    },
    heal() {
      isCut = false;
    },
    get connectionCount() {
      return connectionCount;
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
  return link;
}
