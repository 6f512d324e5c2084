/** The inviting side: may this message join? Every refusal says why, in words for the person at the other side. */
import type { JoinOffer, JoinRefusal, StoredInvitation, WithdrawnInvitation } from '../../api/invitation.ts';

export type InvitationDecision =
  | { readonly kind: 'go-on' }
  | { readonly kind: 'refuse'; readonly refusal: JoinRefusal };

/** A group of the global cluster, as its card says; a tombstone stays known. */
export interface KnownGroup {
  readonly group: string;
  readonly caBundle: string;
  readonly hasLeft: boolean;
  /** Of its card. */
  readonly generation: number;
}

const MAKE_ANOTHER = 'Make another one with `pgspan invite`';

/**
 * Is there such an invitation? Asked with each message: it may expire between two.
 *
 * @param stored null: none of this id is there. It was used, or taken back, or never made: who asks learns no more.
 */
export function decideInvitation(
  stored: StoredInvitation | WithdrawnInvitation | null,
  { invitation, group, nowMs }: { readonly invitation: string; readonly group: string; readonly nowMs: number },
): InvitationDecision {
  if (stored === null || stored.id !== invitation) {
    return refuse(
      'INVITATION_UNKNOWN',
      `Group "${group}" has no open invitation "${invitation}": it was used already, or taken back. ${MAKE_ANOTHER}`,
    );
  }
  if (isWithdrawn(stored)) {
    return refuse(
      'INVITATION_WITHDRAWN',
      `The invitation "${invitation}" of group "${group}" was withdrawn at ${stored.withdrawnAt}. Ask whoever gave it to you`,
    );
  }
  const expiryMs = Date.parse(stored.expiresAt);
  if (nowMs < expiryMs) return { kind: 'go-on' };
  return refuse(
    'INVITATION_EXPIRED',
    `The invitation "${invitation}" expired at ${stored.expiresAt}, by the clock of group "${group}". ${MAKE_ANOTHER}`,
  );
}

export function isWithdrawn(stored: StoredInvitation | WithdrawnInvitation): stored is WithdrawnInvitation {
  return 'withdrawnAt' in stored;
}

/** `used`: it was noted, and its Secret is gone before its time. */
export type InvitationState = 'open' | 'used' | 'withdrawn' | 'expired';

/** @param stored null: there is no Secret of it. `expiresAt`: as it was noted when it was made. */
export function invitationState(
  stored: StoredInvitation | WithdrawnInvitation | null,
  { expiresAt, nowMs }: { readonly expiresAt: string; readonly nowMs: number },
): InvitationState {
  if (stored === null) return nowMs < Date.parse(expiresAt) ? 'used' : 'expired';
  if (isWithdrawn(stored)) return 'withdrawn';
  return nowMs < Date.parse(stored.expiresAt) ? 'open' : 'expired';
}

/** For a message whose proof or box is not of this token and exchange. */
export function refuseProof(): InvitationDecision {
  return refuse(
    'INVITATION_WRONG',
    'The request does not prove that it knows the token, or was changed on its way. Copy the token again, whole',
  );
}

/** For a request of an exchange that this operator has not begun, or has forgotten. */
export function refuseExchange(): InvitationDecision {
  return refuse('JOIN_RESTARTED', 'This operator has not begun this exchange, or was started again since: begin anew');
}

export function refuseInvalid(found: string): InvitationDecision {
  return refuse('JOIN_INVALID', `The request is not as this version of pgspan expects it: ${found}`);
}

export interface OfferFacts {
  readonly globalCluster: string;
  /** All that are known, the inviting one among them. */
  readonly groups: readonly KnownGroup[];
  /** What contradicts when the new group's manifest is put beside the others'; lines for people. */
  readonly problems: readonly string[];
}

/** May who proved the token come in as what it says it is? */
export function decideOffer(offer: JoinOffer, { globalCluster, groups, problems }: OfferFacts): InvitationDecision {
  if (offer.globalCluster !== globalCluster) {
    return refuse(
      'JOIN_OTHER_CLUSTER',
      `Group "${offer.group}" is of global cluster "${offer.globalCluster}", this is "${globalCluster}": set spec.globalCluster.name to "${globalCluster}" in a new manifest`,
    );
  }
  // With the same CA it is the same group, whose first join got lost on the way back.
  const namesake = groups.find(
    ({ group, hasLeft, caBundle }) => group === offer.group && !hasLeft && caBundle !== offer.caBundle,
  );
  if (namesake !== undefined) {
    return refuse(
      'JOIN_NAME_TAKEN',
      `The global cluster "${globalCluster}" has a group "${offer.group}" already: give the new one another name, or let the other leave first (delete it)`,
    );
  }
  if (problems.length > 0) return refuse('JOIN_CONTRADICTS', `Beside the other groups: ${problems.join('; ')}`);
  return { kind: 'go-on' };
}

/** Cards of a group that comes again must outdo the tombstone of its namesake. */
export function cardGenerationMin(group: string, groups: readonly KnownGroup[]): number {
  return groups.reduce((least, known) => (known.group === group ? Math.max(least, known.generation + 1) : least), 1);
}

function refuse(code: JoinRefusal['code'], message: string): InvitationDecision {
  return { kind: 'refuse', refusal: { code, message: message.slice(0, 4000) } };
}
