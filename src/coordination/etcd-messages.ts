/**
 * The few messages of etcd's v3 API that a record needs, in the JSON form of its gateway: int64 as decimal strings, bytes
 * in Base64, fields with their default value left out.
 * https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/ · https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/
 */
import * as z from 'zod';

export const RANGE_PATH = '/v3/kv/range';
export const TXN_PATH = '/v3/kv/txn';
export const WATCH_PATH = '/v3/watch';
export const GRANT_PATH = '/v3/lease/grant';

/** A watch with it ends when its member has lost the cluster's leader, instead of staying silent (etcd's rpctypes.MetadataHasLeader). */
export const REQUIRE_LEADER = { 'Grpc-Metadata-hasleader': 'true' } as const;

const int64 = z.string().regex(/^[0-9]{1,20}$/);

const keyValueSchema = z.object({ mod_revision: int64, value: z.base64().default('') });
export type KeyValue = z.infer<typeof keyValueSchema>;

const headerSchema = z.object({ revision: int64 });

const rangeSchema = z.object({ kvs: z.array(keyValueSchema).max(1).default([]) });

export const rangeAnswerSchema = rangeSchema.extend({ header: headerSchema });

export const txnAnswerSchema = z.object({
  header: headerSchema,
  succeeded: z.boolean().default(false),
  responses: z.array(z.object({ response_range: rangeSchema.optional() })).default([]),
});

export const grantAnswerSchema = z.object({ ID: int64, TTL: int64 });

export const watchLineSchema = z.object({
  result: z
    .object({
      created: z.boolean().default(false),
      canceled: z.boolean().default(false),
      cancel_reason: z.string().default(''),
      compact_revision: int64.optional(),
      events: z
        .array(z.object({ type: z.enum(['PUT', 'DELETE']).default('PUT'), kv: keyValueSchema.partial() }))
        .default([]),
    })
    .optional(),
  error: z.object({ message: z.string().optional() }).optional(),
});

/** The body of an answer with a status other than 200. */
export const errorAnswerSchema = z.object({ error: z.string().optional(), message: z.string().optional() });

export function encodeRange(key: string) {
  return { key: toBase64(key) };
}

/** One put if every key's modification revision is the given one ('0': absent), else the present values, in the order of `ifRevision`. */
export function encodeTxn(options: {
  readonly ifRevision: readonly (readonly [key: string, modRevision: string])[];
  readonly put: { readonly key: string; readonly value: string; readonly lease?: string };
}) {
  const { key, value, lease } = options.put;
  return {
    compare: options.ifRevision.map(([compared, revision]) => ({
      key: toBase64(compared),
      target: 'MOD',
      result: 'EQUAL',
      mod_revision: revision,
    })),
    success: [
      { request_put: { key: toBase64(key), value: toBase64(value), ...(lease === undefined ? {} : { lease }) } },
    ],
    failure: options.ifRevision.map(([compared]) => ({ request_range: encodeRange(compared) })),
  };
}

/** `fromRevision`: the first one that is told. */
export function encodeWatch(key: string, fromRevision: bigint) {
  return { create_request: { key: toBase64(key), start_revision: String(fromRevision) } };
}

export function decodeText(base64: string): string {
  return Buffer.from(base64, 'base64').toString('utf8');
}

function toBase64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}
