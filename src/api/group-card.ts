/**
 * What a group tells the other groups of its global cluster: its *card*. With the cards of all, each operator computes the same
 * plan (core/topology), and dials, trusts and publishes what the others have. A card holds no secret.
 *
 *   operator leo --PUT /v1/cards--> agents leo  <--GET /v1/cards?etag=-- operator ait
 *
 * Cards come from other clusters, and perhaps from other versions: everything here is bounded, and read as hostile.
 */
import { X509Certificate } from 'node:crypto';
import * as z from 'zod';
import { postgresGroupSchema } from './postgres-group.ts';
import { domainSchema, groupNameSchema, hostNameSchema, namespaceSchema } from './postgres-group-values.ts';

/** Of one card as JSON. A manifest with 256 roles has some 30 KiB, two CAs 2 KiB. */
export const CARD_BYTES_MAX = 128 * 1024;
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
    version: z.literal(1),
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

/** What `PUT /v1/cards` takes. */
export const cardsSchema = z.strictObject({ cards: z.array(groupCardSchema).max(CARDS_MAX) });
/** What `GET /v1/cards` answers. Each card is judged by itself: one that cannot be read spoils no other. */
export const cardsAnswerSchema = z.object({ etag: z.string().max(64), cards: z.array(z.unknown()).max(CARDS_MAX) });

export type ParsedCard =
  | { readonly kind: 'card'; readonly card: GroupCard }
  | { readonly kind: 'refused'; readonly why: string };

/** @param value untrusted. */
export function parseGroupCard(value: unknown, globalCluster: string): ParsedCard {
  const bytes = Buffer.byteLength(JSON.stringify(value) ?? '');
  if (bytes > CARD_BYTES_MAX)
    return { kind: 'refused', why: `the card has ${bytes} bytes, at most ${CARD_BYTES_MAX} are read` };
  const parsed = groupCardSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const path = (issue?.path ?? []).join('.').slice(0, 200);
    return { kind: 'refused', why: `the card has an error at "${path}": ${issue?.message.slice(0, 300)}` };
  }
  const card = parsed.data;
  if (card.globalCluster !== globalCluster)
    return {
      kind: 'refused',
      why: `the card of "${card.group}" is of global cluster "${card.globalCluster}", not of "${globalCluster}"`,
    };
  return { kind: 'card', card };
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
