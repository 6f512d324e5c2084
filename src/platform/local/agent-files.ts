/**
 * Writes what the programs of a site read: folders, passwords, certificates and configurations. Everything comes from the
 * plan (core/topology) and from the site's placement; nothing is decided here. Idempotent.
 */
import { randomInt } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import type { RecordServerConfig } from '../../api/record-server-config.ts';
import { UserError } from '../../base/user-error.ts';
import { type NodePlacement, renderInstanceConfig, renderProxyConfig } from '../../core/topology/agent-config.ts';
import { formatPgpass } from '../../core/connection/formats.ts';
import { allConnectionHosts, type ConnectionPlaces } from '../../core/connection/select.ts';
import { SUPERUSER } from '../../core/topology/names.ts';
import type { GlobalPlan, GroupPlan } from '../../core/topology/plan-types.ts';
import { replicationFilesIn, writeCertificates, writeOwned } from './certificates.ts';
import { PORTS, storeConfig } from './placement.ts';
import {
  appPasswordFile,
  changeSite,
  clientFolder,
  configFile,
  dataDirectory,
  etcdFolder,
  type LocalSite,
  nodeFolder,
  passfile,
  postgresLogFile,
  proxyFolder,
  recordFolder,
  runtimeDirectory,
  stateDirectory,
  superuserPasswordFile,
  tlsFilesIn,
} from './site.ts';
import { etcdRunAs, makeFolderFor } from './users.ts';

/** Linux' sun_path holds 108 bytes with the closing zero (unix(7)); PostgreSQL's socket is `.s.PGSQL.5432`. */
const SOCKET_PATH_BYTES_MAX = 107;

/** 142 bits. Letters and digits only: it is pasted into URIs, shells and files of all kinds. */
function newPassword(): string {
  return Array.from({ length: 24 }, () => PASSWORD_LETTERS[randomInt(PASSWORD_LETTERS.length)]).join('');
}

const PASSWORD_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

export interface WrittenFiles {
  /** Its generation has grown by one if any file changed. */
  readonly site: LocalSite;
  /** When the next certificate is due, in milliseconds of Date. */
  readonly certificatesDueAtMs: number;
}

/** Writes all files. */
export async function writeAgentFiles(site: LocalSite, plan: GlobalPlan, now: Date): Promise<WrittenFiles> {
  makeFolders(site);
  const passwordFile = appPasswordFile(site);
  if (!existsSync(passwordFile)) writeOwned(null, passwordFile, newPassword());
  const superuserFile = superuserPasswordFile(site);
  if (hasSuperuserAccess(plan) && !existsSync(superuserFile)) writeOwned(null, superuserFile, newPassword());
  writeOwned(null, passfile(site), passfileText(site, plan));
  const { changed, dueAtMs: certificatesDueAtMs } = await writeCertificates(site, plan, now);
  const next = changeSite(site, { generation: site.state.generation + 1 });
  // A file that differs from what is there by its generation only has not changed.
  if (!changed && !configFiles(site, plan).some(({ path, text }) => differs(path, text)))
    return { site: changeSite(next, { generation: site.state.generation }), certificatesDueAtMs };
  for (const { path, text } of configFiles(next, plan)) writeOwned(site.state.user, path, text);
  return { site: next, certificatesDueAtMs };
}

function makeFolders(site: LocalSite): void {
  const { user, nodes, proxies, runtimeDirectory: runtime, recordAddress, etcd } = site.state;
  makeFolderFor(null, site.folder, 0o711);
  for (const name of ['nodes', 'proxies']) makeFolderFor(null, join(site.folder, name), 0o711);
  makeFolderFor(null, clientFolder(site), 0o700);
  makeFolderFor(null, runtime, 0o711);
  for (const { name } of nodes) {
    makeFolderFor(null, nodeFolder(site, name), 0o711);
    makeFolderFor(user, runtimeDirectory(site, name), 0o700);
    assertSocketPathFits(runtimeDirectory(site, name));
    // The folder is not the user's, so it finds its log there; the disk of the node may be full when it is needed.
    const log = postgresLogFile(site, name);
    if (!existsSync(log)) writeOwned(user, log, '');
  }
  for (const { name } of proxies) makeFolderFor(null, proxyFolder(site, name), 0o755);
  if (recordAddress !== null) {
    makeFolderFor(null, recordFolder(site), 0o711);
    makeFolderFor(user, join(recordFolder(site), 'data'), 0o700);
  }
  for (const member of etcd) {
    makeFolderFor(null, join(site.folder, 'etcd'), 0o711);
    makeFolderFor(null, etcdFolder(site, member.name), 0o711);
    makeFolderFor(etcdRunAs(user, member), join(etcdFolder(site, member.name), 'data'), 0o700);
  }
}

