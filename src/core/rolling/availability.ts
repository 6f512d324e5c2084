/**
 * May a node be taken away for a moment? Only if writes go on without it and a leader could still be elected:
 *
 *   |healthy members without X| >= max(w, v),   v = |M| + 1 - w
 *
 * A set-up that can never do without one of its members (one node, or two of which each write needs both) is changed when
 * all of it is well; the reason then says that writes pause.
 */
import type { RollingNode, RollingSnapshot } from './rolling-snapshot.ts';

/** A member further behind is not yet one that an election or a quick hand-over can count on; the same bound as a switchover's. */
export const HEALTHY_LAG_BYTES_MAX = 16 * 1024 * 1024;

/** It leads or follows, votes if it should, and its pod is up: taking another away is safe as far as this one goes. */
export function isHealthy(node: RollingNode): boolean {
  return unhealthyWhy(node) === null;
}

/** A sentence part for people: `"leo-2" is cloning`; null: nothing is wrong with it. */
export function unhealthyWhy({ name, pod, agent, votes }: RollingNode): string | null {
  const quoted = JSON.stringify(name);
  if (pod === null) return `${quoted} has no pod yet`;
  if (pod.isTerminating) return `the pod of ${quoted} is ending`;
  if (agent === null) return `the agent of ${quoted} does not answer`;
  if (agent.activity !== 'leading' && agent.activity !== 'following')
    return `${quoted} is ${agent.activity} (${agent.message})`;
  if (!agent.isStreaming) return `${quoted} does not stream from the leader yet`;
  if (votes && !agent.isMember) return `${quoted} is no voting member yet`;
  if ((agent.lagBytes ?? 0) > HEALTHY_LAG_BYTES_MAX) return `${quoted} is ${agent.lagBytes} bytes behind`;
  if (!pod.isReady) return `the pod of ${quoted} is not ready`;
  return null;
}

export type Availability =
  | { readonly kind: 'keeps-writing' }
  /** Nothing better is possible with so few members, and all of them are well. */
  | { readonly kind: 'writes-pause'; readonly why: string }
  | { readonly kind: 'at-risk'; readonly why: string };

/** What becomes of writes while `away` is away. Without a record there is nothing to lose. */
export function availabilityWithout(snapshot: RollingSnapshot, away: string): Availability {
  const { record } = snapshot;
  if (record === null || !record.members.includes(away)) return { kind: 'keeps-writing' };
  const memberCount = record.members.length;
  const needed = Math.max(record.writeQuorum, memberCount + 1 - record.writeQuorum);
  const healthy = healthyMembers(snapshot);
  const left = healthy.filter((name) => name !== away).length;
  if (left >= needed) return { kind: 'keeps-writing' };
  if (memberCount - 1 < needed && healthy.length === memberCount)
    return {
      kind: 'writes-pause',
      why: `writes wait until it is back, since each needs ${needed} of ${memberCount} members`,
    };
  return {
    kind: 'at-risk',
    why: `without ${JSON.stringify(away)} ${left} of ${memberCount} members would be well, and ${needed} are needed`,
  };
}

export function healthyMembers({ record, nodes, remoteMembers }: RollingSnapshot): string[] {
  const healthy = new Set([
    ...nodes.filter(isHealthy).map(({ name }) => name),
    ...remoteMembers.filter((one) => one.isHealthy).map(({ name }) => name),
  ]);
  return (record?.members ?? []).filter((name) => healthy.has(name));
}
