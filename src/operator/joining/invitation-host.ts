/**
 * The inviting side: answers the messages that agents relay. It decides with core/joining, and acts through a port: looking an
 * invitation up, using it up, and taking a group in.
 *
 * In memory are only exchanges that were begun, and the last answers: an operator that starts anew refuses with JOIN_RESTARTED,
 * and the other side begins again. An answer that got lost on its way is given once more to exactly the same request.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  type ApplicationLogin,
  joinMessageSchema,
  joinOfferSchema,
  JOIN_ANSWER_BYTES_MAX,
  type JoinHello,
  type JoinRefusalCode,
  type JoinOffer,
  type JoinRequest,
  type JoinWelcome,
  type RelayedAnswer,
  type StoredInvitation,
  type WithdrawnInvitation,
} from '../../api/invitation.ts';
import { type GroupCard, parseGroupCard } from '../../api/group-card.ts';
import { Mutex } from '../../base/mutex.ts';
import {
  cardGenerationMin,
  decideInvitation,
  decideOffer,
  type InvitationDecision,
  isWithdrawn,
  type KnownGroup,
  refuseExchange,
  refuseInvalid,
  refuseProof,
} from '../../core/joining/decide-invitation.ts';
import {
  acceptanceProof,
  challengeProof,
  type Exchange,
  hashText,
  isSameProof,
  type OfferedExchange,
  openOffer,
  requestProof,
  sealWelcome,
} from '../../core/joining/proofs.ts';

/** `version`: of the Secret, for using exactly this one up. */
export type FoundInvitation = (StoredInvitation | WithdrawnInvitation) & { readonly version: string };

/** What the host knows at this moment. */
export interface HostFacts {
  readonly globalCluster: string;
  readonly group: string;
  readonly primaryGroup: string;
  /** CAs of this group alone, PEM. */
  readonly caBundle: string;
  /** The own card first. */
  readonly cards: readonly GroupCard[];
  readonly login: ApplicationLogin;
}

export interface HostPort {
  /** Null while the group is not far enough to take others in: nobody is answered. */
  facts(): HostFacts | null;
  /** Null: there is none. */
  find(id: string): Promise<FoundInvitation | null>;
  /** False: somebody else was faster. Nobody may be taken in after that. */
  useUp(id: string, version: string): Promise<boolean>;
  /** Contradictions of its manifest beside the others. */
  problems(card: GroupCard): readonly string[];
  /** Writes down that the group belongs to the global cluster. */
  admit(card: GroupCard): Promise<void>;
  onEvent(event: { readonly type: 'Normal' | 'Warning'; readonly reason: string; readonly note: string }): void;
}

interface Begun {
  readonly exchange: Exchange;
  readonly expiresAtMs: number;
}

interface Accepted {
  readonly offered: OfferedExchange;
  readonly card: GroupCard;
  readonly facts: HostFacts;
}

/** As many as agents let wait, some times over. */
const EXCHANGES_MAX = 64;
const EXCHANGE_MS = 60_000;
const ANSWERS_MAX = 8;

type Body = { readonly status: 200 | 409; readonly body: unknown };

export class InvitationHost {
  readonly #port: HostPort;
  readonly #begun = new Map<string, Begun>();
  /** By hash of the request. */
  readonly #answers = new Map<string, Body>();
  /** Proven and paid for with the invitation, and not written down yet; by hash of the request. */
  readonly #accepted = new Map<string, Accepted>();
  readonly #mutex = new Mutex();

  constructor(port: HostPort) {
    this.#port = port;
  }

