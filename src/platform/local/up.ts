/**
 * `pgspan local up`: makes a site, or starts what is missing in one, and waits until it is ready.
 *
 *   manifests -> plan -> addresses -> site.json -> volumes, certificates, configurations -> processes -> ready
 *
 * site.json is written before anything that would outlive a crash (a mount, a process), so that the next `up` adopts and
 * `down` removes whatever a killed `up` has left.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { quantityBytes } from '../../api/postgres-group-values.ts';
import { UserError } from '../../base/user-error.ts';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import type { GlobalPlan } from '../../core/topology/plan-types.ts';
import type { PostgresInstallation } from '../postgres-installation.ts';
import { assertAddressesFree, chooseSubnet } from './addresses.ts';
import { writeAgentFiles } from './agent-files.ts';
import { applyCuts } from './faults/packets.ts';
import { startKeeper } from './keeper.ts';
import {
  addressCount,
  ETCD_PORTS,
  keepsOwnEtcd,
  PORTS,
  PROGRAM_PORTS,
  placedAddresses,
  placeServers,
  publishedAddresses,
  type SitePlacement,
} from './placement.ts';
import { findEtcd, reloadPrograms, startPrograms } from './programs.ts';
import { processesOf, type LocalSite, volumeOf, changeSite } from './site.ts';
import { withSiteLock } from './site-lock.ts';
import {
  NO_FAULTS,
  prepareStateFolder,
  readSiteState,
  siteGroups,
  type SiteState,
  writeSiteState,
} from './site-state.ts';
import { assertUserMayEnter, chooseRunAs, firstEtcdUid } from './users.ts';
import { openVolume, preferredVolumeKind } from './volumes.ts';

export interface UpOptions {
  readonly folder: string;
  /** null: those that the site was started with. */
  readonly groups: readonly PostgresGroup[] | null;
  readonly postgres: PostgresInstallation;
  /** `--user`, or null for the default. */
  readonly user: string | null;
  /** False: plain folders, without disk faults. */
  readonly disks: boolean;
  /** Where addresses are taken from: `127`, `127.63`, … */
  readonly addressRange: string;
}

/** What was started, by part: `record`, `leo-etcd`, `leo-1/agent`, `leo-proxy-1`. */
export interface UpResult {
  readonly site: LocalSite;
  readonly plan: GlobalPlan;
  readonly started: readonly string[];
}

/**
 * Makes and starts everything that is missing; returns as soon as the processes run (readiness.ts waits for the rest).
 * Throws UserError NO_SITE, NOT_BUILT, STATE_…, USER_…, PORT_HELD_EVERYWHERE, ADDRESS_HELD, SITE_…, VOLUME_…, ETCD_MISSING.
 */
export async function startSite(options: UpOptions): Promise<UpResult> {
  // Folders that another user must pass through are made in several places; what is secret has its mode set by name.
  const umask = process.umask(0o022);
  try {
    return await startSiteNow(options);
  } finally {
    process.umask(umask);
  }
}

async function startSiteNow(options: UpOptions): Promise<UpResult> {
  const folderMade = prepareStateFolder(options.folder);
  try {
    return await startSiteIn(options, folderMade);
  } catch (error) {
    // What was refused before anything was made leaves nothing behind.
    if (folderMade) removeIfEmpty(options.folder);
    throw error;
  }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // It holds something, or another `up` was quicker.
  }
}

function startSiteIn(options: UpOptions, folderMade: boolean): Promise<UpResult> {
  return withSiteLock(options.folder, async () => {
    const former = readSiteState(options.folder);
    const groups = options.groups ?? storedGroups(options.folder, former);
    const { site, plan } = await placeSite(options, groups, former, folderMade);
    const { site: ready, certificatesDueAtMs } = await writeAgentFiles(openVolumes(site, groups), plan, new Date());
    if (ready.state.faults.cut.length > 0) applyCuts(ready.state); // a reboot has emptied the kernel's tables
    if (ready.state.generation !== site.state.generation) reloadPrograms(ready);
    const started = await startPrograms(ready);
    await startKeeper(ready, certificatesDueAtMs);
    return { site: ready, plan, started };
  });
}

function storedGroups(folder: string, state: SiteState | null): PostgresGroup[] {
  if (state === null) {
    throw new UserError({
      code: 'NO_SITE',
      kind: 'not-found',
      message: `Cannot bring up the local site in "${folder}": there is none yet, and no manifest was given`,
      todo: 'Give a manifest: `pgspan local up -f examples/three-groups-local.yaml`.',
    });
  }
  return siteGroups(state);
}

