/**
 * The small values that a manifest is written in: names, quantities, durations, references. Here is what is accepted
 * and how it is read; which field has which is in postgres-group.ts and the files beside it.
 */
import * as z from 'zod';

/**
 * Longest name of a group or global cluster. Kubernetes appends to it: a StatefulSet `<group>-<nn>` labels its pods with
 * `<name>-<10 characters>` in at most 63, and PostgreSQL cuts an application_name (node and incarnation) at 63 bytes.
 */
export const GROUP_NAME_LENGTH_MAX = 40;
/** DNS label, RFC 1035: what Kubernetes demands of a Service's name. */
const DNS_LABEL = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const DNS_LABEL_1123 = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const DNS_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/;

export const groupNameSchema = z
  .string()
  .max(GROUP_NAME_LENGTH_MAX, `a name of at most ${GROUP_NAME_LENGTH_MAX} characters`)
  .regex(DNS_LABEL, 'lower-case letters, digits and "-", beginning with a letter (it becomes part of DNS names)');

/** `leo`, or `leo-1`: room for "-" and an ordinal. */
export const nodeOrGroupNameSchema = z
  .string()
  .max(GROUP_NAME_LENGTH_MAX + 3, `a name of at most ${GROUP_NAME_LENGTH_MAX + 3} characters`)
  .regex(DNS_LABEL, 'the name of a node or of a group');

export const namespaceSchema = z
  .string()
  .max(63)
  .regex(DNS_LABEL_1123, 'a namespace: lower-case letters, digits and "-"');

export const domainSchema = z
  .string()
  .max(200, 'a domain of at most 200 characters, so that the names below it fit into 253')
  .regex(DNS_NAME, 'a domain such as "db.example.com": lower case, no final dot, no wildcard');

export const hostNameSchema = z.string().max(253).regex(DNS_NAME, 'a host name such as "leo.example.com"');

/** Appended to each service's name, so it may hold dots: `-west` and `.west` both work. */
export const hostSuffixSchema = z
  .string()
  .max(63)
  .regex(/^([-a-z0-9.]*[a-z0-9])?$/, 'a suffix such as "-west": lower-case letters, digits, "-" and "."');

/** A name of a Secret, ConfigMap, StorageClass and the like: DNS subdomain. */
export const objectNameSchema = z.string().max(253).regex(DNS_NAME, 'the name of a Kubernetes object');

/** PostgreSQL identifier that needs no quotes in any of our files or URIs, and no more than 63 bytes. */
export const identifierSchema = z
  .string()
  .max(63)
  .regex(/^[a-z_][a-z0-9_]*$/, 'a PostgreSQL name of lower-case letters, digits and "_", not beginning with a digit');

export const objectRefSchema = z.strictObject({
  name: objectNameSchema.describe('Name of the object, in the namespace of the group.'),
});

export const secretKeyRefSchema = z.strictObject({
  name: objectNameSchema.describe('Name of the Secret, in the namespace of the group.'),
  key: z.string().min(1).max(253).describe('Key in the Secret.'),
});

const BYTES_TEXT = 'an amount of bytes such as "512Mi" or "10Gi"';
// A fraction is written as text: the API server knows no field that is a text or any number.
const CPUS_TEXT = 'an amount of processors such as "2", "0.5" or "500m"';
const DURATION_TEXT = 'a length of time such as "30s", "1m30s" or "500ms", or a whole number of seconds';

/** Longest amount or length of time; "1099511627776Ki" has 15. */
const AMOUNT_LENGTH_MAX = 40;

const QUANTITY = /^([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$/;
const QUANTITY_FACTOR: Readonly<Record<string, number>> = {
  '': 1,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
};

/** An amount of bytes as Kubernetes writes it. */
export const byteQuantitySchema = z
  .union([z.string().max(AMOUNT_LENGTH_MAX).regex(QUANTITY, BYTES_TEXT), z.int().min(0)], { error: BYTES_TEXT })
  .transform(String)
  .pipe(z.string());

const CPU = /^([0-9]+(?:\.[0-9]+)?)(m)?$/;

/** An amount of processors as Kubernetes writes it. */
export const cpuQuantitySchema = z
  .union([z.string().max(AMOUNT_LENGTH_MAX).regex(CPU, CPUS_TEXT), z.int().min(0)], { error: CPUS_TEXT })
  .transform(String)
  .pipe(z.string());

const DURATION = /^(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+$/;

/** A length of time: "30s", "1m30s", "500ms", or a whole number of seconds. */
export const durationSchema = z
  .union([z.string().max(AMOUNT_LENGTH_MAX).regex(DURATION, DURATION_TEXT), z.int().min(0)], { error: DURATION_TEXT })
  .transform((value) => (typeof value === 'number' ? `${value}s` : value))
  .pipe(z.string());

/** Bytes of a quantity that byteQuantitySchema accepted. */
export function quantityBytes(quantity: string): number {
  const match = QUANTITY.exec(quantity);
  if (match === null) throw new TypeError(`Cannot read "${quantity.slice(0, 40)}" as an amount of bytes`);
  return Math.floor(Number(match[1]) * (QUANTITY_FACTOR[match[2] ?? ''] as number));
}

/** Processors of a quantity that cpuQuantitySchema accepted: 0.5 for "500m". */
export function quantityCpus(quantity: string): number {
  const match = CPU.exec(quantity);
  if (match === null) throw new TypeError(`Cannot read "${quantity.slice(0, 40)}" as an amount of processors`);
  return Number(match[1]) / (match[2] === 'm' ? 1000 : 1);
}

const DURATION_FACTOR_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a length of time that durationSchema accepted. */
export function durationMs(duration: string): number {
  if (!DURATION.test(duration)) throw new TypeError(`Cannot read "${duration.slice(0, 40)}" as a length of time`);
  let total = 0;
  for (const [, amount, unit] of duration.matchAll(/([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)/g)) {
    total += Number(amount) * (DURATION_FACTOR_MS[unit as string] as number);
  }
  return Math.round(total);
}

const ENDPOINT = /^(https?):\/\/(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9][-a-zA-Z0-9.]*)(?::([0-9]{1,5}))?\/?$/;

export const endpointUrlSchema = z
  .string()
  .max(300)
  .regex(ENDPOINT, 'a URL such as "https://etcd-1.example.com:2379", without a path');

export interface EndpointUrl {
  readonly secure: boolean;
  /** Name or address, without brackets. */
  readonly host: string;
  /** null: not said. (The class URL would also drop a port that is the scheme's own.) */
  readonly port: number | null;
}

/** Reads a URL that endpointUrlSchema accepted. */
export function parseEndpointUrl(url: string): EndpointUrl {
  const match = ENDPOINT.exec(url);
  if (match === null) throw new TypeError(`Cannot read "${url.slice(0, 80)}" as the URL of an endpoint`);
  const host = (match[2] as string).replace(/^\[|\]$/g, '');
  return { secure: match[1] === 'https', host, port: match[3] === undefined ? null : Number(match[3]) };
}

const resourceAmountsSchema = z.strictObject({
  cpu: cpuQuantitySchema.optional().describe('Processors, such as `2` or `500m`.'),
  memory: byteQuantitySchema.optional().describe('Memory, such as `4Gi`.'),
});

export const resourcesSchema = z.strictObject({
  requests: resourceAmountsSchema.prefault({}).describe('What it is guaranteed.'),
  limits: resourceAmountsSchema
    .prefault({})
    .describe('What it may use at most; PostgreSQL is tuned for it, else for the requests.'),
});
