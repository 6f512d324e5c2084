/**
 * What `pgspan invite` and `pgspan join` write and read on Kubernetes (docs/joining.md):
 *
 *   invite   get the ConfigMap `<group>-peers`; create the Secret of the invitation; patch an annotation of the PostgresGroup
 *            (--list and --withdraw: made-invitations.ts)
 *   join     apply the Secret with the token; patch or apply the PostgresGroup; read its status until it has joined
 */
import { randomBytes } from 'node:crypto';
import { type GroupCard, parseGroupCard } from '../../api/group-card.ts';
import {
  type Invitation,
  INVITATION_LABEL,
  INVITATIONS_ANNOTATION,
  invitationSecret,
  openInvitationsSchema,
  TOKEN_KEY,
} from '../../api/invitation.ts';
import { LABEL } from '../../api/labels.ts';
import { API_VERSION, globalClusterName, KIND, postgresGroupSchema } from '../../api/postgres-group.ts';
import { UserError } from '../../base/user-error.ts';
import { caFingerprints } from '../../core/joining/find-authority.ts';
import { tokenKey } from '../../core/joining/proofs.ts';
import { asUserError } from './access.ts';
import { ApiError } from './api-error.ts';
import { createKubeClient, type KubeClient } from './kube-client.ts';
import { KUBE_KINDS, type KubeObject } from './kube-object.ts';
import { type KubeContext, openKubeContext } from './kubeconfig.ts';

export interface ClusterChoice {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly namespace?: string | undefined;
}

export interface ClusterSession {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly context: KubeContext;
}

/** Throws UserError: KUBECONFIG_MISSING and its like, and in place of ApiError. */
export async function withKubernetes<T>(
  choice: ClusterChoice,
  work: (session: ClusterSession) => Promise<T>,
): Promise<T> {
  const context = await openKubeContext({ file: choice.kubeconfig, context: choice.context });
  const client = createKubeClient(context.dial);
  try {
    return await work({ client, namespace: choice.namespace ?? context.namespace, context });
  } catch (error) {
    throw asUserError(error, context);
  } finally {
    client.close();
  }
}

/** The named group, else the only one of the namespace. Throws UserError GROUP_NOT_FOUND, KUBE_NO_GROUPS; ApiError. */
export async function findGroup(
  { client, namespace, context }: ClusterSession,
  wished: string | undefined,
): Promise<KubeObject> {
  const { items } = await client.list(KUBE_KINDS.PostgresGroup, { namespace });
  const names = items.map(({ metadata }) => metadata.name);
  const found =
    wished === undefined && items.length === 1 ? items[0] : items.find(({ metadata }) => metadata.name === wished);
  if (found !== undefined) return found;
  if (items.length === 0) {
    throw new UserError({
      code: 'KUBE_NO_GROUPS',
      kind: 'not-found',
      message: `Cannot find a PostgresGroup: there is none in namespace "${namespace}" of context "${context.name}"`,
      todo: 'Name the namespace with -n, or apply a manifest; `pgspan join` takes one with -f.',
    });
  }
  throw new UserError({
    code: 'GROUP_NOT_FOUND',
    kind: 'not-found',
    message:
      wished === undefined
        ? `Cannot choose a group: namespace "${namespace}" holds ${items.length}`
        : `Cannot find group "${wished}" in namespace "${namespace}"`,
    todo: `Name one with --group: ${names.join(', ')}.`,
  });
}

export interface InviteWish {
  readonly group: string | undefined;
  readonly expiresMs: number;
  /** Default: what the group tells others. */
  readonly endpoint: { readonly host: string; readonly port: number } | null;
  readonly now: Date;
}

/** Makes an invitation. Nothing but the result holds the token. Throws UserError INVITE_NOT_READY; ApiError. */
export async function createInvitation(session: ClusterSession, wish: InviteWish): Promise<Invitation> {
  const object = await findGroup(session, wish.group);
  const card = await readOwnCard(session, object);
  const endpoint = wish.endpoint ?? card.endpoint;
  if (endpoint === null) {
    throw notReady(
      object.metadata.name,
      'nothing outside of its cluster reaches its group service yet',
      'Wait for the address of its load balancer, set spec.connectivity.loadBalancer or internodeTrafficStrategy: FQDN, or name an endpoint with --endpoint HOST:PORT.',
    );
  }
  const expiresAt = new Date(Math.floor((wish.now.getTime() + wish.expiresMs) / 1000) * 1000);
  const invitation: Invitation = {
    id: randomBytes(8).toString('hex'),
    secret: randomBytes(32).toString('base64url'),
    globalCluster: card.globalCluster,
    group: card.group,
    endpoint,
    caFingerprints: caFingerprints(card.caBundle).slice(0, 4),
    expiresAt: expiresAt.getTime() / 1000,
  };
  await storeInvitation(session, object, invitation, expiresAt);
  await announce(session, object, invitation.id, { expiresAt, now: wish.now });
  return invitation;
}

async function readOwnCard({ client, namespace }: ClusterSession, object: KubeObject): Promise<GroupCard> {
  const { name } = object.metadata;
  const found = await client.find({ kind: KUBE_KINDS.ConfigMap, namespace, name: `${name}-peers` });
  const data = (found?.data ?? {}) as Readonly<Record<string, unknown>>;
  const parsed = postgresGroupSchema.safeParse(object);
  const globalCluster = parsed.success ? globalClusterName(parsed.data) : '';
  const card = parseGroupCard(parseJson(data[`${name}.json`]), globalCluster);
  if (card.kind === 'card') return card.card;
  throw notReady(
    name,
    `its operator has not written its card yet (${found === null ? `there is no ConfigMap "${name}-peers"` : card.why})`,
    'Wait until `kubectl get postgresgroup` says that it is healthy, and try again.',
  );
}

