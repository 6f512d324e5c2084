/**
 * What a client is told that gets no backend: PostgreSQL's own error, where the client can read it.
 *
 * A client that asked for TLS does not show an error that comes before TLS (CVE-2024-10977: it is not authenticated), and
 * its user sees "server sent an error response during SSL exchange". So the proxy speaks TLS itself for this one message,
 * if its own certificate carries the names that clients dial; it then sees the user's and database's name, never a password.
 * docs/decisions/proxy-refusals.md
 */
import { X509Certificate } from 'node:crypto';
import { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import type { DirectReadSocket } from '../../base/direct-read-socket.ts';
import type { WaitReason } from '../../core/routing/routes.ts';
import { encodeFatalError, type PostgresError, SQLSTATE } from '../../wire/postgres-error.ts';
import { OPENING_BYTES_MAX, parseOpening } from '../../wire/postgres-opening.ts';

export type RefusalReason =
  | 'no-backend'
  | 'too-many-held'
  | 'not-encrypted'
  | 'invalid-opening'
  | 'direct-tls-alpn'
  | 'direct-tls-version';

export const refusals = {
  noBackend: (reason: WaitReason | null, waitedMs: number, lastFailure: string | null): PostgresError => ({
    code: SQLSTATE.cannotConnectNow,
    message: `no server for this connection after ${(waitedMs / 1000).toFixed(1)} s: ${reason?.message ?? lastFailure ?? 'no server answered'}`,
    ...(reason !== null && lastFailure !== null ? { detail: `The last attempt failed: ${lastFailure}.` } : {}),
    hint: 'Try again; "pgspan status" shows who leads and what is missing.',
  }),
  tooManyHeld: (held: number): PostgresError => ({
    code: SQLSTATE.cannotConnectNow,
    message: `no server for this connection, and ${held} connections wait for one already`,
    hint: 'Try again later; "pgspan status" shows who leads and what is missing.',
  }),
  tooManyConnections: (connectionsMax: number): PostgresError => ({
    code: SQLSTATE.tooManyConnections,
    message: `sorry, too many clients already: this proxy takes ${connectionsMax} connections`,
    hint: 'Close idle connections, or raise the proxy\'s limit "connectionsMax".',
  }),
  notEncrypted: (client: string, parameters: ReadonlyMap<string, string>): PostgresError => {
    const user = parameters.get('user') ?? '';
    // `replication=database` is checked against the database's own lines.
    const isPhysical = /^(1|on?|t(r(ue?)?)?|y(es?)?)$/i.test(parameters.get('replication') ?? '');
    const what = isPhysical
      ? `replication connection from host "${client}", user "${user}"`
      : `host "${client}", user "${user}", database "${parameters.get('database') ?? user}"`;
    return {
      code: SQLSTATE.invalidAuthorization,
      message: `no pg_hba.conf entry for ${what}, no encryption`,
      hint: 'pgspan takes encrypted connections only: set sslmode=verify-full.',
    };
  },
  unsupportedProtocol: (major: number, minor: number): PostgresError => ({
    code: SQLSTATE.featureNotSupported,
    message: `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.2`,
  }),
  invalid: (message: string): PostgresError => ({ code: SQLSTATE.protocolViolation, message }),
  directTlsVersion: (serverVersion: number): PostgresError => ({
    code: SQLSTATE.featureNotSupported,
    message: `direct TLS needs PostgreSQL 17 or later, and this server is ${formatServerVersion(serverVersion)}`,
    hint: 'Set sslnegotiation=postgres (the default), or upgrade the server.',
  }),
} as const;

/** `150018` is 15.18. */
export function formatServerVersion(version: number): string {
  return `${Math.floor(version / 10000)}.${version % 10000}`;
}

/** TLS alert no_application_protocol, fatal (RFC 7301 section 3.2), as PostgreSQL answers direct TLS without its ALPN. */
export const ALERT_NO_APPLICATION_PROTOCOL = Buffer.from([21, 3, 1, 0, 2, 2, 120]);
/** TLS alert decode_error, fatal. */
export const ALERT_DECODE_ERROR = Buffer.from([21, 3, 1, 0, 2, 2, 50]);

/** Sends an error in the clear and ends the connection. */
export function refuseInClear(client: DirectReadSocket, error: PostgresError): void {
  client.onChunk = () => {};
  client.socket.end(encodeFatalError(error), () => client.socket.destroy());
}

/** What the proxy needs to speak TLS for the length of one error. */
export interface RefusalTls {
  readonly context: tls.SecureContext;
  /** Its certificate carries the names that clients dial, so that a client with verify-full gets to see the error. */
  readonly isTrusted: boolean;
}

/** @param names those that clients of this proxy dial. */
export function createRefusalTls(
  pem: Pick<tls.SecureContextOptions, 'cert' | 'key'>,
  names: readonly string[],
): RefusalTls {
  const certificate = new X509Certificate(String(pem.cert));
  return {
    context: tls.createSecureContext({ cert: pem.cert, key: pem.key, minVersion: 'TLSv1.2' }),
    isTrusted: names.every((name) => certificate.checkHost(name) !== undefined),
  };
}

/**
 * Does the server's part of the TLS handshake, waits for the StartupMessage, answers with the error, ends. The caller
 * bounds the time by closing the client.
 * @param early what the client sent of TLS so far. The answer to an SSLRequest must have been sent.
 */
export function refuseInsideTls(
  client: DirectReadSocket,
  options: {
    readonly context: tls.SecureContext;
    readonly early: Buffer;
    readonly error: PostgresError;
  },
): void {
  const transport = asDuplex(client, options.early);
  const secure = new tls.TLSSocket(transport, {
    isServer: true,
    secureContext: options.context,
    ALPNProtocols: ['postgresql'],
  });
  const finish = (): void => void client.socket.destroy();
  let received = Buffer.alloc(0);
  secure.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    const opening = parseOpening(received);
    if (opening.kind === 'incomplete' && received.length < OPENING_BYTES_MAX) return;
    secure.removeAllListeners('data');
    // A cancel request has no answer.
    if (opening.kind === 'startup') secure.end(encodeFatalError(options.error), () => setImmediate(finish));
    else finish();
  });
  secure.on('error', finish);
  secure.on('close', finish);
}

function asDuplex(client: DirectReadSocket, early: Buffer): Duplex {
  const { socket } = client;
  const duplex = new Duplex({
    read: () => socket.resume(),
    write: (chunk, _encoding, done) => void socket.write(chunk, done),
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  if (early.length > 0) duplex.push(early);
  client.onChunk = (chunk) => {
    if (!duplex.push(Buffer.from(chunk))) socket.pause();
  };
  socket.once('end', () => duplex.push(null));
  socket.once('close', () => duplex.destroy());
  return duplex;
}
