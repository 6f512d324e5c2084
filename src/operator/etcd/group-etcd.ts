/**
 * The member of etcd of one group: observe, decide (core/etcd-members), and carry out one step. What is remembered is written
 * with the member's ConfigMap before anything starts that follows from it.
 */
import type { Logger } from 'pino';
import type { GroupCard } from '../../api/group-card.ts';
import { LABEL } from '../../api/labels.ts';
import type { DialTarget, TlsTexts } from '../../base/mutual-tls.ts';
import type { EtcdAdmin } from '../../coordination/etcd-admin.ts';
import { decideEtcdStep, initialClusterOf } from '../../core/etcd-members/decide-etcd-step.ts';
import type {
  EtcdDecision,
  EtcdMemory,
  EtcdReason,
  EtcdSnapshot,
  EtcdStep,
} from '../../core/etcd-members/etcd-snapshot.ts';
import { etcdMember } from '../../core/topology/names.ts';
import { outsideAddress } from '../../core/topology/remote-services.ts';
import type { EtcdMemberPlan, GlobalPlan, GroupPlan } from '../../core/topology/plan-types.ts';
import { KUBE_KINDS, type KubeObject } from '../../platform/kubernetes/kube-object.ts';
import { ETCD_MEMORY_ANNOTATION } from '../objects/etcd-member.ts';
import { etcdConfigMap, etcdStatefulSet, etcdVolumeClaim } from '../objects/object-names.ts';
import { REVISION_ANNOTATION } from '../objects/pod-parts.ts';
import type { EtcdStart } from '../objects/render-input.ts';
import type { OperatorContext } from '../operator-context.ts';
import { EtcdClients, type EtcdObservation, type EtcdPlace } from './etcd-clients.ts';
import { etcdStart, NOTHING_REMEMBERED, parseEtcdMemory } from './etcd-memory.ts';
import { readWitnessCards, writeWitnessCard } from './witness-cards.ts';
import { etcdPodFacts, type EtcdPodFacts } from './etcd-pod.ts';

/** What the cards of the other groups tell of their members. */
export interface OtherMember {
  readonly name: string;
  /** Where it is dialled; null: its group has left. */
  readonly target: DialTarget | null;
  readonly hasMember: boolean;
  readonly hasLeft: boolean;
}

/** Members that the plan gives to the other groups, and what their cards say of them. */
export function otherMembers(plan: GlobalPlan, own: GroupPlan, cards: readonly GroupCard[]): OtherMember[] {
  const present = plan.groups.flatMap(({ name: group, etcd }): OtherMember[] => {
    if (group === own.name || etcd === null) return [];
    const card = cards.find((one) => one.group === group);
    const { name, addresses, clientPort: port } = etcd;
    // The operator is in another namespace than the Services: it dials what they lead to.
    const address = card === undefined ? null : outsideAddress(card, name);
    const target = { host: addresses[own.internodeTrafficStrategy], address, port };
    return [{ name, target, hasMember: card !== undefined && card.etcd !== null, hasLeft: false }];
  });
  const left = cards
    .filter((card) => card.left && plan.groups.every(({ name }) => name !== card.group))
    .map(({ group }) => ({ name: etcdMember(group), target: null, hasMember: false, hasLeft: true }));
  return [...present, ...left];
}

export interface EtcdLookInput {
  readonly context: OperatorContext;
  readonly plan: GlobalPlan;
  readonly groupPlan: GroupPlan;
  readonly tls: TlsTexts;
  readonly others: readonly OtherMember[];
  /** As it was told last; null: not yet. */
  readonly ownCard: GroupCard | null;
}

export interface EtcdLook {
  readonly start: EtcdStart | null;
  readonly decision: EtcdDecision;
  /** Cards of witnesses, untrusted. */
  readonly witnessCards: readonly unknown[];
  /** Carries out what must come after the objects; true: look again at once. */
  act(): Promise<boolean>;
}

/** While something is under way. */
const ETCD_BUSY_MS = 1000;
/** Members of other Kubernetes clusters tell nobody when they fall silent. */
const ETCD_IDLE_MS = 30_000;

