/**
 * The preferred leader (`spec.globalCluster.preferredLeader`), by the operator of the group that leads: what was observed, made
 * ready for core/rolling/decide-preferred-leader.ts, and its one effect, the order to switch over.
 */
import type { PostgresGroup } from '../api/postgres-group.ts';
import type { PostgresGroupStatus } from '../api/postgres-group-status.ts';
import {
  decidePreferredLeader,
  noteFitness,
  type PreferredDecision,
  type PreferredNode,
  RETRY_MS,
} from '../core/rolling/decide-preferred-leader.ts';
import type { RollingDecision } from '../core/rolling/rolling-snapshot.ts';
import type { ClusterStatus, NodeObservation } from '../core/status/cluster-status.ts';
import { isStreaming } from '../core/status/is-streaming.ts';
import { planNodesOf } from '../core/topology/plan.ts';
import type { GlobalPlan } from '../core/topology/plan-types.ts';
import { resolvePreferredLeader } from '../core/topology/shared-settings.ts';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';
import { carryOutStep, OrderFailedError } from './carry-out-step.ts';
import type { GroupSession } from './group-session.ts';
import type { OperatorContext } from './operator-context.ts';

/** What one operator has seen; one that starts anew counts `after` from then, and tries at once. Times by performance.now(). */
export interface PreferredMemory {
  readonly name: string;
  readonly fitSinceMs: ReadonlyMap<string, number>;
  readonly failure: { readonly atMs: number; readonly message: string } | null;
}

export interface PreferredLook {
  readonly name: string;
  /** To be remembered in the status. */
  readonly hasLed: boolean;
  readonly decision: PreferredDecision;
}

export interface PreferredFacts {
  /** The groups that the plan is made of. */
  readonly groups: readonly PostgresGroup[];
  readonly plan: GlobalPlan;
  /** The group that this operator looks after. */
  readonly group: string;
  readonly cluster: ClusterStatus;
  readonly observations: readonly NodeObservation[];
  readonly rolling: RollingDecision;
  /** The status as it was written last. */
  readonly previous: PostgresGroupStatus | null;
}

/** null: the manifests name none. */
export function lookAtPreferredLeader(session: GroupSession, facts: PreferredFacts): PreferredLook | null {
  const wanted = resolvePreferredLeader(facts.groups);
  if (wanted === null) {
    session.preferred = null;
    return null;
  }
  const { cluster, rolling, previous } = facts;
  const memory = session.preferred?.name === wanted.name ? session.preferred : null;
  const snapshot = {
    wanted,
    group: facts.group,
    leader: cluster.leader,
    isLeaderPublished: cluster.phase === 'published',
    paused: cluster.paused,
    scope: facts.plan.replication.scope,
    nodes: preferredNodes(facts),
    nowMs: performance.now(),
  };
  const fitSinceMs = noteFitness(snapshot, memory?.fitSinceMs ?? new Map());
  session.preferred = { name: wanted.name, fitSinceMs, failure: memory?.failure ?? null };
  const before = previous?.preferredLeader;
  const hadLed = before?.name === wanted.name && before.hasLed;
  const decision = decidePreferredLeader({
    ...snapshot,
    fitSinceMs,
    failure: session.preferred.failure,
    hasLed: hadLed,
    // What is blocked waits for a person, and is not under way.
    change: rolling.kind === 'step' || rolling.kind === 'wait' ? rolling.reason : null,
  });
  return { name: wanted.name, hasLed: hadLed || decision.kind === 'leads', decision };
}

function preferredNodes({ plan, cluster, observations }: PreferredFacts): PreferredNode[] {
  const leads = cluster.nodes.find(({ name }) => name === cluster.leader)?.group;
  return planNodesOf(plan).map(({ name, group, votes }) => {
    const answer = observations.find((one) => one.name === name)?.answer;
    const status = answer?.kind === 'answered' ? answer.status : null;
    const isBeside = plan.replication.scope === 'global' || group === leads;
    return {
      name,
      group,
      activity: status?.activity ?? 'unreachable',
      isStreaming: status !== null && isStreaming(cluster.leader, observations, status),
      isMember: status?.isMember ?? false,
      shallVote: votes && isBeside && status?.shallVote !== false,
      lagBytes: status?.lagBytes ?? null,
    };
  });
}

/** @returns true if the lead was handed over: look again at once. An order that fails is told and tried later. */
export async function handOverToPreferred(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  { name, decision }: PreferredLook,
): Promise<boolean> {
  if (decision.kind !== 'switch-over') return false;
  const { from, to, reason } = decision;
  const place = { group: object.metadata.name, namespace: object.metadata.namespace };
  context.log.info({ ...place, from, to, reason }, 'preferred leader');
  context.events.say(object, { type: 'Normal', reason: reason.code, action: 'Switchover', note: reason.message });
  const fitSinceMs = session.preferred?.fitSinceMs ?? new Map();
  try {
    await carryOutStep(context, session, object, { kind: 'switch-over', from, to });
  } catch (error) {
    if (!(error instanceof OrderFailedError)) throw error;
    const { message } = error;
    session.preferred = { name, fitSinceMs, failure: { atMs: performance.now(), message } };
    context.log.warn({ ...place, from, to, error: message, retryMs: RETRY_MS }, 'preferred leader');
    context.events.say(object, { type: 'Warning', reason: 'SwitchoverFailed', action: 'Switchover', note: message });
    return false;
  }
  session.preferred = { name, fitSinceMs, failure: null };
  return true;
}

/** ms until the next look at the latest; Infinity: what is waited for is told. */
export function preferredLookMs(look: PreferredLook | null): number {
  switch (look?.decision.kind) {
    case 'wait':
      return look.decision.againMs ?? Number.POSITIVE_INFINITY;
    // It failed: the condition says so with the next look, and RETRY_MS counts from now.
    case 'switch-over':
      return 1000;
    default:
      return Number.POSITIVE_INFINITY;
  }
}
