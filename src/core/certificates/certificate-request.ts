/**
 * What a certificate shall hold: the common language of the plan (which names), the decision to issue (decide.ts) and the
 * sources that issue (platform/certificates).
 */
export interface CertificateRequest {
  /** Subject CN: the node, or the PostgreSQL user of a client certificate. At most COMMON_NAME_BYTES_MAX bytes. */
  readonly commonName: string;
  readonly dnsNames: readonly string[];
  /** IPv4 or IPv6 in any usual spelling. */
  readonly ipAddresses: readonly string[];
  /** URI SANs; the identity of a program is exactly one of them. */
  readonly uris: readonly string[];
  /** Extended key usages. Programs that listen and dial need both. */
  readonly usages: readonly CertificateUsage[];
  readonly lifetimeMs: number;
}

export type CertificateUsage = 'server' | 'client';

/** ub-common-name of RFC 5280, appendix A.1; OpenSSL and PostgreSQL refuse or cut a longer one. */
export const COMMON_NAME_BYTES_MAX = 64;

/** 90 days: as short as public CAs and the sources' operators have it, long enough for an operator that is away for a month. */
export const LEAF_LIFETIME_MS = 90 * 24 * 3600 * 1000;
/** 10 years: the lifetime of a CA ends all its leaves, and its rotation touches every group. */
export const CA_LIFETIME_MS = 3650 * 24 * 3600 * 1000;
/** How long before its making a certificate is valid: clocks of the sites may differ by this much. */
export const CLOCK_SKEW_MS = 5 * 60 * 1000;