/** ms until the next look for the sake of etcd. */
export function etcdLookMs(look: EtcdLook | null): number {
  if (look === null) return Number.POSITIVE_INFINITY;
  return look.decision.kind === 'settled' || look.decision.kind === 'blocked' ? ETCD_IDLE_MS : ETCD_BUSY_MS;
}

export class GroupEtcd {
  #memory: EtcdMemory | null = null;
  readonly #clients = new EtcdClients();
  #said = '';
  /** Generation of the own card that etcd has, if this is a witness. */
  #toldGeneration = 0;

  /** A member of this group has run: what its card tells the others. Null: it was not looked at yet. */
  get hasMember(): boolean | null {
    return this.#memory === null ? null : this.#memory.phase === 'member';
  }

  /** Throws EtcdMemoryError, ApiError, TlsFilesError. A step that etcd refuses is a wait. */
  async look(input: EtcdLookInput): Promise<EtcdLook | null> {
    const { context, groupPlan } = input;
    const own = groupPlan.etcd;
    if (own === null) return null;
    this.#memory ??= await readMemory(context, groupPlan, own);
    const sight = sightOf(context, groupPlan, own);
    await this.#clients.follow(placesOf(own, sight, input), input.tls);
    const observation = await this.#clients.observe(clusterOf(this.#memory));
    const snapshot: EtcdSnapshot = {
      own: { name: own.name, peerUrl: own.peerUrl },
      isFounder: input.plan.primaryGroup === groupPlan.name,
      others: input.others,
      memory: this.#memory,
      pod: sight.pod,
      volume: sight.volume,
      cluster: observation.cluster,
      newFolder: newFolder(Date.now()),
    };
    const decision = decideEtcdStep(snapshot);
    this.#say(context.log, groupPlan, decision);
    const early = decision.kind === 'step' ? await this.#carryOutEarly(decision.step, observation, own) : null;
    const memory = this.#memory;
    const witnessCards = await this.#exchangeCards(observation, input);
    return {
      start: etcdStart(memory, own),
      decision: early ?? decision,
      witnessCards,
      act: async () => {
        if (decision.kind !== 'step' || early !== null) return false;
        return await this.#carryOutLate(decision.step, observation, { context, groupPlan, own });
      },
    };
  }

  close(): void {
    this.#clients.close();
  }

  /** Null: done, or due later; a decision: it was refused. */
  async #carryOutEarly(step: EtcdStep, { teller }: EtcdObservation, own: EtcdMemberPlan): Promise<EtcdDecision | null> {
    if (step.kind === 'remember') this.#memory = step.memory;
    if (step.kind !== 'add' || teller === null) return null;
    try {
      const { clusterId, memberId, members } = await teller.addLearner(step.peerUrl);
      const initialCluster = initialClusterOf(members, memberId, own.name);
      this.#memory = { phase: 'joining', clusterId, memberId, folder: step.folder, initialCluster };
      return null;
    } catch (error) {
      return refused(error);
    }
  }

  async #carryOutLate(
    step: EtcdStep,
    { teller }: EtcdObservation,
    { context, groupPlan, own }: { context: OperatorContext; groupPlan: GroupPlan; own: EtcdMemberPlan },
  ): Promise<boolean> {
    if (step.kind === 'remember' || step.kind === 'add') return true;
    try {
      await carryOut(step, teller, this.#clients.admin(own.name), async () => {
        const pod = { kind: KUBE_KINDS.Pod, namespace: groupPlan.namespace, name: `${own.name}-0` };
        await context.client.delete(pod);
      });
      return true;
    } catch (error) {
      context.log.warn({ group: groupPlan.name, step, error: (error as Error).message }, 'etcd: step not carried out');
      return false;
    }
  }

  /** Of no weight for the member: what fails is tried with the next look. */
  async #exchangeCards(
    { teller }: EtcdObservation,
    { context, plan, groupPlan, ownCard }: EtcdLookInput,
  ): Promise<unknown[]> {
    if (teller === null) return [];
    try {
      if (groupPlan.role !== 'witness') return await readWitnessCards(teller, plan.coordination.key);
      if (ownCard !== null && this.#toldGeneration !== ownCard.generation) {
        await writeWitnessCard(teller, plan.coordination.key, ownCard);
        this.#toldGeneration = ownCard.generation;
      }
    } catch (error) {
      context.log.warn({ group: groupPlan.name, error: (error as Error).message }, 'etcd: cards not exchanged');
    }
    return [];
  }

  #say(log: Logger, { name, namespace }: GroupPlan, { kind, reason }: EtcdDecision): void {
    const said = `${kind} ${reason.code} ${reason.message}`;
    if (said === this.#said) return;
    this.#said = said;
    log.info({ group: name, namespace, decision: kind, reason }, 'etcd');
  }
}

