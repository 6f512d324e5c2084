/**
 * One look at one group, and what follows from it: observe, decide, apply. Level-triggered: nothing depends on what was seen
 * before, so an operator that is killed at any point goes on at its next start.
 *
 *   manifest accepted? --> rights --> what it names --> plan --> secrets --> objects --> agents --> rolling change (one step) --> status
 */
import { LABEL } from '../api/labels.ts';
import { ManifestError } from '../api/manifest-error.ts';
import type { GroupCard } from '../api/group-card.ts';
import type { PostgresGroup } from '../api/postgres-group.ts';
import type { TlsTexts } from '../base/mutual-tls.ts';
import { decideRollingStep } from '../core/rolling/decide-rolling-step.ts';
import type { RollingDecision } from '../core/rolling/rolling-snapshot.ts';
import { summarizeStatus } from '../core/status/cluster-status.ts';
import { otherGroups } from '../core/status/other-groups.ts';
import type { GroupsDecision } from '../core/cards/decide-groups.ts';
import { AGENT_PORT, nodeName } from '../core/topology/names.ts';
import { planNodesOf } from '../core/topology/plan.ts';
import type { GlobalPlan, GroupPlan } from '../core/topology/plan-types.ts';
import { KUBE_KINDS, type KubeObject } from '../platform/kubernetes/kube-object.ts';
import { acceptManifest } from './accept-manifest.ts';
import { applyObjects, deleteStale } from './apply-group.ts';
import { carryOutStep } from './carry-out-step.ts';
import { followGroups, observeGroups, tellGroups } from './cards/know-groups.ts';
import { contradictionText, type PlannedGroups, planGroups } from './cards/plan-groups.ts';
import { remotePlaces, renderRemote } from './cards/remote-group.ts';
import { waitForGroups } from './cards/wait-for-groups.ts';
import type { AgentPlace } from './group-agents.ts';
import { type EtcdLook, etcdLookMs, otherMembers } from './etcd/group-etcd.ts';
import type { GroupSession } from './group-session.ts';
import { dealWithOthers } from './joining/deal-with-others.ts';
import { joinGroup, joiningOf } from './joining/join-group.ts';
import { leaveGlobalCluster } from './joining/leave-global-cluster.ts';
import { renderMembership } from './joining/stored-membership.ts';
import { type GroupSecrets, maintainSecrets, renderOperatorSecrets } from './group-secrets.ts';
import { generationOf } from './objects/next-config.ts';
import { dnsConfigMap, nodeConfigMap, proxyConfigMap } from './objects/object-names.ts';
import { renderOperatorAccess } from './objects/operator-access.ts';
import { DNS_CONFIG_KEY, INSTANCE_CONFIG_KEY, PROXY_CONFIG_KEY } from './objects/pod-places.ts';
import { REVISION_ANNOTATION } from './objects/pod-parts.ts';
import { type DesiredObject, objectKey, renderGroup } from './objects/render-group.ts';
import { type GroupFacts, renderInput } from './objects/render-input.ts';
import { certificateFingerprint, type GroupSight, observeGroup } from './observe-group.ts';
import { markPods } from './mark-pods.ts';
import type { OperatorContext } from './operator-context.ts';
import { handOverToPreferred, lookAtPreferredLeader, preferredLookMs } from './preferred-leader.ts';
import { rollingSnapshot } from './rolling-snapshot.ts';
import { readSources, SOURCES_FRESH_MS } from './read-sources.ts';
import { configMapTexts } from './stored-object.ts';
import { type AcceptedSources, takeSources } from './take-sources.ts';
import { storedStatus, writeStandstill, writeStatus } from './write-status.ts';

/** While something is under way, and nobody would tell when it is done. */
const BUSY_LOOK_MS = 1000;
/** What is neither watched nor told by streams is read again: an hour, so that twenty groups are ten requests a minute. */
const REFRESH_MS = 3_600_000;
/** Until an agent that did not take the cards is given them again. */
const TELL_MS = 5000;

/** Longer than a pod takes to start and to clone a small database, on a busy machine too. */
const STUCK_MS = 90_000;

