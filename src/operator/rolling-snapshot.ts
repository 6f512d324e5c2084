/** From what was observed of a group to what core/rolling decides from. Pure. */
import { quantityBytes } from '../api/postgres-group-values.ts';
import { LABEL } from '../api/labels.ts';
import type { PostgresGroup } from '../api/postgres-group.ts';
import type { NodeStatus } from '../api/node-status.ts';
import type { RollingNode, RollingSnapshot } from '../core/rolling/rolling-snapshot.ts';
import type { ClusterStatus, NodeObservation } from '../core/status/cluster-status.ts';
import { isStreaming } from '../core/status/is-streaming.ts';
import { imageMajor } from '../core/topology/image.ts';
import type { GroupPlan } from '../core/topology/plan-types.ts';
import type { PodFacts } from './stored-object.ts';

export interface RollingInput {
  readonly group: PostgresGroup;
  readonly groupPlan: GroupPlan;
  readonly status: ClusterStatus;
  readonly observations: readonly NodeObservation[];
  readonly pods: readonly PodFacts[];
  /** Wanted revision of each node's pod template. */
  readonly revisions: Readonly<Record<string, string>>;
  /** Generation of each node's configuration, as stored. */
  readonly generations: Readonly<Record<string, number>>;
  /** Size that each node's claim asks for, and whether its class lets it grow. */
  readonly claims: Readonly<Record<string, { readonly size: string; readonly canGrow: boolean }>>;
  readonly revisionAnnotation: string;
  /** Of the nodes of other groups. */
  readonly priorities: Readonly<Record<string, number>>;
}

export function rollingSnapshot(input: RollingInput): RollingSnapshot {
  const { group, groupPlan, status } = input;
  return {
    group: groupPlan.name,
    record:
      status.leader === null || status.writeQuorum === null
        ? null
        : {
            leader: status.leader,
            members: status.members,
            writeQuorum: status.writeQuorum,
            paused: status.paused,
          },
    isLeaderPublished: status.phase === 'published',
    nodes: groupPlan.nodes.map((node) => rollingNode(input, node)),
    remoteMembers: remoteMembers(input),
    wantedMajor: imageMajor(group.spec.imageName) ?? null,
  };
}

function remoteMembers({ status, groupPlan, priorities }: RollingInput): RollingSnapshot['remoteMembers'] {
  return status.members
    .filter((name) => !groupPlan.nodes.some((node) => node.name === name))
    .map((name) => ({
      name,
      isHealthy: (status.nodes.find((node) => node.name === name)?.role ?? 'none') !== 'none',
      priority: priorities[name] ?? 0,
    }));
}

function rollingNode(input: RollingInput, node: GroupPlan['nodes'][number]): RollingNode {
  const { group, pods, observations, revisions, generations, claims, revisionAnnotation } = input;
  const pod = pods.find(({ labels }) => labels[LABEL.node] === node.name);
  const answer = observations.find(({ name }) => name === node.name)?.answer;
  const claim = claims[node.name];
  const isWanted = node.ordinal <= group.spec.instances;
  return {
    name: node.name,
    ordinal: node.ordinal,
    isWanted,
    pod:
      pod === undefined
        ? null
        : {
            isOutdated: pod.annotations[revisionAnnotation] !== revisions[node.name],
            isReady: pod.isReady,
            isTerminating: pod.isTerminating,
            isHeldBack: pod.isHeldBack,
          },
    agent: answer?.kind === 'answered' ? rollingAgent(input, answer.status, generations[node.name] ?? 0) : null,
    votes: node.votes,
    priority: node.priority,
    volume:
      claim === undefined || !isWanted
        ? null
        : {
            wantedBytes: quantityBytes(group.spec.storage.size),
            requestedBytes: quantityBytes(claim.size),
            canGrow: claim.canGrow,
          },
  };
}

function rollingAgent(
  { status: cluster, observations }: RollingInput,
  status: NodeStatus,
  generation: number,
): RollingNode['agent'] {
  return {
    activity: status.activity,
    message: status.reason.message,
    // Who is behind a relay is complete without a vote.
    isMember: status.isMember || status.shallVote === false,
    isStreaming: isStreaming(cluster.leader, observations, status),
    lagBytes: status.lagBytes,
    isConfigured: status.generation >= generation,
    pendingRestart: status.pendingRestart,
    major:
      status.serverVersion === null || status.serverVersion === undefined
        ? null
        : Math.floor(status.serverVersion / 10_000),
  };
}
