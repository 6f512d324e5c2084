/**
 * The first bytes of a PostgreSQL connection, as a server sees them: which of the six ways of opening it is.
 * Pure bytes to records; who answers what is the proxy's business.
 *
 *   0x16 ...                                 direct TLS (PostgreSQL 17 and later): a TLS record of type handshake
 *   int32 length (itself included) int32 code
 *     8            80877103                  SSLRequest
 *     8            80877104                  GSSENCRequest
 *     12 + key     80877102  int32 pid, key  CancelRequest; key of 4 bytes, up to 256 with protocol 3.2
 *     >= 9         major << 16 | minor       StartupMessage: (name \0 value \0)* \0
 *
 * https://www.postgresql.org/docs/18/protocol-message-formats.html; limits from the server's ProcessStartupPacket.
 */

/** The largest packet a server takes here (MAX_STARTUP_PACKET_LENGTH). */
export const OPENING_BYTES_MAX = 10_000;
/** Protocol 3.2: "variable-length secret key, up to 256 bytes". */
export const CANCEL_KEY_BYTES_MAX = 256;

export const TLS_HANDSHAKE_BYTE = 0x16;

const SSL_REQUEST_CODE = 80877103;
const GSSENC_REQUEST_CODE = 80877104;
const CANCEL_REQUEST_CODE = 80877102;

export type Opening =
  /** Valid so far; call again with more. */
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'direct-tls' }
  | { readonly kind: 'ssl-request'; readonly byteLength: number }
  | { readonly kind: 'gssenc-request'; readonly byteLength: number }
  | { readonly kind: 'cancel-request'; readonly byteLength: number; readonly processId: number }
  | {
      readonly kind: 'startup';
      readonly byteLength: number;
      readonly major: number;
      readonly minor: number;
      readonly parameters: ReadonlyMap<string, string>;
    }
  /** No PostgreSQL client. `reason` continues "invalid opening: ". */
  | { readonly kind: 'invalid'; readonly reason: string };

/** What the bytes at the start of `bytes` open. `byteLength` is how many of them belong to it; the rest is the caller's. */
export function parseOpening(bytes: Buffer): Opening {
  if (bytes.length === 0) return { kind: 'incomplete' };
  if (bytes[0] === TLS_HANDSHAKE_BYTE) return { kind: 'direct-tls' };
  // The length is at most 10,000, so a wrong first byte is known at once.
  if (bytes[0] !== 0) return { kind: 'invalid', reason: 'this is no PostgreSQL client' };
  if (bytes.length < 4) return { kind: 'incomplete' };
  const byteLength = bytes.readUInt32BE(0);
  if (byteLength < 8 || byteLength > OPENING_BYTES_MAX) {
    return { kind: 'invalid', reason: `invalid length of startup packet: ${byteLength}` };
  }
  if (bytes.length < byteLength) return { kind: 'incomplete' };
  return parsePacket(bytes, byteLength, bytes.readUInt32BE(4));
}

function parsePacket(bytes: Buffer, byteLength: number, code: number): Opening {
  switch (code) {
    case SSL_REQUEST_CODE:
    case GSSENC_REQUEST_CODE:
      if (byteLength !== 8) return { kind: 'invalid', reason: `an encryption request of ${byteLength} bytes` };
      return { kind: code === SSL_REQUEST_CODE ? 'ssl-request' : 'gssenc-request', byteLength };
    case CANCEL_REQUEST_CODE: {
      const keyBytes = byteLength - 12;
      if (keyBytes < 4 || keyBytes > CANCEL_KEY_BYTES_MAX) {
        return { kind: 'invalid', reason: `a cancel request with a key of ${keyBytes} bytes` };
      }
      return { kind: 'cancel-request', byteLength, processId: bytes.readInt32BE(8) };
    }
    default:
      return parseStartup(bytes, byteLength, code);
  }
}

function parseStartup(bytes: Buffer, byteLength: number, version: number): Opening {
  const major = version >>> 16;
  const minor = version & 0xffff;
  const parameters = new Map<string, string>();
  // Another major version lays its parameters out differently; it is refused by its number alone.
  if (major !== 3) return { kind: 'startup', byteLength, major, minor, parameters };
  let offset = 8;
  while (offset < byteLength - 1) {
    const nameEnd = bytes.indexOf(0, offset);
    if (nameEnd === offset) break;
    const valueEnd = nameEnd === -1 ? -1 : bytes.indexOf(0, nameEnd + 1);
    if (valueEnd === -1 || valueEnd >= byteLength - 1) return invalidLayout;
    parameters.set(bytes.toString('utf8', offset, nameEnd), bytes.toString('utf8', nameEnd + 1, valueEnd));
    offset = valueEnd + 1;
  }
  if (offset !== byteLength - 1 || bytes[offset] !== 0) return invalidLayout;
  return { kind: 'startup', byteLength, major, minor, parameters };
}

const invalidLayout: Opening = {
  kind: 'invalid',
  reason: 'invalid startup packet layout: expected terminator as last byte',
};

/** What a client sends to ask for TLS. */
export function encodeSslRequest(): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(8, 0);
  bytes.writeUInt32BE(SSL_REQUEST_CODE, 4);
  return bytes;
}
