/** Writes `.status`, when something in it changed that people see, and says in events what changed. */
import { workloadLabels } from '../api/labels.ts';
import type { PostgresGroup } from '../api/postgres-group.ts';
import {
  type OtherGroupStatus,
  type PostgresGroupStatus,
  postgresGroupStatusSchema,
} from '../api/postgres-group-status.ts';
import type { EtcdDecision } from '../core/etcd-members/etcd-snapshot.ts';
import type { RollingDecision } from '../core/rolling/rolling-snapshot.ts';
import type { ClusterStatus, NodeObservation } from '../core/status/cluster-status.ts';
import { groupStatus, isSameStatus, type StandstillInput, standstillStatus } from '../core/status/group-status.ts';
import type { GroupPlan } from '../core/topology/plan-types.ts';
import { LABEL } from '../api/labels.ts';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';
import type { GroupSight } from './observe-group.ts';
import type { OperatorContext } from './operator-context.ts';
import type { PreferredLook } from './preferred-leader.ts';

export interface StatusFacts {
  readonly group: PostgresGroup;
  readonly groupPlan: GroupPlan;
  readonly cluster: ClusterStatus;
  readonly observations: readonly NodeObservation[];
  readonly sight: GroupSight;
  readonly decision: RollingDecision;
  readonly fingerprints: Readonly<Record<string, string>>;
  readonly authorityExpiryMs: number;
  /** The present manifest is refused; null: it is carried out. */
  readonly otherGroups: readonly OtherGroupStatus[];
  readonly refusal: { readonly reason: string; readonly message: string } | null;
  /** Of pgspan's own etcd; null: there is none. */
  readonly record: EtcdDecision | null;
  /** null: none is named. */
  readonly preferred: PreferredLook | null;
}

/** @returns whether all is well. */
export async function writeStatus(context: OperatorContext, object: KubeObject, facts: StatusFacts): Promise<boolean> {
  const { group, groupPlan, cluster, observations, sight, decision } = facts;
  const previous = storedStatus(object);
  const selector = Object.entries(workloadLabels({ group: groupPlan.name, workload: 'postgres' }))
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
  const next = groupStatus({
    generation: object.metadata.generation ?? 0,
    groupPlan,
    instances: group.spec.instances,
    cluster,
    observations,
    pods: Object.fromEntries(
      // The first of a node is the one that is not going.
      sight.pods
        .toReversed()
        .map(({ labels, isReady, isTerminating, image, trouble }) => [
          labels[LABEL.node] ?? '',
          { isReady: isReady && !isTerminating, image, trouble },
        ]),
    ),
    rolling: decision,
    fingerprints: facts.fingerprints,
    authorityExpiryMs: facts.authorityExpiryMs,
    published: sight.published,
    proxies: sight.proxies,
    selector,
    previous,
    refusal: facts.refusal,
    otherGroups: facts.otherGroups,
    record: facts.record,
    preferred: facts.preferred,
    now: new Date().toISOString(),
  });
  await write(context, object, previous, next);
  return next.reason === 'Healthy';
}

/** For when there is nothing to observe. */
export async function writeStandstill(
  context: OperatorContext,
  object: KubeObject,
  standstill: Pick<StandstillInput, 'condition' | 'reason' | 'message'>,
): Promise<void> {
  const previous = storedStatus(object);
  const generation = object.metadata.generation ?? 0;
  const next = standstillStatus({ ...standstill, generation, now: new Date().toISOString() }, previous);
  await write(context, object, previous, next);
}

async function write(
  { client, groups, events, log }: OperatorContext,
  object: KubeObject,
  previous: PostgresGroupStatus | null,
  next: PostgresGroupStatus,
): Promise<void> {
  if (previous !== null && isSameStatus(previous, next)) return;
  const { apiVersion, kind, metadata } = object;
  const named = { apiVersion, kind, metadata: { name: metadata.name, namespace: metadata.namespace }, status: next };
  groups.put(await client.apply(named, { subresource: 'status' }));
  for (const { reason, note } of groupNews(previous, next))
    events.say(object, { type: 'Normal', reason, action: 'Observe', note });
  if (previous?.reason === next.reason && previous?.leader === next.leader) return;
  log.info(
    {
      group: metadata.name,
      namespace: metadata.namespace,
      reason: next.reason,
      message: next.message,
      leader: next.leader,
      term: next.term,
    },
    'status',
  );
  const isAccepted = next.conditions?.some(({ type, status }) => type === 'ConfigurationAccepted' && status === 'True');
  const isWell =
    next.reason === 'Healthy' || next.conditions?.every(({ type, status }) => type !== 'Degraded' || status !== 'True');
  events.say(object, {
    type: isWell === true && isAccepted === true ? 'Normal' : 'Warning',
    reason: next.reason ?? 'Unknown',
    action: 'Observe',
    note: next.message ?? '',
  });
  if (previous?.leader !== undefined && next.leader !== undefined && previous.leader !== next.leader)
    events.say(object, {
      type: 'Normal',
      reason: 'LeaderChanged',
      action: 'Observe',
      note: `"${next.leader}" leads since term ${next.term}, before it was "${previous.leader}"`,
    });
}

/** Groups that have come since the last status, and those that have gone. */
function groupNews(
  previous: PostgresGroupStatus | null,
  next: PostgresGroupStatus,
): { readonly reason: string; readonly note: string }[] {
  const namesOf = (status: PostgresGroupStatus | null) =>
    (status?.groups ?? []).filter(({ known }) => known).map(({ name }) => name);
  const [before, after] = [namesOf(previous), namesOf(next)];
  return [
    ...after
      .filter((name) => !before.includes(name))
      .map((name) => ({ reason: 'GroupKnown', note: `Group "${name}" has told of itself, and is part of the plan` })),
    ...before
      .filter((name) => !after.includes(name))
      .map((name) => ({ reason: 'GroupGone', note: `Group "${name}" is no longer part of the global cluster` })),
  ];
}

/** What an operator of another version wrote and this one cannot read is written anew. */
export function storedStatus({ status }: KubeObject): PostgresGroupStatus | null {
  return postgresGroupStatusSchema.safeParse(status).data ?? null;
}
