/**
 * What `GET /v1/status` and `GET /metrics` tell of one node. Reads, computes ages, decides nothing.
 */
import { Gauge, Registry } from 'prom-client';
import type { InstanceAgent } from './agent.ts';
import { relayGroupOf } from './node-snapshot.ts';
import { shallVote } from './node-state.ts';

/** Whoever asks for the status waits for it. */
const CASCADE_LIMIT_MS = 500;

export interface FailoverTimeline {
  readonly term: number;
  readonly formerLeader: string;
  readonly reason: string;
  /** ISO 8601 of the moment of suspicion. */
  readonly suspectedAt: string;
  /** Milliseconds after the suspicion. */
  readonly promisedMs: number;
  readonly swappedMs: number;
  readonly promotedMs: number;
  /** Everything up to the end of recovery was on the write quorum, and clients were let in; null: not yet. */
  readonly publishedMs: number | null;
  /** What may be gone: api/node-status.ts. */
  readonly loss: { readonly lagBytes: number; readonly heardAt: string } | null;
}

export async function instanceStatus(agent: InstanceAgent): Promise<Record<string, unknown>> {
  const { node, leadership } = agent;
  const record = node.acceptedRecord;
  const nowMs = performance.now();
  return {
    ...agent.state(),
    generation: agent.loadedGeneration,
    systemIdentifier: node.systemIdentifier,
    record,
    seen: node.voter.seen,
    rememberedRecord: await node.remembered.newest(),
    /** Where the lease rule holds: whether this node's lease runs. */
    lease: agent.lease.isNeeded ? { isHeld: agent.lease.isHeld, durationMs: agent.lease.durationMs } : null,
    recordConfirmedAgeMs: Number.isFinite(node.recordConfirmedSentAtMs)
      ? Math.round(nowMs - node.recordConfirmedSentAtMs)
      : null,
    isMember: agent.isVotingMember(),
    shallVote: shallVote(node),
    progressPercent: agent.data.progress,
    synchronousStandbyNames: node.files.dynamic.synchronousStandbyNames,
    path: node.path.target === null ? null : { node: node.path.target.node, term: node.path.target.term },
    pendingRestart: agent.observer.view.pendingRestart,
    certificate: {
      notAfter: node.credentials.loaded.notAfter.toISOString(),
      fingerprint: node.credentials.loaded.certFingerprint,
      caFingerprints: node.credentials.loaded.caFingerprints,
    },
    peers: [...node.links.values()].map(({ view }) => ({
      node: view.peer.node,
      isConnected: view.isConnected,
      lastError: view.lastError,
      heardAgeMs: Number.isFinite(view.heardAtMs) ? Math.round(nowMs - view.heardAtMs) : null,
    })),
    members:
      leadership === null
        ? null
        : { reason: leadership.members.reason, standbys: leadership.members.standbys.map(describeStandby) },
    cascade: await cascadeOf(agent),
    lastFailover: failoverTimeline(agent),
  };
}

/** Who streams from this standby, in a group with a relay; null: it leads, its PostgreSQL does not answer, or there is no relay. */
async function cascadeOf({
  node,
  leadership,
}: InstanceAgent): Promise<{ applicationName: string; state: string }[] | null> {
  if (leadership !== null || node.postmaster.pid === null || relayGroupOf(node) === null) return null;
  const text = 'select application_name as "applicationName", state from pg_stat_replication';
  return await node.sql
    .query<{ applicationName: string; state: string }>(text, [], { timeoutMs: CASCADE_LIMIT_MS })
    .catch(() => null);
}

function describeStandby(standby: { applicationName: string; state: string; flushLsn: bigint | null }): unknown {
  return { applicationName: standby.applicationName, state: standby.state };
}

export function failoverTimeline(agent: InstanceAgent): FailoverTimeline | null {
  const { leadership } = agent;
  const { failover } = agent.promotion;
  if (failover === null) return null;
  const since = (atMs: number): number => Math.round(atMs - failover.suspectedAtMs);
  const publishedAtMs = leadership?.times.publishedAtMs ?? null;
  return {
    term: failover.term,
    formerLeader: failover.formerLeader,
    reason: failover.reason,
    suspectedAt: isoTime(failover.suspectedAtMs),
    promisedMs: since(failover.promisedAtMs),
    swappedMs: since(failover.swappedAtMs),
    promotedMs: since(failover.promotedAtMs),
    publishedMs: publishedAtMs === null ? null : since(publishedAtMs),
    loss:
      failover.loss === undefined
        ? null
        : { lagBytes: Number(failover.loss.lagBytes), heardAt: isoTime(failover.loss.heardAtMs) },
  };
}

function isoTime(atMs: number): string {
  return new Date(performance.timeOrigin + atMs).toISOString();
}

/** Gauges are read at the scrape, so nothing is counted while nobody looks. */
export function instanceMetrics(agent: InstanceAgent): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ group: agent.node.config.group, node: agent.node.config.node });
  const gauge = (name: string, help: string, read: () => number | null): void => {
    const one: Gauge = new Gauge({
      name: `pgspan_${name}`,
      help,
      registers: [registry],
      collect() {
        const value = read();
        if (value === null) one.reset();
        else one.set(value);
      },
    });
  };
  gauge('term', 'Term of the record as this node knows it.', () => agent.state().leaderView.term);
  gauge('promised_term', 'Highest term that this node has promised.', () => agent.node.voter.promisedTerm);
  gauge('is_leader', '1 if this node leads and is open for clients.', () =>
    agent.leadership?.phase === 'published' ? 1 : 0,
  );
  gauge('is_member', '1 if this node is a voting member.', () => (agent.isVotingMember() ? 1 : 0));
  gauge('accepts_reads', '1 if PostgreSQL accepts connections.', () => (agent.state().acceptsReads ? 1 : 0));
  gauge(
    'replication_lag_bytes',
    'WAL that the leader has flushed and this node has not replayed.',
    () => agent.state().lagBytes,
  );
  gauge('timeline', 'Timeline of this node.', () => agent.state().timeline);
  gauge(
    'certificate_expiry_timestamp_seconds',
    'When the certificate of this node ends.',
    () => agent.node.credentials.loaded.notAfter.getTime() / 1000,
  );
  gauge(
    'peers_connected',
    'Other nodes whose agents are reached.',
    () => [...agent.node.links.values()].filter((link) => link.view.isConnected).length,
  );
  gauge(
    'failover_promised_ms',
    'Last failover won by this node: from suspicion to enough promises.',
    () => failoverTimeline(agent)?.promisedMs ?? null,
  );
  gauge(
    'failover_promoted_ms',
    'Last failover won by this node: from suspicion to the end of recovery.',
    () => failoverTimeline(agent)?.promotedMs ?? null,
  );
  gauge(
    'failover_published_ms',
    'Last failover won by this node: from suspicion to clients let in.',
    () => failoverTimeline(agent)?.publishedMs ?? null,
  );
  return registry;
}
