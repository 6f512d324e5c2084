/**
 * A site's certificates from the built-in CA: one CA per group, as in one Kubernetes cluster each, and one trust bundle
 * for all. What exists and still fits is kept (core/certificates decides); the agents take renewed files on SIGHUP.
 */
import { chmodSync, chownSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CertificateRequest, LEAF_LIFETIME_MS } from '../../core/certificates/certificate-request.ts';
import {
  type CertificateDecision,
  RENEW_AT_LIFE_LEFT,
  type WantedCertificate,
} from '../../core/certificates/decide-certificates.ts';
import { identityUri, recordService } from '../../core/topology/names.ts';
import type { GlobalPlan } from '../../core/topology/plan-types.ts';
import { type BuiltInCa, createBuiltInCa, loadBuiltInCa } from '../certificates/built-in-ca.ts';
import { joinBundle, maintainCertificateFolder } from '../certificates/certificate-folder.ts';
import {
  authorityFolder,
  clientFolder,
  etcdFolder,
  type LocalSite,
  nodeFolder,
  proxyFolder,
  recordFolder,
  trustBundleFile,
} from './site.ts';
import { etcdRunAs, makeFolderFor, type RunAs } from './users.ts';

export function replicationFilesIn(folder: string): { replicationCertFile: string; replicationKeyFile: string } {
  return {
    replicationCertFile: join(folder, 'tls/replication.crt'),
    replicationKeyFile: join(folder, 'tls/replication.key'),
  };
}

export interface WrittenCertificates {
  /** A file changed. */
  readonly changed: boolean;
  /** When time alone makes the next one due, in milliseconds of Date. */
  readonly dueAtMs: number;
}

/** Makes or renews every certificate of the site that is due. */
export async function writeCertificates(site: LocalSite, plan: GlobalPlan, now: Date): Promise<WrittenCertificates> {
  const authorities = new Map<string, BuiltInCa>();
  for (const { name } of plan.groups) authorities.set(name, await openAuthority(site, plan.globalCluster, name, now));
  const bundle = [...authorities.values()].map(({ authorityPem }) => authorityPem);
  let changed = false;
  let dueAtMs = Number.POSITIVE_INFINITY;
  for (const { folder, group, owner, wanted } of holdersOf(site, plan)) {
    const result = await maintainCertificateFolder(
      {
        folder: join(folder, 'tls'),
        wanted,
        source: authorities.get(group) as BuiltInCa,
        bundle,
        ...(owner === null ? {} : { owner }),
      },
      now,
    );
    changed = result.changed || changed;
    for (const decision of result.decisions) dueAtMs = Math.min(dueAtMs, nextDueMs(decision, now));
  }
  writePublic(trustBundleFile(site), joinBundle(bundle));
  return { changed, dueAtMs };
}

function nextDueMs(decision: CertificateDecision, now: Date): number {
  if (decision.kind === 'keep') return decision.checkAtMs;
  return now.getTime() + decision.request.lifetimeMs * (1 - RENEW_AT_LIFE_LEFT);
}

interface Holder {
  readonly folder: string;
  readonly group: string;
  readonly owner: RunAs | null;
  readonly wanted: readonly WantedCertificate[];
}

function holdersOf(site: LocalSite, plan: GlobalPlan): Holder[] {
  const { user: owner, primaryGroup, recordAddress, etcd } = site.state;
  const holders: Holder[] = plan.groups.flatMap(({ name: group, nodes, proxies }) => [
    ...nodes.map(({ name, certificate, replicationCertificate }) => ({
      folder: nodeFolder(site, name),
      group,
      owner,
      wanted: [
        { name: 'tls', request: certificate },
        { name: 'replication', request: replicationCertificate },
      ],
    })),
    ...proxies.map(({ name, certificate }) => ({
      folder: proxyFolder(site, name),
      group,
      owner,
      wanted: [{ name: 'tls', request: certificate }],
    })),
  ]);
  if (recordAddress !== null) {
    const request = programRequest(plan, primaryGroup, recordService(plan.globalCluster), [recordAddress]);
    holders.push({ folder: recordFolder(site), group: primaryGroup, owner, wanted: [{ name: 'tls', request }] });
  }
  for (const member of etcd) {
    const { name, group, address } = member;
    // Its peers compare the address that it dials from with its certificate, and on loopback that is this one.
    const request = programRequest(plan, group, name, [address, '127.0.0.1']);
    const folder = etcdFolder(site, name);
    holders.push({ folder, group, owner: etcdRunAs(owner, member), wanted: [{ name: 'tls', request }] });
  }
  // The person at the terminal: the name under which agents obey (agents/instance/peer-server.ts).
  const request = programRequest(plan, primaryGroup, `${primaryGroup}-cli`, []);
  holders.push({ folder: clientFolder(site), group: primaryGroup, owner: null, wanted: [{ name: 'tls', request }] });
  return holders;
}

async function openAuthority(site: LocalSite, globalCluster: string, group: string, now: Date): Promise<BuiltInCa> {
  const folder = authorityFolder(site, group);
  const [certFile, keyFile] = [join(folder, 'ca.crt'), join(folder, 'ca.key')];
  if (existsSync(certFile)) {
    return loadBuiltInCa({ certPem: readFileSync(certFile, 'utf8'), keyPem: readFileSync(keyFile, 'utf8') });
  }
  makeFolderFor(null, folder, 0o700);
  const authority = await createBuiltInCa({ globalCluster, group, now });
  // The key first: a certificate that is there has its key.
  writeOwned(null, keyFile, authority.keyPem);
  writeOwned(null, certFile, authority.authorityPem);
  return authority;
}

function programRequest(plan: GlobalPlan, group: string, name: string, ipAddresses: string[]): CertificateRequest {
  return {
    commonName: name,
    dnsNames: [name],
    ipAddresses,
    uris: [identityUri(plan.globalCluster, group, name)],
    usages: ['server', 'client'],
    lifetimeMs: LEAF_LIFETIME_MS,
  };
}

function writePublic(path: string, content: string): void {
  writeFileSync(`${path}.new`, content, { mode: 0o644 });
  renameSync(`${path}.new`, path);
}

/** Replaces a file as a whole, owner-only. @returns false if it already says so. */
export function writeOwned(owner: RunAs | null, path: string, content: string): boolean {
  const isSame = existsSync(path) && readFileSync(path, 'utf8') === content;
  const target = isSame ? path : `${path}.new`;
  if (!isSame) writeFileSync(target, content, { mode: 0o600 });
  chmodSync(target, 0o600);
  if (owner !== null) chownSync(target, owner.uid, owner.gid);
  if (!isSame) renameSync(target, path);
  return !isSame;
}
