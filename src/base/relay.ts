/**
 * Moves bytes between two connections, both ways, and nothing else: each side is read only as fast as the other takes it,
 * and the end of one direction leaves the other one open.
 *
 * Back-pressure is strict: while anything of a chunk waits for the kernel, its source is not read. So at most one chunk
 * a direction is held, a slow reader costs no memory, and there is nothing for Node's write queue to do: chunks go to the
 * socket's `_write`, the method that `write` itself calls behind its queue (https://nodejs.org/api/stream.html#writable_writechunk-encoding-callback).
 * The queue would cost as much JavaScript again for each chunk (docs/decisions/proxy-data-path.md).
 */
import type { DirectReadSocket } from './direct-read-socket.ts';

export interface Relay {
  /** Nothing waits to be taken by the kernel, on the way to `a` or to `b`. */
  readonly isFlushedToA: boolean;
  readonly isFlushedToB: boolean;
}

/**
 * Starts moving. From now on each end's `onChunk` belongs to the relay, and nobody else writes. What was written before
 * goes first. Errors and closing of the sockets are the caller's; only the ends of streams are passed on here.
 */
export function relay(a: DirectReadSocket, b: DirectReadSocket): Relay {
  const toB = new Direction(a, b);
  const toA = new Direction(b, a);
  return {
    get isFlushedToA() {
      return toA.isFlushed;
    },
    get isFlushedToB() {
      return toB.isFlushed;
    },
  };
}

class Direction {
  readonly #from: DirectReadSocket;
  readonly #to: DirectReadSocket;
  /** A chunk was given to the kernel, which has not taken all of it. */
  #isWaiting = false;
  /** And for that its source is not read. */
  #isPaused = false;

  constructor(from: DirectReadSocket, to: DirectReadSocket) {
    this.#from = from;
    this.#to = to;
    from.onChunk = (chunk) => this.#pass(chunk);
    if (from.socket.readableEnded) to.socket.end();
    else from.socket.once('end', () => to.socket.end());
    if (to.socket.writableLength === 0) from.socket.resume();
    else {
      this.#isWaiting = true;
      this.#pause();
      to.socket.write('', this.#onTaken);
    }
  }

  get isFlushed(): boolean {
    return !this.#isWaiting;
  }

  #pass(chunk: Buffer): void {
    this.#isWaiting = true;
    this.#to.socket._write(chunk, 'buffer' as BufferEncoding, this.#onTaken);
    // As a rule the kernel has taken it all, and `onTaken` was called.
    if (!this.#isWaiting) return;
    this.#from.keepChunk();
    this.#pause();
  }

  #pause(): void {
    this.#isPaused = true;
    this.#from.socket.pause();
  }

  readonly #onTaken = (error?: Error | null): void => {
    this.#isWaiting = false;
    if (error) this.#to.socket.destroy(error);
    else if (this.#isPaused) {
      this.#isPaused = false;
      this.#from.socket.resume();
    }
  };
}
