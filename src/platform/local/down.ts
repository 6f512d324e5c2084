/**
 * `pgspan local down`: ends every process of a site, undoes its faults, and removes what it has left: mounts, packet
 * filter, sockets, files. Works on whatever a crash has left, and may be repeated.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { waitUntil, WaitTimeoutError } from '../../base/wait-until.ts';
import { healTarget } from './faults/faults.ts';
import { killProcesses, thawProcesses } from './faults/signals.ts';
import { signalProcess } from './processes.ts';
import { type LocalSite, processesOf, runtimeDirectory, volumeOf } from './site.ts';
import { withSiteLock } from './site-lock.ts';
import { readSiteState, removeStateFolder } from './site-state.ts';
import { closeVolume } from './volumes.ts';

export interface DownOptions {
  readonly folder: string;
  /** True: stop cleanly and keep data, certificates and addresses for the next `up`. */
  readonly keepData: boolean;
}

/** A clean stop of PostgreSQL writes a checkpoint; longer than this it is killed, which loses nothing either. */
const CLEAN_STOP_MS_MAX = 10_000;

/** @returns how many processes there were, or null if there is no site in the folder. */
export async function stopSite(options: DownOptions): Promise<number | null> {
  const state = readSiteState(options.folder);
  if (state === null) return null;
  return withSiteLock(options.folder, async () => {
    const found: LocalSite = { folder: options.folder, state };
    const { site } = healTarget(found, null);
    await thawProcesses(() => processesOf(site));
    const count = processesOf(site).length;
    if (options.keepData) await stopCleanly(site);
    await killProcesses(() => processesOf(site));
    for (const node of site.state.nodes) closeVolume(volumeOf(site, node));
    rmSync(site.state.runtimeDirectory, { recursive: true, force: true });
    if (!options.keepData) removeStateFolder(site.folder, state.folderMade);
    return count;
  });
}

/**
 * Proxies first, so that no client sees a server shut down; then those that follow, then the leader: a leader that is asked
 * to stop hands over, and there is nobody to hand over to in a site that stops.
 */
async function stopCleanly(site: LocalSite): Promise<void> {
  const isLeading = (node: string) => existsSync(join(runtimeDirectory(site, node), 'leading'));
  const nodes = site.state.nodes.map(({ name }) => name);
  const leaders = nodes.filter(isLeading);
  await endPrograms(
    site,
    site.state.proxies.map(({ name }) => name),
  );
  await endPrograms(
    site,
    nodes.filter((name) => !leaders.includes(name)),
  );
  await endPrograms(site, leaders);
  await endPrograms(
    site,
    site.state.etcd.map(({ name }) => name),
  );
}

async function endPrograms(site: LocalSite, names: readonly string[]): Promise<void> {
  const own = () => processesOf(site).filter(({ part }) => names.includes(part.split('/')[0] ?? part));
  for (const process of own()) {
    if (process.part.endsWith('/agent') || !process.part.includes('/')) signalProcess(process, 'SIGTERM');
  }
  try {
    await waitUntil('they have ended', { timeoutMs: CLEAN_STOP_MS_MAX, intervalMs: 50 }, () => own().length === 0);
  } catch (error) {
    if (!(error instanceof WaitTimeoutError)) throw error;
  }
}
