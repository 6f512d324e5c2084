/**
 * The faults of `pgspan local`: each names a target, does one thing under the site's lock, and says what it did.
 * What it does is in src/platform/local/faults.
 */
import { Command } from 'commander';
import type * as FaultsModule from '../platform/local/faults/faults.ts';
import type { FaultTarget } from '../platform/local/faults/targets.ts';
import type { LocalSite } from '../platform/local/site.ts';
import { stateFolder } from '../platform/local/state-folder.ts';
import { type AccessFlags, readNumber, stateOption } from './cluster-access.ts';

type Faults = typeof FaultsModule;

export function killCommand(): Command {
  return faultCommand(
    'kill',
    'SIGKILL every process of the target; it stays dead until `local up`.',
    async (faults, site, target) => {
      return `killed ${countOf(await faults.killTarget(site, target))}`;
    },
  );
}

export function freezeCommand(): Command {
  return faultCommand(
    'freeze',
    'Stop every process of the target (SIGSTOP), as a stalled machine does.',
    async (faults, site, target) => {
      return `froze ${countOf(await faults.freezeTarget(site, target))}`;
    },
  );
}

export function thawCommand(): Command {
  return faultCommand('thaw', 'Let a frozen target go on.', async (faults, site, target) => {
    return `thawed ${countOf(await faults.thawTarget(site, target))}`;
  });
}

export function cutCommand(): Command {
  const description = 'Drop all packets between the target and everything else, both ways, without a reset.';
  return faultCommand('cut', description, async (faults, site, target) => {
    faults.cutTarget(site, target);
    return 'cut off';
  });
}

export function healCommand(): Command {
  return targetCommand(
    'heal',
    'Undo cut, fill-disk and slow-disk, on the target or on the whole site.',
    '[target]',
  ).action(async (text: string | undefined, flags: AccessFlags) => {
    await inSite(flags, text ?? null, async (faults, site, target) => {
      const { stillCut } = faults.healTarget(site, target);
      return `${text ?? 'the site'}: healed${stillCut.map((name) => `; still cut off with ${name}`).join('')}`;
    });
  });
}

export function fillDiskCommand(): Command {
  return faultCommand('fill-disk', "Take all free space of the node's disk.", async (faults, site, target) => {
    faults.fillDiskOf(site, target);
    return 'its disk is full';
  });
}

export function slowDiskCommand(): Command {
  return targetCommand('slow-disk', "Stall the node's disk again and again.", '<target>')
    .option('--stall-ms <ms>', 'how long each stall lasts', '400')
    .option('--pass-ms <ms>', 'how long writes may pass between two stalls', '50')
    .action(async (text: string, flags: AccessFlags & { stallMs: string; passMs: string }) => {
      const stallMs = readNumber('--stall-ms', flags.stallMs, { min: 1, max: 60_000 });
      const passMs = readNumber('--pass-ms', flags.passMs, { min: 1, max: 60_000 });
      await inSite(flags, text, async (faults, site, target) => {
        faults.slowDiskOf(site, target as FaultTarget, { stallMs, passMs });
        return `${text}: its disk stalls for ${stallMs} ms at a time`;
      });
    });
}

const TARGETS =
  'a node (leo-1), a group (leo), a part (leo-1/postgres, leo-1/agent, leo-1/watchdog), a proxy (leo-proxy-1) or record';

function targetCommand(name: string, description: string, argument: '<target>' | '[target]'): Command {
  return new Command(name).description(description).argument(argument, TARGETS).addOption(stateOption());
}

/** @param carryOut says what it did, as a sentence part after the target's name. */
function faultCommand(
  name: string,
  description: string,
  carryOut: (faults: Faults, site: LocalSite, target: FaultTarget) => Promise<string>,
): Command {
  return targetCommand(name, description, '<target>').action(async (text: string, flags: AccessFlags) => {
    await inSite(
      flags,
      text,
      async (faults, site, target) => `${text}: ${await carryOut(faults, site, target as FaultTarget)}`,
    );
  });
}

/** Runs one fault under the site's lock and prints what it says. The target is null only if its text is. */
async function inSite(
  flags: AccessFlags,
  text: string | null,
  work: (faults: Faults, site: LocalSite, target: FaultTarget | null) => Promise<string>,
): Promise<void> {
  const [faults, { parseTarget }, { openSite }, { withSiteLock }] = await Promise.all([
    import('../platform/local/faults/faults.ts'),
    import('../platform/local/faults/targets.ts'),
    import('../platform/local/site.ts'),
    import('../platform/local/site-lock.ts'),
  ]);
  const folder = stateFolder(flags.state ?? null);
  openSite(folder); // says that there is none before a lock is made in its folder
  const line = await withSiteLock(folder, () => {
    const site = openSite(folder);
    return work(faults, site, text === null ? null : parseTarget(site.state, text));
  });
  process.stderr.write(`${line}\n`);
}

function countOf(processes: number): string {
  return processes === 1 ? '1 process' : `${processes} processes`;
}
