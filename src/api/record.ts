/**
 * The record: the one value per global cluster on which a change of leader or of the voting members is decided.
 * It lives in the coordination service and changes by compare-and-swap only (leadership.md, "State").
 * What a record means and which changes are allowed is decided in core/leadership; here is its shape only.
 */
import * as z from 'zod';

/** One data member that votes: the node, and which life of its promise file and data directory is meant. */
export const memberSchema = z.strictObject({
  node: z.string().min(1).max(63),
  /** A new one for each lost promise file or data directory; random, 12 hexadecimal digits. */
  incarnation: z.string().regex(/^[0-9a-f]{12}$/),
});
export type Member = z.infer<typeof memberSchema>;

export const switchoverRequestSchema = z.strictObject({
  /** Unique per request, so that a repeated request is not a second switchover. */
  id: z.string().min(1).max(64),
  /** Name of the node that shall lead, or null for the best. */
  to: z.string().max(63).nullable(),
});
export type SwitchoverRequest = z.infer<typeof switchoverRequestSchema>;

export const clusterRecordSchema = z.strictObject({
  /** Format of this value; a reader refuses a higher one. */
  format: z.literal(1),
  globalCluster: z.string().min(1).max(63),
  /** PostgreSQL's system identifier as a decimal string (64 bits do not fit a JSON number). */
  systemIdentifier: z.string().regex(/^[0-9]{1,20}$/),
  /** Grows by one with every swap. The store's own version (revision, resourceVersion) is another thing. */
  version: z.int().min(1),
  /** Grows with every change of leader, and when a leader stays through higher promises. Equals the timeline id of a promotion. */
  term: z.int().min(1),
  leader: z.string().min(1).max(63),
  /** Timeline on which the leader of this term writes (its term of promotion). */
  timeline: z.int().min(1),
  members: z.array(memberSchema).min(1).max(32),
  /** w: the number of members, leader included, that must hold a commit before it is acknowledged. */
  writeQuorum: z.int().min(1).max(32),
  switchover: switchoverRequestSchema.nullable(),
  /** True: nobody starts an election or a change of members. */
  paused: z.boolean(),
});
export type ClusterRecord = z.infer<typeof clusterRecordSchema>;
