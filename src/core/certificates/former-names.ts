/**
 * Names that a certificate keeps for a while although nobody asks for them any more. When the domain of a group changes, nodes dial
 * each other by the former names until they have reached the new ones (docs/dns.md), and clients until they are told: without those
 * names in the certificates they would refuse each other.
 *
 * What is known about it is read from the certificate itself, so that any operator at any time decides the same. Former names stand
 * before all others; the names that are wanted begin with a bare one (`leo-1`), which does not change:
 *
 *   leo-1, leo-1.db.svc, leo-1.new.example.com                           none is kept
 *   leo-1.old.example.com, leo-1, leo-1.db.svc, leo-1.new.example.com    kept since the certificate was made
 */
import type { CertificateRequest } from './certificate-request.ts';
import { CLOCK_SKEW_MS } from './certificate-request.ts';
import type { CertificateFacts } from './decide-certificates.ts';

/**
 * A week: for people to see that the new names do not resolve, and for clients to be told. Shorter, and a mistyped domain that is found after a weekend has
 * parted the nodes; longer, and certificates grow with each change.
 */
export const FORMER_NAMES_MS = 7 * 24 * 3600 * 1000;
/** Of several changes within a week, in one certificate. */
export const FORMER_NAMES_MAX = 256;

export interface FormerNames {
  /** Those that have just become former ones, then those that are kept already. */
  readonly names: readonly string[];
  /** Some have just become former ones: their time begins with a new certificate. */
  readonly isNew: boolean;
  /** Ms since 1970: when the first of them go. Infinity: there are none. */
  readonly untilMs: number;
}

/** @param found signed by the present CA, with the right key: names of another one are nobody's promise. */
export function formerNames(found: CertificateFacts, request: CertificateRequest, nowMs: number): FormerNames {
  const wanted = new Set(request.dnsNames.map((name) => name.toLowerCase()));
  const has = found.dnsNames.map((name) => name.toLowerCase());
  const firstWanted = has.findIndex((name) => wanted.has(name));
  const front = firstWanted === -1 ? has.length : firstWanted;
  const isFormer = formerName(new Set(has), wanted);
  const endMs = found.notBeforeMs + CLOCK_SKEW_MS + FORMER_NAMES_MS;
  const kept = nowMs < endMs ? has.slice(0, front).filter(isFormer) : [];
  const fresh = has.slice(front).filter(isFormer);
  // If there are too many, the oldest go: who changed just now still dials the youngest.
  const names = [...new Set([...fresh, ...kept])].slice(0, FORMER_NAMES_MAX);
  const isNew = fresh.some((name) => names.includes(name));
  if (names.length === 0) return { names, isNew, untilMs: Number.POSITIVE_INFINITY };
  return { names, isNew, untilMs: isNew ? nowMs + FORMER_NAMES_MS : endMs };
}

/**
 * A name that is not wanted, of a service that is: `leo-1<suffix>.<domain>` while `leo-1` is wanted. A service that is gone (a group that left, reads that were
 * switched off) has its bare name among those found and not among those wanted: its names go at once.
 */
function formerName(has: ReadonlySet<string>, wanted: ReadonlySet<string>): (name: string) => boolean {
  const services = [...wanted].filter((name) => !name.includes('.'));
  return (name) => {
    const [label = '', ...domain] = name.split('.');
    if (domain.length === 0 || wanted.has(name)) return false;
    const isGone = has.has(label) && !wanted.has(label);
    return !isGone && services.some((service) => label.startsWith(service));
  };
}
