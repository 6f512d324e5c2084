/**
 * One picture of the global cluster from what its nodes said, each at its own moment. Pure.
 * Where they differ, the highest (term, version) is right: a node that was cut off tells of the past.
 */
import type { FailoverTimeline, NodeStatus } from '../../api/node-status.ts';
import type { NodeActivity } from '../../api/peer-stream.ts';
import { type PresentSurvival, presentSurvival } from './present-survival.ts';

/** What was learned of one node. */
export interface NodeObservation {
  readonly name: string;
  readonly group: string;
  /** Faults that the platform knows of. */
  readonly faults: readonly string[];
  readonly answer:
    | { readonly kind: 'answered'; readonly status: NodeStatus }
    /** `why`: a sentence part such as "no answer within 1000 ms". */
    | { readonly kind: 'silent'; readonly why: string };
}

export interface ProxyObservation {
  readonly name: string;
  readonly group: string;
  readonly faults: readonly string[];
  readonly isReady: boolean;
  readonly reason: string | null;
}

export interface StatusInput {
  readonly globalCluster: string;
  readonly nodes: readonly NodeObservation[];
  readonly proxies: readonly ProxyObservation[];
  readonly minCopies: number;
  readonly memberTimeoutMs: number;
  readonly scope: 'global' | 'group';
}

export interface ClusterStatus {
  readonly globalCluster: string;
  /** 0 before the first database. */
  readonly term: number;
  /** Name of the node that leads by the record; it may be lost: see `phase` and its entry in `nodes`. */
  readonly leader: string | null;
  /** `published`: open for clients. As api/peer-stream.ts says; `lost` when it leads by the record and does not answer. */
  readonly phase: 'none' | 'elected' | 'published' | 'handing-over' | 'lost';
  readonly timeline: number | null;
  readonly members: readonly string[];
  readonly writeQuorum: number | null;
  readonly paused: boolean;
  readonly nodes: readonly NodeLine[];
  readonly proxies: readonly ProxyObservation[];
  readonly lastFailover: (FailoverTimeline & { readonly leader: string }) | null;
  /** What may be lost from now on, and what not: sentences. */
  readonly survives: readonly string[];
  readonly doesNotSurvive: readonly string[];
  /** Some of it is what an operator wrote earlier (stored-status.ts): a sentence. Absent: all was asked for now. */
  readonly storedNote?: string;
}

export interface NodeLine {
  readonly name: string;
  readonly group: string;
  readonly role: 'leader' | 'follower' | 'none';
  readonly activity: NodeActivity | 'unreachable';
  readonly isMember: boolean;
  readonly timeline: number | null;
  readonly lsn: string | null;
  readonly lagBytes: number | null;
  readonly progressPercent: number | null;
  /** ISO 8601. */
  readonly certificateExpiry: string | null;
  readonly reachable: boolean;
  readonly reason: { readonly code: string; readonly message: string };
  /** Settings that wait for a restart. */
  readonly pendingRestart: readonly string[];
  readonly faults: readonly string[];
}

export function summarizeStatus(input: StatusInput): ClusterStatus {
  const answered = input.nodes.flatMap(({ answer }) => (answer.kind === 'answered' ? [answer.status] : []));
  const newest = newestView(answered);
  const record = newestRecord(answered);
  const leader = newest?.leaderView.leader ?? null;
  const leaderAnswers = answered.some(({ node }) => node === leader);
  const nodes = input.nodes.map((node) => nodeLine(node, leader));
  const survival = survivalOf(input, nodes, record, leader);
  const failovers = answered.flatMap(({ node, lastFailover }) =>
    lastFailover === null ? [] : [{ ...lastFailover, leader: node }],
  );
  return {
    globalCluster: input.globalCluster,
    term: newest?.leaderView.term ?? 0,
    leader,
    phase: leader !== null && !leaderAnswers ? 'lost' : (newest?.leaderView.phase ?? 'none'),
    timeline: record?.timeline ?? null,
    members: record?.members.map(({ node }) => node) ?? [],
    writeQuorum: record?.writeQuorum ?? null,
    paused: record?.paused ?? false,
    nodes,
    proxies: input.proxies,
    lastFailover: failovers.sort((a, b) => b.term - a.term)[0] ?? null,
    ...survival,
  };
}

function newestView(statuses: readonly NodeStatus[]): NodeStatus | undefined {
  // Of equals, what the leader says of itself.
  const rank = ({ node, leaderView }: NodeStatus) => [
    leaderView.term,
    leaderView.version,
    Number(node === leaderView.leader),
  ];
  return [...statuses].sort((a, b) => compareLists(rank(b), rank(a)))[0];
}

function newestRecord(statuses: readonly NodeStatus[]) {
  const records = statuses.flatMap(({ record }) => (record === null ? [] : [record]));
  return records.sort((a, b) => compareLists([b.term, b.version], [a.term, a.version]))[0] ?? null;
}

function compareLists(a: readonly number[], b: readonly number[]): number {
  const index = a.findIndex((value, at) => value !== b[at]);
  return index < 0 ? 0 : (a[index] as number) - (b[index] as number);
}

function nodeLine({ name, group, faults, answer }: NodeObservation, leader: string | null): NodeLine {
  if (answer.kind === 'silent') {
    return {
      name,
      group,
      role: 'none',
      activity: 'unreachable',
      isMember: false,
      timeline: null,
      lsn: null,
      lagBytes: null,
      progressPercent: null,
      certificateExpiry: null,
      reachable: false,
      reason: { code: 'Unreachable', message: answer.why },
      pendingRestart: [],
      faults,
    };
  }
  const { status } = answer;
  return {
    name,
    group,
    role:
      name === leader && status.activity === 'leading'
        ? 'leader'
        : status.activity === 'following'
          ? 'follower'
          : 'none',
    activity: status.activity,
    isMember: status.isMember,
    timeline: status.timeline,
    lsn: status.flushLsn,
    lagBytes: status.lagBytes,
    progressPercent: status.progressPercent,
    certificateExpiry: status.certificate.notAfter,
    reachable: true,
    reason: status.reason,
    pendingRestart: status.pendingRestart,
    faults,
  };
}

function survivalOf(
  input: StatusInput,
  nodes: readonly NodeLine[],
  record: ReturnType<typeof newestRecord>,
  leader: string | null,
): PresentSurvival {
  if (record === null) return { survives: [], doesNotSurvive: ['there is no leader yet: nothing is acknowledged'] };
  const healthy = nodes.filter(({ role }) => role !== 'none').map(({ name }) => name);
  return presentSurvival({
    members: record.members.map(({ node }) => ({
      name: node,
      group: nodes.find(({ name }) => name === node)?.group ?? node,
      isHealthy: healthy.includes(node),
    })),
    leader,
    writeQuorum: record.writeQuorum,
    minCopies: input.minCopies,
    memberTimeoutMs: input.memberTimeoutMs,
    othersHealthy:
      input.scope === 'global' ? 0 : nodes.filter(({ role, isMember }) => role === 'follower' && !isMember).length,
  });
}
