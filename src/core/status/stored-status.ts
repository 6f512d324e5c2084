/**
 * What the operator wrote last, for where nobody can be asked: a kubelet that is stopped, a person without the right to exec.
 * It is old by then; how old is said.
 */
import type { PostgresGroupStatus } from '../../api/postgres-group-status.ts';
import type { ClusterStatus, NodeLine } from './cluster-status.ts';

export interface StoredStatus {
  readonly group: string;
  /** When it was written, milliseconds since 1970; null: the API server does not say. */
  readonly writtenAtMs: number | null;
  readonly status: PostgresGroupStatus;
}

/** Groups of which no node answered are filled in from what is stored; what answered counts for all else. */
export function withStoredStatus(
  cluster: ClusterStatus,
  stored: readonly StoredStatus[],
  nowMs: number,
): ClusterStatus {
  const isAnswering = (group: string) => cluster.nodes.some((node) => node.group === group && node.reachable);
  const used = stored.filter(({ group, status }) => !isAnswering(group) && (status.nodes?.length ?? 0) > 0);
  if (used.length === 0) return cluster;
  const nodes = cluster.nodes.map((node) => {
    const known = used.find(({ group }) => group === node.group);
    const line = known?.status.nodes?.find(({ name }) => name === node.name);
    return known === undefined || line === undefined ? node : storedLine(node, line, ageText(known, nowMs));
  });
  const [newest] = used.toSorted((a, b) => (b.status.term ?? 0) - (a.status.term ?? 0));
  const isAnybodyThere = cluster.nodes.some(({ reachable }) => reachable);
  const why = cluster.nodes.find(({ group }) => group === used[0]?.group)?.reason.message ?? 'no answer';
  return {
    ...cluster,
    ...(isAnybodyThere ? {} : storedLead(newest?.status)),
    nodes,
    // The reason once is enough.
    proxies: cluster.proxies.map((proxy) => (proxy.reason === why ? { ...proxy, reason: 'not asked' } : proxy)),
    storedNote: `No node of ${used.map(({ group }) => `"${group}"`).join(', ')} could be asked: ${why}. Shown is what the operator wrote`,
  };
}

function storedLine(node: NodeLine, stored: NonNullable<PostgresGroupStatus['nodes']>[number], age: string): NodeLine {
  const { role, member, timeline = null, lsn = null, lagBytes = null, certificateExpiry = null } = stored;
  return {
    ...node,
    role,
    activity: stored.activity as NodeLine['activity'],
    isMember: member,
    timeline,
    lsn,
    lagBytes,
    certificateExpiry,
    faults: [...node.faults, `as of ${age}`],
    reason: { code: stored.reason ?? 'Stored', message: stored.message ?? '' },
  };
}

function storedLead(status: PostgresGroupStatus | undefined): Partial<ClusterStatus> {
  if (status === undefined) return {};
  const {
    leader = null,
    phase = 'none',
    term = 0,
    timeline = null,
    members = [],
    writeQuorum = null,
    paused = false,
  } = status;
  const { survives = [], doesNotSurvive = [] } = status;
  return { leader, phase, term, timeline, members, writeQuorum, paused, survives, doesNotSurvive };
}

function ageText({ writtenAtMs }: StoredStatus, nowMs: number): string {
  if (writtenAtMs === null) return 'an unknown time ago';
  const seconds = Math.max(0, Math.round((nowMs - writtenAtMs) / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}