/** @returns ms until the next look; null: when something changes. Throws what the next try may not meet: ApiError, … */
export async function reconcileGroup(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
): Promise<number | null> {
  const identity = { name: object.metadata.name, namespace: object.metadata.namespace ?? 'default', uid: session.uid };
  // Its objects go with it: Kubernetes' garbage collector follows the owner references.
  if (object.metadata.deletionTimestamp != null) return await leaveGlobalCluster(context, session, object);
  refreshIfDue(session);
  const taken = await takeManifest(context, session, object);
  // Of a manifest that is refused nothing is carried out; what the one before asked for goes on.
  if (taken.refusal === null) session.accepted = taken.sources;
  const sources = session.accepted;
  if (sources === null) {
    await writeStandstill(context, object, { condition: 'ConfigurationAccepted', ...(taken.refusal as Refusal) });
    return SOURCES_FRESH_MS;
  }
  let { group } = sources;

  const sight = observeGroup(context, session, identity);
  noticeStuckPods(session, sight);
  await session.joining.load(context.client, group.metadata, session.peers);
  const joining = await joiningOf(context, session, group, sight);
  if (joining.kind !== 'done') {
    const facts = (secrets: GroupSecrets) => factsOf(context, session, { group, sight, secrets, sources, etcd: null });
    return await joinGroup(context, session, object, { group, sight, decision: joining, facts, login: sources.app });
  }
  const groups = await observeGroups(context, session, group, sight);
  if (groups.decision.kind === 'wait') {
    const { reason } = groups.decision;
    const facts = (secrets: GroupSecrets) => factsOf(context, session, { group, sight, secrets, sources, etcd: null });
    return await waitForGroups(context, session, object, { group, sight, groups, reason, facts });
  }
  const { decision: known } = groups;
  const planned = planKnown(context, session, { own: group, sight, known });
  if ('contradiction' in planned) {
    const refusal = { reason: 'GroupsDisagree', message: planned.contradiction };
    await writeStandstill(context, object, { condition: 'ConfigurationAccepted', ...refusal });
    return SOURCES_FRESH_MS;
  }
  const { plan, groupPlan } = planned;
  group = planned.own;
  const refusal = taken.refusal ?? planned.refusal;
  const secrets = await maintainSecrets({
    client: context.client,
    plan,
    groupPlan,
    group,
    ownerUid: session.uid,
    memory: session.secrets,
    now: new Date(),
    otherAuthorities: groups.authorities,
  });
  const members = otherMembers(plan, groupPlan, [...session.peers.cards.values()]);
  const { ownCard } = session.peers;
  const etcd = await session.etcd.look({
    context,
    plan,
    groupPlan,
    tls: operatorTls(secrets),
    others: members,
    ownCard,
  });
  session.peers.hear(etcd?.witnessCards ?? []);
  const facts = { plan, groupPlan, group, sight, secrets, sources, etcd };
  const desired = await renderAll(context, session, facts, known.cards);
  const isFirst = [...session.applied.keys].length <= 1;
  const changed = await applyObjects(context, session, desired);
  const deleted = await deleteStale(context, session, desired, identity);
  rememberConfigs(session, desired);
  if (changed.length + deleted.length + secrets.issued.length > 0)
    context.log.info(
      { ...logName(identity), changed: isFirst ? changed.length : changed, deleted, issued: secrets.issued },
      'objects applied',
    );

  const ownPlaces = placesOf(groupPlan, sight);
  await followGroups(context, session, group, groups.counted, secrets);
  await followAgents(session, [...ownPlaces, ...remotePlaces(plan, groupPlan, known.cards)], secrets);
  const isTold = await session.peers.give(session.agents, ownPlaces);
  const others = await dealWithOthers(context, session, object, {
    input: renderInput(plan, group, factsOf(context, session, { group, sight, secrets, sources, etcd: null })),
    sight,
    secrets,
    counted: groups.counted,
    given: sources.app,
    places: ownPlaces,
  });
  const observations = await session.agents.observe();
  const cluster = summarizeStatus({
    globalCluster: plan.globalCluster,
    nodes: observations,
    proxies: [],
    minCopies: plan.replication.minCopies,
    memberTimeoutMs: plan.timing.memberTimeoutMs,
    scope: plan.replication.scope,
  });
  // Pods may have come with what was applied just now.
  const now = observeGroup(context, session, identity);
  const decision = decideRollingStep(
    rollingSnapshot({
      group,
      groupPlan,
      status: cluster,
      observations,
      pods: now.pods,
      revisions: revisionsOf(desired),
      generations: generationsOf(groupPlan, session),
      claims: now.claims,
      revisionAnnotation: REVISION_ANNOTATION,
      priorities: Object.fromEntries(planNodesOf(plan).map(({ name, priority }) => [name, priority])),
    }),
  );
  const preferred = lookAtPreferredLeader(session, {
    groups: session.peers.planned ?? [group],
    plan,
    group: groupPlan.name,
    cluster,
    observations,
    rolling: decision,
    previous: storedStatus(object),
  });
  await markPods(context, { pods: [...now.pods, ...now.proxyPods], cluster, desired, group: groupPlan.name });
  const healthy = await writeStatus(context, object, {
    group,
    groupPlan,
    cluster,
    observations,
    sight: now,
    decision,
    fingerprints: fingerprintsOf(groupPlan, secrets),
    authorityExpiryMs: secrets.authorityExpiryMs,
    otherGroups: otherGroups({ counted: groups.counted, cards: known.cards, cluster, silence: session.peers.silence }),
    refusal,
    record: etcd?.decision ?? null,
    preferred,
  });
  const acted =
    (await act(context, session, object, decision)) ||
    (await etcd?.act()) === true ||
    (preferred !== null && (await handOverToPreferred(context, session, object, preferred)));
  if (acted || others.isChanged) return 0;
  const nextMs = Math.min(
    others.nextLookMs,
    nextLookMs({ isHealthy: healthy, decision, secrets, session }),
    isTold ? REFRESH_MS : TELL_MS,
    etcdLookMs(etcd),
    preferredLookMs(preferred),
  );
  return refusal === null ? nextMs : Math.min(nextMs, SOURCES_FRESH_MS);
}

