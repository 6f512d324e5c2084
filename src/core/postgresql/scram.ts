/**
 * SCRAM-SHA-256 verifiers as PostgreSQL stores them, so that a password is compared and set without being sent: a statement
 * with a password in it may end up in a log.
 *
 *   SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
 *
 * https://www.postgresql.org/docs/current/catalog-pg-authid.html, RFC 5802 section 3
 */
import { createHash, createHmac, pbkdf2Sync, timingSafeEqual } from 'node:crypto';

/** PostgreSQL's own (scram_iterations). */
export const SCRAM_ITERATIONS = 4096;
export const SCRAM_SALT_BYTES = 16;
const VERIFIER = /^SCRAM-SHA-256\$([0-9]{1,7}):([A-Za-z0-9+/=]{1,88})\$([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})$/;

export function scramVerifier(password: string, salt: Buffer, iterations: number = SCRAM_ITERATIONS): string {
  const salted = pbkdf2Sync(prepare(password), salt, iterations, 32, 'sha256');
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64');
  const serverKey = hmac('Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}

/** False also for a verifier of another kind. */
export function isPasswordOf(verifier: string, password: string): boolean {
  const [, iterations, salt] = VERIFIER.exec(verifier) ?? [];
  if (iterations === undefined || salt === undefined || Number(iterations) < 1) return false;
  const expected = Buffer.from(scramVerifier(password, Buffer.from(salt, 'base64'), Number(iterations)));
  const found = Buffer.from(verifier);
  return expected.length === found.length && timingSafeEqual(expected, found);
}

/** SASLprep (RFC 4013) as far as passwords that people type need it: odd spaces, soft hyphens, one form of each letter. */
function prepare(password: string): string {
  if (/^[\x20-\x7e]*$/.test(password)) return password;
  return password
    .replaceAll(/\p{Zs}/gu, ' ')
    .replaceAll('\u00ad', '')
    .normalize('NFKC');
}
