/**
 * Joining by invitation: what the token holds, what lies in the Secret of an invitation, and the messages between the operator of
 * the joining group and that of the group which invited it. The protocol and its threats: docs/joining.md.
 *
 * All of it comes over a network from somebody who is not trusted yet: everything is bounded.
 */
import * as z from 'zod';
import { groupNameSchema, hostNameSchema } from './postgres-group-values.ts';

/** The one path of an agent that takes a request without a client certificate, beside probes and metrics. */
export const JOIN_PATH = '/v1/join';
/** Where the operator of the group fetches what waits (long poll), and where it answers. */
export const JOIN_REQUESTS_PATH = '/v1/join-requests';
export const JOIN_ANSWERS_PATH = '/v1/join-answers';
/** The application's login, for operators of the global cluster. */
export const CREDENTIALS_PATH = '/v1/credentials';
export const OPERATOR_PATHS: readonly string[] = [JOIN_REQUESTS_PATH, JOIN_ANSWERS_PATH, CREDENTIALS_PATH];

/** A manifest and a CA bundle of four certificates are under 12 KiB; base64 adds a third. */
export const JOIN_BODY_BYTES_MAX = 64 * 1024;
/** Cards of 31 groups; what does not fit is left to the exchange of cards that follows. */
export const JOIN_ANSWER_BYTES_MAX = 512 * 1024;
/** An operator that looks answers in milliseconds; one that starts needs seconds. */
export const JOIN_WAIT_MS = 10_000;
/** The operator asks again before proxies between it and the agent lose patience. */
export const JOIN_POLL_MS = 50_000;

/** Key of the token in the Secret that `pgspan join` makes. */
export const TOKEN_KEY = 'token';
/** On the PostgresGroup: `{"<id>":"<expiry>"}` of its open invitations, so that the operator listens only while there are some. */
export const INVITATIONS_ANNOTATION = 'pgspan.io/invitations';
/** On the Secret of an invitation. */
export const INVITATION_LABEL = 'pgspan.io/invitation';

/** @param id of the invitation. */
export const invitationSecret = (group: string, id: string): string => `${group}-invitation-${id}`;

