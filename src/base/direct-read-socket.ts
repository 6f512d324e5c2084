/**
 * TCP sockets that read into a buffer of their own and lend it to one handler, for programs that only move bytes.
 *
 * Node's streams allocate 64 KiB for each read and queue the chunk; for a message of 100 bytes that costs more than the
 * message. With net's `onread` the kernel writes into a buffer that stays, and the handler sees it at once: a relay of
 * pgbench's queries then costs 20 % less CPU (docs/benchmarks/proxy.md). The price: a chunk is the handler's only until
 * it returns. A handler that gave it to a write which has not finished must call `keepChunk` before it returns.
 *
 *   small  READ_BYTES_SMALL, one a socket for its life; only its touched pages are resident
 *   large  READ_BYTES_LARGE, borrowed after a read that filled the small one, given back when it is not needed
 *
 * Both come from pools: memory outside of V8's heap that is made and dropped with each connection would cost more in
 * garbage collection than all else that a connection costs here (72 of 370 microseconds).
 */
import * as net from 'node:net';

/** A TLS record of PostgreSQL's 8 KiB send buffer fits; so does every step of a handshake. */
export const READ_BYTES_SMALL = 16 * 1024;
/** What Node itself reads at once. */
export const READ_BYTES_LARGE = 64 * 1024;
/** Buffers kept for the next connection, 8 MiB, and for the next bulk transfer, 2 MiB. */
const SMALL_POOL_MAX = 512;
const LARGE_POOL_MAX = 32;

/** Takes what was read. `chunk` is lent, see above. */
export type ChunkHandler = (chunk: Buffer) => void;

export class DirectReadSocket {
  readonly socket: net.Socket;
  /** May be replaced at any time. */
  onChunk: ChunkHandler;
  #small = smallBuffers.take();
  #current: Buffer = this.#small;
  #view: Buffer = this.#small.subarray(0, 0);
  #kept = false;

  private constructor(onChunk: ChunkHandler, open: (onread: net.OnReadOpts) => net.Socket) {
    this.onChunk = onChunk;
    this.socket = open({
      buffer: () => this.#current,
      callback: (byteLength) => {
        this.#deliver(byteLength);
        return true;
      },
    });
    this.socket.once('close', () => this.#release());
  }

  /** Like net.connect. */
  static connect(options: net.TcpNetConnectOpts, onChunk: ChunkHandler): DirectReadSocket {
    return new DirectReadSocket(onChunk, (onread) => net.connect({ ...options, onread }));
  }

  /**
   * Takes over what a server with `pauseOnConnect` and `allowHalfOpen` accepted; `accepted` itself is spent afterwards.
   * net.Server has no `onread`, so the connection's handle is moved to a new socket, as Node's cluster does it. Where a
   * Node shows no such handle (`by: 'stream'`), the connection is read the ordinary way: slower, not wrong.
   */
  static adopt(
    accepted: net.Socket,
    onChunk: ChunkHandler,
    by: 'handle' | 'stream' = hasHandle(accepted) ? 'handle' : 'stream',
  ): DirectReadSocket {
    if (by === 'stream') return DirectReadSocket.#adoptPlain(accepted, onChunk);
    const handle = (accepted as WithHandle)._handle;
    (accepted as WithHandle)._handle = null;
    accepted.destroy();
    const options = { handle, allowHalfOpen: true } as net.SocketConstructorOpts;
    return new DirectReadSocket(onChunk, (onread) => new net.Socket({ ...options, onread }));
  }

  static #adoptPlain(accepted: net.Socket, onChunk: ChunkHandler): DirectReadSocket {
    const direct = new DirectReadSocket(onChunk, () => accepted);
    accepted.on('data', (chunk: Buffer) => direct.onChunk(chunk));
    accepted.resume();
    return direct;
  }

  /** The handler still needs the bytes of this chunk after it returns: they are not written over any more. */
  keepChunk(): void {
    this.#kept = true;
  }

  #deliver(byteLength: number): void {
    // The same length again is the usual case (one kind of query), and saves making the view.
    if (this.#view.length !== byteLength || this.#view.buffer !== this.#current.buffer) {
      this.#view = this.#current.subarray(0, byteLength);
    }
    this.onChunk(this.#view);
    if (this.#kept || byteLength >= READ_BYTES_SMALL || this.#current !== this.#small) this.#chooseNext(byteLength);
  }

  #chooseNext(byteLength: number): void {
    const used = this.#current;
    const kept = this.#kept;
    this.#kept = false;
    // A buffer that was kept is the write's; the garbage collector takes it.
    if (kept && used === this.#small) this.#small = smallBuffers.take();
    if (byteLength < READ_BYTES_SMALL) this.#current = this.#small;
    else if (kept || used.length < READ_BYTES_LARGE) this.#current = largeBuffers.take();
    if (!kept && used.length === READ_BYTES_LARGE && used !== this.#current) largeBuffers.give(used);
  }

  /** Nothing is read any more, and what waited to be written had its buffer kept. */
  #release(): void {
    if (this.#current !== this.#small) largeBuffers.give(this.#current);
    smallBuffers.give(this.#small);
    this.#current = NO_BUFFER;
    this.#small = NO_BUFFER;
    this.#view = NO_BUFFER;
  }
}

class BufferPool {
  readonly #free: Buffer[] = [];
  readonly #byteLength: number;
  readonly #freeMax: number;
  constructor(byteLength: number, freeMax: number) {
    this.#byteLength = byteLength;
    this.#freeMax = freeMax;
  }
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#byteLength);
  }
  give(buffer: Buffer): void {
    if (this.#free.length < this.#freeMax) this.#free.push(buffer);
  }
}

/** What of Node's stream handles is used here. */
interface WithHandle {
  _handle?: { useUserBuffer?: unknown } | null;
}

function hasHandle(socket: net.Socket): boolean {
  return typeof (socket as WithHandle)._handle?.useUserBuffer === 'function';
}

const NO_BUFFER = Buffer.alloc(0);
const smallBuffers = new BufferPool(READ_BYTES_SMALL, SMALL_POOL_MAX);
const largeBuffers = new BufferPool(READ_BYTES_LARGE, LARGE_POOL_MAX);
