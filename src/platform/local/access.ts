/** A local site as the verbs see it (ports.ts). */
import { readFile } from 'node:fs/promises';
import { recordService } from '../../core/topology/names.ts';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import type { GlobalPlan, GroupPlan } from '../../core/topology/plan-types.ts';
import type { DialTarget, TlsFiles } from '../../base/mutual-tls.ts';
import type { ClusterAccess, LogSource } from '../ports.ts';
import { vantageHere } from '../vantage.ts';
import { readLogFile } from './log-files.ts';
import { isStopped } from './faults/signals.ts';
import { isPartOfTarget, parseTarget } from './faults/targets.ts';
import { publishedAddresses } from './placement.ts';
import {
  appPasswordFile,
  clientFolder,
  etcdFolder,
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

/** A site's files may be used as they are: everything is on this machine. */
export interface LocalAccess extends ClusterAccess {
  /** Certificate of the person at the terminal, whom the agents obey. Absolute paths. */
  readonly credentials: TlsFiles;
  /** The record's own server, or null: an etcd keeps it. */
  readonly record: DialTarget | null;
  /** Absolute path of the trust bundle for clients; everybody may read it. */
  readonly trustBundle: string;
  /** Absolute path of a file that holds the application's password alone. */
  readonly applicationPasswordFile: string;
}

/** The plan that the site runs. Throws UserError STATE_UNREADABLE. */
export function planOfSite({ state }: LocalSite): GlobalPlan {
  return planGlobalCluster(siteGroups(state), {
    postgresMajor: state.postgresMajor,
    published: publishedAddresses(state),
    ...(state.user === null ? {} : { osUser: state.user.name }),
  });
}

/** Throws UserError NO_SITE, STATE_UNREADABLE. */
export function openLocalAccess(folder: string): LocalAccess {
  const site = openSite(folder);
  const { state } = site;
  const { ports } = state;
  const groups = siteGroups(state);
  const plan = planOfSite(site);
  const faultsOf = faultFinder(site);
  const application = (plan.groups[0] as GroupPlan).bootstrap;
  const password = async () => (await readFile(appPasswordFile(site), 'utf8')).trimEnd();
  const nodes = state.nodes.map(({ name, group, address }) => ({
    name,
    group,
    agent: { host: name, address, port: ports.agent },
    postgres: { host: name, address, port: ports.postgres },
    ...faultsOf(name, `${name}/agent`),
  }));
  const proxies = state.proxies.map(({ name, group, writeAddress, readAddress }) => ({
    name,
    group,
    write: { host: name, address: writeAddress, port: ports.postgres },
    read: readAddress === null ? null : { host: name, address: readAddress, port: ports.postgres },
    health: { host: name, address: writeAddress, port: ports.health },
    ...faultsOf(name, name),
  }));
  const vantage = vantageHere({
    name: 'here',
    credentials: tlsFilesIn(clientFolder(site)),
    trustBundle: trustBundleFile(site),
    database: application.database,
    user: application.owner,
    password,
  });
  return {
    platform: 'local',
    groups,
    plan,
    nodes,
    proxies,
    vantage,
    vantagePlan: plan,
    // The vantage is here already.
    entries: [],
    balancers: [],
    unanswered: [],
    stored: [],
    published: (group, service) => addressesOf(state, plan, { group, service }),
    examineEntries: async () => [],
    startHint: '`pgspan local up` starts it',
    ways: [
      {
        from: 'here',
        places: {
          plan,
          nodes: nodes.map(({ name, group, postgres }) => ({ name, group, address: postgres.address })),
          proxies: proxies.map(({ group, write, read }) => ({ group, write: write.address, read: read?.address })),
        },
        sslRootCert: trustBundleFile(site),
        passfile: passfile(site),
      },
    ],
    record:
      state.recordAddress === null
        ? null
        : { host: recordService(plan.globalCluster), address: state.recordAddress, port: ports.record },
    credentials: tlsFilesIn(clientFolder(site)),
    application,
    trustBundle: trustBundleFile(site),
    applicationPassword: password,
    applicationPasswordFile: appPasswordFile(site),
    postgresBin: state.postgresBin,
    postgresMajor: state.postgresMajor,
    logs: async (target) => logsOf(site, target),
  };
}

/** A node's own address; of the names on proxies those of all of the group's. */
function addressesOf(
  { nodes, proxies }: LocalSite['state'],
  plan: GlobalPlan,
  { group, service }: { readonly group: string; readonly service: string },
): string[] {
  const kind = plan.groups.find(({ name }) => name === group)?.services.find(({ name }) => name === service)?.kind;
  const own = proxies.filter((proxy) => proxy.group === group);
  switch (kind) {
    case 'node':
      return nodes.filter(({ name }) => name === service).map(({ address }) => address);
    case 'write':
    case 'global-write':
      return own.map(({ writeAddress }) => writeAddress);
    case 'read':
    case 'global-read':
      return own.flatMap(({ readAddress }) => readAddress ?? []);
    default:
      return [];
  }
}

function logsOf(site: LocalSite, text: string): LogSource[] {
  const { state } = site;
  const target = parseTarget(state, text);
  const all = [
    ...state.nodes.flatMap(({ name }) => [
      { part: `${name}/agent`, path: programLogFile(nodeFolder(site, name)) },
      { part: `${name}/postgres`, path: postgresLogFile(site, name) },
    ]),
    ...state.proxies.map(({ name }) => ({ part: name, path: programLogFile(proxyFolder(site, name)) })),
    { part: 'record', path: programLogFile(recordFolder(site)) },
    ...state.etcd.map(({ name }) => ({ part: name, path: programLogFile(etcdFolder(site, name)) })),
  ];
  // The watchdog writes into its agent's log.
  const meant =
    target.kind === 'part' && target.part === 'watchdog' ? parseTarget(state, `${target.node}/agent`) : target;
  return all
    .filter(({ part }) => isPartOfTarget(state, meant, part))
    .map(({ part, path }) => ({ part, read: (options) => readLogFile(path, options) }));
}

function faultFinder(site: LocalSite): (name: string, part: string) => { absence: string | null; faults: string[] } {
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
    const isRunning = own.some((process) => process.part === part);
    return { absence: isRunning ? null : 'it is not running', faults };
  };
}
