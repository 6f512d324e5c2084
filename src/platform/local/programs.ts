/**
 * Starts the programs of a site that do not run, and tells running ones to read their files again: the record's process or the
 * members of etcd first, then agents, then proxies.
 */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../../base/user-error.ts';
import { agentProgram } from '../program.ts';
import { type EtcdMember, etcdArguments } from './etcd-member.ts';
import { launchProgram, type LaunchOptions, LAUNCH_PATH } from './launch.ts';
import { signalProcess } from './processes.ts';
import {
  configFile,
  etcdFolder,
  type LocalSite,
  nodeFolder,
  processesOf,
  programLogFile,
  proxyFolder,
  recordFolder,
  tlsFilesIn,
} from './site.ts';

/** What is started: `record`, `leo-etcd`, `leo-1/agent`, `leo-proxy-1`; with the folder of its log. */
interface Start extends Pick<LaunchOptions, 'part' | 'program' | 'args'> {
  readonly folder: string;
  /** Default: the site's user. */
  readonly uid?: number;
}

/** The programs that a site shall have, in the order of their start. */
export function partsOf({ state }: LocalSite): string[] {
  return [
    ...storePartsOf(state),
    ...state.nodes.map(({ name }) => `${name}/agent`),
    ...state.proxies.map(({ name }) => name),
  ];
}

function storePartsOf({ recordAddress, etcd }: LocalSite['state']): string[] {
  return [...(recordAddress === null ? [] : ['record']), ...etcd.map(({ name }) => name)];
}

/** @returns the parts that were started. Throws UserError ETCD_MISSING. */
export async function startPrograms(site: LocalSite): Promise<string[]> {
  const { siteId, user } = site.state;
  const running = new Set(processesOf(site).map(({ part }) => part));
  const starts = (await allStarts(site)).filter(({ part }) => !running.has(part));
  for (const { part, program, args, folder, uid } of starts) {
    const runAs = uid === undefined ? user : { name: part, uid, gid: uid };
    await launchProgram({ siteId, part, program, args, logFile: programLogFile(folder), user: runAs });
  }
  return starts.map(({ part }) => part);
}

async function allStarts(site: LocalSite): Promise<Start[]> {
  const { nodes, proxies, recordAddress } = site.state;
  const [agent, proxy] = await Promise.all([agentProgram('agent'), agentProgram('proxy')]);
  const ofFile = (part: string, verb: string, folder: string, program = agent): Start => ({
    part,
    program,
    args: [verb, '--config', configFile(folder)],
    folder,
  });
  return [
    ...(recordAddress === null ? [] : [ofFile('record', 'record-server', recordFolder(site))]),
    ...etcdStarts(site),
    ...nodes.map(({ name }) => ofFile(`${name}/agent`, 'instance', nodeFolder(site, name))),
    ...proxies.map(({ name }) => ofFile(name, 'proxy', proxyFolder(site, name), proxy)),
  ];
}

function etcdStarts(site: LocalSite): Start[] {
  const { siteId, etcd, ports } = site.state;
  if (etcd.length === 0) return [];
  const program = { node: findEtcd(), args: [], env: {} };
  const members = etcd.map(
    ({ name, address }): EtcdMember => ({
      name,
      address,
      clientPort: ports.etcdClient,
      peerPort: ports.etcdPeer,
      dataDirectory: join(etcdFolder(site, name), 'data', 'member'),
    }),
  );
  const tls = new Map(etcd.map(({ name }) => [name, tlsFilesIn(etcdFolder(site, name))]));
  return etcd.map(({ name, uid }, index) => ({
    part: name,
    program,
    args: etcdArguments({ token: `pgspan-${siteId}`, members, tls }, members[index] as EtcdMember),
    folder: etcdFolder(site, name),
    ...(uid === null ? {} : { uid }),
  }));
}

/** Absolute path of the program, where launched programs find theirs. Throws UserError ETCD_MISSING. */
export function findEtcd(): string {
  for (const folder of LAUNCH_PATH.split(':')) {
    const path = join(folder, 'etcd');
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here.
    }
  }
  throw new UserError({
    code: 'ETCD_MISSING',
    kind: 'missing',
    message: `Cannot run members of etcd: the program "etcd" is in none of ${LAUNCH_PATH}`,
    todo: 'Install etcd 3.4 or later (Debian package etcd-server); or name an etcd of yours in `.spec.coordination.etcd.endpoints`; or leave `.spec.coordination.store` out.',
  });
}

/** SIGHUP: agents, proxies and the record read their files again. Members of etcd do so with each handshake, and would end. */
export function reloadPrograms(site: LocalSite): void {
  const members = new Set(site.state.etcd.map(({ name }) => name));
  const parts = new Set(partsOf(site).filter((part) => !members.has(part)));
  for (const process of processesOf(site)) if (parts.has(process.part)) signalProcess(process, 'SIGHUP');
}
