/**
 * Mutual TLS between the programs of a global cluster: certificate, key and trust bundle from files, taken again without
 * a restart (`reload`), the peer's identity from its URI SAN, and dialling an address while verifying a name.
 *
 * TLS 1.3 only: both ends are ours (etcd's Go and health probes of Kubernetes speak it too). No session is resumed, so
 * that each connection is judged by the certificates and the bundle of this moment; on P-256 that costs under a millisecond.
 *
 *   files --load--> credentials --secureContext--> servers (setSecureContext on reload: old connections stay)
 *                                             \--> connectOptions of the next connection
 */
import { createHash, constants as cryptoConstants, createPrivateKey, X509Certificate } from 'node:crypto';
import { open } from 'node:fs/promises';
import { isIP } from 'node:net';
import * as tls from 'node:tls';
import { lookupWith, rememberedLookup } from './remembered-lookup.ts';
import {
  formatSpiffeIdentity,
  isNodeIdentity,
  isSameIdentity,
  parseSpiffeIdentity,
  parseSubjectAltNames,
  type SpiffeIdentity,
} from './spiffe-identity.ts';

export interface TlsFiles {
  /** PEM paths. `certFile` may hold intermediates after the leaf; `caFile` is the trust bundle. */
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

/** `host` is verified against the certificate; `address`, if known, is dialled instead of resolving `host`. */
export interface DialTarget {
  readonly host: string;
  readonly address: string | null;
  /** Another name of it, tried where what `host` leads to does not answer. */
  readonly otherwise?: string | undefined;
  readonly port: number;
}

export interface DialOptions {
  /** Source address of the connection; null or absent: the system's choice. */
  readonly sourceAddress?: string | null;
  /** Refuse any other identity than this one, even if the host name fits. */
  readonly expect?: SpiffeIdentity;
  /** Also offered by ALPN. */
  readonly alpnProtocols?: readonly string[];
}

/** What was loaded, for status and for the proof that a new CA has arrived. Hexadecimal SHA-256 of the DER. */
export interface LoadedTls {
  readonly certFingerprint: string;
  readonly caFingerprints: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Null if the certificate has no identity of ours. */
  readonly identity: SpiffeIdentity | null;
}

export interface ReloadableTls {
  /** For tls.createServer and https.createServer: demands a client certificate that the bundle verifies. Pass the server to `attach` as well. */
  serverOptions(): tls.TlsOptions;
  /**
   * The server takes new credentials at each reload, until it closes. Open connections stay.
   * `onRefused` is told of clients whose handshake failed or whose certificate was not accepted: they themselves see only
   * that the connection is closed.
   */
  attach(server: tls.Server, onRefused?: (refusal: TlsRefusal) => void): void;
  /** For tls.connect and https.request: verifies `target.host` (and `expect`) while dialling `target.address`. */
  connectOptions(target: DialTarget, options?: DialOptions): tls.ConnectionOptions;
  /**
   * Reads the files again; true if something changed. Throws TlsFilesError and keeps what is loaded when they do not fit
   * together: between two renames of a renewal that is expected, so try again a little later.
   */
  reload(): Promise<boolean>;
  readonly loaded: LoadedTls;
}

export interface TlsRefusal {
  /** '' when Node had closed the connection before it told. */
  readonly remoteAddress: string;
  /** OpenSSL's or Node's word for it: CERT_HAS_EXPIRED, UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ECONNRESET. */
  readonly code: string;
}

/** Codes: TLS_FILE_UNREADABLE, TLS_FILE_INVALID, TLS_KEY_MISMATCH. */
export class TlsFilesError extends Error {
  override name = 'TlsFilesError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** A bundle of 64 groups with two CAs each is under 128 KiB. */
const PEM_BYTES_MAX = 1024 * 1024;

export async function createReloadableTls(files: TlsFiles): Promise<ReloadableTls> {
  const read = async (): Promise<TlsTexts> => {
    const [cert, key, ca] = await Promise.all([readPem(files.certFile), readPem(files.keyFile), readPem(files.caFile)]);
    return { cert, key, ca };
  };
  return reloadableTls(read, files);
}

/** PEM texts of what TlsFiles names. */
export interface TlsTexts {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** From memory: `reload` takes what `texts` returns then. Throws TlsFilesError. */
export function createMemoryTls(texts: () => TlsTexts): Promise<ReloadableTls> {
  return reloadableTls(async () => texts(), { certFile: 'tls.crt', keyFile: 'tls.key', caFile: 'ca.crt' });
}

async function reloadableTls(read: () => Promise<TlsTexts>, files: TlsFiles): Promise<ReloadableTls> {
  let credentials = await loadCredentials(read, files);
  const servers = new Set<tls.Server>();
  return {
    get loaded() {
      return credentials.loaded;
    },
    serverOptions: () => ({ ...serverSettings, ...credentials.pem, requestCert: true, rejectUnauthorized: true }),
    attach(server, onRefused = () => {}) {
      servers.add(server);
      server.once('close', () => servers.delete(server));
      server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
        // Node's types say Error; it is the code of the check.
        const code = (socket.authorizationError as unknown as string | null) ?? error.code ?? error.message;
        onRefused({ remoteAddress: socket.remoteAddress ?? '', code });
      });
    },
    connectOptions: (target, options = {}) => ({
      host: target.address ?? target.host,
      port: target.port,
      // Safe here: whoever is at an old address must still prove to be the one that is meant.
      lookup: lookupWith(rememberedLookup, target.otherwise),
      // SNI holds names only; an IP address as host is verified below.
      servername: isIP(target.host) === 0 ? target.host : '',
      minVersion: 'TLSv1.3',
      secureContext: credentials.clientContext,
      rejectUnauthorized: true,
      checkServerIdentity: (_dialled, certificate) => checkServer(target.host, certificate, options.expect),
      ...(options.sourceAddress ? { localAddress: options.sourceAddress } : {}),
      ...(options.alpnProtocols ? { ALPNProtocols: [...options.alpnProtocols] } : {}),
    }),
    async reload() {
      const next = await loadCredentials(read, files);
      if (next.digest === credentials.digest) return false;
      credentials = next;
      for (const server of servers) server.setSecureContext({ ...serverSettings, ...next.pem });
      return true;
    },
  };
}

/**
 * Identity of the peer of a mutual TLS connection. Null unless its certificate was verified against the bundle and holds
 * exactly one URI SAN, of our form: a second one could be meant for another reader.
 */
export function peerIdentity(socket: tls.TLSSocket): SpiffeIdentity | null {
  if (!socket.authorized) return null;
  const altNames = socket.getPeerX509Certificate()?.subjectAltName;
  return altNames === undefined ? null : identityOfAltNames(altNames);
}

/** As peerIdentity, from Node's text form of a SAN extension. */
export function identityOfAltNames(altNames: string): SpiffeIdentity | null {
  const uris = parseSubjectAltNames(altNames, 'URI');
  return uris.length === 1 ? parseSpiffeIdentity(uris[0] as string) : null;
}

/** The node that a server's certificate names: of this group, or with null of any group of the global cluster. Null: another. */
export function nodeOfCertificate(
  certificate: tls.PeerCertificate,
  expected: { readonly globalCluster: string; readonly group: string | null },
): SpiffeIdentity | null {
  const identity = identityOfAltNames(certificate.subjectaltname ?? '');
  const isExpected =
    identity !== null &&
    isNodeIdentity(identity) &&
    identity.globalCluster === expected.globalCluster &&
    (expected.group === null || identity.group === expected.group);
  return isExpected ? identity : null;
}

const serverSettings = {
  minVersion: 'TLSv1.3',
  // A resumed session would skip the check of the client's certificate.
  secureOptions: cryptoConstants.SSL_OP_NO_TICKET,
} as const satisfies tls.SecureContextOptions;

interface Credentials {
  readonly pem: TlsTexts;
  readonly clientContext: tls.SecureContext;
  readonly loaded: LoadedTls;
  readonly digest: string;
}

async function loadCredentials(read: () => Promise<TlsTexts>, files: TlsFiles): Promise<Credentials> {
  const { cert, key, ca } = await read();
  const leaf = parseCertificates(cert, files.certFile)[0] as X509Certificate;
  const authorities = parseCertificates(ca, files.caFile);
  checkKey(leaf, key, files);
  return {
    pem: { cert, key, ca },
    clientContext: tls.createSecureContext({ cert, key, ca, minVersion: 'TLSv1.3' }),
    digest: createHash('sha256').update(cert).update('\0').update(key).update('\0').update(ca).digest('hex'),
    loaded: {
      certFingerprint: fingerprint(leaf),
      caFingerprints: authorities.map(fingerprint),
      notBefore: leaf.validFromDate,
      notAfter: leaf.validToDate,
      identity: leaf.subjectAltName === undefined ? null : identityOfAltNames(leaf.subjectAltName),
    },
  };
}

async function readPem(path: string): Promise<string> {
  try {
    const handle = await open(path, 'r');
    try {
      const { size } = await handle.stat();
      if (size > PEM_BYTES_MAX) throw new Error(`it has ${size} bytes, at most ${PEM_BYTES_MAX} are read`);
      return await handle.readFile('latin1');
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new TlsFilesError('TLS_FILE_UNREADABLE', `Cannot read "${path}": ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Every certificate of a PEM text; the system's own loader would pass over a broken one in silence. */
function parseCertificates(pem: string, path: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    if (blocks.length === 0) throw new Error('it holds no certificate');
    return blocks.map((block) => new X509Certificate(block));
  } catch (error) {
    throw new TlsFilesError(
      'TLS_FILE_INVALID',
      `Cannot load certificates from "${path}": ${(error as Error).message}`,
      {
        cause: error,
      },
    );
  }
}

function checkKey(leaf: X509Certificate, keyPem: string, files: TlsFiles): void {
  let matches: boolean;
  try {
    matches = leaf.checkPrivateKey(createPrivateKey(keyPem));
  } catch (error) {
    throw new TlsFilesError('TLS_FILE_INVALID', `Cannot load the key "${files.keyFile}": ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (!matches) {
    throw new TlsFilesError(
      'TLS_KEY_MISMATCH',
      `Cannot load the certificate "${files.certFile}": its key is not the one in "${files.keyFile}"`,
    );
  }
}

function checkServer(host: string, certificate: tls.PeerCertificate, expect?: SpiffeIdentity): Error | undefined {
  const nameError = tls.checkServerIdentity(host, certificate);
  if (nameError !== undefined || expect === undefined) return nameError;
  const found = identityOfAltNames(certificate.subjectaltname ?? '');
  if (found !== null && isSameIdentity(found, expect)) return undefined;
  return Object.assign(
    new Error(
      `Cannot trust the server at "${host}": it is "${found === null ? 'nobody of ours' : formatSpiffeIdentity(found)}", not "${formatSpiffeIdentity(expect)}"`,
    ),
    { code: 'PEER_IDENTITY_MISMATCH' },
  );
}

function fingerprint(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(':', '').toLowerCase();
}
