/**
 * The file of the SplitDNS resolver (`pgspan dns serve --config FILE`): written by the operator, or by hand. Fields that it
 * does not know are passed over.
 */
import { isIP } from 'node:net';
import * as z from 'zod';
import { tlsFilesSchema } from './agent-config.ts';

const addressSchema = z.string().refine((text) => isIP(text) !== 0 && !text.includes('%'), 'an IP address');
const portSchema = z.int().min(1).max(65_535);

/** Seconds. */
const seconds = (byDefault: number, max: number) => z.int().min(0).max(max).default(byDefault);

export const dnsLimitsSchema = z.object({
  cacheEntriesMax: z.int().min(0).max(1_000_000).default(8192),
  cacheBytesMax: z
    .int()
    .min(0)
    .max(1024 * 1024 * 1024)
    .default(8 * 1024 * 1024),
  /** No answer is kept for longer, nor does a client learn a longer TTL: what moves is found again within it. */
  ttlSecondsMax: seconds(30, 86_400),
  negativeTtlSecondsMax: seconds(10, 86_400),
  /** Of answers by rules: a pod's address changes with the pod. */
  ruleTtlSeconds: seconds(5, 3600),
  /** So long after its end an answer is given if no upstream answers. 0: never. */
  staleSecondsMax: seconds(3600, 86_400),
  queriesInFlightMax: z.int().min(1).max(65_535).default(1024),
  tcpConnectionsMax: z.int().min(1).max(10_000).default(128),
  /** After so long without an answer the next upstream is asked as well. */
  attemptTimeoutMs: z.int().min(50).max(10_000).default(800),
  /** After so long a question has failed. Less than the 5 s for which a client's resolver waits. */
  deadlineMs: z.int().min(100).max(30_000).default(4000),
  /** Longest answer over UDP. */
  udpBytesMax: z.int().min(512).max(65_507).default(4096),
});
export type DnsLimits = z.infer<typeof dnsLimitsSchema>;

export const dnsConfigSchema = z.object({
  /** Grows with each change; in the metrics. */
  generation: z.int().min(1).default(1),
  listen: z.object({
    /** UDP and TCP. */
    dns: z.object({ address: addressSchema, port: portSchema }),
    /** /livez, /readyz, /metrics: over HTTPS if `tls` is given. Null: none. */
    health: z.object({ address: addressSchema.nullable(), port: portSchema }).nullable(),
  }),
  tls: tlsFilesSchema.nullable().default(null),
  /** Tried in this order, first match wins. */
  rules: z
    .array(
      z.object({
        host: z.string().min(1).max(1024),
        result: z.string().min(1).max(1024),
        regex: z.boolean().default(false),
      }),
    )
    .max(8192)
    .default([]),
  /** Who is asked for everything else, in this order. Null: the name servers of `resolvConf`, without this resolver itself. */
  upstreams: z
    .array(z.object({ address: addressSchema, port: portSchema.default(53) }))
    .min(1)
    .max(8)
    .nullable()
    .default(null),
  resolvConf: z.string().default('/etc/resolv.conf'),
  limits: dnsLimitsSchema.prefault({}),
});
export type DnsConfig = z.infer<typeof dnsConfigSchema>;
