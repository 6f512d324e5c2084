/**
 * The CA that pgspan brings along: one per group, ECDSA P-256, its key never leaves the group (requirement B8).
 * Two CAs may have the same name (a rotation, two sites of one name): leaves carry the key identifier of their CA, so a
 * verifier with both in its bundle finds the right one.
 * Which certificates are due is decided in core/certificates; where they are written in certificate-files.ts.
 *
 * Loading @peculiar/x509 costs tens of milliseconds and some MiB: agents must not import this file.
 */
import 'reflect-metadata';
import { createHash, createPrivateKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import {
  CA_LIFETIME_MS,
  CLOCK_SKEW_MS,
  COMMON_NAME_BYTES_MAX,
  type CertificateRequest,
} from '../../core/certificates/certificate-request.ts';
import { type CertificateSource, CertificateSourceError, type IssuedCertificate } from './source.ts';

export interface BuiltInCa extends CertificateSource {
  /** PKCS#8. Goes to a file of the group's operator, owner-only, and nowhere else. */
  readonly keyPem: string;
  readonly notAfter: Date;
}

export interface CreateCaOptions {
  readonly globalCluster: string;
  readonly group: string;
  readonly now: Date;
  /** Default CA_LIFETIME_MS. */
  readonly lifetimeMs?: number;
}

export async function createBuiltInCa(options: CreateCaOptions): Promise<BuiltInCa> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: newSerialNumber(),
      name: [{ O: ['pgspan'] }, { CN: [caCommonName(options)] }],
      notBefore: new Date(options.now.getTime() - CLOCK_SKEW_MS),
      notAfter: new Date(options.now.getTime() + (options.lifetimeMs ?? CA_LIFETIME_MS)),
      keys,
      extensions: [
        // Path length 0: it signs leaves only.
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
      ],
    },
    crypto,
  );
  return builtInCa(certificate, certToPem(certificate), await keyToPem(keys.privateKey), keys.privateKey);
}

/** A CA from its files' contents. Throws CertificateSourceError CA_INVALID. */
export async function loadBuiltInCa(pem: { certPem: string; keyPem: string }): Promise<BuiltInCa> {
  try {
    const checked = new X509Certificate(pem.certPem);
    if (!checked.ca) throw new Error('its certificate is not that of a CA');
    if (!checked.checkPrivateKey(createPrivateKey(pem.keyPem))) throw new Error('its key and its certificate differ');
    const key = await webcrypto.subtle.importKey(
      'pkcs8',
      createPrivateKey(pem.keyPem).export({ format: 'der', type: 'pkcs8' }),
      keyAlgorithm,
      false,
      ['sign'],
    );
    return builtInCa(new x509.X509Certificate(pem.certPem), pem.certPem, pem.keyPem, key);
  } catch (error) {
    throw new CertificateSourceError('CA_INVALID', `Cannot load the CA: ${(error as Error).message}`, { cause: error });
  }
}

function builtInCa(
  certificate: x509.X509Certificate,
  authorityPem: string,
  keyPem: string,
  signingKey: webcrypto.CryptoKey,
): BuiltInCa {
  return {
    authorityPem,
    keyPem,
    notAfter: certificate.notAfter,
    issue: (request, now) => issueLeaf({ certificate, signingKey }, request, now),
  };
}

async function issueLeaf(
  ca: { certificate: x509.X509Certificate; signingKey: webcrypto.CryptoKey },
  request: CertificateRequest,
  now: Date,
): Promise<IssuedCertificate> {
  checkRequest(request);
  const { certificate: authority } = ca;
  if (now >= authority.notAfter) {
    throw new CertificateSourceError(
      'CA_EXPIRED',
      `Cannot issue a certificate for "${request.commonName}": the CA "${authority.subject}" expired at ${authority.notAfter.toISOString()}`,
    );
  }
  const keys = await generateKeys();
  const leaf = await x509.X509CertificateGenerator.create(
    {
      serialNumber: newSerialNumber(),
      subject: [{ CN: [request.commonName] }],
      issuer: authority.subjectName,
      // No leaf outlives or precedes its CA: some verifiers refuse that, others do not.
      notBefore: new Date(Math.max(now.getTime() - CLOCK_SKEW_MS, authority.notBefore.getTime())),
      notAfter: new Date(Math.min(now.getTime() + request.lifetimeMs, authority.notAfter.getTime())),
      publicKey: keys.publicKey,
      signingKey: ca.signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension(request.usages.map((usage) => extendedKeyUsages[usage])),
        ...subjectAltNames(request),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
        await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey, false, crypto),
      ],
    },
    crypto,
  );
  return { certPem: certToPem(leaf), keyPem: await keyToPem(keys.privateKey) };
}

const crypto = webcrypto as unknown as Crypto;
const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const extendedKeyUsages = {
  server: x509.ExtendedKeyUsage.serverAuth,
  client: x509.ExtendedKeyUsage.clientAuth,
} as const;

/** RFC 1035, section 2.3.4. */
const DNS_NAME_LENGTH_MAX = 253;

function checkRequest(request: CertificateRequest): void {
  const refuse = (found: string): never => {
    throw new CertificateSourceError(
      'CERTIFICATE_REQUEST_INVALID',
      `Cannot issue a certificate for "${request.commonName}": ${found}`,
    );
  };
  const nameBytes = Buffer.byteLength(request.commonName);
  if (nameBytes === 0 || nameBytes > COMMON_NAME_BYTES_MAX) {
    refuse(`its common name has ${nameBytes} bytes, 1 to ${COMMON_NAME_BYTES_MAX} are allowed`);
  }
  if (request.usages.length === 0) refuse('it has no usage');
  if (!(request.lifetimeMs > 0)) refuse(`its lifetime is ${request.lifetimeMs} ms`);
  for (const name of request.dnsNames) {
    // Wildcards are for public entries; an address as a DNS name is never matched by a verifier.
    if (
      name.length > DNS_NAME_LENGTH_MAX ||
      isIP(name) !== 0 ||
      !/^(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/i.test(name)
    ) {
      refuse(`"${name}" is no DNS name`);
    }
  }
  for (const address of request.ipAddresses) if (isIP(address) === 0) refuse(`"${address}" is no IP address`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: an IA5String holds ASCII only
  for (const uri of request.uris) if (!URL.canParse(uri) || !/^[\x21-\x7e]+$/.test(uri)) refuse(`"${uri}" is no URI`);
}

function subjectAltNames(request: CertificateRequest): x509.Extension[] {
  const names = [
    ...request.dnsNames.map((value) => ({ type: 'dns', value }) as const),
    ...request.ipAddresses.map((value) => ({ type: 'ip', value }) as const),
    ...request.uris.map((value) => ({ type: 'url', value }) as const),
  ];
  return names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)];
}

/** `<global cluster>/<group> CA`; of a longer one the end is replaced by a hash of all of it. */
function caCommonName(options: CreateCaOptions): string {
  const name = `${options.globalCluster}/${options.group} CA`;
  if (Buffer.byteLength(name) <= COMMON_NAME_BYTES_MAX) return name;
  return `${name.slice(0, COMMON_NAME_BYTES_MAX - 13)}-${createHash('sha256').update(name).digest('hex').slice(0, 12)}`;
}

/** 16 random bytes, the first bit 0 (positive) and the second 1 (never a leading zero byte). RFC 5280 allows up to 20. */
function newSerialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
}

async function keyToPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`;
}

/** Ends with a line feed, so that PEM texts can be put after each other. */
function certToPem(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem').trimEnd()}\n`;
}
