/** Certificates on disk as core/certificates wants to know them. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parseSubjectAltNames } from '../../base/spiffe-identity.ts';
import type { CertificateUsage } from '../../core/certificates/certificate-request.ts';
import type { FoundCertificate, SigningAuthority } from '../../core/certificates/decide-certificates.ts';

/** @param authorities PEM of the CAs among which the signer is looked for. Throws only what reading a file throws, and not ENOENT. */
export async function observeCertificate(
  files: { readonly certFile: string; readonly keyFile: string },
  authorities: readonly string[],
): Promise<FoundCertificate> {
  const [certPem, keyPem] = await Promise.all([readIfPresent(files.certFile), readIfPresent(files.keyFile)]);
  if (certPem === null || keyPem === null) return { kind: 'missing' };
  return examineCertificate({ certPem, keyPem }, authorities);
}

/** The same of PEM texts. */
export function examineCertificate(
  { certPem, keyPem }: { readonly certPem: string; readonly keyPem: string },
  authorities: readonly string[],
): FoundCertificate {
  try {
    const certificate = new X509Certificate(certPem);
    const altNames = certificate.subjectAltName ?? '';
    return {
      kind: 'present',
      commonName: commonNameOf(certificate),
      dnsNames: parseSubjectAltNames(altNames, 'DNS'),
      ipAddresses: parseSubjectAltNames(altNames, 'IP Address'),
      uris: parseSubjectAltNames(altNames, 'URI'),
      usages: usagesOf(certificate),
      notBeforeMs: certificate.validFromDate.getTime(),
      notAfterMs: certificate.validToDate.getTime(),
      authority: signerOf(certificate, authorities),
      keyMatches: certificate.checkPrivateKey(createPrivateKey(keyPem)),
    };
  } catch (error) {
    return { kind: 'unreadable', problem: (error as Error).message };
  }
}

export function observeAuthority(certPem: string): SigningAuthority {
  const certificate = new X509Certificate(certPem);
  return { fingerprint: certificate.fingerprint256, notAfterMs: certificate.validToDate.getTime() };
}

function signerOf(certificate: X509Certificate, authorities: readonly string[]): string | null {
  for (const pem of authorities) {
    const authority = new X509Certificate(pem);
    if (certificate.checkIssued(authority) && certificate.verify(authority.publicKey)) return authority.fingerprint256;
  }
  return null;
}

function commonNameOf(certificate: X509Certificate): string {
  const line = certificate.subject?.split('\n').find((part) => part.startsWith('CN='));
  return line?.slice('CN='.length) ?? '';
}

/** Node calls the extended key usages `keyUsage`, as object identifiers. */
function usagesOf(certificate: X509Certificate): CertificateUsage[] {
  const found: readonly string[] = certificate.keyUsage ?? [];
  return (Object.keys(USAGE_OIDS) as CertificateUsage[]).filter((usage) => found.includes(USAGE_OIDS[usage]));
}

/** id-kp-serverAuth and id-kp-clientAuth of RFC 5280, section 4.2.1.12. */
const USAGE_OIDS: Readonly<Record<CertificateUsage, string>> = {
  server: '1.3.6.1.5.5.7.3.1',
  client: '1.3.6.1.5.5.7.3.2',
};

async function readIfPresent(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
