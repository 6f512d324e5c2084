/**
 * `.status` of a PostgresGroup, from one observation of it. Pure; it never says healthy while a standby does not stream.
 *
 *   observation --> nodes --> conditions --> the one reason to know first
 */
import type {
  ConditionType,
  GroupCondition,
  GroupNodeStatus,
  OtherGroupStatus,
  PostgresGroupStatus,
} from '../../api/postgres-group-status.ts';
import { decideConnectivity } from '../connectivity/connectivity-condition.ts';
import type { EtcdDecision } from '../etcd-members/etcd-snapshot.ts';
import type { PreferredDecision } from '../rolling/decide-preferred-leader.ts';
import type { RollingDecision } from '../rolling/rolling-snapshot.ts';
import { POSTGRES_PORT } from '../topology/names.ts';
import type { GroupPlan, ServiceKind } from '../topology/plan-types.ts';
import type { ClusterStatus, NodeLine, NodeObservation } from './cluster-status.ts';
import { isStreaming } from './is-streaming.ts';
import { lagText } from './lag-text.ts';

export interface GroupStatusInput {
  readonly generation: number;
  readonly groupPlan: GroupPlan;
  /** Nodes that the manifest asks for. */
  readonly instances: number;
  readonly cluster: ClusterStatus;
  readonly observations: readonly NodeObservation[];
  /** By node; absent: there is no pod. */
  readonly pods: Readonly<Record<string, PodSight>>;
  readonly rolling: RollingDecision;
  /** SHA-256 of the certificate that each node should have loaded, hexadecimal. */
  readonly fingerprints: Readonly<Record<string, string>>;
  readonly authorityExpiryMs: number;
  /** What load balancers gave, by Service. */
  readonly published: Readonly<Record<string, readonly string[]>>;
  readonly proxies: { readonly instances: number; readonly ready: number };
  readonly selector: string;
  readonly previous: PostgresGroupStatus | null;
  /** The present manifest is refused, and an earlier one goes on; null: it is carried out. */
  readonly refusal: { readonly reason: string; readonly message: string } | null;
  /** The other groups of the global cluster. */
  readonly otherGroups?: readonly OtherGroupStatus[];
  /** Of pgspan's own etcd; null or absent: the record is elsewhere. */
  readonly record?: EtcdDecision | null;
  /** Of the preferred leader; null or absent: none is named. */
  readonly preferred?: {
    readonly name: string;
    readonly hasLed: boolean;
    readonly decision: PreferredDecision;
  } | null;
  /** ISO 8601. */
  readonly now: string;
}

export interface PodSight {
  readonly isReady: boolean;
  readonly image: string;
  /** What Kubernetes waits for; null: nothing. */
  readonly trouble: string | null;
}

interface Verdict {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
}

/** These two only where there is something to say it of. */
type Verdicts = Record<Exclude<ConditionType, 'RecordReady' | 'PreferredLeader'>, Verdict> &
  Partial<Record<ConditionType, Verdict>>;

export function groupStatus(given: GroupStatusInput): PostgresGroupStatus {
  const input = { ...given, cluster: withRemembered(given.cluster, given.previous) };
  const { cluster, groupPlan, proxies, previous } = input;
  const nodes = groupPlan.nodes.map(({ name }) => nodeStatus(input, name));
  const trouble = findTrouble(input, nodes);
  const certificates = certificatesVerdict(input);
  const { rolling, preferred } = input;
  const isMaking = cluster.term === 0;
  const verdicts: Verdicts = {
    Ready:
      trouble === null
        ? { status: 'True', reason: 'Healthy', message: 'Every node serves and every standby streams from the leader' }
        : { status: 'False', ...trouble },
    Progressing: progressVerdict(rolling, trouble, isMaking),
    Degraded:
      trouble === null || isMaking
        ? {
            status: 'False',
            reason: isMaking ? 'BeingMade' : 'Healthy',
            message: isMaking ? 'The database is being made' : 'Nothing is missing',
          }
        : { status: 'True', ...trouble },
    ConfigurationAccepted:
      input.refusal === null
        ? { status: 'True', reason: 'Accepted', message: 'The manifest is carried out' }
        : { status: 'False', ...input.refusal },
    CertificatesReady: certificates,
    Connectivity: decideConnectivity(groupPlan.name, input.observations),
    ...(input.record == null ? {} : { RecordReady: recordVerdict(input.record) }),
    ...(preferred == null ? {} : { PreferredLeader: preferredVerdict(preferred.decision) }),
  };
  const first = input.refusal ?? firstReason(trouble, rolling, certificates);
  const { lastFailover } = cluster;
  const lag = Math.max(0, ...nodes.flatMap(({ lagBytes }) => (lagBytes === undefined ? [] : [lagBytes])));
  return {
    observedGeneration: input.generation,
    conditions: conditionsOf(verdicts, previous, input),
    reason: first.reason,
    message: cut(first.message, 2048),
    globalCluster: cluster.globalCluster,
    ...(cluster.leader === null ? {} : { leader: cluster.leader }),
    phase: cluster.phase,
    term: cluster.term,
    ...(cluster.timeline === null ? {} : { timeline: cluster.timeline }),
    members: [...cluster.members],
    ...(cluster.writeQuorum === null ? {} : { writeQuorum: cluster.writeQuorum }),
    ...(preferred == null ? {} : { preferredLeader: { name: preferred.name, hasLed: preferred.hasLed } }),
    paused: cluster.paused,
    instances: nodes.filter(({ name }) => input.pods[name] !== undefined).length,
    readyInstances: nodes.filter(({ ready }) => ready).length,
    ready: `${nodes.filter(({ ready }) => ready).length}/${input.instances}`,
    selector: input.selector,
    lag: lagText(lag),
    proxies,
    nodes,
    ...(given.otherGroups === undefined || given.otherGroups.length === 0 ? {} : { groups: [...given.otherGroups] }),
    addresses: addressesOf(input),
    ...lastFailoverOf(lastFailover, previous),
    survives: [...cluster.survives],
    doesNotSurvive: [...cluster.doesNotSurvive],
    certificateAuthorityExpiry: new Date(input.authorityExpiryMs).toISOString(),
  };
}