interface Refusal {
  readonly reason: string;
  readonly message: string;
}

type Taken =
  | { readonly refusal: null; readonly sources: AcceptedSources }
  | { readonly refusal: Refusal; readonly sources: null };

/** The manifest and what it refers to. The operator's rights come first: what it refers to is read with them. */
async function takeManifest(context: OperatorContext, session: GroupSession, object: KubeObject): Promise<Taken> {
  const verdict = acceptManifest(object, context.groups.values());
  if (verdict.kind === 'refused') return refusedWith(verdict);
  const access = renderOperatorAccess({ ...verdict.group.metadata, uid: session.uid }, context.config);
  if (access !== null) await session.applied.apply(context.client, objectKey(access), access, null);
  const sources = takeSources(verdict.group, await readSources(context.client, verdict.group, session.sources));
  return sources.kind === 'refused' ? refusedWith(sources) : { refusal: null, sources };
}

function refusedWith({ reason, message }: Refusal): Taken {
  return { refusal: { reason, message }, sources: null };
}

function logName({ name, namespace }: { readonly name: string; readonly namespace: string }) {
  return { group: name, namespace };
}

function refreshIfDue(session: GroupSession): void {
  if (performance.now() < session.refreshAtMs) return;
  if (session.refreshAtMs > 0) session.refresh();
  session.refreshAtMs = performance.now() + REFRESH_MS * (0.75 + Math.random() / 2);
}

/** A pod that does not start may lack a Secret that somebody deleted: then everything is read and applied once more. */
function noticeStuckPods(session: GroupSession, { pods }: GroupSight): void {
  const nowMs = performance.now();
  const isStuck = pods.some(({ isReady, isTerminating }) => !isReady && !isTerminating);
  if (!isStuck) session.stuckSinceMs = null;
  else session.stuckSinceMs ??= nowMs;
  if (session.stuckSinceMs === null || nowMs - session.stuckSinceMs < STUCK_MS) return;
  session.stuckSinceMs = nowMs;
  session.refresh();
}

type KnownGroups = Extract<GroupsDecision, { kind: 'known' }>;

