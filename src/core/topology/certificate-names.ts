/**
 * Which names a certificate carries: every one that the system publishes and that may end at its holder (requirement B6).
 *
 * TLS runs end to end from a client through any group's proxy to PostgreSQL. So a client that connects to group ait's name
 * may end at node leo-1, and verifies `ait` there: every node carries the routed names of *all* groups, beside its own.
 */
import { isIP } from 'node:net';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { type CertificateRequest, LEAF_LIFETIME_MS } from '../certificates/certificate-request.ts';
import {
  discoveryService,
  fqdn,
  identityUri,
  proxyName,
  REPLICATION_USER,
  readService,
  serviceNames,
  writeService,
} from './names.ts';

export interface NamingContext {
  readonly globalCluster: string;
  readonly groups: readonly PostgresGroup[];
  readonly clusterDomain: string;
  /** As PlanOptions.published. */
  readonly published: Readonly<Record<string, readonly string[]>>;
}

export function nodeCertificate(group: PostgresGroup, node: string, naming: NamingContext): CertificateRequest {
  const own = [node, discoveryService(group.metadata.name)];
  const names = own.flatMap((service) => [...namesOf(service, group, naming), ...publishedOf(service, naming)]);
  for (const other of naming.groups) {
    const isReadPublished = other.spec.proxySettings.enableReadNodeRouting;
    for (const name of [other.metadata.name, naming.globalCluster]) {
      const services = isReadPublished ? [writeService(name), readService(name)] : [writeService(name)];
      for (const service of services) names.push(...namesOf(service, other, naming), ...publishedOf(service, naming));
    }
    // Clients that resolve nothing dial a proxy by its address.
    for (let ordinal = 1; ordinal <= other.spec.proxySettings.instances; ordinal++) {
      names.push(...publishedOf(proxyName(other.metadata.name, ordinal), naming));
    }
  }
  if (group.spec.connectivity.tls.serverCert.certManager !== undefined) {
    names.push(...group.spec.connectivity.tls.serverCert.certManager.altDnsNames);
  }
  return request(node, names, identityUri(naming.globalCluster, group.metadata.name, node));
}

/** A proxy terminates no client's TLS: its certificate is for its health endpoint and for the streams of agents. */
export function proxyCertificate(group: PostgresGroup, proxy: string, naming: NamingContext): CertificateRequest {
  return request(
    proxy,
    [proxy, ...publishedOf(proxy, naming)],
    identityUri(naming.globalCluster, group.metadata.name, proxy),
  );
}

/** PostgreSQL compares the CN with the user; it is nobody's identity among agents, so there is no URI. */
export function replicationCertificate(): CertificateRequest {
  return {
    commonName: REPLICATION_USER,
    dnsNames: [],
    ipAddresses: [],
    uris: [],
    usages: ['client'],
    lifetimeMs: LEAF_LIFETIME_MS,
  };
}

/** Server for the agents and the other members, client of these. */
export function etcdCertificate(group: PostgresGroup, member: string, naming: NamingContext): CertificateRequest {
  const names = [...namesOf(member, group, naming), ...publishedOf(member, naming)];
  return request(member, names, identityUri(naming.globalCluster, group.metadata.name, member));
}

function namesOf(service: string, group: PostgresGroup, { clusterDomain }: NamingContext): string[] {
  const { dns } = group.spec.connectivity;
  return [
    ...serviceNames(service, group.metadata.namespace, clusterDomain),
    ...[dns, ...dns.additional].map((entry) => fqdn(service, entry)),
  ];
}

function publishedOf(name: string, { published }: NamingContext): readonly string[] {
  return published[name] ?? [];
}

function request(commonName: string, names: readonly string[], uri: string): CertificateRequest {
  const unique = [...new Set(names)];
  return {
    commonName,
    dnsNames: unique.filter((name) => isIP(name) === 0),
    ipAddresses: unique.filter((name) => isIP(name) !== 0),
    uris: [uri],
    usages: ['server', 'client'],
    lifetimeMs: LEAF_LIFETIME_MS,
  };
}
