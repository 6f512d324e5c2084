/** The joining side: what is to be done about `.spec.globalCluster.join`, and whether an answer is what the token promised. */
import { type Invitation, JOIN_REFUSALS, type JoinRefusalCode, type JoinWelcome } from '../../api/invitation.ts';
import { parseToken } from './token.ts';

export interface JoiningFacts {
  readonly group: string;
  /** As its manifest names it, or by default. */
  readonly globalCluster: string;
  /** `spec.globalCluster.join` is there. */
  readonly isAsked: boolean;
  /** Written down when an earlier exchange succeeded; null: none has. */
  readonly membership: { readonly globalCluster: string } | null;
  /** The group has made nodes: it holds a database. */
  readonly hasNodes: boolean;
  /** Null: the Secret or its key is not there. */
  readonly token: string | null;
  /** `Secret "x", key "token"`. */
  readonly tokenPlace: string;
  readonly nowMs: number;
}

export type JoiningDecision =
  /** Nothing to join, or done. */
  | { readonly kind: 'done' }
  /** Nothing may be made before this has succeeded: a group that joins must make no database of its own. */
  | { readonly kind: 'join'; readonly invitation: Invitation }
  | { readonly kind: 'wait'; readonly reason: string; readonly message: string };

export function decideJoining(facts: JoiningFacts): JoiningDecision {
  const { group, globalCluster, isAsked, membership, hasNodes, token, tokenPlace, nowMs } = facts;
  if (!isAsked || membership !== null) return { kind: 'done' };
  if (hasNodes) {
    return wait(
      'JoinHoldsDatabase',
      `Group "${group}" has nodes with a database of its own, and would lose it by joining: take spec.globalCluster.join out, or make a new group`,
    );
  }
  if (token === null)
    return wait('JoinTokenMissing', `${tokenPlace} is not there: \`pgspan join TOKEN\` makes it, or apply it`);
  const parsed = parseToken(token);
  if (parsed.kind === 'refused') return wait(`Join${parsed.reason}`, `The token in ${tokenPlace}: ${parsed.message}`);
  const { invitation } = parsed;
  if (invitation.globalCluster !== globalCluster) {
    return wait(
      'JoinOtherCluster',
      `The token is of global cluster "${invitation.globalCluster}", this group of "${globalCluster}": set spec.globalCluster.name to "${invitation.globalCluster}" in a new manifest (it cannot be changed in this one)`,
    );
  }
  if (invitation.group === group) {
    return wait(
      'JoinNameTaken',
      `The group that invites is called "${group}" too: give this one another name in a new manifest`,
    );
  }
  // The inviting side judges by its own clock; this only spares it what cannot succeed.
  if (nowMs >= (invitation.expiresAt + CLOCK_TOLERANCE_SECONDS) * 1000) {
    return wait(
      'JoinTokenExpired',
      `The token in ${tokenPlace} expired at ${new Date(invitation.expiresAt * 1000).toISOString()}: make another one with \`pgspan invite\``,
    );
  }
  return { kind: 'join', invitation };
}

/** Clocks of two clusters differ: the one that invites decides. */
const CLOCK_TOLERANCE_SECONDS = 300;

/** What is wrong with an answer whose proof is right: null: nothing. The other side knows the token, and may still be confused. */
export function welcomeProblem(welcome: JoinWelcome, { invitation, group, cardGroups }: WelcomeFacts): string | null {
  if (welcome.globalCluster !== invitation.globalCluster)
    return `it is of global cluster "${welcome.globalCluster}", the token of "${invitation.globalCluster}"`;
  if (welcome.primaryGroup === group)
    return 'it names this group as the primary one, which is to hold the data already';
  const [first] = cardGroups;
  if (first !== invitation.group) return `its first card is of "${first ?? 'nobody'}", not of "${invitation.group}"`;
  return null;
}

export interface WelcomeFacts {
  readonly invitation: Invitation;
  readonly group: string;
  /** Groups of the cards in it that could be read, in order. */
  readonly cardGroups: readonly string[];
}

/** Refusals that another try with the same token may not meet. */
const PASSING: readonly JoinRefusalCode[] = ['JOIN_RESTARTED', 'JOIN_BUSY', 'JOIN_UNHEARD'];

export function isPassing(code: JoinRefusalCode): boolean {
  return PASSING.includes(code);
}

/** As a condition's reason: INVITATION_EXPIRED -> InvitationExpired. */
export function reasonOfRefusal(code: JoinRefusalCode): string {
  return code
    .toLowerCase()
    .split('_')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');
}

/** Reasons with which this token leads nowhere: what the other side refuses for good, and what the joining side finds itself. */
export const FINAL_JOIN_REASONS: ReadonlySet<string> = new Set([
  ...JOIN_REFUSALS.filter((code) => !isPassing(code)).map(reasonOfRefusal),
  'JoinWrongAuthority',
  'JoinUnproven',
  'JoinHoldsDatabase',
  'JoinTokenDamaged',
  'JoinTokenUnknown',
  'JoinTokenExpired',
]);

const RETRY_MS_MIN = 2000;
/** A person who fixes something waits for this. */
const RETRY_MS_MAX = 30_000;

/** @param attempts that failed so far, from 1. */
export function joinRetryMs(attempts: number): number {
  return Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(10, attempts - 1));
}

function wait(reason: string, message: string): JoiningDecision {
  return { kind: 'wait', reason, message };
}
