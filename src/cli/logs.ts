/** `pgspan logs TARGET`: the end of what its programs said, and with --follow what they say from now on. */
import { Command } from 'commander';
import type { LogSource } from '../platform/ports.ts';
import { type AccessFlags, addClusterOptions, readNumber, withCluster } from './cluster-access.ts';
import { formatLogLine } from './log-line.ts';

interface LogsFlags extends AccessFlags {
  readonly follow?: boolean;
  readonly lines: string;
  readonly raw?: boolean;
}

const EXAMPLES = `
Examples:
  pgspan logs leo-1                  agent and PostgreSQL of a node
  pgspan logs leo-1/postgres -f      PostgreSQL alone, as it comes
  pgspan logs leo --lines 100        every node and proxy of a group`;

export function logsCommand(): Command {
  const command = new Command('logs')
    .description('Print what the programs of a target have said.')
    .argument('<target>', 'a node, a group, a part (leo-1/postgres, leo-1/agent), a proxy, a member of etcd or record')
    .option('-f, --follow', 'go on until Ctrl-C')
    .option('--lines <count>', 'lines of the past for each program', '30')
    .option('--raw', 'as written (the agents write JSON)')
    .addHelpText('after', EXAMPLES)
    .action((target: string, flags: LogsFlags) => runLogs(target, flags));
  return addClusterOptions(command);
}

async function runLogs(target: string, flags: LogsFlags): Promise<void> {
  const lines = readNumber('--lines', flags.lines, { min: 0 });
  await withCluster(flags, async (access) => {
    const sources = await access.logs(target);
    process.stdout.on('error', () => process.exit(0)); // `| head` has seen enough
    const print = (part: string, line: string): void => {
      const text = flags.raw ? line : formatLogLine(line);
      process.stdout.write(sources.length > 1 ? `${part.padEnd(14)} ${text}\n` : `${text}\n`);
    };
    const show = async (source: LogSource): Promise<void> => {
      const options = { lines, follow: flags.follow ?? false, signal: new AbortController().signal };
      for await (const line of source.read(options)) print(source.part, line);
    };
    if (flags.follow) await Promise.all(sources.map(show));
    else for (const source of sources) await show(source);
  });
}
