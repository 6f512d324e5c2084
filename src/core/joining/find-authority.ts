/** Which of the certificates that a stranger showed are those that the token names. */
import { createHash, X509Certificate } from 'node:crypto';

/** More than any bundle of ours has for one group, less than would take time. */
const CERTIFICATES_MAX = 64;

export type FoundAuthority =
  | { readonly kind: 'found'; readonly pem: string }
  | { readonly kind: 'missing'; readonly message: string };

/** @param fingerprints SHA-256 of the DER, hexadecimal. */
export function findAuthority(bundle: string, fingerprints: readonly string[]): FoundAuthority {
  const blocks = (bundle.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? []).slice(
    0,
    CERTIFICATES_MAX,
  );
  const shown = blocks.flatMap((block) => {
    const fingerprint = fingerprintOf(block);
    return fingerprint === null ? [] : [{ block, fingerprint }];
  });
  const found = shown.filter(({ fingerprint }) => fingerprints.includes(fingerprint));
  if (found.length > 0) return { kind: 'found', pem: `${found.map(({ block }) => block).join('\n')}\n` };
  const list = shown.length === 0 ? 'none' : shown.map(({ fingerprint }) => fingerprint.slice(0, 16)).join(', ');
  return {
    kind: 'missing',
    message: `The server shows CAs with other fingerprints than the token names (shown: ${list}; the token: ${fingerprints.map((one) => one.slice(0, 16)).join(', ')}): it is not the one that invited, or its CA was replaced since`,
  };
}

/** Of each certificate of a bundle; what is no CA, or broken, is left out. */
export function caFingerprints(bundle: string): string[] {
  const blocks = bundle.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return [...new Set(blocks.slice(0, CERTIFICATES_MAX).flatMap((block) => fingerprintOf(block) ?? []))];
}

function fingerprintOf(pem: string): string | null {
  try {
    const certificate = new X509Certificate(pem);
    return certificate.ca ? createHash('sha256').update(certificate.raw).digest('hex') : null;
  } catch {
    return null;
  }
}
