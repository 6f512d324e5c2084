/**
 * The token of an invitation: `pgspan1.<base64url of JSON>.<checksum>`. The checksum tells a token that was cut or mistyped from
 * one that is refused; it protects nothing.
 */
import { createHash } from 'node:crypto';
import { type Invitation, invitationSchema } from '../../api/invitation.ts';

const PREFIX = 'pgspan1';
/** Names have at most 253 letters; with four fingerprints it is under 1 KiB. */
const TOKEN_LENGTH_MAX = 4096;
const CHECKSUM_LENGTH = 8;

export type ParsedToken =
  | { readonly kind: 'invitation'; readonly invitation: Invitation }
  | { readonly kind: 'refused'; readonly reason: 'TokenDamaged' | 'TokenUnknown'; readonly message: string };

export function encodeToken(invitation: Invitation): string {
  const { id, secret, globalCluster, group, endpoint, caFingerprints, expiresAt } = invitation;
  const fields = [id, secret, globalCluster, group, endpoint.host, endpoint.port, caFingerprints, expiresAt];
  const text = Buffer.from(JSON.stringify(fields)).toString('base64url');
  return `${PREFIX}.${text}.${checksum(text)}`;
}

/** White space around it, and line breaks that a terminal put in, are passed over. Nothing of the token is repeated in a message. */
export function parseToken(given: string): ParsedToken {
  if (given.length > 2 * TOKEN_LENGTH_MAX) return damaged(`it has ${given.length} characters`);
  const token = given.replaceAll(/\s+/g, '');
  const [prefix, text, sum, ...rest] = token.split('.');
  if (prefix !== PREFIX) {
    return refused(
      'TokenUnknown',
      /^pgspan[0-9]+$/.test(prefix ?? '')
        ? `It begins with "${prefix}", this version of pgspan reads "${PREFIX}"`
        : `It does not begin with "${PREFIX}."`,
    );
  }
  if (text === undefined || sum === undefined || rest.length > 0 || token.length > TOKEN_LENGTH_MAX)
    return damaged('it is not of three parts');
  if (checksum(text) !== sum) return damaged('its checksum is wrong');
  const parsed = invitationSchema.safeParse(fieldsOf(text));
  if (!parsed.success) return damaged(`${parsed.error.issues[0]?.path.join('.') ?? 'it'} is not as it should be`);
  return { kind: 'invitation', invitation: parsed.data };
}

function fieldsOf(text: string): unknown {
  try {
    const fields: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    if (!Array.isArray(fields) || fields.length !== 8) return null;
    const [id, secret, globalCluster, group, host, port, caFingerprints, expiresAt] = fields as unknown[];
    return { id, secret, globalCluster, group, endpoint: { host, port }, caFingerprints, expiresAt };
  } catch {
    return null;
  }
}

function checksum(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, CHECKSUM_LENGTH);
}

function damaged(found: string): ParsedToken {
  return refused('TokenDamaged', `It was cut or changed on its way: ${found}`);
}

function refused(reason: 'TokenDamaged' | 'TokenUnknown', message: string): ParsedToken {
  return { kind: 'refused', reason, message };
}
