/**
 * Keeps the certificates of one program as wanted: looks, decides (core/certificates), issues, and replaces certificate,
 * key and trust bundle together. The program takes them by reload; a reader never sees a key beside another's certificate.
 *
 *   <folder>/<name>.crt, <name>.key   for each wanted certificate
 *   <folder>/ca.crt                   the trust bundle
 */
import { join } from 'node:path';
import { readAtomicFolder, writeAtomicFolder } from '../../base/atomic-folder.ts';
import {
  type CertificateDecision,
  decideCertificates,
  type FoundCertificate,
  type WantedCertificate,
} from '../../core/certificates/decide-certificates.ts';
import { observeAuthority, observeCertificate } from './observe-certificate.ts';
import type { CertificateSource } from './source.ts';

export interface CertificateFolder {
  readonly folder: string;
  readonly wanted: readonly WantedCertificate[];
  /** Of the program's group. */
  readonly source: CertificateSource;
  /** PEM of every group's CA (and of a former one until nothing signed by it is left). */
  readonly bundle: readonly string[];
  /** User of the program; default: this process'. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

export interface CertificateFolderResult {
  /** What was decided, and has been carried out. */
  readonly decisions: readonly CertificateDecision[];
  /** A file changed: the program should reload. */
  readonly changed: boolean;
}

/** Throws CertificateSourceError, and what writing a file throws; then nothing has changed. */
export async function maintainCertificateFolder(
  options: CertificateFolder,
  now: Date,
): Promise<CertificateFolderResult> {
  const { folder, wanted, source, bundle } = options;
  const authorities = [source.authorityPem, ...bundle];
  const found = new Map<string, FoundCertificate>();
  for (const { name } of wanted) found.set(name, await observeCertificate(filesOf(folder, name), authorities));
  const context = { nowMs: now.getTime(), authority: observeAuthority(source.authorityPem) };
  const decisions = decideCertificates(found, wanted, context);

  const present = await readAtomicFolder(folder);
  const files = new Map([['ca.crt', joinBundle(bundle)]]);
  for (const decision of decisions) {
    const [certName, keyName] = [`${decision.name}.crt`, `${decision.name}.key`];
    if (decision.kind === 'issue') {
      const issued = await source.issue(decision.request, now);
      files.set(certName, issued.certPem).set(keyName, issued.keyPem);
    } else {
      files.set(certName, present.get(certName) as string).set(keyName, present.get(keyName) as string);
    }
  }
  const changed = await writeAtomicFolder(folder, files, options.owner === undefined ? {} : { owner: options.owner });
  return { decisions, changed };
}

/** One PEM text of all authorities, each once, in the order given. */
export function joinBundle(authorities: readonly string[]): string {
  return [...new Set(authorities.map((pem) => `${pem.trim()}\n`))].join('');
}

function filesOf(folder: string, name: string): { certFile: string; keyFile: string } {
  return { certFile: join(folder, `${name}.crt`), keyFile: join(folder, `${name}.key`) };
}
