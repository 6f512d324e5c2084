/**
 * `pgspan local …`: a site on this machine, each group a simulated Kubernetes cluster, and the faults to try on it.
 * What happens is in src/platform/local; this file reads options and prints.
 */
import { Command } from 'commander';
import { stateFolder } from '../platform/local/state-folder.ts';
import { readNumber, stateOption } from './cluster-access.ts';
import {
  cutCommand,
  fillDiskCommand,
  freezeCommand,
  healCommand,
  killCommand,
  slowDiskCommand,
  thawCommand,
} from './local-faults.ts';

/** Cloning three nodes takes seconds; a slow disk or a large database needs more, which --timeout gives. */
const READY_TIMEOUT_S = 120;

export function localCommand(): Command {
  return new Command('local')
    .description('Run a global cluster as processes of this machine, and break it on purpose.')
    .addCommand(upCommand())
    .addCommand(downCommand())
    .addCommand(killCommand())
    .addCommand(freezeCommand())
    .addCommand(thawCommand())
    .addCommand(cutCommand())
    .addCommand(healCommand())
    .addCommand(fillDiskCommand())
    .addCommand(slowDiskCommand());
}

interface UpFlags {
  file?: string;
  state?: string;
  user?: string;
  postgresBin?: string;
  addresses: string;
  disks: boolean;
  timeout: string;
  yes?: boolean;
}

function upCommand(): Command {
  return new Command('up')
    .description('Start the groups of a manifest, or what is missing of them, and wait until they are ready.')
    .option('-f, --file <path>', 'manifest, folder of manifests, or - (default: what this site was started with)')
    .addOption(stateOption())
    .option(
      '--user <name>',
      'who runs PostgreSQL and its agents, when root starts them (default: postgres, else nobody)',
    )
    .option('--postgres-bin <dir>', "folder of PostgreSQL's programs (default: the highest version found)")
    .option('--addresses <prefix>', 'where loopback addresses are taken from', process.env.PGSPAN_ADDRESSES ?? '127')
    .option('--no-disks', "plain folders instead of a disk per node (then fill-disk and slow-disk don't work)")
    .option('--timeout <seconds>', 'how long to wait until everything is ready', String(READY_TIMEOUT_S))
    .option('--yes', 'install PostgreSQL without a question if there is none')
    .addHelpText(
      'after',
      `
Examples:
  pgspan local up -f examples/three-groups-local.yaml
  pgspan local up                         start again what was killed`,
    )
    .action(runUp);
}

async function runUp(flags: UpFlags): Promise<void> {
  const [
    { loadManifests },
    { ensurePostgres },
    { startSite },
    { waitForSite },
    { readSiteState },
    { openLocalAccess },
  ] = await Promise.all([
    import('../platform/manifest-files.ts'),
    import('../platform/postgres-package.ts'),
    import('../platform/local/up.ts'),
    import('../platform/local/readiness.ts'),
    import('../platform/local/site-state.ts'),
    import('../platform/local/access.ts'),
  ]);
  const folder = stateFolder(flags.state ?? null);
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const timeoutMs = readNumber('--timeout', flags.timeout, { min: 1 }) * 1000;
  const startedMs = performance.now();
  const groups = flags.file === undefined ? null : await loadManifests(flags.file);
  const postgres = await ensurePostgres({
    // A site stays with the PostgreSQL that made its data, whatever else has been installed since.
    postgresBin: flags.postgresBin ?? readSiteState(folder)?.postgresBin,
    assumeYes: flags.yes ?? false,
    onProgress: say,
  });
  const { site, plan, started } = await startSite({
    folder,
    groups,
    postgres,
    user: flags.user ?? null,
    disks: flags.disks,
    addressRange: flags.addresses,
  });
  say(`PostgreSQL ${postgres.version}, addresses ${site.state.subnet}.x, state in ${folder}`);
  say(started.length === 0 ? 'Everything runs already.' : `Started ${started.join(', ')}.`);
  const { nodes, proxies } = openLocalAccess(folder);
  const faulty = [...nodes, ...proxies].filter(({ faults }) => faults.length > 0);
  for (const { name, faults } of faulty) say(`${name.padEnd(14)} ${faults.join(', ')}: not waited for`);
  await waitForSite({
    site,
    except: faulty.map(({ name }) => name),
    replication: plan.replication,
    timeoutMs,
    onChange: (name, text) => say(`${name.padEnd(14)} ${text}`),
  });
  if (faulty.length > 0) say('`pgspan local thaw NODE` and `pgspan local heal` end these faults.');
  say(`Ready after ${((performance.now() - startedMs) / 1000).toFixed(1)} s.`);
}

function downCommand(): Command {
  return new Command('down')
    .description('End every process of the site and remove what it has left, data included.')
    .addOption(stateOption())
    .option('--keep-data', 'stop cleanly and keep data, certificates and addresses for the next `up`', false)
    .action(async (flags: { state?: string; keepData: boolean }) => {
      const { stopSite } = await import('../platform/local/down.ts');
      const folder = stateFolder(flags.state ?? null);
      const count = await stopSite({ folder, keepData: flags.keepData });
      if (count === null) process.stderr.write(`There is no local site in ${folder}.\n`);
      else
        process.stderr.write(
          `Ended ${count} processes${flags.keepData ? '; the data stays' : ' and removed the site'}.\n`,
        );
    });
}
