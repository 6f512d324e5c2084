/**
 * The joining side's part of one exchange (docs/joining.md): from a token to what the inviting group answered, or to the reason why
 * not. Changes nothing here; the caller writes down what came.
 */
import { randomBytes } from 'node:crypto';
import {
  type Invitation,
  joinAcceptanceSchema,
  joinChallengeSchema,
  type JoinOffer,
  joinRefusalSchema,
  type JoinWelcome,
  joinWelcomeSchema,
} from '../../api/invitation.ts';
import { type GroupCard, parseGroupCard } from '../../api/group-card.ts';
import { isPassing, reasonOfRefusal, welcomeProblem } from '../../core/joining/decide-joining.ts';
import { findAuthority } from '../../core/joining/find-authority.ts';
import {
  acceptanceProof,
  challengeProof,
  type Exchange,
  hashText,
  isSameProof,
  openWelcome,
  requestProof,
  sealOffer,
  tokenKey,
} from '../../core/joining/proofs.ts';
import { type ExpectedGroup, fetchBundle, sendToGroup, type VisitAnswer } from './visit-agent.ts';

export type Carried =
  | { readonly kind: 'welcome'; readonly welcome: JoinWelcome; readonly cards: readonly GroupCard[] }
  /** `isFinal`: with this token it cannot succeed. */
  | { readonly kind: 'refused'; readonly reason: string; readonly message: string; readonly isFinal: boolean };

/** Agents admit some requests a second. An answer that got lost is asked for again: the same request gets the same one. */
const SENDS_MAX = 3;

/** @param offer with the card of this group. Throws VisitError. */
export async function carryInvitation(invitation: Invitation, offer: JoinOffer): Promise<Carried> {
  const { endpoint, globalCluster, group } = invitation;
  const shown = await sendAgain(() => fetchBundle(endpoint));
  const bundle = (shown.body as { caBundle?: unknown } | null)?.caBundle;
  if (shown.status !== 200 || typeof bundle !== 'string') return refusalOf(shown, 'show its CA');
  const authority = findAuthority(bundle, invitation.caFingerprints);
  if (authority.kind === 'missing') return refused('JoinWrongAuthority', authority.message, true);
  const expected: ExpectedGroup = { globalCluster, group, authority: authority.pem };

  const clientNonce = randomBytes(32).toString('base64url');
  const hello = { step: 'hello', version: 1, invitation: invitation.id, clientNonce };
  const greeted = await sendAgain(() => sendToGroup(endpoint, expected, hello));
  const challenge = joinChallengeSchema.safeParse(greeted.body);
  if (greeted.status !== 200 || !challenge.success) return refusalOf(greeted, 'take the invitation');
  const exchange: Exchange = {
    key: tokenKey(invitation.secret, invitation.id),
    invitation: invitation.id,
    globalCluster,
    invitingGroup: group,
    clientNonce,
    serverNonce: challenge.data.serverNonce,
    serverBundleHash: challenge.data.bundleHash,
  };
  if (!isSameProof(challengeProof(exchange), challenge.data.proof)) return unproven('The other side');

  const offerBox = sealOffer(exchange, JSON.stringify(offer));
  const offered = { ...exchange, clientBundleHash: hashText(offer.caBundle), offerBox };
  const request = {
    step: 'join',
    version: 1,
    invitation: invitation.id,
    clientNonce,
    serverNonce: exchange.serverNonce,
    box: offerBox,
    proof: requestProof(offered),
  };
  const answered = await sendAgain(() => sendToGroup(endpoint, expected, request));
  const acceptance = joinAcceptanceSchema.safeParse(answered.body);
  if (answered.status !== 200 || !acceptance.success) return refusalOf(answered, 'take this group in');
  const { box, proof } = acceptance.data;
  if (!isSameProof(acceptanceProof(offered, box), proof)) return unproven('The answer');
  const text = openWelcome(offered, box);
  const welcome = joinWelcomeSchema.safeParse(parseJson(text));
  if (!welcome.success) return refused('JoinInvalid', 'The answer is not as this version of pgspan expects it', true);
  if (hashText(welcome.data.caBundle) !== exchange.serverBundleHash) return unproven('The CA bundle of the answer');
  const cards = welcome.data.cards.flatMap((value) => {
    const parsed = parseGroupCard(value, globalCluster);
    return parsed.kind === 'card' ? [parsed.card] : [];
  });
  const cardGroups = cards.map((card) => card.group);
  const problem = welcomeProblem(welcome.data, { invitation, group: offer.group, cardGroups });
  if (problem !== null)
    return refused('JoinInvalid', `The answer of "${group}" contradicts the token: ${problem}`, true);
  return { kind: 'welcome', welcome: welcome.data, cards };
}

async function sendAgain(send: () => Promise<VisitAnswer>): Promise<VisitAnswer> {
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await send();
      const refusal = joinRefusalSchema.safeParse(answer.body);
      const mayPass = refusal.success && (refusal.data.code === 'JOIN_BUSY' || refusal.data.code === 'JOIN_UNHEARD');
      if (!mayPass || attempt >= SENDS_MAX) return answer;
    } catch (error) {
      if (attempt >= SENDS_MAX) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * attempt));
  }
}

function parseJson(text: string | null): unknown {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

/** In the words of the other side, which has proved nothing. */
function refusalOf({ status, body }: VisitAnswer, action: string): Carried {
  const refusal = joinRefusalSchema.safeParse(body);
  if (!refusal.success)
    return refused('JoinRefused', `The other side did not ${action}: it answered ${status}`, status === 404);
  const { code, message } = refusal.data;
  return refused(reasonOfRefusal(code), message, !isPassing(code));
}

function unproven(who: string): Carried {
  return refused(
    'JoinUnproven',
    `${who} does not prove that it knows the token: the token was changed, or somebody is between the clusters`,
    true,
  );
}

function refused(reason: string, message: string, isFinal: boolean): Carried {
  return { kind: 'refused', reason, message, isFinal };
}