  /** @param message untrusted. Null: this is no moment to answer; the other side tries again. Throws ApiError. */
  async answer(message: unknown, nowMs: number): Promise<Pick<RelayedAnswer, 'status' | 'body'> | null> {
    const facts = this.#port.facts();
    if (facts === null) return null;
    const parsed = joinMessageSchema.safeParse(message);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      return asBody(refuseInvalid(`"${issue?.path.join('.') ?? ''}": ${issue?.message.slice(0, 200) ?? ''}`));
    }
    // One after the other: two that come with one invitation must not both find it unused.
    return await this.#mutex.run(() =>
      parsed.data.step === 'hello' ? this.#greet(parsed.data, facts, nowMs) : this.#takeIn(parsed.data, facts, nowMs),
    );
  }

  async #greet({ invitation, clientNonce }: JoinHello, facts: HostFacts, nowMs: number): Promise<Body> {
    const stored = await this.#port.find(invitation);
    const decision = decideInvitation(stored, { invitation, group: facts.group, nowMs });
    if (decision.kind === 'refuse' || stored === null || isWithdrawn(stored)) return this.#refuse(decision);
    const exchange: Exchange = {
      key: stored.key,
      invitation,
      globalCluster: facts.globalCluster,
      invitingGroup: facts.group,
      clientNonce,
      serverNonce: randomBytes(32).toString('base64url'),
      serverBundleHash: hashText(facts.caBundle),
    };
    this.#remember(exchange, nowMs);
    const { serverNonce, serverBundleHash: bundleHash } = exchange;
    return { status: 200, body: { serverNonce, bundleHash, proof: challengeProof(exchange) } };
  }

  async #takeIn(request: JoinRequest, facts: HostFacts, nowMs: number): Promise<Body> {
    const digest = createHash('sha256').update(JSON.stringify(request)).digest('base64url');
    const given = this.#answers.get(digest);
    if (given !== undefined) return given;
    const accepted = this.#accepted.get(digest);
    if (accepted !== undefined) return await this.#admit(digest, { ...accepted, facts });
    const begun = this.#begun.get(request.serverNonce);
    const { exchange } = begun ?? {};
    if (exchange === undefined || nowMs >= (begun as Begun).expiresAtMs || !isOfExchange(request, exchange)) {
      // Whoever comes with a used invitation learns that, and not that he is to begin anew.
      const stored = await this.#port.find(request.invitation);
      const decision = decideInvitation(stored, { invitation: request.invitation, group: facts.group, nowMs });
      return this.#refuse(decision.kind === 'refuse' ? decision : refuseExchange());
    }
    // A wrong request ends its exchange: a key is used for one box.
    this.#begun.delete(request.serverNonce);
    if (exchange.serverBundleHash !== hashText(facts.caBundle)) return this.#refuse(refuseExchange());
    const text = openOffer(exchange, request.box);
    if (text === null) return this.#refuse(refuseProof());
    const offer = joinOfferSchema.safeParse(parseJson(text));
    if (!offer.success) return this.#refuse(refuseInvalid('the offer in it'));
    const offered = { ...exchange, clientBundleHash: hashText(offer.data.caBundle), offerBox: request.box };
    if (!isSameProof(requestProof(offered), request.proof)) return this.#refuse(refuseProof());
    const card = this.#cardOf(offer.data, facts);
    if (card.kind === 'refuse') return this.#refuse(card);

    const stored = await this.#port.find(request.invitation);
    const still = decideInvitation(stored, { invitation: request.invitation, group: facts.group, nowMs });
    if (still.kind === 'refuse' || stored === null) return this.#refuse(still);
    if (!(await this.#port.useUp(request.invitation, stored.version))) {
      // Somebody was faster: another group, or who withdrew it. If it is open all the same, the other side begins anew.
      const since = await this.#port.find(request.invitation);
      const why = decideInvitation(since, { invitation: request.invitation, group: facts.group, nowMs });
      return this.#refuse(why.kind === 'refuse' ? why : refuseExchange());
    }
    return await this.#admit(digest, { offered, card: card.card, facts });
  }

  /** The invitation is used up. What fails now is tried again when the same request comes again. */
  async #admit(digest: string, accepted: Accepted): Promise<Body> {
    const { offered, card, facts } = accepted;
    this.#accepted.set(digest, accepted);
    dropOldest(this.#accepted, ANSWERS_MAX);
    await this.#port.admit(card);
    this.#port.onEvent({
      type: 'Normal',
      reason: 'GroupJoined',
      note: `Group "${card.group}" joined with invitation "${offered.invitation}"`,
    });
    const welcome = welcomeFor(card, facts);
    const box = sealWelcome(offered, JSON.stringify(welcome));
    const body: Body = { status: 200, body: { box, proof: acceptanceProof(offered, box) } };
    this.#accepted.delete(digest);
    this.#answers.set(digest, body);
    dropOldest(this.#answers, ANSWERS_MAX);
    return body;
  }

  #cardOf(
    offer: JoinOffer,
    facts: HostFacts,
  ): { readonly kind: 'card'; readonly card: GroupCard } | (InvitationDecision & { kind: 'refuse' }) {
    const groups = facts.cards.map(knownGroup);
    const { globalCluster } = facts;
    // The global cluster first: a card of another one cannot be read at all.
    const first = decideOffer(offer, { globalCluster, groups, problems: [] });
    if (first.kind === 'refuse') return first;
    const parsed = parseGroupCard(offer.card, globalCluster, `the cluster of group "${facts.group}"`);
    if (parsed.kind === 'refused') return refuseInvalid(parsed.why) as InvitationDecision & { kind: 'refuse' };
    const { card } = parsed;
    const mismatch = cardMismatch(card, offer);
    if (mismatch !== null) return refuseInvalid(mismatch) as InvitationDecision & { kind: 'refuse' };
    const decision = decideOffer(offer, { globalCluster, groups, problems: this.#port.problems(card) });
    if (decision.kind === 'refuse') return decision;
    const generation = Math.max(card.generation, cardGenerationMin(offer.group, groups));
    return { kind: 'card', card: { ...card, generation } };
  }

  #remember(exchange: Exchange, nowMs: number): void {
    for (const [nonce, { expiresAtMs }] of this.#begun) if (nowMs >= expiresAtMs) this.#begun.delete(nonce);
    this.#begun.set(exchange.serverNonce, { exchange, expiresAtMs: nowMs + EXCHANGE_MS });
    dropOldest(this.#begun, EXCHANGES_MAX);
  }

  #refuse(decision: InvitationDecision): Body {
    if (decision.kind !== 'refuse') throw new RangeError('Cannot refuse a decision to go on');
    const { code, message } = decision.refusal;
    // What anybody can cause without an invitation is no event: he could cause thousands.
    if (TOLD.includes(code))
      this.#port.onEvent({ type: 'Warning', reason: 'JoinRefused', note: `${code}: ${message}` });
    return asBody(decision);
  }
}

const TOLD: readonly JoinRefusalCode[] = [
  'INVITATION_EXPIRED',
  'INVITATION_WITHDRAWN',
  'INVITATION_WRONG',
  'JOIN_OTHER_CLUSTER',
  'JOIN_NAME_TAKEN',
  'JOIN_CONTRADICTS',
];

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function asBody(decision: InvitationDecision): Body {
  if (decision.kind !== 'refuse') throw new RangeError('Cannot refuse a decision to go on');
  return { status: 409, body: decision.refusal };
}

function isOfExchange({ invitation, clientNonce }: JoinRequest, exchange: Exchange): boolean {
  return invitation === exchange.invitation && clientNonce === exchange.clientNonce;
}

function cardMismatch(card: GroupCard, offer: JoinOffer): string | null {
  if (card.group !== offer.group) return `its card is of group "${card.group}"`;
  if (card.caBundle !== offer.caBundle) return 'its card has another CA bundle than the offer';
  if (card.left) return 'its card says that it has left';
  return null;
}

export function knownGroup({ group, caBundle, left, generation }: GroupCard): KnownGroup {
  return { group, caBundle, hasLeft: left, generation };
}

/** Cards of others only as long as they fit: they come by themselves once the groups know each other. */
function welcomeFor({ group, generation }: GroupCard, facts: HostFacts): JoinWelcome {
  const [own, ...others] = facts.cards;
  let bytes = JSON.stringify(own).length;
  const fitting = others.filter((card) => {
    bytes += JSON.stringify(card).length;
    return bytes <= CARDS_BYTES_MAX && card.group !== group;
  });
  return {
    globalCluster: facts.globalCluster,
    primaryGroup: facts.primaryGroup,
    caBundle: facts.caBundle,
    cards: own === undefined ? [] : [own, ...fitting],
    login: facts.login,
    // What it says from now on counts more than what it offered.
    cardGenerationMin: generation + 1,
  };
}

/** base64 adds a third, and the rest of the answer is small. */
const CARDS_BYTES_MAX = (JOIN_ANSWER_BYTES_MAX * 3) / 4 - 80 * 1024;

function dropOldest(map: Map<string, unknown>, countMax: number): void {
  const [oldest] = map.keys();
  if (map.size > countMax && oldest !== undefined) map.delete(oldest);
}
