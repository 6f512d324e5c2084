/** What the local platform writes for the record server (`pgspan record-server --config FILE`), and its HTTP interface. */
import * as z from 'zod';
import { tlsFilesSchema } from './agent-config.ts';
import { clusterRecordSchema } from './record.ts';

export const recordServerConfigSchema = z.strictObject({
  /** Only identities of this global cluster may read; only its nodes may write. */
  globalCluster: z.string().min(1).max(63),
  listen: z.strictObject({ address: z.string().nullable(), port: z.int().min(0).max(65535) }),
  tls: tlsFilesSchema,
  /** Absolute; its folder must exist. Made with the first swap. */
  dataFile: z.string().min(1),
});
export type RecordServerConfig = z.infer<typeof recordServerConfigSchema>;

/*
 * GET  /v1/record         -> 200 stored
 * POST /v1/swap           swapRequest -> 200 swapped | 409 lost | 423 leased, each with its value
 * POST /v1/lease          leaseRequest -> 200 {} | 409 stale
 * GET  /v1/watch          -> 200, one `stored` a line: at once, and with each change; an empty line every WATCH_BEAT_MS
 * GET  /livez             -> 200 {}
 * Errors: {code, message} with 400, 403, 404, 405, 413, 431 or 503.
 */
export const RECORD_PATH = '/v1/record';
export const SWAP_PATH = '/v1/swap';
export const LEASE_PATH = '/v1/lease';
export const WATCH_PATH = '/v1/watch';
/** A watcher that hears nothing for three of these reconnects. */
export const WATCH_BEAT_MS = 2000;

const storeVersionSchema = z.string().max(20);

export const storedSchema = z.object({
  storeVersion: storeVersionSchema,
  record: clusterRecordSchema.nullable(),
});

const leaseSchema = z.strictObject({
  holder: z.string().min(1).max(63),
  durationMs: z.int().min(100).max(600_000),
});

export const swapRequestSchema = z.strictObject({
  expected: storeVersionSchema,
  next: clusterRecordSchema,
  unlessLeased: z.boolean(),
});

export const leaseRequestSchema = z.strictObject({ expected: storeVersionSchema, lease: leaseSchema });

export const leasedAnswerSchema = z.object({ by: leaseSchema });

/** The data file. `counter` is the number of swaps so far. */
export const recordFileSchema = z.strictObject({
  format: z.literal(1),
  counter: z.int().min(0),
  record: clusterRecordSchema.nullable(),
  lease: leaseSchema.nullable(),
});
