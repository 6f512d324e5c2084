/**
 * The client's side of PostgreSQL's start-up, as far as one answer: is this user let in without a password?
 * https://www.postgresql.org/docs/18/protocol-message-formats.html
 */

const PROTOCOL_3_0 = 196_608;
/** An ErrorResponse or a negotiation is a few hundred bytes. */
const ANSWER_BYTES_MAX = 16 * 1024;

/** StartupMessage. Bytes of 0 in a text would end it early, so they are left out. */
export function encodeStartup(parameters: Readonly<Record<string, string>>): Buffer {
  const text = Object.entries(parameters)
    .flatMap(([name, value]) => [name, value])
    .map((one) => `${one.replaceAll('\0', '')}\0`)
    .join('');
  const body = Buffer.from(`${text}\0`, 'utf8');
  const bytes = Buffer.alloc(8 + body.length);
  bytes.writeUInt32BE(bytes.length, 0);
  bytes.writeUInt32BE(PROTOCOL_3_0, 4);
  body.copy(bytes, 8);
  return bytes;
}

export type StartupAnswer =
  | { readonly kind: 'incomplete' }
  /** AuthenticationOk. */
  | { readonly kind: 'accepted' }
  /** It wants a password, or something else that a certificate is not. */
  | { readonly kind: 'asks' }
  /** `code` is the SQLSTATE. */
  | { readonly kind: 'refused'; readonly code: string; readonly message: string };

/** The first message of the server; what comes after it is not looked at. */
export function readStartupAnswer(bytes: Buffer): StartupAnswer {
  if (bytes.length < 5) return { kind: 'incomplete' };
  const length = bytes.readUInt32BE(1);
  if (length < 4 || length > ANSWER_BYTES_MAX)
    return { kind: 'refused', code: '08P01', message: 'it answered with something that is not of PostgreSQL' };
  if (bytes.length < 1 + length) return { kind: 'incomplete' };
  const body = bytes.subarray(5, 1 + length);
  switch (bytes[0]) {
    case 0x52: // R
      return body.length >= 4 && body.readUInt32BE(0) === 0 ? { kind: 'accepted' } : { kind: 'asks' };
    case 0x45: // E
      return readError(body);
    default:
      return { kind: 'refused', code: '08P01', message: 'it answered with something that is not of PostgreSQL' };
  }
}

function readError(body: Buffer): StartupAnswer {
  const fields = body.toString('utf8').split('\0');
  const field = (type: string): string | undefined => fields.find((one) => one.startsWith(type))?.slice(1);
  return { kind: 'refused', code: field('C') ?? '08P01', message: (field('M') ?? 'it refused').slice(0, 1000) };
}
