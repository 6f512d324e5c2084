/** Real certificates for tests: a CA of a group, and TLS files of programs of it, in a temporary folder. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsFiles } from '../../src/base/mutual-tls.ts';
import { formatSpiffeIdentity } from '../../src/base/spiffe-identity.ts';
import type { CertificateRequest } from '../../src/core/certificates/certificate-request.ts';
import { type BuiltInCa, createBuiltInCa } from '../../src/platform/certificates/built-in-ca.ts';

export interface TestPki {
  readonly ca: BuiltInCa;
  readonly folder: string;
  readonly caFile: string;
  /** Files of a program `spiffe://<globalCluster>/<group>/<name>`; everything in `request` may be overridden. */
  issue(name: string, request?: Partial<CertificateRequest> & { now?: Date; caFile?: string }): Promise<TlsFiles>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface TestPkiOptions {
  readonly globalCluster?: string;
  readonly group?: string;
  readonly now?: Date;
  readonly caLifetimeMs?: number;
}

/** `await using pki = await createTestPki()` removes the folder at the end. */
export async function createTestPki(options: TestPkiOptions = {}): Promise<TestPki> {
  const { globalCluster = 'orders', group = 'leo', now = new Date() } = options;
  const folder = await mkdtemp(join(tmpdir(), 'pgspan-pki-'));
  const ca = await createBuiltInCa({
    globalCluster,
    group,
    now,
    ...(options.caLifetimeMs === undefined ? {} : { lifetimeMs: options.caLifetimeMs }),
  });
  const caFile = join(folder, 'ca.crt');
  await writeFile(caFile, ca.authorityPem);
  return {
    ca,
    folder,
    caFile,
    async issue(name, { now: issuedAt = new Date(), caFile: trusted = caFile, ...request } = {}) {
      const { certPem, keyPem } = await ca.issue(
        {
          commonName: name,
          dnsNames: [name, 'localhost'],
          ipAddresses: ['127.0.0.1'],
          uris: [formatSpiffeIdentity({ globalCluster, group, name })],
          usages: ['server', 'client'],
          lifetimeMs: 3_600_000,
          ...request,
        },
        issuedAt,
      );
      const certFile = join(folder, `${name}.crt`);
      const keyFile = join(folder, `${name}.key`);
      await writeFile(certFile, certPem);
      await writeFile(keyFile, keyPem, { mode: 0o600 });
      return { certFile, keyFile, caFile: trusted };
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
