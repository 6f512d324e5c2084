/**
 * What agents tell each other: one bidirectional stream per ordered pair, and who may open it.
 *
 * Transport: HTTPS with mutual TLS on the agent's port; the subscriber sends `GET /v1/stream` with
 * `Connection: Upgrade` and `Upgrade: pgspan-stream/1`, the instance agent answers 101, and both sides then
 * send JSON texts, one a line (at most LINE_BYTES_MAX bytes), until one closes. Identity comes from the URI SAN of
 * the certificate (`spiffe://<globalCluster>/<group>/<name>`), never from a message.
 *
 *   subscriber (instance agent, proxy, operator, CLI)          publisher (instance agent)
 *      <- state     on connect, and whenever something in it changed; and every STATE_INTERVAL_MS
 *      <- beat      every HEARTBEAT_INTERVAL_MS, only from a node that acts as leader
 *      -> echo      an instance agent's answer to each beat: the nonce proves it was heard *after* it was sent
 *      -> request   ask, promise, ... (instance agents only); <- response with the same id
 *
 * While a cluster is upgraded, two versions talk. So a reader passes over fields and publications that it does not know, and
 * answers a request that it does not know with an error; a new field is optional, and a change of meaning is a new protocol.
 */
import * as z from 'zod';
import { memberSchema } from './record.ts';

export const STREAM_PROTOCOL = 'pgspan-stream/1';
export const STREAM_PATH = '/v1/stream';
/** Longest line either side accepts; a longer one closes the stream. A state of 32 members is under 8 KiB. */
export const LINE_BYTES_MAX = 64 * 1024;
/** leadership.md rule 1. */
export const HEARTBEAT_INTERVAL_MS = 250;
/** A publisher that has nothing new says so this often, so that a dead stream is noticed (3 missed: reconnect). */
export const STATE_INTERVAL_MS = 3000;

/** PostgreSQL's own text form of a WAL position, such as `0/16B3748`. */
export const lsnSchema = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/);

const nameSchema = z.string().min(1).max(63);

/**
 * How far the leader of `term` is:
 * - `elected`: it is in the record, not yet open for clients: hold connections.
 * - `published`: open for clients.
 * - `handing-over`: a switchover has begun, or PostgreSQL died: hold connections.
 * - `none`: this node knows of no leader (before the first bootstrap).
 */
export const leaderPhaseSchema = z.enum(['none', 'elected', 'published', 'handing-over']);
export type LeaderPhase = z.infer<typeof leaderPhaseSchema>;

/** What the publisher knows of the leader. The highest (term, version) wins; of equals, what the leader itself says. */
export const leaderViewSchema = z.object({
  term: z.int().min(0),
  version: z.int().min(0),
  /** Node name; null before the first bootstrap. Its addresses are in the plan, by name. */
  leader: nameSchema.nullable(),
  phase: leaderPhaseSchema,
});
export type LeaderView = z.infer<typeof leaderViewSchema>;

export const nodeActivitySchema = z.enum([
  'starting',
  'bootstrapping',
  'cloning',
  'rewinding',
  'recovering',
  'leading',
  'following',
  'waiting',
  'fenced',
  'stopped',
  'blocked',
]);
export type NodeActivity = z.infer<typeof nodeActivitySchema>;

/** What only the leader can tell of its leadership; followers need it before they may connect. */
export const leadingSchema = z.object({
  /** The timeline that it writes, and where each ancestor of it ended. */
  lineage: z.object({
    timeline: z.int().min(1),
    history: z.array(z.object({ timeline: z.int().min(1), endLsn: lsnSchema })).max(10_000),
  }),
  /** The checkpoint after the promotion is done: only from then on pg_rewind sees the new timeline. */
  isRewindable: z.boolean(),
  /** Its PostgreSQL is gone and somebody else should lead. */
  handsOver: z.boolean(),
  /** By group: the relay that its other nodes stream from (core/leadership/relay.ts); absent: there are none. */
  relays: z.record(nameSchema, nameSchema).optional(),
});
export type Leading = z.infer<typeof leadingSchema>;

