/**
 * Dials a program of ours by mutual TLS, with one deadline over name resolution, connect and handshake: the kernel of a
 * frozen peer still completes the TCP handshake, so "connected" alone proves nothing. Errors say what to do about them.
 */
import * as tls from 'node:tls';
import type { DialOptions, DialTarget, ReloadableTls } from './mutual-tls.ts';

/**
 * Codes: DIAL_TIMEOUT, DIAL_FAILED (no route, refused, reset, unknown name; `cause.code` says which), PEER_CERTIFICATE_EXPIRED,
 * PEER_CERTIFICATE_UNTRUSTED, PEER_CERTIFICATE_NAME, PEER_IDENTITY_MISMATCH, PEER_REFUSED_CERTIFICATE.
 */
export class DialError extends Error {
  override name = 'DialError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * Resolves with a verified connection (no delay of small writes). Throws DialError in at most `timeoutMs`, or the reason
 * of `signal`. With TLS 1.3 a server that refuses *our* certificate shows it only at the first read,
 * by an alert (describeDialError) or, if it is a Node, by closing the connection.
 */
export function dialTls(
  credentials: ReloadableTls,
  target: DialTarget,
  options: DialOptions & { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) return reject(options.signal.reason);
    const socket = tls.connect(credentials.connectOptions(target, options));
    const finish = (outcome: () => void): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', onAbort);
      socket.removeListener('error', onError);
      socket.removeListener('close', onClose);
      outcome();
    };
    const fail = (error: unknown): void => {
      finish(() => reject(error));
      // Whatever the destroyed socket still reports has been told already.
      socket.on('error', () => {}).destroy();
    };
    const onError = (error: Error): void => fail(describeDialError(target, error));
    const onClose = (): void =>
      fail(new DialError('DIAL_FAILED', `Cannot connect to ${at(target)}: it closed the connection`));
    const onAbort = (): void => fail(options.signal?.reason);
    const timer = setTimeout(
      () =>
        fail(
          new DialError('DIAL_TIMEOUT', `Cannot connect to ${at(target)}: no answer within ${options.timeoutMs} ms`),
        ),
      options.timeoutMs,
    );
    options.signal?.addEventListener('abort', onAbort, { once: true });
    socket.on('error', onError).on('close', onClose);
    socket.once('secureConnect', () => {
      socket.setNoDelay(true);
      finish(() => resolve(socket));
    });
  });
}

/** The same words for an error of any TLS connection to `target`, also one that came after the handshake. */
export function describeDialError(target: DialTarget, error: Error): DialError {
  if (error instanceof DialError) return error;
  const found = (error as NodeJS.ErrnoException).code ?? '';
  const known = knownErrors.find(([pattern]) => pattern.test(found));
  const [, code, what] = known ?? [null, 'DIAL_FAILED', error.message];
  return new DialError(code, `Cannot connect to ${at(target)}: ${what === '' ? error.message : what}`, {
    cause: error,
  });
}

/** By OpenSSL's and Node's codes (https://nodejs.org/api/tls.html#x509-certificate-error-codes); '' keeps Node's own words. */
const knownErrors: readonly (readonly [RegExp, string, string])[] = [
  [/^CERT_HAS_EXPIRED$/, 'PEER_CERTIFICATE_EXPIRED', 'its certificate, or the CA that signed it, has expired'],
  [
    /^CERT_NOT_YET_VALID$/,
    'PEER_CERTIFICATE_EXPIRED',
    'its certificate is not valid yet; compare the clocks of both machines',
  ],
  [
    /^ECONNRESET$/,
    'DIAL_FAILED',
    // What a Node server does with a certificate that it does not accept; a crash looks the same.
    'it closed the connection without an answer; if it always does, look in its log whether it accepts our certificate',
  ],
  [/^ERR_TLS_CERT_ALTNAME_INVALID$/, 'PEER_CERTIFICATE_NAME', ''],
  [/^PEER_IDENTITY_MISMATCH$/, 'PEER_IDENTITY_MISMATCH', ''],
  [
    /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_SIGNATURE_|CERT_UNTRUSTED|INVALID_|ERR_SSL_CERTIFICATE_VERIFY)/,
    'PEER_CERTIFICATE_UNTRUSTED',
    'its certificate is signed by none of the CAs in the trust bundle',
  ],
  [
    /^ERR_SSL_.*ALERT.*(CERTIFICATE|UNKNOWN_CA|DECRYPT_ERROR|ACCESS_DENIED)/,
    'PEER_REFUSED_CERTIFICATE',
    'it refused our certificate; it may be expired, or signed by a CA that is not in its trust bundle',
  ],
];

function at(target: DialTarget): string {
  return `"${target.host}" (${target.address ?? target.host}, port ${target.port})`;
}
