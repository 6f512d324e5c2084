/** The port to whatever issues certificates: the built-in CA here, cert-manager on Kubernetes later. */
import type { CertificateRequest } from '../../core/certificates/certificate-request.ts';

export interface IssuedCertificate {
  /** Leaf first, then intermediates, if any. */
  readonly certPem: string;
  /** PKCS#8, unencrypted: what OpenSSL, PostgreSQL and Node read alike. */
  readonly keyPem: string;
}

export interface CertificateSource {
  /** PEM of the CA that signs what `issue` returns now; it belongs into every group's trust bundle before its first leaf is used. */
  readonly authorityPem: string;
  /** A new key and a certificate for it, valid from `now` (less the allowed clock skew). Codes: CERTIFICATE_REQUEST_INVALID, CA_EXPIRED. */
  issue(request: CertificateRequest, now: Date): Promise<IssuedCertificate>;
}

/** Codes: CERTIFICATE_REQUEST_INVALID, CA_EXPIRED, CA_INVALID. */
export class CertificateSourceError extends Error {
  override name = 'CertificateSourceError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