export const stateMessageSchema = z.object({
  type: z.literal('state'),
  node: nameSchema,
  group: nameSchema,
  incarnation: memberSchema.shape.incarnation,
  leaderView: leaderViewSchema,
  /** The highest term this node has promised. A leader of a lower term can no longer get this node's acknowledgement. */
  promisedTerm: z.int().min(0),
  activity: nodeActivitySchema,
  /** Constant word for machines, whole sentence for people. */
  reason: z.object({ code: z.string().max(64), message: z.string().max(1000) }),
  /** PostgreSQL's server_version_num, such as 150018; null while it is not known. */
  serverVersion: z.int().nullable().optional(),
  /** PostgreSQL runs, accepts connections, and (when it follows) has reached consistency: reads may go here. */
  acceptsReads: z.boolean(),
  timeline: z.int().min(0),
  /** End of flushed WAL; null when unknown. */
  flushLsn: lsnSchema.nullable(),
  replayLsn: lsnSchema.nullable(),
  /** Bytes of WAL the leader has flushed and this node has not replayed, as far as this node knows; null when unknown, 0 on the leader. */
  lagBytes: z.number().min(0).nullable(),
  /** Peers whose agents it has not heard for a while (agents/instance/node-state.ts), by name; absent: an older version. */
  unreached: z.array(nameSchema).max(64).optional(),
  /** Only from a node that leads and whose PostgreSQL is (or was until now) the primary of its timeline. */
  leading: leadingSchema.nullable().optional(),
});
export type StateMessage = z.infer<typeof stateMessageSchema>;

export const beatMessageSchema = z.object({
  type: z.literal('beat'),
  nonce: z.int().min(0),
  term: z.int().min(1),
  flushLsn: lsnSchema.nullable(),
  /** Age of the newest probe commit that got its write quorum, in ms. */
  probeAgeMs: z.int().min(0),
  /** Age of PostgreSQL's newest answer to anything, in ms: a commit may wait for a disk or a standby, a question does not. */
  answerAgeMs: z.int().min(0).optional(),
});
export type BeatMessage = z.infer<typeof beatMessageSchema>;

export const echoMessageSchema = z.object({
  type: z.literal('echo'),
  nonce: z.int().min(0),
  promisedTerm: z.int().min(0),
  incarnation: memberSchema.shape.incarnation,
  flushLsn: lsnSchema.nullable(),
  replayLsn: lsnSchema.nullable(),
});
export type EchoMessage = z.infer<typeof echoMessageSchema>;

/**
 * The same checks as beatMessageSchema and echoMessageSchema, by hand: these two come four times a second for each pair of
 * nodes and are most of what an idle agent does. Null for anything else, which then goes through the schemas.
 */
export function readBeat(value: unknown): BeatMessage | null {
  const one = value as Partial<BeatMessage> | null;
  return typeof one === 'object' &&
    one !== null &&
    one.type === 'beat' &&
    isCount(one.nonce) &&
    isCount(one.term) &&
    isLsnOrNull(one.flushLsn) &&
    isCount(one.probeAgeMs) &&
    (one.answerAgeMs === undefined || isCount(one.answerAgeMs))
    ? (one as BeatMessage)
    : null;
}

