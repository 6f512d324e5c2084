/** `pgspan demo`: three groups, a failover before your eyes, and nothing left behind. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Command } from 'commander';
import type { WriterProcess } from '../platform/local/writer-process.ts';
import { type AccessFlags, outputOption, printValue, stateOption } from './cluster-access.ts';
import { EXIT_CODE } from './exit-codes.ts';

interface DemoFlags extends AccessFlags {
  readonly keep?: boolean;
  readonly output?: 'json' | 'yaml';
  readonly user?: string;
  readonly postgresBin?: string;
  readonly addresses: string;
  readonly yes?: boolean;
}

const EXAMPLES = `
Examples:
  pgspan demo
  pgspan demo --keep        leave the groups running, to try things yourself
  pgspan demo -o json       the measured numbers, for a script`;

export function demoCommand(): Command {
  return new Command('demo')
    .description('Bring up three groups on this machine, kill the leader under writes, and show what happens.')
    .option('--keep', 'leave the groups running as your local site')
    .addOption(outputOption(['json', 'yaml'], 'end with the measured numbers in this form'))
    .addOption(stateOption())
    .option(
      '--user <name>',
      'who runs PostgreSQL and its agents, when root starts them (default: postgres, else nobody)',
    )
    .option('--postgres-bin <dir>', "folder of PostgreSQL's programs (default: the highest version found)")
    .option('--addresses <prefix>', 'where loopback addresses are taken from', process.env.PGSPAN_ADDRESSES ?? '127')
    .option('--yes', 'install PostgreSQL without a question if there is none')
    .addHelpText('after', EXAMPLES)
    .action(showDemo);
}

async function showDemo(flags: DemoFlags): Promise<void> {
  const [{ ensurePostgres }, { runDemo }, { tellStory }, { stopSite }] = await Promise.all([
    import('../platform/postgres-package.ts'),
    import('./demo/run-demo.ts'),
    import('./demo/story.ts'),
    import('../platform/local/down.ts'),
  ]);
  const postgres = await ensurePostgres({
    postgresBin: flags.postgresBin,
    assumeYes: flags.yes ?? false,
    onProgress: (line) => process.stderr.write(`${line}\n`),
  });
  await removeLeftOvers();
  const folder = await demoFolder(flags);
  const story = tellStory(flags.output === undefined ? process.stdout : process.stderr);
  let writer: WriterProcess | null = null;
  const cleanUp = async (): Promise<void> => {
    writer?.kill();
    await stopSite({ folder, keepData: false });
    rmSync(folder, { recursive: true, force: true });
  };
  const onSignal = (): void => {
    process.stderr.write('\nInterrupted; removing what the demo has made.\n');
    void cleanUp().finally(() => process.exit(EXIT_CODE.interrupted));
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  let isShown = false;
  try {
    const result = await runDemo({
      folder,
      postgres,
      user: flags.user ?? null,
      addressRange: flags.addresses,
      story,
      onWriter: (started) => {
        writer = started;
      },
    });
    isShown = true;
    if (flags.output !== undefined) await printValue(result, flags.output);
  } finally {
    if (!flags.keep || !isShown) await cleanUp();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
  story.title('\nTry next');
  for (const line of flags.keep ? HINTS_KEPT : HINTS) story.line(line);
}

const HINTS = [
  'pgspan local up -f examples/three-groups-local.yaml    the same three groups, to keep',
  'pgspan local --help                                     freeze, cut, fill-disk, … to break them',
];
const HINTS_KEPT = [
  'pgspan status --watch                 who leads, who follows, how far behind',
  'psql "$(pgspan connection)"           by the name that survives the loss of a group',
  'pgspan local cut leo                  cut a whole group off; `pgspan local heal leo` ends it',
  'pgspan local down                     remove it all',
];

const FOLDER_PREFIX = 'pgspan-demo-';

/** Of its own and of this process, unless it shall be kept: then it is the person's local site. */
async function demoFolder(flags: DemoFlags): Promise<string> {
  const { stateFolder } = await import('../platform/local/state-folder.ts');
  const { readSiteState } = await import('../platform/local/site-state.ts');
  if (!flags.keep && flags.state === undefined) {
    return join(demoBase(), `${FOLDER_PREFIX}${process.pid}-${randomBytes(3).toString('hex')}`);
  }
  const folder = stateFolder(flags.state ?? null);
  if (readSiteState(folder) === null) return folder;
  const { UserError } = await import('../base/user-error.ts');
  throw new UserError({
    code: 'SITE_EXISTS',
    kind: 'unsafe',
    message: `Cannot run the demo in "${folder}": there is a local site already`,
    todo: 'Remove it with `pgspan local down`, or name another folder with --state.',
  });
}

/** A place that the unprivileged user can enter, whatever root's TMPDIR is. */
function demoBase(): string {
  return process.getuid?.() === 0 ? '/var/lib' : tmpdir();
}

/** A demo that was killed could not clean up: its folder tells its process, which is gone. */
async function removeLeftOvers(): Promise<void> {
  const { stopSite } = await import('../platform/local/down.ts');
  for (const name of readdirSync(demoBase()).filter((entry) => entry.startsWith(FOLDER_PREFIX))) {
    const pid = Number(name.slice(FOLDER_PREFIX.length).split('-')[0]);
    if (existsSync(`/proc/${pid}/stat`)) continue;
    const folder = join(demoBase(), name);
    await stopSite({ folder, keepData: false }).catch(() => {}); // another user's, or being removed by another demo
    if (dirname(folder) === demoBase()) rmSync(folder, { recursive: true, force: true });
  }
}
