/**
 * Which certificates must be issued now, and why. Pure: what was found and the time are passed in.
 * Every reason is found from the certificate itself, so an operator that was away for a week decides the same as one that was not.
 */
import { isIPv6 } from 'node:net';
import type { CertificateRequest, CertificateUsage } from './certificate-request.ts';
import { type FormerNames, formerNames } from './former-names.ts';

/** One certificate that shall exist; `name` is its file name without extension. */
export interface WantedCertificate {
  readonly name: string;
  readonly request: CertificateRequest;
}

/** What was found under that name. */
export type FoundCertificate =
  | { readonly kind: 'missing' }
  /** A file is there and is no certificate or no key; `problem` says what. */
  | { readonly kind: 'unreadable'; readonly problem: string }
  | ({ readonly kind: 'present' } & CertificateFacts);

export interface CertificateFacts {
  readonly commonName: string;
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly uris: readonly string[];
  readonly usages: readonly CertificateUsage[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Fingerprint of the CA whose key verifies the signature, among those that were looked at; null: none of them. */
  readonly authority: string | null;
  readonly keyMatches: boolean;
}

/** The CA that signs now. */
export interface SigningAuthority {
  readonly fingerprint: string;
  readonly notAfterMs: number;
}

export interface CertificateReason {
  readonly code:
    | 'Missing'
    | 'Unreadable'
    | 'KeyMismatch'
    | 'SignedByOldAuthority'
    | 'NamesDiffer'
    | 'UsagesDiffer'
    | 'Expired'
    | 'ExpiresSoon'
    | 'Current'
    | 'BoundByAuthority';
  readonly message: string;
}

export type CertificateDecision =
  | {
      readonly kind: 'issue';
      readonly name: string;
      readonly request: CertificateRequest;
      readonly reason: CertificateReason;
    }
  /** `checkAtMs`: when time alone will change the decision. */
  | { readonly kind: 'keep'; readonly name: string; readonly checkAtMs: number; readonly reason: CertificateReason };

/** Renewed when a third of its life is left: of 90 days, a month for somebody to notice that renewal does not work. */
export const RENEW_AT_LIFE_LEFT = 1 / 3;
/** More than the rounding of a certificate's times to seconds. */
const SAME_END_MS = 2000;

interface DecisionContext {
  readonly nowMs: number;
  readonly authority: SigningAuthority;
}

/** A request that is issued may name more than was wanted: names of a former domain are kept for a while (former-names.ts). */
export function decideCertificates(
  found: ReadonlyMap<string, FoundCertificate>,
  wanted: readonly WantedCertificate[],
  context: DecisionContext,
): CertificateDecision[] {
  return wanted.map(({ name, request: asked }) => {
    const certificate = found.get(name) ?? { kind: 'missing' };
    const former = formerOf(certificate, asked, context);
    const request = { ...asked, dnsNames: [...former.names, ...asked.dnsNames] };
    const reason = reasonToIssue(certificate, request, former, context);
    if (reason !== null) return { kind: 'issue', name, request, reason };
    const kept = keep(name, certificate as CertificateFacts, context.authority);
    return kept.kind === 'keep' ? { ...kept, checkAtMs: Math.min(kept.checkAtMs, former.untilMs) } : kept;
  });
}

const NO_FORMER_NAMES: FormerNames = { names: [], isNew: false, untilMs: Number.POSITIVE_INFINITY };

/** Only what we have signed, and nobody has damaged, tells which names were ours. */
function formerOf(
  found: FoundCertificate,
  request: CertificateRequest,
  { nowMs, authority }: DecisionContext,
): FormerNames {
  const isOurs = found.kind === 'present' && found.keyMatches && found.authority === authority.fingerprint;
  return isOurs && nowMs < found.notAfterMs ? formerNames(found, request, nowMs) : NO_FORMER_NAMES;
}

/** The first that holds, the gravest first. */
function reasonToIssue(
  found: FoundCertificate,
  request: CertificateRequest,
  former: FormerNames,
  { nowMs, authority }: DecisionContext,
): CertificateReason | null {
  if (found.kind === 'missing') return { code: 'Missing', message: 'There is no certificate yet' };
  if (found.kind === 'unreadable') return { code: 'Unreadable', message: `It cannot be read: ${found.problem}` };
  if (!found.keyMatches) return { code: 'KeyMismatch', message: 'Its key is another one than that in the key file' };
  if (found.authority !== authority.fingerprint) {
    return { code: 'SignedByOldAuthority', message: 'It is signed by another CA than the present one' };
  }
  return (
    differenceInNames(found, request) ??
    changeToFormer(former) ??
    differenceInUsages(found, request) ??
    nearnessOfEnd(found, nowMs, authority)
  );
}

/** All names are in it, and some are wanted no more: a new one says since when. */
function changeToFormer({ names, isNew, untilMs }: FormerNames): CertificateReason | null {
  if (!isNew) return null;
  const until = new Date(untilMs).toISOString();
  return { code: 'NamesDiffer', message: `Of its names, ${listOf(names)} are former ones: they stay until ${until}` };
}

function differenceInNames(found: CertificateFacts, request: CertificateRequest): CertificateReason | null {
  const have = namesOf(found);
  const want = namesOf(request);
  const missing = [...want].filter((name) => !have.has(name));
  const surplus = [...have].filter((name) => !want.has(name));
  if (missing.length === 0 && surplus.length === 0) return null;
  const parts = [
    ...(missing.length > 0 ? [`it lacks ${listOf(missing)}`] : []),
    ...(surplus.length > 0 ? [`it still has ${listOf(surplus)}`] : []),
  ];
  return { code: 'NamesDiffer', message: `Its names are not those wanted: ${parts.join(', and ')}` };
}

function differenceInUsages(found: CertificateFacts, request: CertificateRequest): CertificateReason | null {
  const have = found.usages.toSorted().join(' and ');
  const want = [...new Set(request.usages)].sort().join(' and ');
  return have === want ? null : { code: 'UsagesDiffer', message: `It is for "${have}", wanted is "${want}"` };
}

function nearnessOfEnd(found: CertificateFacts, nowMs: number, authority: SigningAuthority): CertificateReason | null {
  // No leaf outlives its CA, so a new one would end no later: only a new CA helps.
  if (nowMs < renewAt(found) || isBoundBy(found, authority)) return null;
  const end = new Date(found.notAfterMs).toISOString();
  if (nowMs >= found.notAfterMs) return { code: 'Expired', message: `It expired at ${end}` };
  return { code: 'ExpiresSoon', message: `It expires at ${end}; less than a third of its life is left` };
}

function keep(name: string, found: CertificateFacts, authority: SigningAuthority): CertificateDecision {
  const end = new Date(found.notAfterMs).toISOString();
  if (isBoundBy(found, authority)) {
    const message = `It is valid until ${end}, as long as its CA; a new CA is needed before that`;
    return { kind: 'keep', name, checkAtMs: found.notAfterMs, reason: { code: 'BoundByAuthority', message } };
  }
  return {
    kind: 'keep',
    name,
    checkAtMs: renewAt(found),
    reason: { code: 'Current', message: `It is valid until ${end}` },
  };
}

function renewAt({ notBeforeMs, notAfterMs }: CertificateFacts): number {
  return notAfterMs - (notAfterMs - notBeforeMs) * RENEW_AT_LIFE_LEFT;
}

function isBoundBy(found: CertificateFacts, authority: SigningAuthority): boolean {
  return found.notAfterMs >= authority.notAfterMs - SAME_END_MS;
}

type Named = Pick<CertificateFacts, 'commonName' | 'dnsNames' | 'ipAddresses' | 'uris'>;

/** All names in one set, each marked with its kind and in one spelling. */
function namesOf({ commonName, dnsNames, ipAddresses, uris }: Named): Set<string> {
  return new Set([
    `CN:${commonName}`,
    ...dnsNames.map((name) => `DNS:${name.toLowerCase()}`),
    ...ipAddresses.map((address) => `IP:${canonicalAddress(address)}`),
    ...uris.map((uri) => `URI:${uri}`),
  ]);
}

/** One spelling of each address: `::1` for `0:0:0:0:0:0:0:1`. */
function canonicalAddress(address: string): string {
  return isIPv6(address) ? new URL(`http://[${address}]/`).hostname.slice(1, -1) : address;
}

/** Names in a sentence; a node of many groups has a hundred of them. */
const NAMES_SHOWN_MAX = 5;

function listOf(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN_MAX).map((name) => `"${name}"`);
  const more = names.length - shown.length;
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}
