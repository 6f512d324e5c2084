/**
 * The path: the only way by which this node's WAL receiver reaches its leader. A local port that forwards to the leader's
 * PostgreSQL while the path is open; TLS runs through it end to end.
 *
 *   walreceiver --TCP--> own address:pathPort --(this)--> leader's PostgreSQL
 *
 * A connection carries bytes only once the target's own agent has been asked, after the connection stood: a receiver that comes
 * back by itself would else reach what that node has become since, a standby of somebody else or the leader of a newer timeline,
 * and the promise file would describe other WAL than the disk has.
 *
 * An empty primary_conninfo is not enough to stop a receiver: the postmaster may still start one with the old value. Closing
 * the path is synchronous: when `close` returns, no byte that arrives later reaches the receiver.
 */
import { createServer, connect, type Server, type Socket } from 'node:net';
import type { Endpoint } from '../../api/agent-config.ts';
import { cutSocket } from '../../base/cut-socket.ts';
import { lookupWith, rememberedLookup } from '../../base/remembered-lookup.ts';

export interface PathTarget {
  readonly node: string;
  readonly term: number;
  readonly endpoint: Endpoint;
  /** It is no leader but a standby that passes on what it receives. */
  readonly isRelay?: boolean;
  /** Whether the server there is still the one that is meant; asked of each new connection. Never rejects. */
  readonly verify: () => Promise<boolean>;
}

/** Of one receiver, plus a second one while the first is ending; clones use a forwarder of their own. */
const CONNECTIONS_MAX = 16;
/** For the connection and the question: a frozen leader's kernel completes the handshake, but nobody answers. */
const CONNECT_TIMEOUT_MS = 2000;

export class PathForwarder {
  readonly #server: Server;
  readonly #sourceAddress: string | null;
  readonly #sockets = new Set<Socket>();
  #target: PathTarget | null = null;

  private constructor(sourceAddress: string | null) {
    this.#sourceAddress = sourceAddress;
    this.#server = createServer({ noDelay: true, allowHalfOpen: true }, (inside) => this.#forward(inside));
    this.#server.maxConnections = CONNECTIONS_MAX;
  }

  /** Listens on `address:port` (port 0: any, see `port`). */
  static async listen(options: {
    readonly address: string;
    readonly port: number;
    readonly sourceAddress: string | null;
  }): Promise<PathForwarder> {
    const forwarder = new PathForwarder(options.sourceAddress);
    await new Promise<void>((resolve, reject) => {
      forwarder.#server.once('error', reject);
      forwarder.#server.listen({ host: options.address, port: options.port }, () => {
        forwarder.#server.removeListener('error', reject);
        resolve();
      });
    });
    return forwarder;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  get target(): PathTarget | null {
    return this.#target;
  }

  /** New connections go to `target`; those to another one end. */
  open(target: PathTarget): void {
    if (this.#target !== null && this.#target.node === target.node) {
      this.#target = target;
      return;
    }
    this.close();
    this.#target = target;
  }

  /**
   * Ends every connection at once and refuses new ones. With a reset: after an orderly end the kernel would go on delivering
   * what it holds, and an acknowledgement that a cut held up would reach the old leader long after the promise.
   */
  close(): void {
    this.#target = null;
    for (const socket of this.#sockets) cutSocket(socket);
    this.#sockets.clear();
  }

  async stop(): Promise<void> {
    this.close();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #forward(inside: Socket): void {
    const target = this.#target;
    if (target === null) {
      inside.destroy();
      return;
    }
    const outside = connect({
      host: target.endpoint.address ?? target.endpoint.host,
      port: target.endpoint.port,
      // TLS of PostgreSQL, end to end, tells whether the right one is there.
      lookup: lookupWith(rememberedLookup, target.endpoint.otherwise),
      noDelay: true,
      allowHalfOpen: true,
      ...(this.#sourceAddress === null ? {} : { localAddress: this.#sourceAddress }),
    });
    const end = (): void => {
      for (const socket of [inside, outside]) {
        socket.destroy();
        this.#sockets.delete(socket);
      }
    };
    const timer = setTimeout(end, CONNECT_TIMEOUT_MS);
    outside.once('connect', () => {
      void this.#isStillMeant(target).then((isMeant) => {
        clearTimeout(timer);
        if (!isMeant || inside.destroyed || outside.destroyed) return end();
        inside.pipe(outside);
        outside.pipe(inside);
      });
    });
    for (const socket of [inside, outside]) {
      this.#sockets.add(socket);
      socket.on('error', end).on('close', end);
      socket.setKeepAlive(true, 1000);
    }
    inside.once('close', () => clearTimeout(timer));
  }
  /** While it was asked the path may have been closed, or lead somewhere else, or to the same node as something else. */
  async #isStillMeant({ node }: PathTarget): Promise<boolean> {
    for (;;) {
      const target = this.#target;
      if (target?.node !== node || !(await target.verify())) return false;
      if (target === this.#target) return true;
    }
  }
}
