/**
 * The first packets of one client, and what each asks for: PostgreSQL's ProcessStartupPacket without the session behind it.
 * No I/O: bytes in, steps out; the session carries them out.
 *
 *   GSSENCRequest -> answer N, go on       SSLRequest, direct TLS -> open        CancelRequest -> cancel
 *   StartupMessage, anything else -> refuse
 *
 * Each request for encryption may come once, and nothing may stand behind it but TLS: bytes that came before TLS must
 * never be taken for its content (CVE-2021-23214).
 */
import { EARLY_BYTES_MAX } from '../../core/routing/limits.ts';
import { CLIENT_HELLO_BYTES_MAX, parseClientHello } from '../../wire/client-hello.ts';
import type { PostgresError } from '../../wire/postgres-error.ts';
import { type Opening, parseOpening, TLS_HANDSHAKE_BYTE } from '../../wire/postgres-opening.ts';
import type { TlsOpening } from './backend-attempt.ts';
import { ALERT_DECODE_ERROR, ALERT_NO_APPLICATION_PROTOCOL, type RefusalReason, refusals } from './refusal.ts';

export type OpeningStep =
  /** Call `take` again with what comes. */
  | { readonly kind: 'more' }
  /** Send this, then call `take` again with what comes. */
  | { readonly kind: 'answer'; readonly bytes: Buffer }
  /** `early` has come of TLS so far: all of the hello of direct TLS, as a rule nothing behind an SSLRequest. */
  | { readonly kind: 'open'; readonly opening: TlsOpening; readonly early: Buffer }
  | { readonly kind: 'cancel'; readonly packet: Buffer }
  | { readonly kind: 'refuse'; readonly reason: RefusalReason; readonly error: PostgresError }
  | { readonly kind: 'alert'; readonly reason: RefusalReason; readonly alert: Buffer };

const MORE: OpeningStep = { kind: 'more' };
const ENCRYPTION_NO = Buffer.from('N');

export class ClientOpening {
  readonly #source: string;
  #bytes: Buffer = Buffer.alloc(0);
  #hasAskedForGss = false;

  /** @param source the client's address, for the words of a refusal. */
  constructor(source: string) {
    this.#source = source;
  }

  /** The next bytes; they are copied. After any step but 'more' and 'answer' the opening is over. */
  take(chunk: Buffer): OpeningStep {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    const opening = parseOpening(this.#bytes);
    switch (opening.kind) {
      case 'incomplete':
        return MORE;
      case 'invalid':
        return invalid(opening.reason);
      case 'direct-tls':
        return this.#takeHello();
      default:
        return this.#takePacket(opening);
    }
  }

  #takePacket(opening: Extract<Opening, { byteLength: number }>): OpeningStep {
    const packet = this.#bytes.subarray(0, opening.byteLength);
    this.#bytes = this.#bytes.subarray(opening.byteLength);
    switch (opening.kind) {
      case 'gssenc-request':
        return this.#takeGssRequest();
      case 'ssl-request':
        return this.#takeSslRequest();
      case 'cancel-request':
        return { kind: 'cancel', packet };
      case 'startup':
        return {
          kind: 'refuse',
          reason: 'not-encrypted',
          error:
            opening.major === 3
              ? refusals.notEncrypted(this.#source, opening.parameters)
              : refusals.unsupportedProtocol(opening.major, opening.minor),
        };
    }
  }

  #takeGssRequest(): OpeningStep {
    if (this.#hasAskedForGss || this.#bytes.length > 0) {
      return invalid('received unencrypted data after GSSAPI encryption request');
    }
    this.#hasAskedForGss = true;
    return { kind: 'answer', bytes: ENCRYPTION_NO };
  }

  #takeSslRequest(): OpeningStep {
    if (this.#bytes.length > 0 && this.#bytes[0] !== TLS_HANDSHAKE_BYTE) {
      return invalid('received unencrypted data after SSL request');
    }
    return { kind: 'open', opening: 'ssl-request', early: this.#bytes };
  }

  #takeHello(): OpeningStep {
    const hello = parseClientHello(this.#bytes);
    const isTooLong = this.#bytes.length > CLIENT_HELLO_BYTES_MAX + EARLY_BYTES_MAX;
    if (hello.kind === 'incomplete' && !isTooLong) return MORE;
    if (hello.kind !== 'client-hello') return { kind: 'alert', reason: 'invalid-opening', alert: ALERT_DECODE_ERROR };
    if (hello.alpnProtocols.includes('postgresql')) {
      return { kind: 'open', opening: 'direct-tls', early: this.#bytes };
    }
    return { kind: 'alert', reason: 'direct-tls-alpn', alert: ALERT_NO_APPLICATION_PROTOCOL };
  }
}

function invalid(reason: string): OpeningStep {
  return { kind: 'refuse', reason: 'invalid-opening', error: refusals.invalid(reason) };
}
