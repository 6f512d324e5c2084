/**
 * The TLS ClientHello: which server name and which application protocols a client asks for. Nothing is decrypted or
 * answered; a router reads this to choose a backend and then passes the same bytes on.
 *
 *   record:     type 22, version (2), length (2), fragment      a hello may span several records
 *   handshake:  type 1, length (3), version (2), random (32), session id <0..32>, cipher suites <2..>, compression <1..>, extensions
 *   extension:  type (2), length (2), data
 * RFC 8446 sections 4.1.2 and 5.1; SNI: RFC 6066 section 3; ALPN: RFC 7301 section 3.1.
 */

/** A hello with two post-quantum key shares is under 4 KiB; beyond this it is an attack. */
export const CLIENT_HELLO_BYTES_MAX = 16 * 1024;

export type ClientHello =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'invalid'; readonly reason: string }
  | {
      readonly kind: 'client-hello';
      /** Lower case, without a final dot; null if the client sent none (it dials an address). */
      readonly serverName: string | null;
      /** In the client's order; empty if it sent none. */
      readonly alpnProtocols: readonly string[];
    };

/** Real clients need one or two; many tiny ones would make reading them expensive. */
const RECORDS_MAX = 16;
const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const RECORD_BYTES_MAX = 16 * 1024;
const EXTENSION = { serverName: 0, alpn: 16 } as const;

/** Reads the hello at the start of a TLS connection's bytes. Call again with more while it is 'incomplete'. */
export function parseClientHello(bytes: Buffer): ClientHello {
  try {
    const handshake = gatherHandshake(bytes);
    if (handshake === null) return { kind: 'incomplete' };
    return readHello(new Reader(handshake));
  } catch (error) {
    if (error instanceof Malformed) return { kind: 'invalid', reason: error.message };
    throw error;
  }
}

/** The body of the first handshake message, put together from its records; null while bytes are missing. */
function gatherHandshake(bytes: Buffer): Buffer | null {
  const fragments: Buffer[] = [];
  let offset = 0;
  while (fragments.length < RECORDS_MAX) {
    if (bytes.length > offset && bytes[offset] !== HANDSHAKE_RECORD) throw new Malformed('no TLS handshake record');
    if (bytes.length > offset + 1 && bytes[offset + 1] !== 3) throw new Malformed('no TLS version');
    if (bytes.length < offset + 5) return null;
    const length = bytes.readUInt16BE(offset + 3);
    if (length === 0 || length > RECORD_BYTES_MAX) throw new Malformed(`a record of ${length} bytes`);
    // What is there of an unfinished record can already show that it is no hello.
    const fragment = bytes.subarray(offset + 5, offset + 5 + length);
    fragments.push(fragment);
    offset += 5 + length;
    const message = fragments.length === 1 ? fragment : Buffer.concat(fragments);
    const complete = completeMessage(message);
    if (complete !== null) return complete;
    if (offset > bytes.length) return null;
  }
  throw new Malformed(`more than ${RECORDS_MAX} records`);
}

function completeMessage(message: Buffer): Buffer | null {
  if (message.length > 0 && message[0] !== CLIENT_HELLO) throw new Malformed('the first message is no ClientHello');
  if (message.length < 4) return null;
  const length = message.readUIntBE(1, 3);
  if (length > CLIENT_HELLO_BYTES_MAX) throw new Malformed(`a ClientHello of ${length} bytes`);
  return message.length < 4 + length ? null : message.subarray(4, 4 + length);
}

function readHello(hello: Reader): ClientHello {
  hello.skip(2 + 32);
  hello.vector(1);
  hello.vector(2);
  hello.vector(1);
  let serverName: string | null = null;
  let alpnProtocols: string[] = [];
  const seen = new Set<number>();
  const extensions = hello.done ? hello : hello.vector(2);
  while (!extensions.done) {
    const type = extensions.uint(2);
    const data = extensions.vector(2);
    if (seen.has(type)) throw new Malformed(`extension ${type} twice`);
    seen.add(type);
    if (type === EXTENSION.serverName) serverName = readServerName(data);
    if (type === EXTENSION.alpn) alpnProtocols = readAlpn(data);
  }
  if (!hello.done) throw new Malformed('bytes after the extensions');
  return { kind: 'client-hello', serverName, alpnProtocols };
}

function readServerName(data: Reader): string | null {
  let name: string | null = null;
  const list = data.vector(2);
  while (!list.done) {
    const type = list.uint(1);
    const value = list.vector(2).text();
    if (type !== 0) continue;
    if (name !== null) throw new Malformed('two server names');
    if (!/^[A-Za-z0-9_.-]{1,254}$/.test(value)) throw new Malformed('a server name that is no host name');
    name = value.toLowerCase().replace(/\.$/, '');
  }
  return name;
}

function readAlpn(data: Reader): string[] {
  const protocols: string[] = [];
  const list = data.vector(2);
  while (!list.done) protocols.push(list.vector(1).text());
  return protocols;
}

class Malformed extends Error {}

class Reader {
  readonly #bytes: Buffer;
  #offset = 0;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  get done(): boolean {
    return this.#offset === this.#bytes.length;
  }
  skip(byteLength: number): void {
    if (this.#offset + byteLength > this.#bytes.length) throw new Malformed('it is cut short');
    this.#offset += byteLength;
  }
  uint(byteLength: number): number {
    const start = this.#offset;
    this.skip(byteLength);
    return this.#bytes.readUIntBE(start, byteLength);
  }
  /** A vector whose length stands before it in `lengthBytes` bytes. */
  vector(lengthBytes: number): Reader {
    const length = this.uint(lengthBytes);
    const start = this.#offset;
    this.skip(length);
    return new Reader(this.#bytes.subarray(start, start + length));
  }
  text(): string {
    return this.#bytes.toString('latin1');
  }
}
