/**
 * The invitations that a group has made (docs/joining.md): listing them, and withdrawing one. They are in the same Secrets that the operator
 * reads when somebody comes with a token:
 *
 *   open        Secret `<group>-invitation-<id>` with the key of the token
 *   withdrawn   the same Secret without the key, and with the time, so that whoever comes is told why he is refused
 *   used        none, although the annotation of the PostgresGroup names it and its time is not over
 *
 * The annotation keeps a withdrawn invitation until it would have ended: so long the operator listens, and tells.
 */
import {
  invitationSecret,
  parseStoredInvitation,
  type StoredInvitation,
  type WithdrawnInvitation,
} from '../../api/invitation.ts';
import { UserError } from '../../base/user-error.ts';
import { type InvitationState, invitationState, isWithdrawn } from '../../core/joining/decide-invitation.ts';
import { isConflict, isNotFound } from './api-error.ts';
import { type ClusterSession, findGroup, notedInvitations } from './invitations.ts';
import { KUBE_KINDS, type KubeObject } from './kube-object.ts';

export interface MadeInvitation {
  readonly id: string;
  readonly state: InvitationState;
  /** ISO 8601. Null: its Secret is gone. */
  readonly madeAt: string | null;
  /** ISO 8601. */
  readonly expiresAt: string;
  /** ISO 8601. Null: it was not withdrawn. */
  readonly withdrawnAt: string | null;
}

export interface MadeInvitations {
  readonly group: string;
  /** Those that end first come first. Invitations that have ended are kept until the next one is made. */
  readonly invitations: readonly MadeInvitation[];
}

/** @param group null in a namespace with one. Throws UserError GROUP_NOT_FOUND, KUBE_NO_GROUPS; ApiError. */
export async function listInvitations(
  session: ClusterSession,
  { group, now }: { readonly group: string | undefined; readonly now: Date },
): Promise<MadeInvitations> {
  const { metadata } = await findGroup(session, group);
  const noted = Object.entries(notedInvitations(metadata)).toSorted(([, a], [, b]) => Date.parse(a) - Date.parse(b));
  const invitations = await Promise.all(
    noted.map(async ([id, expiresAt]): Promise<MadeInvitation> => {
      const found = await findInvitation(session, metadata.name, id);
      const stored = found?.stored ?? null;
      return {
        id,
        state: invitationState(stored, { expiresAt, nowMs: now.getTime() }),
        madeAt: found?.secret.metadata.creationTimestamp ?? null,
        expiresAt: stored?.expiresAt ?? expiresAt,
        withdrawnAt: stored !== null && isWithdrawn(stored) ? stored.withdrawnAt : null,
      };
    }),
  );
  return { group: metadata.name, invitations };
}

export interface WithdrawWish {
  readonly group: string | undefined;
  readonly id: string;
  readonly now: Date;
}

/** Something else may change the Secret in the same moment. */
const ATTEMPTS_MAX = 4;

/**
 * Withdraws an invitation, whether or not its time is over; one that was withdrawn already stays so. Of this and a group that joins in
 * the same moment one succeeds: both change the Secret only as they read it.
 *
 * Throws UserError INVITATION_UNKNOWN: none of this id is there, or it was used; GROUP_NOT_FOUND, KUBE_NO_GROUPS; ApiError.
 */
export async function withdrawInvitation(
  session: ClusterSession,
  { group, id, now }: WithdrawWish,
): Promise<WithdrawnInvitation & { readonly group: string }> {
  const { metadata } = await findGroup(session, group);
  const { name } = metadata;
  for (let attempt = 1; ; attempt++) {
    const found = await findInvitation(session, name, id);
    if (found === null) throw notThere(metadata, id);
    if (isWithdrawn(found.stored)) return { ...found.stored, group: name };
    const withdrawnAt = now.toISOString();
    try {
      await writeWithdrawal(session, found, withdrawnAt);
      return { id, expiresAt: found.stored.expiresAt, withdrawnAt, group: name };
    } catch (error) {
      const mayTryAgain = isConflict(error) || isNotFound(error);
      if (!mayTryAgain || attempt >= ATTEMPTS_MAX) throw error;
    }
  }
}

/** Takes the key away. Throws ApiError: 409 when it was changed since it was read, 404 when it was used. */
async function writeWithdrawal(
  { client, namespace }: ClusterSession,
  { secret: { metadata } }: Found,
  withdrawnAt: string,
): Promise<void> {
  const { name, resourceVersion } = metadata;
  await client.mergePatch(
    { kind: KUBE_KINDS.Secret, namespace, name },
    { metadata: { resourceVersion }, data: { key: null, withdrawnAt: Buffer.from(withdrawnAt).toString('base64') } },
  );
}

interface Found {
  readonly secret: KubeObject;
  readonly stored: StoredInvitation | WithdrawnInvitation;
}

async function findInvitation({ client, namespace }: ClusterSession, group: string, id: string): Promise<Found | null> {
  const secret = await client.find({ kind: KUBE_KINDS.Secret, namespace, name: invitationSecret(group, id) });
  if (secret === null) return null;
  const data = Object.entries((secret.data ?? {}) as Readonly<Record<string, unknown>>);
  const texts = data.map(([key, text]) => [key, Buffer.from(String(text), 'base64').toString('utf8')] as const);
  const stored = parseStoredInvitation(Object.fromEntries(texts));
  return stored === null ? null : { secret, stored };
}

function notThere(metadata: KubeObject['metadata'], id: string): UserError {
  const wasMade = Object.hasOwn(notedInvitations(metadata), id);
  return new UserError({
    code: 'INVITATION_UNKNOWN',
    kind: 'not-found',
    message: wasMade
      ? `Cannot withdraw invitation "${id}" of group "${metadata.name}": it was used already`
      : `Cannot withdraw invitation "${id}" of group "${metadata.name}": it has made none of this id`,
    todo: wasMade
      ? 'The event GroupJoined of the PostgresGroup says by whom. A group that was taken in goes when its PostgresGroup is deleted.'
      : '`pgspan invite --list` shows those that it has made.',
  });
}
