/**
 * A group that is to join: what the others need to find and trust it is made (its CA, its Services), and nothing that runs, until
 * an exchange with the group that invited it has succeeded. What came is written down first, and counts from the next look on.
 */
import type { GroupCard } from '../../api/group-card.ts';
import { globalClusterName, type PostgresGroup } from '../../api/postgres-group.ts';
import { ownCard } from '../../core/cards/own-card.ts';
import { decideJoining, type JoiningDecision } from '../../core/joining/decide-joining.ts';
import { appSecret } from '../../core/topology/names.ts';
import { KUBE_KINDS, type KubeObject } from '../../platform/kubernetes/kube-object.ts';
import { applyObjects } from '../apply-group.ts';
import { planGroups } from '../cards/plan-groups.ts';
import { objectsForOthers } from '../cards/wait-for-groups.ts';
import type { GroupSession } from '../group-session.ts';
import { type GroupSecrets, maintainSecrets, renderOperatorSecrets } from '../group-secrets.ts';
import { objectKey, type DesiredObject } from '../objects/render-group.ts';
import { type GroupFacts, type Login, renderInput, type RenderInput } from '../objects/render-input.ts';
import type { GroupSight } from '../observe-group.ts';
import type { OperatorContext } from '../operator-context.ts';
import { secretTexts } from '../stored-object.ts';
import { writeStandstill } from '../write-status.ts';
import type { Carried } from './carry-invitation.ts';
import type { AttemptState } from './joining-session.ts';
import { renderMembership } from './stored-membership.ts';

/** A person waits for this. */
const JOINING_LOOK_MS = 2000;
/** Nobody tells that a token was put into a Secret: it is looked for this often. */
const WAITING_LOOK_MS = 10_000;

/** The token is read with each look, and only until the group has joined: after that its Secret may go. Throws ApiError. */
export async function joiningOf(
  { client }: OperatorContext,
  { joining }: GroupSession,
  group: PostgresGroup,
  { existing }: Pick<GroupSight, 'existing'>,
): Promise<JoiningDecision> {
  const { name: groupName, namespace } = group.metadata;
  const ref = group.spec.globalCluster.join?.tokenSecretRef;
  const isDue = ref !== undefined && joining.membership === null;
  const secret = isDue ? await client.find({ kind: KUBE_KINDS.Secret, namespace, name: ref.name }) : null;
  return decideJoining({
    group: groupName,
    globalCluster: globalClusterName(group),
    isAsked: ref !== undefined,
    membership: joining.membership,
    hasNodes: existing.length > 0,
    token: secretTexts(secret)[ref?.key ?? ''] ?? null,
    tokenPlace: `Secret "${ref?.name ?? ''}", key "${ref?.key ?? ''}"`,
    nowMs: Date.now(),
  });
}

/** @returns ms until the next look. Throws ApiError. */
export async function joinGroup(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  given: {
    readonly group: PostgresGroup;
    readonly sight: GroupSight;
    readonly decision: Exclude<JoiningDecision, { kind: 'done' }>;
    readonly facts: (secrets: GroupSecrets) => GroupFacts;
    /** The login that the manifest names. */
    readonly login: Login | null;
  },
): Promise<number> {
  const { decision, group, sight } = given;
  if (decision.kind === 'wait') return await standStill(context, object, decision);
  const { input, secrets } = await makeFindable(context, session, given);
  const card = offeredCard(input, sight, secrets);
  if (card.endpoint === null) {
    const message = `Nothing outside of this cluster reaches the group service yet: it waits for a load balancer's address, or needs spec.connectivity.internodeTrafficStrategy: FQDN`;
    return await standStill(context, object, { reason: 'JoinEndpointMissing', message });
  }
  const { invitation } = decision;
  const { caBundle } = card;
  const offer = { globalCluster: invitation.globalCluster, group: group.metadata.name, caBundle, card };
  const attempt = session.joining.try(invitation, offer);
  const { outcome } = attempt;
  if (outcome?.kind === 'welcome')
    return await enter(context, session, object, { input, invitation, outcome, given: given.login });
  tellRefusal(context, object, attempt);
  const { host, port } = invitation.endpoint;
  const asked = `Joins "${invitation.globalCluster}" by way of group "${invitation.group}" at "${host}:${port}"`;
  return await standStill(context, object, {
    reason: outcome?.reason ?? 'Joining',
    message: outcome === null ? asked : `${asked}: ${outcome.message}`,
  });
}

