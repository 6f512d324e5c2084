/** The joining side of one exchange, message by message and without a network, for tests that change or repeat one. */
import { randomBytes } from 'node:crypto';
import assert from 'node:assert/strict';
import { type Invitation, joinChallengeSchema, type JoinOffer, type JoinRequest } from '../../src/api/invitation.ts';
import { type Exchange, hashText, requestProof, sealOffer, tokenKey } from '../../src/core/joining/proofs.ts';
import type { InvitationHost } from '../../src/operator/joining/invitation-host.ts';

/** @returns the second message, which has not been sent. */
export async function recordedExchange(
  host: InvitationHost,
  invitation: Invitation,
  offer: JoinOffer,
): Promise<{ readonly join: JoinRequest }> {
  const clientNonce = randomBytes(32).toString('base64url');
  const hello = { step: 'hello', version: 1, invitation: invitation.id, clientNonce };
  const answer = await host.answer(hello, Date.now());
  assert.equal(answer?.status, 200, JSON.stringify(answer));
  const { serverNonce, bundleHash } = joinChallengeSchema.parse(answer.body);
  const exchange: Exchange = {
    key: tokenKey(invitation.secret, invitation.id),
    invitation: invitation.id,
    globalCluster: invitation.globalCluster,
    invitingGroup: invitation.group,
    clientNonce,
    serverNonce,
    serverBundleHash: bundleHash,
  };
  const box = sealOffer(exchange, JSON.stringify(offer));
  const proof = requestProof({ ...exchange, clientBundleHash: hashText(offer.caBundle), offerBox: box });
  return { join: { step: 'join', version: 1, invitation: invitation.id, clientNonce, serverNonce, box, proof } };
}

/** Code of the refusal, or `welcome`. */
export async function hostAnswers(host: InvitationHost, invitation: Invitation, offer: JoinOffer): Promise<string> {
  const { join } = await recordedExchange(host, invitation, offer);
  const answer = await host.answer(join, Date.now());
  if (answer?.status === 200) return 'welcome';
  return (answer?.body as { code?: string } | undefined)?.code ?? 'none';
}
