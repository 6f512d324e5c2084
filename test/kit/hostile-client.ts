/** What anybody can send to a port that he reaches: bytes that make no sense, and connections that never finish what they begin. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';

export interface Listener {
  readonly address: string;
  readonly port: number;
}

/** SSLRequest of PostgreSQL. */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
/** The head of a TLS record that promises a ClientHello of 512 bytes. */
const TLS_HEAD = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);

/** One after the other on a connection of its own; what comes back is nobody's business here. */
export function garbage(): Buffer[] {
  return [
    randomBytes(1),
    randomBytes(64),
    randomBytes(256 * 1024),
    Buffer.alloc(64 * 1024),
    Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    Buffer.from(`POST /v1/switchover HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n${'{'.repeat(10_000)}`),
    Buffer.concat([SSL_REQUEST, randomBytes(512)]),
    Buffer.concat([TLS_HEAD, randomBytes(2000)]),
    Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0]),
    Buffer.from([0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2]),
  ];
}

/** Sends and resolves when the other side has closed, or `patienceMs` later. Never rejects: being refused is an answer. */
export async function throwAt(listener: Listener, bytes: Buffer, patienceMs = 300): Promise<void> {
  const socket = connect({ host: listener.address, port: listener.port });
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, patienceMs);
    socket
      .on('error', () => {})
      .on('close', () => {
        clearTimeout(timer);
        resolve();
      });
    socket.on('data', () => {});
    socket.write(bytes);
  });
  socket.destroy();
}

/** Connections that begin well and go on byte by byte, each at its own place, until they are ended. */
export class SlowClients {
  readonly #sockets: Socket[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #atMs = performance.now();
  /** Of those that the other side has closed: after how long. */
  readonly closedAfterMs: number[] = [];

  constructor(listener: Listener, count: number) {
    for (let index = 0; index < count; index++) {
      const socket = connect({ host: listener.address, port: listener.port });
      socket.on('error', () => {}).on('data', () => {});
      socket.on('close', () => this.closedAfterMs.push(performance.now() - this.#atMs));
      const opening = [Buffer.alloc(0), SSL_REQUEST, TLS_HEAD, Buffer.from('GET /livez HTTP/1.1\r\nX: ')][index % 4];
      if (opening !== undefined && opening.length > 0) socket.write(opening);
      this.#sockets.push(socket);
    }
    this.#timer = setInterval(() => {
      for (const socket of this.#sockets) if (!socket.destroyed && socket.writable) socket.write('a');
    }, 500);
  }

  get openCount(): number {
    return this.#sockets.filter((socket) => !socket.destroyed).length;
  }

  end(): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
  }
}