/** What contradicts another group is not carried out: what was agreed on before goes on. */
function planKnown(
  { clusterDns: { clusterDomain } }: OperatorContext,
  session: GroupSession,
  {
    own,
    sight,
    known: { groups, cards },
  }: { readonly own: PostgresGroup; readonly sight: GroupSight; readonly known: KnownGroups },
):
  | (PlannedGroups & { readonly own: PostgresGroup; readonly refusal: Refusal | null })
  | { readonly contradiction: string } {
  const { name } = own.metadata;
  try {
    const planned = planGroups(groups, name, sight, cards, clusterDomain);
    session.peers.planned = groups;
    return { ...planned, own: ownIn(groups, name), refusal: null };
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    const message = contradictionText(error);
    if (session.peers.planned === null) return { contradiction: message };
    const planned = planGroups(session.peers.planned, name, sight, cards, clusterDomain);
    const before = ownIn(session.peers.planned, name);
    return { ...planned, own: before, refusal: { reason: 'GroupsDisagree', message } };
  }
}

function ownIn(groups: readonly PostgresGroup[], name: string): PostgresGroup {
  return groups.find(({ metadata }) => metadata.name === name) as PostgresGroup;
}

async function renderAll(
  context: OperatorContext,
  session: GroupSession,
  {
    plan,
    groupPlan,
    group,
    sight,
    secrets,
    sources,
    etcd,
  }: {
    readonly plan: GlobalPlan;
    readonly groupPlan: GroupPlan;
    readonly group: PostgresGroup;
    readonly sight: GroupSight;
    readonly secrets: GroupSecrets;
    readonly sources: AcceptedSources;
    readonly etcd: EtcdLook | null;
  },
  cards: readonly GroupCard[],
): Promise<DesiredObject[]> {
  await readConfigs(context, session, groupPlan);
  const facts = factsOf(context, session, { group, sight, secrets, sources, etcd });
  const input = renderInput(plan, group, facts);
  const access = renderOperatorAccess({ ...group.metadata, uid: session.uid }, context.config);
  const own = renderOperatorSecrets(input, secrets) as DesiredObject['object'][];
  return [
    ...(access === null ? [] : [{ key: objectKey(access), object: access as unknown as DesiredObject['object'] }]),
    ...own.map((object) => ({ key: objectKey(object), object })),
    tellGroups(input, session, sight, { plan, secrets }),
    ...(session.joining.membership === null ? [] : [renderMembership(input, session.joining.membership)]),
    ...renderRemote(input, cards),
    ...renderGroup(plan, group, facts),
  ];
}

function factsOf(
  context: OperatorContext,
  session: GroupSession,
  {
    group,
    sight,
    secrets,
    sources,
    etcd,
  }: {
    readonly group: PostgresGroup;
    readonly sight: GroupSight;
    readonly secrets: GroupSecrets;
    readonly sources: AcceptedSources;
    readonly etcd: EtcdLook | null;
  },
): GroupFacts {
  const { programImage, imagePullPolicy } = context.config;
  return {
    ownerUid: session.uid,
    programImage,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    clusterDns: context.clusterDns,
    certificates: secrets.certificates,
    replicationCertificates: secrets.replicationCertificates,
    trustBundle: secrets.trustBundle,
    app: sources.app ?? session.joining.login.login ?? secrets.app,
    superuserPassword: secrets.superuserPassword,
    rolePasswords: sources.rolePasswords,
    storedConfigs: Object.fromEntries(session.configs),
    storedVolumes: sight.storedVolumes,
    volumes: sight.volumes,
    etcd: etcd?.start ?? null,
    retiring: sight.existing
      .filter((ordinal) => ordinal > group.spec.instances)
      .map((ordinal) => nodeName(group.metadata.name, ordinal))
      .filter((name) => sight.retiring.includes(name)),
  };
}

/** Name of the ConfigMap, and the key of the configuration in it. */
function configNames({ name, nodes, proxies, internodeTrafficStrategy }: GroupPlan): [name: string, key: string][] {
  const ofNodes = nodes.map((node): [string, string] => [nodeConfigMap(node.name), INSTANCE_CONFIG_KEY]);
  const ofGroup: [string, string][] = proxies.length === 0 ? [] : [[proxyConfigMap(name), PROXY_CONFIG_KEY]];
  if (internodeTrafficStrategy === 'SplitDNS') ofGroup.push([dnsConfigMap(name), DNS_CONFIG_KEY]);
  return [...ofNodes, ...ofGroup];
}

