/**
 * A group that is deleted while it has others: a finalizer holds it until they know. Its card becomes a tombstone, which its agents
 * give to the others; those drop its members, slots, Services and CA. After LEAVING_MS_MAX it goes anyway.
 */
import { LABEL } from '../../api/labels.ts';
import { parsePostgresGroup } from '../../api/parse-manifest.ts';
import { cardText, type GroupCard } from '../../api/group-card.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { AGENT_PORT } from '../../core/topology/names.ts';
import { countedGroups } from '../../core/cards/decide-groups.ts';
import { decideLeaving, LEAVING_MS_MAX, type LeavingDecision } from '../../core/joining/decide-leaving.ts';
import { ApiError } from '../../platform/kubernetes/api-error.ts';
import { KUBE_KINDS, type KubeObject } from '../../platform/kubernetes/kube-object.ts';
import { peersConfigMap } from '../../core/topology/names.ts';
import { cardPlaces } from '../cards/group-peers.ts';
import type { GroupSession } from '../group-session.ts';
import { operatorTlsSecret } from '../objects/object-names.ts';
import { observeGroup } from '../observe-group.ts';
import { secretTexts } from '../stored-object.ts';
import type { OperatorContext } from '../operator-context.ts';

export const LEAVE_FINALIZER = 'pgspan.io/leave';
const LOOK_MS = 500;
const SWITCHOVER_MS = 25_000;

/** Only a group with others has it: one that stands alone is deleted without an operator. Throws ApiError. */
export async function keepFinalizer(
  { client, log }: OperatorContext,
  object: KubeObject,
  hasOthers: boolean,
): Promise<void> {
  const present = object.metadata.finalizers ?? [];
  if (present.includes(LEAVE_FINALIZER) === hasOthers) return;
  try {
    await writeFinalizers(client, object, hasOthers);
  } catch (error) {
    // The install file of a version before did not give the right: what runs is worth more than a farewell.
    if (!(error instanceof ApiError) || error.status !== 403) throw error;
    log.warn({ group: object.metadata.name, error: error.message }, 'no finalizer: apply the install file again');
  }
}

async function writeFinalizers(
  client: OperatorContext['client'],
  object: KubeObject,
  isWanted: boolean,
): Promise<void> {
  const { name, namespace = 'default' } = object.metadata;
  const ref = { kind: KUBE_KINDS.PostgresGroup, namespace, name };
  // Read anew: a list is written whole, and somebody else may have put one of his own in.
  const found = await client.find(ref);
  if (found === null || found.metadata.uid !== object.metadata.uid) return;
  const others = (found.metadata.finalizers ?? []).filter((one) => one !== LEAVE_FINALIZER);
  const finalizers = isWanted ? [...others, LEAVE_FINALIZER] : others;
  const { resourceVersion } = found.metadata;
  await client.mergePatch(ref, { metadata: { finalizers, resourceVersion } });
}

/** @returns ms until the next look; null: nothing is left to do. Throws ApiError. */
export async function leaveGlobalCluster(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
): Promise<number | null> {
  if (object.metadata.finalizers?.includes(LEAVE_FINALIZER) !== true) return null;
  const { peers, joining } = session;
  const { name, namespace = 'default' } = object.metadata;
  await joining.load(context.client, { name, namespace }, peers);
  joining.listener.close();
  const parsed = parsePostgresGroup(object);
  const own = session.accepted?.group ?? (parsed.kind === 'accepted' ? parsed.group : null);
  const others = own === null ? [] : countedGroups({ own, admits: peers.admits, cards: peers.cards });
  const known = others.filter((group) => peers.cards.has(group));
  if (own !== null && session.agents.ownPlaces(name).length === 0) await reconnect(context, session, own, others);
  const leader = joining.isLeaving ? null : leaderHere(session, name);
  const decision = decideLeaving({
    elapsedMs: Date.now() - Date.parse(object.metadata.deletionTimestamp ?? ''),
    others: known,
    tombstone: peers.ownCard?.left === true ? peers.ownCard.generation : null,
    heard: Object.fromEntries(known.map((group) => [group, peers.heardBy(group)])),
    mustHandOver: leader !== null,
  });
  await carryOut(context, session, object, { decision, leader, others: known });
  if (decision.kind === 'let-go') return null;
  if (decision.kind !== 'hand-over') await session.peers.give(session.agents, session.agents.ownPlaces(name));
  return LOOK_MS;
}

