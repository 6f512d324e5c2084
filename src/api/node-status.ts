/**
 * What `GET /v1/status` of an instance agent says, as far as others rely on it. Loose: an agent of a newer version may say more.
 * The whole of it is written in agents/instance/status.ts.
 */
import * as z from 'zod';
import { clusterRecordSchema, memberSchema } from './record.ts';
import { leaderViewSchema, lsnSchema, nodeActivitySchema } from './peer-stream.ts';

export const failoverTimelineSchema = z.object({
  term: z.int(),
  formerLeader: z.string(),
  reason: z.string(),
  /** ISO 8601 of the moment of suspicion; the others are milliseconds after it. */
  suspectedAt: z.string(),
  promisedMs: z.number(),
  swappedMs: z.number(),
  promotedMs: z.number(),
  /** Clients were let in; null: not yet. */
  publishedMs: z.number().nullable(),
  /**
   * Led without the votes of the members (`scope: group`, the lease rule): what may be gone. `lagBytes`: WAL of which the former
   * leader had told and which the new one did not hold; `heardAt`: ISO 8601, what it acknowledged after that nobody has heard of.
   */
  loss: z.object({ lagBytes: z.number(), heardAt: z.string() }).nullable().default(null),
});
export type FailoverTimeline = z.infer<typeof failoverTimelineSchema>;

export const nodeStatusSchema = z.object({
  node: z.string(),
  incarnation: memberSchema.shape.incarnation.optional(),
  leaderView: leaderViewSchema,
  promisedTerm: z.int(),
  activity: nodeActivitySchema,
  reason: z.object({ code: z.string(), message: z.string() }),
  /** PostgreSQL's server_version_num; null while it is not known. */
  serverVersion: z.int().nullable().optional(),
  acceptsReads: z.boolean(),
  timeline: z.int(),
  flushLsn: lsnSchema.nullable(),
  replayLsn: lsnSchema.nullable(),
  lagBytes: z.number().nullable(),
  generation: z.int(),
  record: clusterRecordSchema.nullable(),
  /** Highest term and version of the record that this node has seen, from its promise file. */
  seen: z.object({ term: z.int(), version: z.int() }).optional(),
  /** The newest record that it has seen, as it was: what `pgspan record restore` puts back. */
  rememberedRecord: clusterRecordSchema.nullable().optional(),
  isMember: z.boolean(),
  /** False: it is to be no member now, since it is behind a relay, or the leader votes for its group. Absent: an older version. */
  shallVote: z.boolean().optional(),
  progressPercent: z.number().nullable(),
  pendingRestart: z.array(z.string()),
  certificate: z.object({ notAfter: z.string(), fingerprint: z.string(), caFingerprints: z.array(z.string()) }),
  peers: z.array(
    z.object({
      node: z.string(),
      isConnected: z.boolean(),
      lastError: z.string().nullable(),
      heardAgeMs: z.number().nullable(),
    }),
  ),
  /** As in its state (api/peer-stream.ts). */
  unreached: z.array(z.string()).optional(),
  /** Only from the leader: pg_stat_replication. `applicationName` as core/leadership/quorum.ts forms it. */
  members: z
    .object({ standbys: z.array(z.object({ applicationName: z.string(), state: z.string() })) })
    .nullable()
    .optional(),
  /** Where its WAL comes from: the leader, or a relay. */
  path: z.object({ node: z.string() }).nullable().optional(),
  /** Only from a node of a group with a relay that does not lead: its own pg_stat_replication, as in `members`. */
  cascade: z
    .array(z.object({ applicationName: z.string(), state: z.string() }))
    .nullable()
    .optional(),
  lastFailover: failoverTimelineSchema.nullable(),
});
export type NodeStatus = z.infer<typeof nodeStatusSchema>;
