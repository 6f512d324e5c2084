/**
 * What a group tells the other groups of its global cluster: its *card*. With the cards of all, each operator computes the same
 * plan (core/topology), and dials, trusts and publishes what the others have. A card holds no secret.
 *
 *   operator leo --PUT /v1/cards--> agents leo  <--GET /v1/cards?etag=-- operator ait
 *
 * Cards come from other clusters, and perhaps from other versions: everything here is bounded, and read as hostile.
 *
 *   a field that is not known here   carried along in its place and ignored: who reads the card here need not know what it means
 *   a higher `version`               refused: whoever does not know what is new there would plan something else
 */
import { X509Certificate } from 'node:crypto';
import * as z from 'zod';
import { isNestedDeeper, parseKnown, putBack, type UnknownField } from '../base/unknown-fields.ts';
import { postgresGroupSchema } from './postgres-group.ts';
import { domainSchema, groupNameSchema, hostNameSchema, namespaceSchema } from './postgres-group-values.ts';

/** Of one card as JSON. A manifest with 256 roles has some 30 KiB, two CAs 2 KiB. */
export const CARD_BYTES_MAX = 128 * 1024;
/** The highest that is read. It grows with what others must not ignore; fields that they may ignore need no new version. */
export const CARD_VERSION = 1;
/** Deeper than any manifest: a template of a Service has some ten levels. */
const CARD_DEPTH_MAX = 32;
/** Fields of newer versions, in one card: room for many releases, and none for a store of somebody else's. */
const UNKNOWN_FIELDS_MAX = 64;
const UNKNOWN_BYTES_MAX = 16 * 1024;
/** As fields of manifests, labels and annotations are called. */
const UNKNOWN_NAME = /^[A-Za-z][-A-Za-z0-9._/]{0,62}$/;

/** As many groups as `spec.globalCluster.peers` allows, and the own one. */
export const CARDS_MAX = 32;
/** Of all cards that an agent keeps and answers with: a ConfigMap, which holds them too, has at most 1 MiB. */
export const CARDS_BYTES_MAX = 900 * 1024;
export const CARDS_PATH = '/v1/cards';
/** A request whose etag is the present one is answered after this, if nothing changes. */
export const CARDS_WAIT_MS = 50_000;

const CA_BUNDLE_BYTES_MAX = 64 * 1024;
const portSchema = z.int().min(1).max(65_535);
/** Name or address, both of which `hostNameSchema` takes as far as IPv4 goes. */
const addressSchema = z.union([hostNameSchema, z.ipv6()]);
/** A node, a proxy or a Service. */
const dnsLabelSchema = z
  .string()
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
const endpointSchema = z.strictObject({ host: addressSchema, port: portSchema });

export const groupCardSchema = z
  .strictObject({
    version: z.literal(CARD_VERSION),
    globalCluster: groupNameSchema,
    group: groupNameSchema,
    /** Grows with each change of this card: of two cards of a group the higher one counts. */
    generation: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
    /**
     * What the group is to be, with what its references hold merged in, and with as many `instances` as it has nodes now: one that is on
     * its way out is known to all until it is gone.
     */
    manifest: z.strictObject({
      metadata: z.strictObject({ name: groupNameSchema, namespace: namespaceSchema }),
      spec: postgresGroupSchema.shape.spec,
    }),
    /** Nodes that give up their vote before they go. */
    retiring: z.array(dnsLabelSchema).max(32).default([]),
    clusterDomain: domainSchema,
    /** Addresses and host names of load balancers, by Service. */
    published: z.record(dnsLabelSchema, z.array(addressSchema).max(16)),
    /** The agents behind its group service, as others dial them. Null: nothing outside of its cluster reaches it yet. */
    endpoint: endpointSchema.nullable(),
    /** CAs of this group alone, PEM. */
    caBundle: z
      .string()
      .max(CA_BUNDLE_BYTES_MAX)
      .refine((text) => text === '' || isCaBundle(text), 'certificates of CAs, PEM'),
    /** Its member of the record's store, as others dial it. */
    etcd: z.strictObject({ host: addressSchema, clientPort: portSchema, peerPort: portSchema }).nullable(),
    /** By node: only peered networks reach them. */
    podAddresses: z.record(dnsLabelSchema, z.union([z.ipv4(), z.ipv6()])),
    /** Of the application's credentials; they themselves are never in a card. */
    credentialsGeneration: z.int().min(0),
    /** Groups that this one has taken in by invitation, or was invited by; those of the manifest are in `manifest`. */
    admits: z.array(groupNameSchema).max(CARDS_MAX).default([]),
    /** This group has left for good: nothing of it counts any more but this word. */
    left: z.boolean(),
  })
  .refine(({ group, manifest }) => manifest.metadata.name === group, 'a card is of the group that its manifest names');