async function placeSite(
  options: UpOptions,
  groups: readonly PostgresGroup[],
  former: SiteState | null,
  folderMade: boolean,
): Promise<{ site: LocalSite; plan: GlobalPlan }> {
  const user = former === null ? chooseRunAs(options.user) : former.user;
  const planWith = (published: Record<string, string[]>): GlobalPlan =>
    planGlobalCluster(groups, {
      postgresMajor: options.postgres.major,
      published,
      ...(user === null ? {} : { osUser: user.name }),
    });
  const draft = planWith({});
  refuseUnbuilt(draft);
  if (keepsOwnEtcd(draft)) findEtcd();
  refuseOtherCluster(draft, former);
  refuseOtherVersion(options.postgres, former);
  const subnet = former?.subnet ?? (await chooseFreeSubnet(draft, options));
  const volume = options.disks ? preferredVolumeKind() : 'folder';
  const siteId = former?.siteId ?? randomBytes(4).toString('hex');
  const etcdUid = user === null ? null : firstEtcdUid(siteId);
  const placement = placeServers(draft, subnet, former ?? NOTHING_PLACED, { volume, etcdUid });
  const state: SiteState = {
    format: 1,
    siteId,
    globalCluster: draft.globalCluster,
    primaryGroup: draft.primaryGroup,
    groups: [...groups],
    generation: former?.generation ?? 1,
    subnet,
    ports: PORTS,
    user,
    postgresBin: options.postgres.bin,
    postgresMajor: options.postgres.major,
    runtimeDirectory: former?.runtimeDirectory ?? chooseRuntimeDirectory(siteId),
    folderMade: former?.folderMade ?? folderMade,
    faults: former?.faults ?? NO_FAULTS,
    nodes: [...placement.nodes],
    proxies: [...placement.proxies],
    recordAddress: placement.recordAddress,
    etcd: [...placement.etcd],
  };
  const site = { folder: options.folder, state };
  await assertPlaceFree(site);
  // A fresh folder of root's alone becomes one that the user may pass through; its parents are not ours to change.
  if (user !== null) chmodSync(options.folder, 0o711);
  assertUserMayEnter(user, options.folder);
  writeSiteState(options.folder, state);
  return { site, plan: planWith(publishedAddresses(placement)) };
}

const NOTHING_PLACED: SitePlacement = { nodes: [], proxies: [], recordAddress: null, etcd: [] };

function refuseUnbuilt(plan: GlobalPlan): void {
  const asked = plan.notBuilt.filter(({ actor }) => actor !== 'kubernetes');
  if (asked.length === 0) return;
  throw new UserError({
    code: 'NOT_BUILT',
    kind: 'usage',
    message: `Cannot bring the site up: ${asked.map(({ group, path, message }) => `"${path}" of group "${group}": ${message}`).join('; ')}`,
    todo: 'Take these fields out of the manifests; `pgspan plan -f` marks them.',
  });
}

function refuseOtherCluster(plan: GlobalPlan, former: SiteState | null): void {
  if (former === null || former.globalCluster === plan.globalCluster) return;
  throw new UserError({
    code: 'SITE_IS_ANOTHER',
    kind: 'unsafe',
    message: `Cannot bring up "${plan.globalCluster}" here: this folder holds the site of "${former.globalCluster}"`,
    todo: 'Name another folder with --state, or remove that site first with `pgspan local down`.',
  });
}

function refuseOtherVersion(postgres: PostgresInstallation, former: SiteState | null): void {
  if (former === null || former.postgresMajor === postgres.major) return;
  throw new UserError({
    code: 'SITE_OTHER_VERSION',
    kind: 'unsafe',
    message: `Cannot bring the site up with PostgreSQL ${postgres.major}: its data was made by ${former.postgresMajor}`,
    todo: `Name the programs of PostgreSQL ${former.postgresMajor} with --postgres-bin, or start anew after \`pgspan local down\`.`,
  });
}

function chooseFreeSubnet(plan: GlobalPlan, options: UpOptions): Promise<string> {
  return chooseSubnet({
    range: options.addressRange,
    count: addressCount(plan),
    ports: [...PROGRAM_PORTS, ...(keepsOwnEtcd(plan) ? ETCD_PORTS : [])],
    random: () => randomBytes(4).readUInt32BE() / 2 ** 32,
  });
}

/** Somebody else may have come to the addresses while the site was down. Its own processes hold them when it is up. */
async function assertPlaceFree(site: LocalSite): Promise<void> {
  const running = new Set(processesOf(site).map(({ part }) => part.split('/')[0]));
  const { nodes, proxies, recordAddress, etcd } = site.state;
  await assertAddressesFree(
    placedAddresses({
      nodes: nodes.filter(({ name }) => !running.has(name)),
      proxies: proxies.filter(({ name }) => !running.has(name)),
      recordAddress: running.has('record') ? null : recordAddress,
    }),
    PROGRAM_PORTS,
  );
  const members = etcd.filter(({ name }) => !running.has(name)).map(({ address }) => address);
  await assertAddressesFree(members, ETCD_PORTS);
}

/** Short: PostgreSQL's socket lies in it, and a socket's path has at most 107 bytes. */
function chooseRuntimeDirectory(siteId: string): string {
  if (process.getuid?.() === 0 && existsSync('/run')) return `/run/pgspan-${siteId}`;
  return join(process.env.XDG_RUNTIME_DIR ?? '/tmp', `pgspan-${siteId}`);
}

/** A volume that cannot be mounted here becomes a plain folder: the state remembers which it is. */
function openVolumes(site: LocalSite, groups: readonly PostgresGroup[]): LocalSite {
  const nodes = site.state.nodes.map((node) => {
    const group = groups.find(({ metadata }) => metadata.name === node.group);
    const sizeBytes = quantityBytes(group?.spec.storage.size ?? '2Gi');
    return { ...node, volume: openVolume(volumeOf(site, node), sizeBytes, site.state.user) };
  });
  return changeSite(site, { nodes });
}