function passfileText(site: LocalSite, plan: GlobalPlan): string {
  const { database, owner } = (plan.groups[0] as GroupPlan).bootstrap;
  const hosts = allConnectionHosts(connectionPlaces(site, plan));
  const read = (file: string) => readFileSync(file, 'utf8').trimEnd();
  const lines = [formatPgpass({ hosts, database, user: owner, password: read(appPasswordFile(site)) })];
  if (hasSuperuserAccess(plan))
    lines.push(formatPgpass({ hosts, database: '*', user: SUPERUSER, password: read(superuserPasswordFile(site)) }));
  return `${lines.join('\n')}\n`;
}

function hasSuperuserAccess(plan: GlobalPlan): boolean {
  return plan.groups.some(({ bootstrap }) => bootstrap.superuserAccess);
}

/** Where clients of the site find what they want. */
export function connectionPlaces({ state }: LocalSite, plan: GlobalPlan): ConnectionPlaces {
  return {
    plan,
    nodes: state.nodes,
    proxies: state.proxies.map(({ group, writeAddress, readAddress }) => ({
      group,
      write: writeAddress,
      read: readAddress ?? undefined,
    })),
  };
}

function configFiles(site: LocalSite, plan: GlobalPlan): { path: string; text: string }[] {
  const { state } = site;
  const nodes = Object.fromEntries(
    state.nodes.map(({ name, address }): [string, NodePlacement] => [
      name,
      { address, postgresPort: PORTS.postgres, agentPort: PORTS.agent },
    ]),
  );
  const common = { generation: state.generation, nodes };
  const files: { path: string; value: unknown }[] = [];
  for (const { name, address } of state.nodes) {
    const folder = nodeFolder(site, name);
    // The owner's password lies a second time beside the node: its agent, another user, sets it in the first database.
    const ownerPasswordFile = join(folder, 'owner.password');
    writeOwned(state.user, ownerPasswordFile, readFileSync(appPasswordFile(site), 'utf8'));
    const superuserFile = hasSuperuserAccess(plan) ? join(folder, 'superuser.password') : null;
    if (superuserFile !== null)
      writeOwned(state.user, superuserFile, readFileSync(superuserPasswordFile(site), 'utf8'));
    const value = renderInstanceConfig(plan, name, {
      ...common,
      listen: { address, postgresPort: PORTS.postgres, agentPort: PORTS.agent, pathPort: PORTS.path },
      paths: {
        postgresBin: state.postgresBin,
        dataDirectory: dataDirectory(site, name),
        stateDirectory: stateDirectory(site, name),
        runtimeDirectory: runtimeDirectory(site, name),
        postgresLog: postgresLogFile(site, name),
      },
      tls: { ...tlsFilesIn(folder), ...replicationFilesIn(folder) },
      store: storeConfig(plan, state),
      osUser: state.user?.name ?? userInfo().username,
      ownerPasswordFile,
      superuserPasswordFile: superuserFile,
      rolePasswordFolder: folder,
    });
    files.push({ path: configFile(folder), value });
  }
  for (const { name, writeAddress, readAddress } of state.proxies) {
    const folder = proxyFolder(site, name);
    const value = renderProxyConfig(plan, name, {
      ...common,
      listen: {
        write: { address: writeAddress, port: PORTS.postgres },
        read: { address: readAddress, port: PORTS.postgres },
        health: { address: writeAddress, port: PORTS.health },
      },
      sourceAddress: writeAddress,
      tls: tlsFilesIn(folder),
    });
    files.push({ path: configFile(folder), value });
  }
  if (state.recordAddress !== null) {
    const value: RecordServerConfig = {
      globalCluster: plan.globalCluster,
      listen: { address: state.recordAddress, port: PORTS.record },
      tls: tlsFilesIn(recordFolder(site)),
      dataFile: join(recordFolder(site), 'data', 'record.json'),
    };
    files.push({ path: configFile(recordFolder(site)), value });
  }
  return files.map(({ path, value }) => ({ path, text: `${JSON.stringify(value, null, 2)}\n` }));
}

function differs(path: string, text: string): boolean {
  return !existsSync(path) || readFileSync(path, 'utf8') !== text;
}

function assertSocketPathFits(folder: string): void {
  const path = join(folder, `.s.PGSQL.${PORTS.postgres}`);
  const bytes = Buffer.byteLength(path);
  if (bytes <= SOCKET_PATH_BYTES_MAX) return;
  throw new UserError({
    code: 'SOCKET_PATH_TOO_LONG',
    kind: 'usage',
    message: `Cannot use the socket "${path}": its path has ${bytes} bytes, the system allows ${SOCKET_PATH_BYTES_MAX}`,
    todo: 'Choose shorter names for the groups, or set XDG_RUNTIME_DIR to a shorter folder.',
  });
}