async function carryOut(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  {
    decision,
    leader,
    others,
  }: { readonly decision: LeavingDecision; readonly leader: string | null; readonly others: readonly string[] },
): Promise<void> {
  const { log, events, client } = context;
  const { name } = object.metadata;
  const note = (text: string) => events.say(object, { type: 'Normal', reason: 'Leaving', action: 'Leave', note: text });
  if (decision.kind === 'hand-over' && leader !== null) {
    note(`Hands the lead over before it leaves ${others.join(', ')}`);
    await handOver(session, leader, others).catch((error: Error) =>
      log.warn({ group: name, error: error.message }, 'no hand-over before leaving'),
    );
  }
  if (decision.kind === 'tell') {
    session.joining.isLeaving = true;
    note(`Tells ${others.join(', ')} that it leaves`);
    const { ownCard } = session.peers;
    if (ownCard !== null) await bury(context, session, object, ownCard);
  }
  if (decision.kind !== 'let-go') return;
  if (decision.missing.length > 0)
    log.warn({ group: name, missing: decision.missing, limitMs: LEAVING_MS_MAX }, 'left without having told all');
  log.info({ group: name, others }, 'left the global cluster');
  await writeFinalizers(client, object, false);
}

/** An operator that was started while the group was going: with the certificate that is stored, and the pods that are there. */
async function reconnect(
  context: OperatorContext,
  session: GroupSession,
  own: PostgresGroup,
  others: readonly string[],
): Promise<void> {
  const { name, namespace } = own.metadata;
  const ref = { kind: KUBE_KINDS.Secret, namespace, name: operatorTlsSecret(name) };
  const { 'tls.crt': cert, 'tls.key': key, 'ca.crt': ca } = secretTexts(await context.client.find(ref));
  if (cert === undefined || key === undefined || ca === undefined) return;
  const tls = { cert, key, ca };
  const places = observeGroup(context, session, { name, namespace }).pods.flatMap(({ labels, address }) => {
    const node = labels[LABEL.node];
    return node === undefined ? [] : [{ node, group: name, address, host: node, port: AGENT_PORT }];
  });
  await session.agents.follow(places, tls);
  const { clusterDomain } = context.clusterDns;
  await session.peers.follow(cardPlaces(own, others, session.peers.cards, clusterDomain), tls);
}

/** The tombstone is written down before anybody is told: an operator that starts anew goes on from there. */
async function bury(
  { client }: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  card: GroupCard,
): Promise<void> {
  const { generation: _before, ...rest } = card;
  const told = session.peers.tell({ ...rest, left: true });
  const { name, namespace = 'default' } = object.metadata;
  const ref = { kind: KUBE_KINDS.ConfigMap, namespace, name: peersConfigMap(name) };
  await client.mergePatch(ref, { data: { [`${name}.json`]: `${cardText(told)}\n` } });
}

/** Node of this group that leads, if a node elsewhere could. */
function leaderHere(session: GroupSession, group: string): string | null {
  const sights = [...session.agents.sights.values()];
  const leader = sights.find((sight) => sight.group === group && sight.live && sight.state?.activity === 'leading');
  const elsewhere = sights.some((sight) => sight.group !== group && sight.live);
  return leader !== undefined && elsewhere ? leader.node : null;
}

async function handOver(session: GroupSession, leader: string, others: readonly string[]): Promise<void> {
  const target = [...session.agents.sights.values()].find(
    ({ group, live, state }) => others.includes(group) && live && state?.activity === 'following',
  );
  if (target === undefined) throw new Error('no node of another group follows');
  const { status, body } = await session.agents.order(leader, '/v1/switchover', { to: target.node }, SWITCHOVER_MS);
  if (status !== 200) throw new Error(`"${leader}" answered ${status}: ${JSON.stringify(body).slice(0, 300)}`);
}