/** A database that has had a leader is not made anew because nobody answers: what was known of it stands, as lost. */
function withRemembered(cluster: ClusterStatus, previous: PostgresGroupStatus | null): ClusterStatus {
  if (cluster.term > 0 || previous?.leader === undefined || (previous.term ?? 0) === 0) return cluster;
  const { leader, term = 0, timeline = null, members = [], writeQuorum = null } = previous;
  return { ...cluster, leader, term, timeline, members, writeQuorum, phase: 'lost', survives: [], doesNotSurvive: [] };
}

/** What keeps the operator from even looking: a manifest that is refused, an object that the API server refuses. */
export interface StandstillInput {
  /** `ConfigurationAccepted`: the manifest is refused. `Progressing`: it is accepted, and could not be carried out. */
  readonly condition: 'ConfigurationAccepted' | 'Progressing';
  readonly generation: number;
  readonly reason: string;
  readonly message: string;
  /** ISO 8601. */
  readonly now: string;
}

/** What runs is left as it is; whether it is well, nobody has looked. */
export function standstillStatus(input: StandstillInput, previous: PostgresGroupStatus | null): PostgresGroupStatus {
  const { reason } = input;
  const message = cut(input.message, 32_768);
  const unseen = { reason, message };
  const stays = ['ConfigurationAccepted', 'Progressing', 'Ready'];
  const others = (previous?.conditions ?? []).filter(({ type }) => !stays.includes(type));
  const of = (type: ConditionType, status: Verdict['status']) =>
    condition(type, { status, ...unseen }, previous, input);
  const accepted: Verdict = { status: 'True', reason: 'Accepted', message: 'The manifest is carried out' };
  const isNew = previous?.leader === undefined;
  return {
    ...previous,
    observedGeneration: input.generation,
    conditions: [
      of('Ready', isNew ? 'False' : 'Unknown'),
      of('Progressing', 'False'),
      ...others,
      input.condition === 'ConfigurationAccepted'
        ? of('ConfigurationAccepted', 'False')
        : condition('ConfigurationAccepted', accepted, previous, input),
    ],
    reason,
    message: cut(message, 2048),
  };
}

/** Equal in all that people see; positions alone are no reason to write. */
export function isSameStatus(a: PostgresGroupStatus, b: PostgresGroupStatus): boolean {
  return JSON.stringify(withoutPositions(a)) === JSON.stringify(withoutPositions(b));
}

function withoutPositions(status: PostgresGroupStatus): unknown {
  const nodes = status.nodes?.map(({ lsn: _lsn, lagBytes: _lag, progressPercent, ...node }) => ({
    ...node,
    // In tenths: a clone of an hour writes ten times.
    progress: progressPercent === undefined ? null : Math.floor(progressPercent / 10),
  }));
  return sorted({ ...status, nodes });
}

