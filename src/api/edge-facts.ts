/**
 * What a program found when it tried its own edges: every other program that it dials, by the names, the resolver and the
 * certificates that it really uses. `GET /v1/edges` of instance agents and proxies answers with it; `pgspan doctor` asks all of
 * them and core/connectivity decides what is wrong. Loose towards newer versions, bounded towards hostile ones.
 */
import * as z from 'zod';

export const EDGES_PATH = '/v1/edges';
/** A node of the largest global cluster dials 63 others twice, and the record. */
export const EDGES_MAX = 256;
/** One examination: each edge has at most five steps, of EDGE_STEP_TIMEOUT_MS each; connect and TLS are rarely both slow. */
export const EXAMINATION_TIMEOUT_MS = 15_000;

const text = (lengthMax: number) => z.string().max(lengthMax);

/**
 * What is at the other end, and how far the edge is tried:
 *
 *   replication   a node's PostgreSQL, up to a login by certificate as streaming_replica
 *   relay         a node's PostgreSQL as a proxy uses it: TLS, and no login, which is the client's
 *   client        PostgreSQL itself or through a proxy, up to a login by password
 *   agent         an agent, up to an answer that needs a certificate
 *   health        a proxy's health, which needs none
 *   record        an endpoint of the store of the record, up to a read
 */
export const edgePurposeSchema = z.enum(['replication', 'relay', 'client', 'agent', 'health', 'record']);
export type EdgePurpose = z.infer<typeof edgePurposeSchema>;

/** One edge as it is asked for. */
export const edgeQuestionSchema = z.object({
  purpose: edgePurposeSchema,
  /** The program that is meant: `leo-2`, `leo-proxy-1 write`, `record`. */
  target: text(128),
  /** Name that is dialled and verified. */
  host: z.string().min(1).max(253),
  /** Dialled instead of what `host` resolves to; null: `host` is resolved. */
  address: text(253).nullable(),
  port: z.int().min(1).max(65_535),
});
export type EdgeQuestion = z.infer<typeof edgeQuestionSchema>;

export const edgeStepSchema = z.object({
  step: z.enum(['resolve', 'connect', 'handshake', 'certificate', 'authenticate']),
  ok: z.boolean(),
  /** Of a failure: a word of EDGE_FAILURE, or what the system, OpenSSL or PostgreSQL (SQLSTATE) calls it. */
  code: text(64).nullable(),
  /** What was found, as a sentence part. */
  found: text(1000),
  ms: z.number(),
});
export type EdgeStep = z.infer<typeof edgeStepSchema>;

/** Codes of steps that are ours; decisions are made from these. */
export const EDGE_FAILURE = {
  timeout: 'TIMEOUT',
  /** An answer to SSLRequest other than `S`. */
  noTls: 'NO_TLS',
  closed: 'CLOSED',
  untrusted: 'UNTRUSTED',
  expired: 'EXPIRED',
  notYetValid: 'NOT_YET_VALID',
  name: 'NAME',
  forbidden: 'FORBIDDEN',
} as const;

const edgeCertificateSchema = z.object({
  /** Hexadecimal SHA-256 of the DER. */
  fingerprint: text(64),
  issuer: text(512),
  /** Subject alternative names as Node writes them. */
  names: text(8192),
  /** The one URI SAN, such as `spiffe://orders/leo/leo-1`; null: none of ours. */
  identity: text(300).nullable(),
  /** ISO 8601. */
  notBefore: z.iso.datetime(),
  notAfter: z.iso.datetime(),
  /** The examiner's trust bundle verifies it now, names apart. */
  isTrusted: z.boolean(),
  /** It carries the name that was dialled. */
  isCovering: z.boolean(),
});
export type EdgeCertificate = z.infer<typeof edgeCertificateSchema>;

export const edgeFactsSchema = edgeQuestionSchema.extend({
  /** Addresses of `host` by the examiner's resolver; null: it has none there. */
  resolved: z.array(text(64)).max(32).nullable(),
  /** Shown by the other end; null: the edge broke before. */
  certificate: edgeCertificateSchema.nullable(),
  /** Milliseconds of one TCP connect; null: unknown. */
  roundTripMs: z.number().nullable(),
  /** In order; the last one is the failure, if one failed. */
  steps: z.array(edgeStepSchema).max(8),
});
export type EdgeFacts = z.infer<typeof edgeFactsSchema>;

export const edgeReportSchema = z.object({
  /** Who examined. */
  name: text(128),
  group: text(63),
  /** The examiner's clock when it answered, in milliseconds since 1970. */
  clockMs: z.number(),
  /** Name servers that it asks. */
  resolvers: z.array(text(64)).max(8),
  edges: z.array(edgeFactsSchema).max(EDGES_MAX),
});
export type EdgeReport = z.infer<typeof edgeReportSchema>;