const hex = (bytes: number) =>
  z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`), `${bytes} bytes in hexadecimal`);
const base64url = (bytes: number) =>
  z.string().regex(new RegExp(`^[A-Za-z0-9_-]{${Math.ceil((bytes * 4) / 3)}}$`), `${bytes} bytes in base64url`);
const port = () => z.int().min(1).max(65_535);
export const invitationIdSchema = hex(8);
const nonceSchema = base64url(32);
const proofSchema = base64url(32);
const boxSchema = (bytesMax: number) =>
  z
    .string()
    .max(bytesMax)
    .regex(/^[A-Za-z0-9_-]+$/, 'base64url');

/** What a token holds. `secret` opens a global cluster to whoever has it: it goes into no log and no argument list. */
export const invitationSchema = z.strictObject({
  id: invitationIdSchema,
  /** 32 random bytes, base64url. */
  secret: base64url(32),
  globalCluster: groupNameSchema,
  /** The group that invites. */
  group: groupNameSchema,
  /** Its group service, as it is dialled from outside. */
  endpoint: z.strictObject({ host: z.union([hostNameSchema, z.ipv4(), z.ipv6()]), port: port() }),
  /** SHA-256 of the DER of its CA certificates: more than one while they are rotated. */
  caFingerprints: z.array(hex(32)).min(1).max(4),
  /** Seconds since 1970. The group that invites judges by its own note of it and its own clock. */
  expiresAt: z.int().min(0).max(253_402_300_799),
});
export type Invitation = z.infer<typeof invitationSchema>;

/** Texts in the Secret of an invitation. */
export const storedInvitationSchema = z.strictObject({
  id: invitationIdSchema,
  /** core/joining/proofs.ts: tokenKey. Not the secret, which cannot be computed from it. */
  key: hex(32),
  /** ISO 8601. */
  expiresAt: z.iso.datetime(),
});
export type StoredInvitation = z.infer<typeof storedInvitationSchema>;

/** What stays in the place of that Secret when it was withdrawn, so that whoever comes with its token is told. It opens nothing. */
export const withdrawnInvitationSchema = z.strictObject({
  id: invitationIdSchema,
  /** Of the invitation, ISO 8601: until then somebody may come with it. */
  expiresAt: z.iso.datetime(),
  /** ISO 8601. */
  withdrawnAt: z.iso.datetime(),
});
export type WithdrawnInvitation = z.infer<typeof withdrawnInvitationSchema>;

/** @param texts of the Secret of an invitation. Null: they are neither. */
export function parseStoredInvitation(
  texts: Readonly<Record<string, string>>,
): StoredInvitation | WithdrawnInvitation | null {
  const { id, key, expiresAt, withdrawnAt } = texts;
  if (withdrawnAt === undefined) return storedInvitationSchema.safeParse({ id, key, expiresAt }).data ?? null;
  return withdrawnInvitationSchema.safeParse({ id, expiresAt, withdrawnAt }).data ?? null;
}

/** Open invitations of a group, by id: when they expire. */
export const openInvitationsSchema = z.record(invitationIdSchema, z.iso.datetime());

/** First message: who has which invitation. Nothing in it is secret. */
export const joinHelloSchema = z.strictObject({
  step: z.literal('hello'),
  version: z.literal(1),
  invitation: invitationIdSchema,
  clientNonce: nonceSchema,
});
export type JoinHello = z.infer<typeof joinHelloSchema>;

/** The inviting side proves first that it knows the token: only then does the joining side say anything about itself. */
export const joinChallengeSchema = z.strictObject({
  serverNonce: nonceSchema,
  /** SHA-256 of the inviting group's CA bundle, hexadecimal. */
  bundleHash: hex(32),
  proof: proofSchema,
});
export type JoinChallenge = z.infer<typeof joinChallengeSchema>;

/** Second message: `box` holds a JoinOffer. */
export const joinRequestSchema = z.strictObject({
  step: z.literal('join'),
  version: z.literal(1),
  invitation: invitationIdSchema,
  clientNonce: nonceSchema,
  serverNonce: nonceSchema,
  box: boxSchema(JOIN_BODY_BYTES_MAX),
  proof: proofSchema,
});
export type JoinRequest = z.infer<typeof joinRequestSchema>;

export const joinMessageSchema = z.discriminatedUnion('step', [joinHelloSchema, joinRequestSchema]);
export type JoinMessage = z.infer<typeof joinMessageSchema>;

/** `box` holds a JoinWelcome. */
export const joinAcceptanceSchema = z.strictObject({ box: boxSchema(JOIN_ANSWER_BYTES_MAX), proof: proofSchema });
export type JoinAcceptance = z.infer<typeof joinAcceptanceSchema>;

export const JOIN_REFUSALS = [
  'INVITATION_UNKNOWN',
  'INVITATION_EXPIRED',
  'INVITATION_WITHDRAWN',
  'INVITATION_WRONG',
  'JOIN_RESTARTED',
  'JOIN_OTHER_CLUSTER',
  'JOIN_NAME_TAKEN',
  'JOIN_CONTRADICTS',
  'JOIN_INVALID',
  'JOIN_BUSY',
  'JOIN_UNHEARD',
] as const;
export type JoinRefusalCode = (typeof JOIN_REFUSALS)[number];

/** Why not. From somebody who has not proved anything: shown as his words, never obeyed. */
export const joinRefusalSchema = z.strictObject({
  code: z.enum(JOIN_REFUSALS),
  message: z.string().max(4096),
});
export type JoinRefusal = z.infer<typeof joinRefusalSchema>;

const caBundleSchema = z.string().min(1).max(65_536);

/** What the joining side hands over. `card` is judged by group-card.ts. */
export const joinOfferSchema = z.strictObject({
  globalCluster: groupNameSchema,
  group: groupNameSchema,
  caBundle: caBundleSchema,
  card: z.unknown(),
});
export type JoinOffer = z.infer<typeof joinOfferSchema>;

export const applicationLoginSchema = z.strictObject({
  username: z.string().min(1).max(63),
  password: z.string().min(1).max(1024),
  /** Grows with each change of the password. */
  generation: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
});
export type ApplicationLogin = z.infer<typeof applicationLoginSchema>;

/** What it gets. */
export const joinWelcomeSchema = z.strictObject({
  globalCluster: groupNameSchema,
  primaryGroup: groupNameSchema,
  /** The CAs of the inviting group; those of the others are in their cards. */
  caBundle: caBundleSchema,
  /** The inviting group's own first. */
  cards: z.array(z.unknown()).min(1).max(32),
  login: applicationLoginSchema,
  /** The first card of the new group must have at least this generation: a group of this name was there before. */
  cardGenerationMin: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
});
export type JoinWelcome = z.infer<typeof joinWelcomeSchema>;

/** What an agent hands to its operator. */
export const relayedRequestsSchema = z.strictObject({
  requests: z.array(z.strictObject({ id: z.string().max(64), from: z.string().max(128), message: z.unknown() })).max(8),
});
export type RelayedRequests = z.infer<typeof relayedRequestsSchema>;

/** What the operator hands back; `body` goes to the joining side as it is. */
export const relayedAnswerSchema = z.strictObject({
  id: z.string().max(64),
  status: z.union([z.literal(200), z.literal(409)]),
  body: z.unknown(),
});
export type RelayedAnswer = z.infer<typeof relayedAnswerSchema>;