async function makeFindable(
  context: OperatorContext,
  session: GroupSession,
  {
    group,
    sight,
    facts,
  }: {
    readonly group: PostgresGroup;
    readonly sight: GroupSight;
    readonly facts: (secrets: GroupSecrets) => GroupFacts;
  },
): Promise<{ readonly input: RenderInput; readonly secrets: GroupSecrets }> {
  const { client, clusterDns } = context;
  const { plan, groupPlan } = planGroups([group], group.metadata.name, sight, [], clusterDns.clusterDomain);
  const now = new Date();
  const ownerUid = session.uid;
  const secrets = await maintainSecrets({ client, plan, groupPlan, group, ownerUid, memory: session.secrets, now });
  const given = facts(secrets);
  const input = renderInput(plan, group, given);
  const own = renderOperatorSecrets(input, secrets) as DesiredObject['object'][];
  await applyObjects(context, session, [
    ...own.map((one) => ({ key: objectKey(one), object: one })),
    ...objectsForOthers(input),
  ]);
  return { input, secrets };
}

/** Of a group that does not know yet who makes the database. */
function offeredCard({ plan, group, facts }: RenderInput, sight: GroupSight, { authority }: GroupSecrets): GroupCard {
  const card = ownCard({
    globalCluster: plan.globalCluster,
    group,
    primaryGroup: plan.primaryGroup,
    existing: sight.existing,
    retiring: [],
    clusterDomain: facts.clusterDns.clusterDomain,
    published: sight.published,
    podAddresses: {},
    caBundle: authority.authorityPem,
    etcd: null,
    credentialsGeneration: 0,
    admits: [],
    left: false,
  });
  // The token is nobody's business, and who makes the database is for the others to say, unless the manifest does.
  const { join: _join, primaryGroup: _told, ...globalCluster } = card.manifest.spec.globalCluster;
  const { primaryGroup } = group.spec.globalCluster;
  const told = { ...globalCluster, ...(primaryGroup === undefined ? {} : { primaryGroup }) };
  const manifest = { ...card.manifest, spec: { ...card.manifest.spec, globalCluster: told } };
  return { ...card, manifest, generation: 1 };
}

async function enter(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  {
    input,
    invitation,
    outcome: { welcome, cards },
    given,
  }: {
    readonly input: RenderInput;
    readonly invitation: { readonly id: string; readonly group: string };
    readonly outcome: Extract<Carried, { kind: 'welcome' }>;
    readonly given: Login | null;
  },
): Promise<number> {
  const { name } = input.group.metadata;
  const membership = {
    globalCluster: welcome.globalCluster,
    primaryGroup: welcome.primaryGroup,
    invitedBy: invitation.group,
    invitation: invitation.id,
    joinedAt: new Date().toISOString(),
    cardGenerationMin: welcome.cardGenerationMin,
    cards,
  };
  // The login first: with the membership nodes are made, which set passwords.
  const { password } = given ?? welcome.login;
  await session.joining.login.adopt(context.client, input, { ...welcome.login, password });
  session.secrets.set(appSecret(name), { ...session.secrets.get(appSecret(name)), password });
  await context.client.apply(renderMembership(input, membership).object);
  session.joining.enter(membership, session.peers);
  if (password !== welcome.login.password) {
    // A group that joins changes nobody's password.
    const text = `The Secret that the manifest names holds another password than the application has in "${welcome.globalCluster}": put that one in`;
    context.events.say(object, { type: 'Warning', reason: 'LoginDiffers', action: 'Join', note: text });
  }
  const note = `Joined "${welcome.globalCluster}" by invitation of group "${invitation.group}"; "${welcome.primaryGroup}" makes the database`;
  context.events.say(object, { type: 'Normal', reason: 'Joined', action: 'Join', note });
  context.log.info({ group: name, invitedBy: invitation.group, globalCluster: welcome.globalCluster }, 'joined');
  await writeStandstill(context, object, { condition: 'Progressing', reason: 'Joined', message: note });
  return 0;
}

function tellRefusal({ events }: OperatorContext, object: KubeObject, { outcome }: AttemptState): void {
  if (outcome?.kind !== 'refused') return;
  events.say(object, { type: 'Warning', reason: outcome.reason, action: 'Join', note: outcome.message });
}

async function standStill(
  context: OperatorContext,
  object: KubeObject,
  { reason, message }: { readonly reason: string; readonly message: string },
): Promise<number> {
  await writeStandstill(context, object, { condition: 'Progressing', reason, message });
  return reason === 'Joining' || reason.startsWith('JoinEndpoint') ? JOINING_LOOK_MS : WAITING_LOOK_MS;
}
