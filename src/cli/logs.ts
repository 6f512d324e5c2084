/** `pgspan logs TARGET`: the end of what its programs said, and with --follow what they say from now on. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { type AccessFlags, openClusterAccess, readNumber, stateOption } from './cluster-access.ts';
import { formatLogLine } from './log-line.ts';

interface LogsFlags extends AccessFlags {
  readonly follow?: boolean;
  readonly lines: string;
  readonly raw?: boolean;
}

const FOLLOW_EVERY_MS = 200;
/** The end of a log that is looked through for the last lines. */
const TAIL_BYTES_MAX = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

const EXAMPLES = `
Examples:
  pgspan logs leo-1                  agent and PostgreSQL of a node
  pgspan logs leo-1/postgres -f      PostgreSQL alone, as it comes
  pgspan logs leo -n 100             every node and proxy of a group`;

export function logsCommand(): Command {
  return new Command('logs')
    .description('Print what the programs of a target have said.')
    .argument('<target>', 'a node, a group, a part (leo-1/postgres, leo-1/agent), a proxy or record')
    .option('-f, --follow', 'go on until Ctrl-C')
    .option('-n, --lines <count>', 'lines of the past for each program', '30')
    .option('--raw', 'as written (the agents write JSON)')
    .addOption(stateOption())
    .addHelpText('after', EXAMPLES)
    .action(runLogs);
}

async function runLogs(target: string, flags: LogsFlags): Promise<void> {
  const access = await openClusterAccess(flags);
  const count = readNumber('--lines', flags.lines, { min: 0 });
  const files = access.logFiles(target).map((file) => ({ ...file, offset: 0, rest: '' }));
  const show = (part: string, line: string): void => {
    const text = flags.raw ? line : formatLogLine(line);
    process.stdout.write(files.length > 1 ? `${part.padEnd(14)} ${text}\n` : `${text}\n`);
  };
  for (const file of files) {
    const { lines, size } = readTail(file.path, count);
    for (const line of lines) show(file.part, line);
    file.offset = size;
  }
  process.stdout.on('error', () => process.exit(0)); // `| head` has seen enough
  while (flags.follow) {
    await delay(FOLLOW_EVERY_MS);
    for (const file of files) {
      for (const line of readNewLines(file)) show(file.part, line);
    }
  }
}

function readTail(path: string, count: number): { lines: string[]; size: number } {
  return withFile(path, { lines: [], size: 0 }, (fd) => {
    const { size } = fstatSync(fd);
    const text = readRange(fd, Math.max(0, size - TAIL_BYTES_MAX), size);
    const lines = text.split('\n').slice(0, -1);
    return {
      lines: count === 0 ? [] : lines.slice(-count),
      size: size - Buffer.byteLength(text.slice(text.lastIndexOf('\n') + 1)),
    };
  });
}

/** A log that was put aside and begun anew is read from its beginning. */
function readNewLines(file: { readonly path: string; offset: number; rest: string }): string[] {
  return withFile(file.path, [], (fd) => {
    const { size } = fstatSync(fd);
    if (size < file.offset) file.offset = 0;
    const end = Math.min(size, file.offset + CHUNK_BYTES);
    const lines = (file.rest + readRange(fd, file.offset, end)).split('\n');
    file.offset = end;
    file.rest = lines.pop() ?? '';
    return lines;
  });
}

function readRange(fd: number, from: number, to: number): string {
  const bytes = Buffer.alloc(to - from);
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, from));
}

/** A program that has not started yet has no log. */
function withFile<T>(path: string, none: T, work: (fd: number) => T): T {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return none;
    throw error;
  }
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}
