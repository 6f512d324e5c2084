/**
 * One local site as the other files of this folder see it: its state, and where each thing of it lies.
 * The layout is described in site-state.ts; nobody else joins these paths.
 */
import { join } from 'node:path';
import type { TlsFiles } from '../../base/mutual-tls.ts';
import { findSiteProcesses, type SiteMarks, type SiteProcess } from './processes.ts';
import { requireSiteState, type SiteNode, type SiteState, writeSiteState } from './site-state.ts';
import type { Volume } from './volumes.ts';

export interface LocalSite {
  readonly folder: string;
  readonly state: SiteState;
}

/** Throws UserError NO_SITE, STATE_UNREADABLE. */
export function openSite(folder: string): LocalSite {
  return { folder, state: requireSiteState(folder) };
}

/** Writes a changed state. @returns the site with it. */
export function changeSite(site: LocalSite, change: Partial<SiteState>): LocalSite {
  const state = { ...site.state, ...change };
  writeSiteState(site.folder, state);
  return { folder: site.folder, state };
}

export const nodeFolder = (site: LocalSite, node: string): string => join(site.folder, 'nodes', node);
export const proxyFolder = (site: LocalSite, proxy: string): string => join(site.folder, 'proxies', proxy);
export const recordFolder = (site: LocalSite): string => join(site.folder, 'record');
export const etcdFolder = (site: LocalSite, member: string): string => join(site.folder, 'etcd', member);
export const authorityFolder = (site: LocalSite, group: string): string => join(site.folder, 'authorities', group);
export const clientFolder = (site: LocalSite): string => join(site.folder, 'client');
export const dataDirectory = (site: LocalSite, node: string): string => join(nodeFolder(site, node), 'volume', 'data');
export const stateDirectory = (site: LocalSite, node: string): string =>
  join(nodeFolder(site, node), 'volume', 'state');
export const runtimeDirectory = (site: LocalSite, node: string): string => join(site.state.runtimeDirectory, node);

/** Configuration of a program, in its folder. */
export const configFile = (folder: string): string => join(folder, 'config.json');
/** Output of the agent of a node, of a proxy, of the record or of a member of etcd, in its folder. */
export const programLogFile = (folder: string): string => join(folder, 'agent.log');
export const keeperLogFile = (site: LocalSite): string => join(site.folder, 'keeper.log');
export const postgresLogFile = (site: LocalSite, node: string): string => join(nodeFolder(site, node), 'postgres.log');
/** The password of the application's user, owner-only, for the person at the terminal; and in libpq's form, for each name and address. */
export const appPasswordFile = (site: LocalSite): string => join(clientFolder(site), 'app.password');
/** The password of `postgres` over the network, where a manifest enables that (enableSuperuserAccess). */
export const superuserPasswordFile = (site: LocalSite): string => join(clientFolder(site), 'superuser.password');
export const passfile = (site: LocalSite): string => join(clientFolder(site), 'pgpass');
/** The trust bundle for clients, whoever they run as: it holds no secret. */
export const trustBundleFile = (site: LocalSite): string => join(site.folder, 'ca.crt');

/** Certificate, key and trust bundle of the program in this folder. */
export function tlsFilesIn(folder: string): TlsFiles {
  const tls = join(folder, 'tls');
  return { certFile: join(tls, 'tls.crt'), keyFile: join(tls, 'tls.key'), caFile: join(tls, 'ca.crt') };
}

export function volumeOf(site: LocalSite, node: Pick<SiteNode, 'name' | 'volume'>): Volume {
  const folder = nodeFolder(site, node.name);
  return { kind: node.volume, path: join(folder, 'volume'), image: join(folder, 'volume.img') };
}

export function marksOf(site: LocalSite): SiteMarks {
  return {
    siteId: site.state.siteId,
    nodes: site.state.nodes.map(({ name }) => ({
      name,
      dataDirectory: dataDirectory(site, name),
      runtimeDirectory: runtimeDirectory(site, name),
    })),
  };
}

export function processesOf(site: LocalSite): SiteProcess[] {
  return findSiteProcesses(marksOf(site));
}
