/**
 * PostgreSQL's ErrorResponse, as a server sends it before it ends a connection.
 * https://www.postgresql.org/docs/18/protocol-error-fields.html
 */

/** SQLSTATEs that pgspan itself answers with; drivers decide by them whether to try again or elsewhere. */
export const SQLSTATE = {
  /** A libpq with several hosts tries the next one. */
  cannotConnectNow: '57P03',
  tooManyConnections: '53300',
  invalidAuthorization: '28000',
  protocolViolation: '08P01',
  featureNotSupported: '0A000',
} as const;

export interface PostgresError {
  /** One of SQLSTATE. */
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
}

/** One FATAL ErrorResponse. Bytes of 0 in a text would end its field early, so they are left out. */
export function encodeFatalError(error: PostgresError): Buffer {
  const fields = [
    ['S', 'FATAL'],
    ['V', 'FATAL'],
    ['C', error.code],
    ['M', error.message],
    ['D', error.detail],
    ['H', error.hint],
  ] as const;
  const body = fields
    .filter(([, text]) => text !== undefined)
    .map(([type, text]) => `${type}${String(text).replaceAll('\0', '')}\0`)
    .join('');
  const bytes = Buffer.alloc(1 + 4 + Buffer.byteLength(body) + 1);
  bytes.write('E', 0, 'latin1');
  bytes.writeUInt32BE(bytes.length - 1, 1);
  bytes.write(body, 5, 'utf8');
  return bytes;
}