function notReady(group: string, found: string, todo: string): UserError {
  return new UserError({ code: 'INVITE_NOT_READY', message: `Cannot invite to group "${group}": ${found}`, todo });
}

async function storeInvitation(
  { client, namespace }: ClusterSession,
  { metadata }: KubeObject,
  { id, secret, group }: Invitation,
  expiresAt: Date,
): Promise<void> {
  const texts = { id, key: tokenKey(secret, id), expiresAt: expiresAt.toISOString() };
  await client.create({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: invitationSecret(group, id),
      namespace,
      labels: { [LABEL.group]: group, [INVITATION_LABEL]: id, [LABEL.partOf]: 'pgspan', [LABEL.managedBy]: 'pgspan' },
      ownerReferences: [{ apiVersion: API_VERSION, kind: KIND, name: metadata.name, uid: metadata.uid }],
    },
    type: 'Opaque',
    data: Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, Buffer.from(text).toString('base64')])),
  } as Parameters<KubeClient['create']>[0]);
}

/** The operator listens until the last of these ends. Those that have ended go, with their Secrets. */
async function announce(
  { client, namespace }: ClusterSession,
  { metadata }: KubeObject,
  id: string,
  { expiresAt, now }: { readonly expiresAt: Date; readonly now: Date },
): Promise<void> {
  const known = notedInvitations(metadata);
  const isOver = ([, end]: [string, string]) => Date.parse(end) <= now.getTime();
  const entries = Object.entries(known);
  const open = Object.fromEntries([...entries.filter((one) => !isOver(one)), [id, expiresAt.toISOString()]]);
  await client.mergePatch(
    { kind: KUBE_KINDS.PostgresGroup, namespace, name: metadata.name },
    { metadata: { annotations: { [INVITATIONS_ANNOTATION]: JSON.stringify(open) } } },
  );
  for (const [ended] of entries.filter(isOver))
    await client.delete({ kind: KUBE_KINDS.Secret, namespace, name: invitationSecret(metadata.name, ended) });
}

/** When each invitation that was noted on the PostgresGroup ends, by id. */
export function notedInvitations(metadata: KubeObject['metadata']): Readonly<Record<string, string>> {
  return openInvitationsSchema.safeParse(parseJson(metadata.annotations?.[INVITATIONS_ANNOTATION])).data ?? {};
}

export const joinSecret = (group: string): string => `${group}-join`;

/** The Secret with the token. */
export function renderTokenSecret(group: string, namespace: string, token: string) {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: joinSecret(group), namespace, labels: { [LABEL.group]: group, [LABEL.partOf]: 'pgspan' } },
    type: 'Opaque',
    stringData: { [TOKEN_KEY]: token },
  };
}

export const joinField = (group: string) => ({ tokenSecretRef: { name: joinSecret(group), key: TOKEN_KEY } });

/** Puts the token in, and the field on a group that is there. Throws UserError JOIN_OTHER_CLUSTER; ApiError. */
export async function askToJoin(
  session: ClusterSession,
  object: KubeObject,
  invitation: Invitation,
  token: string,
): Promise<void> {
  const { client, namespace } = session;
  const { name } = object.metadata;
  const parsed = postgresGroupSchema.safeParse(object);
  const globalCluster = parsed.success ? globalClusterName(parsed.data) : '';
  if (globalCluster !== invitation.globalCluster) throw otherCluster(name, globalCluster, invitation);
  await client.apply(renderTokenSecret(name, namespace, token));
  await client.mergePatch(
    { kind: KUBE_KINDS.PostgresGroup, namespace, name },
    { spec: { globalCluster: { join: joinField(name) } } },
  );
}

export function otherCluster(group: string, globalCluster: string, invitation: Invitation): UserError {
  return new UserError({
    code: 'JOIN_OTHER_CLUSTER',
    kind: 'usage',
    message: `Cannot join group "${group}" to "${invitation.globalCluster}": its manifest names the global cluster "${globalCluster}"`,
    todo: `Set spec.globalCluster.name to "${invitation.globalCluster}". It cannot be changed in a group that exists: delete the group first if it holds nothing.`,
  });
}

export interface JoinProgress {
  /** The operator has written down that it joined with this invitation. */
  readonly isJoined: boolean;
  readonly reason: string;
  readonly message: string;
}

/** Throws ApiError. */
export async function joinProgress(
  { client, namespace }: ClusterSession,
  name: string,
  id: string,
): Promise<JoinProgress> {
  const [object, membership] = await Promise.all([
    client.find({ kind: KUBE_KINDS.PostgresGroup, namespace, name }),
    client.find({ kind: KUBE_KINDS.ConfigMap, namespace, name: `${name}-membership` }).catch((error: unknown) => {
      // Who may make groups need not be allowed to read ConfigMaps: then the status tells.
      if (error instanceof ApiError && error.status === 403) return null;
      throw error;
    }),
  ]);
  const status = (object?.status ?? {}) as { readonly reason?: string; readonly message?: string };
  const stored = parseJson((membership?.data as Readonly<Record<string, unknown>> | undefined)?.['membership.json']);
  const isJoined = (stored as { invitation?: unknown } | null)?.invitation === id;
  return { isJoined, reason: status.reason ?? '', message: status.message ?? '' };
}

function parseJson(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return null;
  }
}
