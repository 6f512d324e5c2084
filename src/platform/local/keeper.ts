/**
 * The keeper of a local site: renews certificates before they end, as the operator does on Kubernetes. Only who started the
 * site may read the keys of its CAs, so neither agents nor the record's process can do it.
 *
 * A shell that sleeps until something is due and then runs `pgspan keep-site` for a second: it costs one sleeping process, not
 * another Node. `local up` starts it anew, `local down` ends it; it ends by itself when the site is gone.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { agentProgram } from '../program.ts';
import { planOfSite } from './access.ts';
import { writeAgentFiles } from './agent-files.ts';
import { launchProgram } from './launch.ts';
import { isSameProcess, signalProcess } from './processes.ts';
import { reloadPrograms } from './programs.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { keeperLogFile, type LocalSite, openSite, processesOf } from './site.ts';
import { withSiteLock } from './site-lock.ts';

const PART = 'keeper';
/** A machine that slept has not counted its sleep: look more often than needed. */
const LOOK_MS_MAX = 3_600_000;
const LOOK_MS_MIN = 1000;
/** After a failure: the site is busy, or its disk is full. */
const RETRY_SECONDS = 60;
const END_LIMIT_MS = 5000;

/** `$1` seconds to the first look, `$2` the site's folder, then the program that looks and prints the seconds to the next one. */
const SCRIPT = `
seconds=$1
site=$2
shift 2
while :; do
  sleep "$seconds"
  [ -e "$site/site.json" ] || exit 0
  seconds=$("$@") || seconds=
  case $seconds in ''|*[!0-9]*) seconds=${RETRY_SECONDS};; esac
done
`;

/** Ends the one that runs, if any, and starts another. Call it under the site's lock. */
export async function startKeeper(site: LocalSite, dueAtMs: number): Promise<void> {
  await endKeeper(site);
  const { node, args, env } = await agentProgram('agent');
  const words = [
    String(secondsTo(dueAtMs)),
    site.folder,
    node,
    ...args,
    'keep-site',
    '--config',
    join(site.folder, 'site.json'),
  ];
  await launchProgram({
    siteId: site.state.siteId,
    part: PART,
    program: { node: '/bin/sh', args: ['-c', SCRIPT, 'pgspan-keeper'], env },
    args: words,
    logFile: keeperLogFile(site),
    // The keys of the CAs are ours alone.
    user: null,
  });
}

async function endKeeper(site: LocalSite): Promise<void> {
  const old = processesOf(site).filter(({ part }) => part === PART);
  // Not in the middle of its work, which holds the lock that we have.
  for (const one of old) signalProcess(one, 'SIGTERM');
  await waitUntil('the former keeper has ended', { timeoutMs: END_LIMIT_MS }, () => !old.some(isSameProcess));
}

/**
 * One look: what is due is written, and the programs told.
 * @returns seconds until the next look. Throws UserError SITE_BUSY and what writing throws.
 */
export async function keepSite(folder: string): Promise<number> {
  if (!existsSync(join(folder, 'site.json'))) return 1;
  return await withSiteLock(folder, async () => {
    const before = openSite(folder);
    const { site, certificatesDueAtMs } = await writeAgentFiles(before, planOfSite(before), new Date());
    if (site.state.generation !== before.state.generation) reloadPrograms(site);
    return secondsTo(certificatesDueAtMs);
  });
}

function secondsTo(atMs: number): number {
  return Math.ceil(Math.min(Math.max(atMs - Date.now(), LOOK_MS_MIN), LOOK_MS_MAX) / 1000);
}
