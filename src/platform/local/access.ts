/** A local site as the verbs see it (ports.ts). */
import { readFile } from 'node:fs/promises';
import { recordService } from '../../core/topology/names.ts';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import type { GroupPlan } from '../../core/topology/plan-types.ts';
import type { ClusterAccess } from '../ports.ts';
import { isStopped } from './faults/signals.ts';
import { isPartOfTarget, parseTarget } from './faults/targets.ts';
import { publishedAddresses } from './placement.ts';
import {
  appPasswordFile,
  clientFolder,
  type LocalSite,
  nodeFolder,
  openSite,
  passfile,
  postgresLogFile,
  processesOf,
  programLogFile,
  proxyFolder,
  recordFolder,
  tlsFilesIn,
  trustBundleFile,
} from './site.ts';
import { siteGroups } from './site-state.ts';

/** Throws UserError NO_SITE, STATE_UNREADABLE. */
export function openLocalAccess(folder: string): ClusterAccess {
  const site = openSite(folder);
  const { state } = site;
  const { ports } = state;
  const groups = siteGroups(state);
  const plan = planGlobalCluster(groups, {
    postgresMajor: state.postgresMajor,
    published: publishedAddresses(state),
    ...(state.user === null ? {} : { osUser: state.user.name }),
  });
  const faultsOf = faultFinder(site);
  return {
    platform: 'local',
    groups,
    plan,
    nodes: state.nodes.map(({ name, group, address }) => ({
      name,
      group,
      agent: { host: name, address, port: ports.agent },
      postgres: { host: name, address, port: ports.postgres },
      ...faultsOf(name, `${name}/agent`),
    })),
    proxies: state.proxies.map(({ name, group, writeAddress, readAddress }) => ({
      name,
      group,
      write: { host: name, address: writeAddress, port: ports.postgres },
      read: readAddress === null ? null : { host: name, address: readAddress, port: ports.postgres },
      health: { host: name, address: writeAddress, port: ports.health },
      ...faultsOf(name, name),
    })),
    record:
      state.recordAddress === null
        ? null
        : { host: recordService(plan.globalCluster), address: state.recordAddress, port: ports.record },
    credentials: tlsFilesIn(clientFolder(site)),
    application: (plan.groups[0] as GroupPlan).bootstrap,
    trustBundle: trustBundleFile(site),
    applicationPassword: async () => (await readFile(appPasswordFile(site), 'utf8')).trimEnd(),
    applicationPasswordFile: appPasswordFile(site),
    passfile: passfile(site),
    postgresBin: state.postgresBin,
    postgresMajor: state.postgresMajor,
    logFiles: (target) => logFilesOf(site, target),
  };
}

function logFilesOf(site: LocalSite, text: string): { part: string; path: string }[] {
  const { state } = site;
  const target = parseTarget(state, text);
  const all = [
    ...state.nodes.flatMap(({ name }) => [
      { part: `${name}/agent`, path: programLogFile(nodeFolder(site, name)) },
      { part: `${name}/postgres`, path: postgresLogFile(site, name) },
    ]),
    ...state.proxies.map(({ name }) => ({ part: name, path: programLogFile(proxyFolder(site, name)) })),
    { part: 'record', path: programLogFile(recordFolder(site)) },
  ];
  // The watchdog writes into its agent's log.
  const meant =
    target.kind === 'part' && target.part === 'watchdog' ? parseTarget(state, `${target.node}/agent`) : target;
  return all.filter(({ part }) => isPartOfTarget(state, meant, part));
}

function faultFinder(site: LocalSite): (name: string, part: string) => { isRunning: boolean; faults: string[] } {
  const { state } = site;
  const processes = processesOf(site);
  const cuts = state.faults.cut.map((text) => parseTarget(state, text));
  return (name, part) => {
    const own = processes.filter((process) => process.part.split('/')[0] === name);
    const cut = cuts.filter((target) =>
      isPartOfTarget(state, target, target.kind === 'part' ? `${name}/${target.part}` : name),
    );
    const faults = [
      ...cut.map((target) => (target.kind === 'part' ? `${target.part} cut off` : 'cut off')),
      ...(own.some(isStopped) ? ['frozen'] : []),
      ...(state.faults.fullDisk.includes(name) ? ['disk full'] : []),
      ...(state.faults.slowDisk.includes(name) ? ['disk slow'] : []),
    ];
    return { isRunning: own.some((process) => process.part === part), faults };
  };
}