async function carryOut(
  step: EtcdStep,
  teller: EtcdAdmin | null,
  own: EtcdAdmin | null,
  deletePod: () => Promise<void>,
): Promise<void> {
  switch (step.kind) {
    case 'promote':
      return await teller?.promote(step.memberId);
    case 'remove':
      return await teller?.remove(step.memberId);
    case 'rename':
      return await teller?.updatePeerUrl(step.memberId, step.peerUrl);
    case 'defragment':
      return await own?.defragment();
    case 'disarm':
      return await teller?.disarm({ memberId: step.memberId, kind: 'NOSPACE' });
    case 'restart':
      return await deletePod();
    case 'remember':
    case 'add':
      return;
  }
}

function refused(error: unknown): EtcdDecision {
  const reason: EtcdReason = {
    code: 'Refused',
    message: `etcd refused a change of its members: ${(error as Error).message}`,
  };
  return { kind: 'wait', reason };
}

async function readMemory(
  { client }: OperatorContext,
  { namespace }: GroupPlan,
  own: EtcdMemberPlan,
): Promise<EtcdMemory> {
  const found = await client.find({ kind: KUBE_KINDS.ConfigMap, namespace, name: etcdConfigMap(own.name) });
  const text = found?.metadata.annotations?.[ETCD_MEMORY_ANNOTATION];
  return text === undefined ? NOTHING_REMEMBERED : parseEtcdMemory(text);
}

interface OwnSight {
  readonly pod: (EtcdPodFacts & { readonly isOutdated: boolean }) | null;
  readonly volume: string | null;
}

function sightOf({ caches }: OperatorContext, { namespace, name }: GroupPlan, own: EtcdMemberPlan): OwnSight {
  const isOurs = ({ metadata }: KubeObject): boolean =>
    metadata.namespace === namespace && metadata.labels?.[LABEL.group] === name && metadata.deletionTimestamp == null;
  const pod = [...caches.Pod.values()].find((one) => isOurs(one) && one.metadata.name === `${own.name}-0`);
  const claim = [...caches.PersistentVolumeClaim.values()].find(
    (one) => isOurs(one) && one.metadata.name === etcdVolumeClaim(own.name),
  );
  const set = caches.StatefulSet.get(namespace, etcdStatefulSet(own.name));
  const facts = pod === undefined ? null : etcdPodFacts(pod);
  const wanted = revisionOf(set);
  return {
    pod: facts === null ? null : { ...facts, isOutdated: wanted !== null && facts.revision !== wanted },
    volume: claim?.metadata.uid ?? null,
  };
}

function revisionOf(set: KubeObject | undefined): string | null {
  const { template } = (set?.spec ?? {}) as {
    template?: { metadata?: { annotations?: Record<string, string> } };
  };
  return template?.metadata?.annotations?.[REVISION_ANNOTATION] ?? null;
}

/** The own member by the address of its pod, the others as their cards tell. */
function placesOf(own: EtcdMemberPlan, { pod }: OwnSight, { groupPlan, others }: EtcdLookInput): EtcdPlace[] {
  const strategy = groupPlan.internodeTrafficStrategy;
  const { name, addresses, clientPort: port } = own;
  const address = pod?.address ?? null;
  return [
    ...(address === null ? [] : [{ name, target: { host: addresses[strategy], address, port } }]),
    ...others.flatMap(({ name: other, target }) => (target === null ? [] : [{ name: other, target }])),
  ];
}

function clusterOf(memory: EtcdMemory): string | null {
  return memory.phase === 'founding' ? null : memory.clusterId;
}

/** In base 36, so that it is short: no two memberships of a group begin in the same millisecond. */
function newFolder(nowMs: number): string {
  return `member-${nowMs.toString(36)}`;
}