export type GroupCard = z.infer<typeof groupCardSchema>;

/** What `PUT /v1/cards` takes. Each card is read with readGroupCard. */
export const cardsSchema = z.strictObject({ cards: z.array(z.unknown()).max(CARDS_MAX) });
/** What `GET /v1/cards` answers. Each card is judged by itself: one that cannot be read spoils no other. */
export const cardsAnswerSchema = z.object({ etag: z.string().max(64), cards: z.array(z.unknown()).max(CARDS_MAX) });

export type ParsedCard =
  /** With the fields that are not known here in their places, so that it is handed on as it came. */
  { readonly kind: 'card'; readonly card: GroupCard } | { readonly kind: 'refused'; readonly why: string };

/**
 * @param value untrusted
 * @param reader where it is read, for the words of a refusal: a noun
 */
export function parseGroupCard(value: unknown, globalCluster: string, reader = 'this cluster'): ParsedCard {
  const parsed = readGroupCard(value, reader);
  if (parsed.kind === 'refused' || parsed.card.globalCluster === globalCluster) return parsed;
  const { group, globalCluster: found } = parsed.card;
  return refused(`the card of "${group}" is of global cluster "${found}", not of "${globalCluster}"`);
}

/** As parseGroupCard, of whichever global cluster. */
export function readGroupCard(value: unknown, reader = 'this cluster'): ParsedCard {
  if (isNestedDeeper(value, CARD_DEPTH_MAX)) return refused(`the card is nested deeper than ${CARD_DEPTH_MAX} levels`);
  const bytes = Buffer.byteLength(JSON.stringify(value) ?? '');
  if (bytes > CARD_BYTES_MAX) return refused(`the card has ${bytes} bytes, at most ${CARD_BYTES_MAX} are read`);
  const ofVersion = versionProblem(value, reader);
  if (ofVersion !== null) return refused(ofVersion);
  const parsed = parseKnown(groupCardSchema, value);
  if (parsed.kind === 'refused') {
    const path = parsed.issue.path.join('.').slice(0, 200);
    return refused(`the card has an error at "${path}": ${parsed.issue.message.slice(0, 300)}`);
  }
  const ofFields = unknownProblem(parsed.unknown);
  if (ofFields !== null) return refused(ofFields);
  putBack(parsed.data, parsed.unknown);
  return { kind: 'card', card: parsed.data };
}

const headSchema = z.looseObject({ version: z.int(), group: groupNameSchema.catch('?') });

/** Which side is to be upgraded. Null: it is of a version that is read here, or has none. */
function versionProblem(value: unknown, reader: string): string | null {
  const head = headSchema.safeParse(value).data;
  if (head === undefined || head.version === CARD_VERSION) return null;
  const { version, group } = head;
  const isNewer = version > CARD_VERSION;
  const side = isNewer ? reader : `the cluster of group "${group}"`;
  return `the card of group "${group}" is of version ${version}, and ${reader} reads version ${CARD_VERSION}: upgrade pgspan in ${side}`;
}

function unknownProblem(fields: readonly UnknownField[]): string | null {
  if (fields.length > UNKNOWN_FIELDS_MAX)
    return `the card has ${fields.length} fields that are not known here, at most ${UNKNOWN_FIELDS_MAX} are carried along`;
  const odd = fields.find(({ path }) => !UNKNOWN_NAME.test(String(path.at(-1))));
  if (odd !== undefined)
    return `the card has a field "${odd.path.join('.').slice(0, 200)}", which no version would have`;
  const bytes = fields.reduce((sum, { value }) => sum + Buffer.byteLength(JSON.stringify(value) ?? ''), 0);
  if (bytes <= UNKNOWN_BYTES_MAX) return null;
  return `the card has ${bytes} bytes in fields that are not known here, at most ${UNKNOWN_BYTES_MAX} are carried along`;
}

function refused(why: string): ParsedCard {
  return { kind: 'refused', why };
}

/** The manifest's spec without what is not known here: what is planned with. */
export function knownSpec({ manifest }: GroupCard): GroupCard['manifest']['spec'] {
  const parsed = parseKnown(postgresGroupSchema.shape.spec, manifest.spec);
  return parsed.kind === 'parsed' ? parsed.data : manifest.spec;
}

/** The same fields in the same order, whoever wrote them: for comparisons and digests. */
export function cardText(card: GroupCard): string {
  return JSON.stringify(sorted(card));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, one]) => [key, sorted(one)]));
}

function isCaBundle(text: string): boolean {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  const rest = text.replace(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g, '').trim();
  try {
    return (
      blocks.length > 0 && blocks.length <= 16 && rest === '' && blocks.every((one) => new X509Certificate(one).ca)
    );
  } catch {
    return false;
  }
}