export function readEcho(value: unknown): EchoMessage | null {
  const one = value as Partial<EchoMessage> | null;
  return typeof one === 'object' &&
    one !== null &&
    one.type === 'echo' &&
    isCount(one.nonce) &&
    isCount(one.promisedTerm) &&
    typeof one.incarnation === 'string' &&
    one.incarnation.length === 12 &&
    isLsnOrNull(one.flushLsn) &&
    isLsnOrNull(one.replayLsn)
    ? (one as EchoMessage)
    : null;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

const LSN_TEXT = /^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/;

function isLsnOrNull(value: unknown): boolean {
  return value === null || (typeof value === 'string' && LSN_TEXT.test(value));
}

const positionSchema = z.object({ timeline: z.int().min(1), lsn: lsnSchema });

/** Answer to `ask`: what a member thinks of the leader, and where it is (core/leadership/candidacy.ts, AskAnswer). */
export const askAnswerSchema = z.object({
  node: nameSchema,
  incarnation: memberSchema.shape.incarnation,
  group: nameSchema,
  suspects: z.boolean(),
  position: positionSchema.nullable(),
  replayBytes: z.string().regex(/^[0-9]{1,20}$/),
  priority: z.int().min(0).max(1000),
  canLead: z.boolean(),
  promisedTerm: z.int().min(0),
  seenTerm: z.int().min(0),
  vetoes: z.boolean(),
  /** The newest position of that leader that it has heard of; null: none in this term. */
  leaderLsn: lsnSchema.nullable().default(null),
});
export type AskAnswerMessage = z.infer<typeof askAnswerSchema>;

/** Answer to `promise`: granted with or without a known position, or refused with the reason. */
export const promiseAnswerSchema = z.object({
  node: nameSchema,
  incarnation: memberSchema.shape.incarnation,
  granted: z.boolean(),
  term: z.int().min(0),
  position: positionSchema.nullable(),
  reason: z.string().max(1000),
});
export type PromiseAnswerMessage = z.infer<typeof promiseAnswerSchema>;

/** What an instance agent may ask another; parameters and answer by method. */
export const requestMessageSchema = z.discriminatedUnion('method', [
  z.object({
    type: z.literal('request'),
    id: z.int().min(0),
    method: z.literal('ask'),
    leader: nameSchema,
    term: z.int().min(0),
  }),
  z.object({
    type: z.literal('request'),
    id: z.int().min(0),
    method: z.literal('promise'),
    term: z.int().min(1),
  }),
  z.object({
    type: z.literal('request'),
    id: z.int().min(0),
    /** Switchover: the old leader has promised `term` to the receiver and shut down; `promise` is its answer. */
    method: z.literal('take-over'),
    term: z.int().min(1),
    promise: promiseAnswerSchema,
  }),
  z.object({
    type: z.literal('request'),
    id: z.int().min(0),
    /**
     * Of a standby whose receiver has just been connected: is what listens there what the standby has written down?
     * `leader`: the primary of `timeline`; `promised`: a standby on `timeline` whose last promise is of `term`; `relay`: a standby
     * on `timeline`, past its fork, which then keeps a slot of that timeline for the one who asks.
     */
    method: z.literal('serves'),
    as: z.enum(['leader', 'promised', 'relay']),
    timeline: z.int().min(1),
    term: z.int().min(1),
  }),
]);
export type RequestMessage = z.infer<typeof requestMessageSchema>;

const METHODS: readonly string[] = requestMessageSchema.options.map(({ shape }) => shape.method.value);

export interface UnknownRequest {
  readonly id: number;
  readonly method: string;
}

/** A request that only a newer version knows: it is answered with an error, so that the stream lives. Null for all else. */
export function readUnknownRequest(value: unknown): UnknownRequest | null {
  const { type, id, method } = (value ?? {}) as Record<string, unknown>;
  const isUnknown = type === 'request' && isCount(id) && typeof method === 'string' && !METHODS.includes(method);
  return isUnknown ? { id: id as number, method: (method as string).slice(0, 63) } : null;
}

export const responseMessageSchema = z.object({
  type: z.literal('response'),
  id: z.int().min(0),
  ask: askAnswerSchema.optional(),
  promise: promiseAnswerSchema.optional(),
  accepted: z.boolean().optional(),
  error: z.string().max(1000).optional(),
});
export type ResponseMessage = z.infer<typeof responseMessageSchema>;

/** All that a publisher sends. */
export const publisherMessageSchema = z.discriminatedUnion('type', [
  stateMessageSchema,
  beatMessageSchema,
  responseMessageSchema,
]);
const PUBLISHED_TYPES: readonly string[] = publisherMessageSchema.options.map(({ shape }) => shape.type.value);

/** Something that only a newer version tells: passed over. */
export function isUnknownPublication(value: unknown): boolean {
  const { type } = (value ?? {}) as { type?: unknown };
  return typeof type === 'string' && !PUBLISHED_TYPES.includes(type);
}

export type PublisherMessage = z.infer<typeof publisherMessageSchema>;

/** All that a subscriber sends. */
export const subscriberMessageSchema = z.union([echoMessageSchema, requestMessageSchema]);
export type SubscriberMessage = z.infer<typeof subscriberMessageSchema>;