/** Keys in one order: what the API server gives back has another. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([key, one]) => [key, sorted(one)]));
}

function nodeStatus(input: GroupStatusInput, name: string): GroupNodeStatus {
  const { cluster, observations, pods } = input;
  const line = cluster.nodes.find((node) => node.name === name) as NodeLine;
  const answer = observations.find((one) => one.name === name)?.answer;
  const status = answer?.kind === 'answered' ? answer.status : null;
  const pod = pods[name];
  const streaming = status !== null && isStreaming(cluster.leader, observations, status);
  return {
    name,
    role: line.role,
    activity: line.activity,
    ready: pod?.isReady === true && streaming && (line.role !== 'leader' || cluster.phase === 'published'),
    member: line.isMember,
    streaming,
    ...(line.timeline === null ? {} : { timeline: line.timeline }),
    ...(line.lsn === null ? {} : { lsn: line.lsn }),
    ...(line.lagBytes === null ? {} : { lagBytes: Math.round(line.lagBytes) }),
    ...(line.progressPercent === null ? {} : { progressPercent: line.progressPercent }),
    ...(line.certificateExpiry === null ? {} : { certificateExpiry: line.certificateExpiry }),
    ...(status === null ? {} : { configurationGeneration: status.generation }),
    ...(pod === undefined ? {} : { image: pod.image }),
    ...(line.pendingRestart.length === 0 ? {} : { pendingRestart: [...line.pendingRestart] }),
    reason: line.reason.code,
    message: cut(pod?.trouble ?? line.reason.message, 1024),
  };
}

type Trouble = Omit<Verdict, 'status'>;

/** The gravest thing that keeps the group from being what the manifest asks for. */
function findTrouble(input: GroupStatusInput, nodes: readonly GroupNodeStatus[]): Trouble | null {
  const { cluster, pods, instances, proxies } = input;
  const blockedPod = nodes.find(({ name }) => (pods[name]?.trouble ?? null) !== null);
  const podTrouble =
    blockedPod === undefined
      ? null
      : `the pod of "${blockedPod.name}" does not start: ${pods[blockedPod.name]?.trouble}`;
  const blocked = nodes.find(({ activity }) => activity === 'blocked');
  if (cluster.leader === null)
    return { reason: 'NoLeaderYet', message: podTrouble ?? blocked?.message ?? 'The first database is being made' };
  const witness = cluster.phase === 'lost' ? followerElsewhere(input) : null;
  if (witness !== null)
    return {
      reason: 'LeaderUnreachable',
      message: `The leader "${cluster.leader}" is not reached from here, and "${witness}" still follows it: the way between the clusters is cut`,
    };
  if (cluster.phase !== 'published')
    return {
      reason: cluster.phase === 'lost' ? 'LeaderLost' : 'LeaderChanges',
      message:
        cluster.phase === 'lost'
          ? `The leader "${cluster.leader}" does not answer the operator${podTrouble === null ? '' : `; ${podTrouble}`}`
          : `"${cluster.leader}" is taking over (${cluster.phase})`,
    };
  if (podTrouble !== null) return { reason: 'PodTrouble', message: podTrouble };
  const unready = nodes.filter(({ ready }) => !ready);
  const [node] = unready;
  if (node !== undefined) {
    const others = unready.length > 1 ? `, and ${unready.length - 1} more` : '';
    const state = node.activity === 'following' && !node.streaming ? 'does not stream yet' : `is ${node.activity}`;
    const isPodOnly = node.streaming && (node.role === 'leader' || node.role === 'follower');
    return {
      reason: node.streaming ? 'NodeNotReady' : 'StandbyNotStreaming',
      message: `"${node.name}" ${isPodOnly ? 'serves, but its pod is not ready' : state}${others}: ${node.message ?? ''}`,
    };
  }
  if (nodes.length < instances)
    return { reason: 'NodesMissing', message: `${nodes.length} of ${instances} nodes exist` };
  const outside = nodes.find(
    ({ name, member }) =>
      !member && shallVote(input, name) && input.groupPlan.nodes.some((one) => one.name === name && one.votes),
  );
  if (outside !== undefined)
    return { reason: 'NotAMember', message: `"${outside.name}" streams, and is not counted as a voting member yet` };
  if (proxies.ready < proxies.instances)
    return { reason: 'ProxiesNotReady', message: `${proxies.ready} of ${proxies.instances} proxies are ready` };
  return null;
}

/** Not while it is behind a relay. */
function shallVote({ observations }: GroupStatusInput, node: string): boolean {
  const answer = observations.find(({ name }) => name === node)?.answer;
  return answer?.kind !== 'answered' || answer.status.shallVote !== false;
}

/** A node of a third group that follows a leader which only we do not reach. Null: there is none. */
function followerElsewhere({ cluster, groupPlan }: GroupStatusInput): string | null {
  const isOurs = (name: string) => groupPlan.nodes.some((node) => node.name === name);
  if (cluster.leader === null || isOurs(cluster.leader)) return null;
  const leads = cluster.nodes.find(({ name }) => name === cluster.leader)?.group;
  const witness = cluster.nodes.find(
    ({ name, group, role, reachable }) => reachable && role === 'follower' && !isOurs(name) && group !== leads,
  );
  return witness?.name ?? null;
}