async function readConfigs({ client }: OperatorContext, session: GroupSession, groupPlan: GroupPlan): Promise<void> {
  await Promise.all(
    configNames(groupPlan)
      .filter(([name]) => !session.configs.has(name))
      .map(async ([name, key]) => {
        const found = await client.find({ kind: KUBE_KINDS.ConfigMap, namespace: groupPlan.namespace, name });
        const text = configMapTexts(found)[key];
        if (text !== undefined) session.configs.set(name, text);
      }),
  );
}

const CONFIG_KEYS = [INSTANCE_CONFIG_KEY, PROXY_CONFIG_KEY, DNS_CONFIG_KEY];

function rememberConfigs(session: GroupSession, desired: readonly DesiredObject[]): void {
  session.configs.clear();
  for (const { object } of desired) {
    if (object.kind !== 'ConfigMap') continue;
    const text = CONFIG_KEYS.map((key) => object.data[key]).find((one) => one !== undefined);
    if (text !== undefined) session.configs.set(object.metadata.name, text);
  }
}

function generationsOf({ nodes }: GroupPlan, session: GroupSession): Record<string, number> {
  return Object.fromEntries(
    nodes.map(({ name }) => [name, generationOf(session.configs.get(nodeConfigMap(name)) ?? '')]),
  );
}

function revisionsOf(desired: readonly DesiredObject[]): Record<string, string> {
  return Object.fromEntries(
    desired.flatMap(({ object }) =>
      object.kind === 'StatefulSet'
        ? [[object.metadata.name, object.spec.template.metadata.annotations?.[REVISION_ANNOTATION] ?? '']]
        : [],
    ),
  );
}

function fingerprintsOf({ nodes }: GroupPlan, { certificates }: GroupSecrets): Record<string, string> {
  return Object.fromEntries(
    nodes.map(({ name }) => [name, certificateFingerprint(certificates[name]?.certificate ?? '')]),
  );
}

function placesOf(groupPlan: GroupPlan, { pods }: GroupSight): AgentPlace[] {
  return groupPlan.nodes.map(({ name, addresses }) => ({
    node: name,
    group: groupPlan.name,
    address: pods.find(({ labels }) => labels[LABEL.node] === name)?.address ?? null,
    host: addresses.ServiceName,
    port: AGENT_PORT,
  }));
}

async function followAgents(
  session: GroupSession,
  places: readonly AgentPlace[],
  secrets: GroupSecrets,
): Promise<void> {
  await session.agents.follow(places, operatorTls(secrets));
}

/** With which the operator dials agents, and members of etcd. */
function operatorTls({ operator, trustBundle }: GroupSecrets): TlsTexts {
  return { cert: operator.certificate, key: operator.key, ca: trustBundle };
}

/** @returns true if something was done: look again at once. */
async function act(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  decision: RollingDecision,
): Promise<boolean> {
  if (decision.kind !== 'step') return false;
  const { name, namespace = '' } = object.metadata;
  context.log.info({ group: name, namespace, step: decision.step, reason: decision.reason }, 'rolling change');
  const { code, message } = decision.reason;
  context.events.say(object, { type: 'Normal', reason: code, action: 'RollingChange', note: message });
  await carryOutStep(context, session, object, decision.step);
  return true;
}

function nextLookMs({
  isHealthy,
  decision,
  secrets,
  session,
}: {
  readonly isHealthy: boolean;
  readonly decision: RollingDecision;
  readonly secrets: GroupSecrets;
  readonly session: GroupSession;
}): number {
  if (decision.kind === 'wait' || !isHealthy) return BUSY_LOOK_MS;
  const untilRefreshMs = session.refreshAtMs - performance.now();
  const untilRenewalMs = secrets.checkAtMs - Date.now();
  const untilSourcesMs = session.sources.size === 0 ? Number.POSITIVE_INFINITY : SOURCES_FRESH_MS;
  return Math.max(BUSY_LOOK_MS, Math.min(untilRefreshMs, untilRenewalMs, untilSourcesMs));
}
