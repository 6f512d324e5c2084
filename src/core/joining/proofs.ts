/**
 * Proofs and boxes of the join protocol, as functions of given bytes. Both sides know the token's key K; nobody else does.
 *
 *   K  = HMAC(secret, "pgspan invitation 1", id)                       what the inviting side stores
 *   k* = HKDF(K, salt: clientNonce | serverNonce, info: name)          one key for each purpose and exchange
 *
 *   T1 = id, global cluster, inviting group, clientNonce, serverNonce, H(bundle of the inviting side)
 *   T2 = T1, H(bundle of the joining side), H(box of the offer)
 *   T3 = T2, H(box of the welcome)
 *
 *   challenge   HMAC(k1, T1)    the inviting side knows K, for these nonces and this bundle
 *   request     HMAC(k2, T2)    the joining side knows K, for both bundles and this offer
 *   acceptance  HMAC(k3, T3)    this is the answer to that request, and no other
 *   boxes       AES-256-GCM, a key each, T1 (offer) and T2 (welcome) as associated data
 *
 * Each field of T is preceded by its length, so that no two lists of fields give the same bytes. A box's key is used for one
 * box: both nonces are in it, and each side makes its own anew for each exchange. So the nonce of GCM may be constant.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';

const GCM_NONCE = Buffer.alloc(12);
const GCM_TAG_BYTES = 16;

/** Who and what this exchange is between. Nonces are base64url, hashes hexadecimal. */
export interface Exchange {
  /** K, hexadecimal. */
  readonly key: string;
  readonly invitation: string;
  readonly globalCluster: string;
  readonly invitingGroup: string;
  readonly clientNonce: string;
  readonly serverNonce: string;
  /** H of the inviting side's bundle. */
  readonly serverBundleHash: string;
}

/** With what the joining side has said. */
export interface OfferedExchange extends Exchange {
  readonly clientBundleHash: string;
  /** Its box, base64url. */
  readonly offerBox: string;
}

/** K, hexadecimal. @param secret base64url, of the token. */
export function tokenKey(secret: string, invitation: string): string {
  return createHmac('sha256', Buffer.from(secret, 'base64url'))
    .update(fields('pgspan invitation 1', invitation))
    .digest('hex');
}

/** SHA-256 of a text, hexadecimal. */
export function hashText(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** All proofs are base64url. */
export function challengeProof(exchange: Exchange): string {
  return proof(exchange, 'challenge proof', transcript1(exchange));
}

export function requestProof(exchange: OfferedExchange): string {
  return proof(exchange, 'request proof', transcript2(exchange));
}

export function acceptanceProof(exchange: OfferedExchange, welcomeBox: string): string {
  return proof(exchange, 'acceptance proof', fields(transcript2(exchange), hashText(welcomeBox)));
}

export function isSameProof(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

export function sealOffer(exchange: Exchange, text: string): string {
  return seal(exchangeKey(exchange, 'offer box'), transcript1(exchange), text);
}

/** Null: it was not sealed with this key for this exchange. */
export function openOffer(exchange: Exchange, box: string): string | null {
  return open(exchangeKey(exchange, 'offer box'), transcript1(exchange), box);
}

export function sealWelcome(exchange: OfferedExchange, text: string): string {
  return seal(exchangeKey(exchange, 'welcome box'), transcript2(exchange), text);
}

/** Null: as openOffer. */
export function openWelcome(exchange: OfferedExchange, box: string): string | null {
  return open(exchangeKey(exchange, 'welcome box'), transcript2(exchange), box);
}

function proof(exchange: Exchange, name: string, transcript: Buffer): string {
  return createHmac('sha256', exchangeKey(exchange, name)).update(transcript).digest('base64url');
}

function exchangeKey({ key, clientNonce, serverNonce }: Exchange, name: string): Buffer {
  const salt = fields(Buffer.from(clientNonce, 'base64url'), Buffer.from(serverNonce, 'base64url'));
  return Buffer.from(hkdfSync('sha256', Buffer.from(key, 'hex'), salt, `pgspan join 1 ${name}`, 32));
}

function transcript1(exchange: Exchange): Buffer {
  const { invitation, globalCluster, invitingGroup, clientNonce, serverNonce, serverBundleHash } = exchange;
  return fields('T1', invitation, globalCluster, invitingGroup, clientNonce, serverNonce, serverBundleHash);
}

function transcript2(exchange: OfferedExchange): Buffer {
  return fields(transcript1(exchange), exchange.clientBundleHash, hashText(exchange.offerBox));
}

function fields(...values: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(
    values.flatMap((value) => {
      const bytes = Buffer.from(value as string);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

function seal(key: Buffer, associated: Buffer, text: string): string {
  const cipher = createCipheriv('aes-256-gcm', key, GCM_NONCE).setAAD(associated);
  return Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64url');
}

function open(key: Buffer, associated: Buffer, box: string): string | null {
  const bytes = Buffer.from(box, 'base64url');
  if (bytes.length < GCM_TAG_BYTES) return null;
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, GCM_NONCE, { authTagLength: GCM_TAG_BYTES })
      .setAAD(associated)
      .setAuthTag(bytes.subarray(bytes.length - GCM_TAG_BYTES));
    const text = decipher.update(bytes.subarray(0, bytes.length - GCM_TAG_BYTES));
    return Buffer.concat([text, decipher.final()]).toString('utf8');
  } catch {
    return null;
  }
}