function certificatesVerdict({ groupPlan, fingerprints, observations }: GroupStatusInput): Verdict {
  const waiting = groupPlan.nodes.filter(({ name }) => {
    const answer = observations.find((one) => one.name === name)?.answer;
    return answer?.kind !== 'answered' || answer.status.certificate.fingerprint !== fingerprints[name];
  });
  if (waiting.length === 0)
    return { status: 'True', reason: 'Loaded', message: 'Every node has loaded the certificate that it should have' };
  const names = waiting.map(({ name }) => `"${name}"`).join(', ');
  return { status: 'False', reason: 'Loading', message: `${names} has not reported its present certificate yet` };
}

function progressVerdict(rolling: RollingDecision, trouble: Trouble | null, isMaking: boolean): Verdict {
  const { code, message } = rolling.reason;
  if (rolling.kind === 'blocked') return { status: 'False', reason: code, message };
  if (isMaking && trouble !== null) return { status: 'True', ...trouble };
  if (rolling.kind === 'converged') return { status: 'False', reason: 'Converged', message };
  return { status: 'True', reason: code, message };
}

function firstReason(trouble: Trouble | null, rolling: RollingDecision, certificates: Verdict): Trouble {
  if (rolling.kind === 'blocked') return { reason: rolling.reason.code, message: rolling.reason.message };
  if (trouble !== null) return trouble;
  if (rolling.kind !== 'converged') return { reason: rolling.reason.code, message: rolling.reason.message };
  if (certificates.status !== 'True')
    return { reason: `Certificates${certificates.reason}`, message: certificates.message };
  return { reason: 'Healthy', message: 'Every node serves and every standby streams from the leader' };
}

/** True when nothing is under way and every member answers. */
function recordVerdict({ kind, reason }: EtcdDecision): Verdict {
  return { status: kind === 'settled' ? 'True' : 'False', reason: reason.code, message: reason.message };
}

function preferredVerdict({ kind, reason }: PreferredDecision): Verdict {
  return { status: kind === 'leads' ? 'True' : 'False', reason: reason.code, message: reason.message };
}

function conditionsOf(
  verdicts: Readonly<Partial<Record<ConditionType, Verdict>>>,
  previous: PostgresGroupStatus | null,
  context: { readonly generation: number; readonly now: string },
): GroupCondition[] {
  return (Object.entries(verdicts) as [ConditionType, Verdict][]).map(([type, verdict]) =>
    condition(type, verdict, previous, context),
  );
}

function condition(
  type: ConditionType,
  { status, reason, message }: Verdict,
  previous: PostgresGroupStatus | null,
  { generation, now }: { readonly generation: number; readonly now: string },
): GroupCondition {
  const before = previous?.conditions?.find((one) => one.type === type);
  return {
    type,
    status,
    reason,
    message: cut(message, 32_768),
    lastTransitionTime: before?.status === status ? before.lastTransitionTime : now,
    observedGeneration: generation,
  };
}

const PURPOSES: Partial<Record<ServiceKind, 'write' | 'read' | 'group' | 'node'>> = {
  'global-write': 'write',
  write: 'write',
  'global-read': 'read',
  read: 'read',
  discovery: 'group',
  node: 'node',
};

function addressesOf({ groupPlan, published }: GroupStatusInput): NonNullable<PostgresGroupStatus['addresses']> {
  return groupPlan.services.flatMap(({ name, kind, fqdns, port }) => {
    const purpose = PURPOSES[kind];
    if (purpose === undefined) return [];
    const fqdn = fqdns[0];
    const hosts = [...(published[name] ?? [])];
    return [{ service: name, purpose, ...(fqdn === undefined ? {} : { fqdn }), hosts, port: port ?? POSTGRES_PORT }];
  });
}

/** The node that carried it out may be the one that is silent now. */
function lastFailoverOf(
  lastFailover: ClusterStatus['lastFailover'],
  previous: PostgresGroupStatus | null,
): Pick<PostgresGroupStatus, 'lastFailover'> {
  const known = lastFailover === null ? undefined : failoverOf(lastFailover);
  const before = previous?.lastFailover;
  const newest = before !== undefined && before.term > (known?.term ?? 0) ? before : known;
  return newest === undefined ? {} : { lastFailover: newest };
}

function failoverOf(one: NonNullable<ClusterStatus['lastFailover']>): NonNullable<PostgresGroupStatus['lastFailover']> {
  const { publishedMs, loss, term, leader, formerLeader, reason, suspectedAt, promisedMs, swappedMs, promotedMs } = one;
  return {
    term,
    leader,
    formerLeader,
    reason: cut(reason, 256),
    suspectedAt,
    promisedMs,
    swappedMs,
    promotedMs,
    ...(publishedMs === null ? {} : { publishedMs }),
    ...(loss === null ? {} : { loss }),
  };
}

function cut(text: string, lengthMax: number): string {
  return text.length > lengthMax ? `${text.slice(0, lengthMax - 1)}…` : text;
}
