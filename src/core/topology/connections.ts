/** How applications connect: by the global names, by a group's names, and to all groups in turn (requirements A9, A11, D4). */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import type { NamingContext } from './certificate-names.ts';
import { fqdn, nodeName, POSTGRES_PORT, readService, writeService } from './names.ts';
import type { ConnectionPlan } from './plan-types.ts';
import { resolveShared } from './shared-settings.ts';

/** By the names that survive the loss of a group. Without any proxy there is nothing but the nodes themselves. */
export function globalConnections(groups: readonly PostgresGroup[], naming: NamingContext): ConnectionPlan[] {
  const entries = groups.filter(hasProxies);
  const common = commonPart(groups);
  const writeHosts = unique(entries.map((group) => clientHost(writeService(naming.globalCluster), group, naming)));
  const readHosts = unique(
    entries.filter(hasReads).map((group) => clientHost(readService(naming.globalCluster), group, naming)),
  );
  return [
    ...(writeHosts.length > 0 ? [connection('write', writeHosts.slice(0, 1), 'read-write', common)] : []),
    ...(readHosts.length > 0 ? [connection('read', readHosts.slice(0, 1), 'any', common)] : []),
    connection('failover', nodeHosts(groups, naming), 'read-write', common),
  ];
}

/** By the names of one group: its proxies reach the same leader. */
export function groupConnections(
  group: PostgresGroup,
  groups: readonly PostgresGroup[],
  naming: NamingContext,
): ConnectionPlan[] {
  if (!hasProxies(group)) return [];
  const common = commonPart(groups);
  const host = (service: string) => [clientHost(service, group, naming)];
  return [
    connection('write', host(writeService(group.metadata.name)), 'read-write', common),
    ...(hasReads(group) ? [connection('read', host(readService(group.metadata.name)), 'any', common)] : []),
  ];
}

/** The name that clients of a group are given for a service (C2). `x.<ns>.svc` works from every namespace of the cluster. */
export function clientHost(service: string, group: PostgresGroup, _naming: NamingContext): string {
  const { clientTrafficStrategy, dns } = group.spec.connectivity;
  return clientTrafficStrategy === 'FQDN' ? fqdn(service, dns) : `${service}.${group.metadata.namespace}.svc`;
}

function nodeHosts(groups: readonly PostgresGroup[], naming: NamingContext): string[] {
  return groups
    .filter((group) => group.spec.role === 'readWrite')
    .flatMap((group) =>
      Array.from({ length: group.spec.instances }, (_, index) =>
        clientHost(nodeName(group.metadata.name, index + 1), group, naming),
      ),
    );
}

type Common = Pick<ConnectionPlan, 'port' | 'database' | 'user' | 'sslmode'>;

function commonPart(groups: readonly PostgresGroup[]): Common {
  const { database, owner } = resolveShared(groups).bootstrap;
  return { port: POSTGRES_PORT, database, user: owner, sslmode: 'verify-full' };
}

function connection(
  purpose: ConnectionPlan['purpose'],
  hosts: readonly string[],
  targetSessionAttrs: ConnectionPlan['targetSessionAttrs'],
  common: Common,
): ConnectionPlan {
  return { purpose, hosts, ...common, targetSessionAttrs };
}

function hasProxies({ spec }: PostgresGroup): boolean {
  return spec.instances > 0 && spec.proxySettings.instances > 0;
}

function hasReads(group: PostgresGroup): boolean {
  return hasProxies(group) && group.spec.proxySettings.enableReadNodeRouting;
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)];
}
