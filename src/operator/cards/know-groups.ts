/**
 * The other groups in one look at a group: what is known of them, whom to ask, what to tell. The decision is core/cards.
 */
import type { GroupCard } from '../../api/group-card.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import type { GroupsDecision } from '../../core/cards/decide-groups.ts';
import { countedGroups, decideGroups } from '../../core/cards/decide-groups.ts';
import { ownCard } from '../../core/cards/own-card.ts';
import type { EtcdMemberPlan, GlobalPlan, GroupPlan } from '../../core/topology/plan-types.ts';
import { LABEL } from '../../api/labels.ts';
import { KUBE_KINDS } from '../../platform/kubernetes/kube-object.ts';
import type { GroupSession } from '../group-session.ts';
import type { GroupSecrets } from '../group-secrets.ts';
import type { GroupSight } from '../observe-group.ts';
import { nodeConfigMap } from '../objects/object-names.ts';
import { INSTANCE_CONFIG_KEY } from '../objects/pod-places.ts';
import { ownedMetadata } from '../objects/metadata.ts';
import type { DesiredObject } from '../objects/render-group.ts';
import type { RenderInput } from '../objects/render-input.ts';
import type { OperatorContext } from '../operator-context.ts';
import { configMapTexts } from '../stored-object.ts';
import { nodeName, peersConfigMap } from '../../core/topology/names.ts';
import { cardPlaces } from './group-peers.ts';
import { groupsInConfig, otherAuthorities } from './plan-groups.ts';

export interface GroupsSight {
  readonly decision: GroupsDecision;
  /** Names of all other groups, known or not. */
  readonly counted: readonly string[];
  /** PEM. */
  readonly authorities: readonly string[];
}

/** Throws ApiError. */
export async function observeGroups(
  context: OperatorContext,
  session: GroupSession,
  own: PostgresGroup,
  sight: GroupSight,
): Promise<GroupsSight> {
  const { peers } = session;
  await peers.load(context.client, own.metadata);
  const { admits } = peers;
  const counted = countedGroups({ own, admits, cards: peers.cards });
  const configured = counted.length === 0 ? [] : await configuredGroups(context, session, own, sight);
  return {
    decision: decideGroups({ own, admits, cards: peers.cards, configured }),
    counted,
    authorities: otherAuthorities(own, counted, peers.cards),
  };
}

/** From the configuration of one node that exists: all have the same peers. */
async function configuredGroups(
  { client }: OperatorContext,
  session: GroupSession,
  { metadata }: PostgresGroup,
  { existing }: GroupSight,
): Promise<string[]> {
  const [ordinal] = existing;
  if (ordinal === undefined) return [];
  const name = nodeConfigMap(nodeName(metadata.name, ordinal));
  const known = session.configs.get(name);
  if (known !== undefined) return groupsInConfig(known);
  const found = await client.find({ kind: KUBE_KINDS.ConfigMap, namespace: metadata.namespace, name });
  return groupsInConfig(configMapTexts(found)[INSTANCE_CONFIG_KEY] ?? '');
}

/** Renews the own card, and gives the ConfigMap that keeps all. */
export function tellGroups(
  input: RenderInput,
  session: GroupSession,
  sight: GroupSight,
  { plan, secrets }: { readonly plan: GlobalPlan; readonly secrets: GroupSecrets },
): DesiredObject {
  const { group, groupPlan } = input;
  const podAddresses = Object.fromEntries(
    [...sight.pods, ...sight.etcdPods].flatMap(({ labels, address, isTerminating }) => {
      const node = labels[LABEL.workloadType] === 'etcd' ? groupPlan.etcd?.name : labels[LABEL.node];
      return node === undefined || address === null || isTerminating ? [] : [[node, address] as const];
    }),
  );
  session.peers.tell(
    ownCard({
      globalCluster: plan.globalCluster,
      group,
      primaryGroup: group.spec.globalCluster.primaryGroup ?? plan.primaryGroup,
      existing: sight.existing,
      retiring: sight.retiring,
      clusterDomain: input.facts.clusterDns.clusterDomain,
      published: sight.published,
      podAddresses,
      caBundle: secrets.authority.authorityPem,
      etcd: etcdOf(session, groupPlan, sight) ?? null,
      credentialsGeneration: session.joining.login.login?.generation ?? 0,
      admits: session.peers.admits,
      left: session.joining.isLeaving,
    }),
  );
  const name = peersConfigMap(group.metadata.name);
  return {
    key: `/ConfigMap/${name}`,
    object: { apiVersion: 'v1', kind: 'ConfigMap', metadata: ownedMetadata(input, name), data: session.peers.texts() },
  };
}

/** As long as it was not looked at, what was told before. */
function etcdOf(session: GroupSession, { etcd }: GroupPlan, { published }: GroupSight): GroupCard['etcd'] | undefined {
  const { hasMember } = session.etcd;
  if (etcd === null || hasMember === null) return session.peers.ownCard?.etcd;
  return hasMember ? etcdEntry(etcd, published) : null;
}

/** By what its load balancer got, else by its name outside. */
function etcdEntry(
  { name, addresses, clientPort, peerPort }: EtcdMemberPlan,
  published: GroupSight['published'],
): NonNullable<GroupCard['etcd']> {
  return { host: published[name]?.[0] ?? addresses.FQDN, clientPort, peerPort };
}

/** Asks the other groups, with the certificate and the trust of this moment. Throws TlsFilesError. */
export async function followGroups(
  { clusterDns }: OperatorContext,
  session: GroupSession,
  own: PostgresGroup,
  counted: readonly string[],
  { operator, trustBundle }: GroupSecrets,
): Promise<void> {
  const places = cardPlaces(own, counted, session.peers.cards, clusterDns.clusterDomain);
  await session.peers.follow(places, { cert: operator.certificate, key: operator.key, ca: trustBundle });
}
