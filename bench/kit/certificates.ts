/** Certificates for the servers of a benchmark: one authority, one server key for all of them. Made with openssl. */
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { run } from './processes.ts';

export interface CertificateFiles {
  readonly ca: string;
  readonly certificate: string;
  /** Readable by `postgres` only. */
  readonly key: string;
}

/** ECDSA P-256, as ours; `names` become the DNS names of the server's certificate. */
export async function makeCertificates(folder: string, names: readonly string[]): Promise<CertificateFiles> {
  mkdirSync(folder, { recursive: true });
  const files = {
    ca: join(folder, 'ca.crt'),
    certificate: join(folder, 'server.crt'),
    key: join(folder, 'server.key'),
  };
  const request = [
    'openssl',
    'req',
    '-x509',
    '-nodes',
    '-days',
    '30',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
  ];
  const caKey = join(folder, 'ca.key');
  await run([...request, '-subj', '/CN=benchmark', '-keyout', caKey, '-out', files.ca]);
  const extension = `subjectAltName=${names.map((name) => `DNS:${name}`).join(',')}`;
  const signed = ['-CA', files.ca, '-CAkey', caKey, '-addext', extension, '-subj', `/CN=${names[0]}`];
  await run([...request, ...signed, '-keyout', files.key, '-out', files.certificate]);
  await run(['chown', 'postgres:postgres', files.key, files.certificate]);
  chmodSync(files.key, 0o600);
  return files;
}
