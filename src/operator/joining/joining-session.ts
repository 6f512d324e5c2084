/** What the operator remembers of joining and leaving of one group, between two looks. What must last is in stored-membership.ts. */
import { createHash } from 'node:crypto';
import type { GroupCard } from '../../api/group-card.ts';
import type { Invitation, JoinOffer } from '../../api/invitation.ts';
import { joinRetryMs } from '../../core/joining/decide-joining.ts';
import type { KubeClient } from '../../platform/kubernetes/kube-client.ts';
import type { GroupPeers } from '../cards/group-peers.ts';
import { type Carried, carryInvitation } from './carry-invitation.ts';
import { GroupLogin } from './group-login.ts';
import { InvitationListener } from './invitation-listener.ts';
import { type Membership, readMembership } from './stored-membership.ts';

export interface AttemptState {
  readonly invitation: string;
  /** Of the token and the offer. */
  readonly digest: string;
  readonly failures: number;
  readonly isRunning: boolean;
  /** By performance.now(): when it may be made again. */
  readonly retryAtMs: number;
  readonly outcome: Carried | null;
}

/** What was refused for good may have been changed at the other side: a namesake that has left, a contradiction that is gone. */
const FINAL_RETRY_MS = 120_000;

export class JoiningSession {
  readonly login = new GroupLogin();
  readonly listener: InvitationListener;
  readonly #onChange: () => void;
  #membership: Membership | null = null;
  #isLoaded = false;
  #attempt: AttemptState | null = null;
  #left: ReadonlySet<string> | null = null;
  /** The group is being deleted: its card says so. */
  isLeaving = false;

  constructor(options: { readonly onChange: () => void }) {
    this.#onChange = options.onChange;
    this.listener = new InvitationListener(options);
  }

  get membership(): Membership | null {
    return this.#membership;
  }

  get attempt(): AttemptState | null {
    return this.#attempt;
  }

  /** Once: what earlier exchanges brought counts. Throws ApiError. */
  async load(
    client: KubeClient,
    group: { readonly name: string; readonly namespace: string },
    peers: GroupPeers,
  ): Promise<void> {
    if (this.#isLoaded) return;
    await peers.load(client, group);
    await this.login.load(client, group);
    const membership = await readMembership(client, group);
    if (membership !== null) this.enter(membership, peers);
    this.#isLoaded = true;
  }

  /** From now on this group belongs to the global cluster. */
  enter(membership: Membership, peers: GroupPeers): void {
    this.#membership = membership;
    // All of them, and not only the one that invited: that one may leave before the others do.
    const present = membership.cards.filter(({ left }) => !left).map(({ group }) => group);
    for (const group of new Set([membership.invitedBy, ...present]))
      peers.admit(group, membership.cards, membership.cardGenerationMin);
  }

  /** Groups that have left since this was asked last; the first time none. */
  newlyLeft(cards: Iterable<GroupCard>): readonly string[] {
    const left = new Set([...cards].flatMap(({ group, left: isGone }) => (isGone ? [group] : [])));
    const before = this.#left;
    this.#left = left;
    return before === null ? [] : [...left].filter((group) => !before.has(group));
  }

  /** Begins an exchange, if none is under way and it is time; the next look finds its outcome. */
  try(invitation: Invitation, offer: JoinOffer & { readonly card: GroupCard }): AttemptState {
    // Another token, or another manifest, is another attempt.
    const digest = createHash('sha256')
      .update(JSON.stringify([invitation, offer]))
      .digest('hex');
    const same = this.#attempt?.invitation === invitation.id ? this.#attempt : null;
    // An invitation is good for one exchange. The offer changes meanwhile (an address of a load balancer comes): one that is
    // under way is waited for, and a welcome is kept until it has been written down.
    if (same !== null && (same.isRunning || same.outcome?.kind === 'welcome')) return same;
    const before = same?.digest === digest ? same : null;
    if (before !== null && (before.isRunning || performance.now() < before.retryAtMs)) return before;
    const failures = before?.failures ?? 0;
    const base = { invitation: invitation.id, digest, retryAtMs: 0 };
    this.#attempt = { ...base, failures, isRunning: true, outcome: before?.outcome ?? null };
    void carryInvitation(invitation, offer)
      .catch(
        (error: Error): Carried => ({
          kind: 'refused',
          reason: 'JoinUnreachable',
          message: error.message,
          isFinal: false,
        }),
      )
      .then((outcome) => {
        const isFinal = outcome.kind === 'refused' && outcome.isFinal;
        const retryAtMs = performance.now() + (isFinal ? FINAL_RETRY_MS : joinRetryMs(failures + 1));
        this.#attempt = { ...base, failures: failures + 1, isRunning: false, retryAtMs, outcome };
        this.#onChange();
      });
    return this.#attempt;
  }

  close(): void {
    this.listener.close();
  }
}
