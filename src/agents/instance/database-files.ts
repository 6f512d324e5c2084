/**
 * Making, copying and rewinding a data directory with PostgreSQL's own programs. Each is a long job with progress; none of
 * them starts the server. A directory appears under its final name only when it is whole.
 *
 * Passwords go through standard input, keys through files that only this user can read; nothing secret is an argument.
 */
import { spawn } from 'node:child_process';
import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { InstanceConfig } from '../../api/agent-config.ts';
import { syncDirectory } from '../../base/durable-file.ts';
import { serverEnvironment } from './postmaster.ts';

/** Codes: INITDB_FAILED, BOOTSTRAP_FAILED, CLONE_FAILED, REWIND_FAILED, VERSION_UNREADABLE. */
export class DatabaseFilesError extends Error {
  override name = 'DatabaseFilesError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface CopySource {
  /** libpq connection string without dbname; reaches the source through the agent's own forwarder. */
  readonly conninfo: string;
}

export interface JobOptions {
  readonly signal: AbortSignal;
  /** Percent of the whole, when the program tells. */
  readonly onProgress: (percent: number) => void;
}

/** Kept of what a program printed, for the error message. */
const OUTPUT_BYTES_MAX = 4096;

function incomingDirectory(dataDirectory: string): string {
  return `${dataDirectory}.incoming`;
}

export async function hasDatabase(dataDirectory: string): Promise<boolean> {
  try {
    await stat(join(dataDirectory, 'PG_VERSION'));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Data of another major version than the server's binaries: PostgreSQL would refuse to start; we say what to do. Null: they fit. */
export async function findVersionMismatch(
  config: InstanceConfig,
): Promise<{ readonly code: string; readonly message: string } | null> {
  const { dataDirectory, postgresBin } = config.paths;
  const found = (await readFile(join(dataDirectory, 'PG_VERSION'), 'utf8')).trim();
  const output = await runProgram(
    'VERSION_UNREADABLE',
    'ask for the version',
    join(postgresBin, 'postgres'),
    ['--version'],
    {
      signal: AbortSignal.timeout(10_000),
      onProgress: () => {},
    },
  );
  const offered = /(\d+)(?:\.|beta|rc|devel|\s|$)/.exec(output.replace(/^.*?PostgreSQL\)?\s*/, ''))?.[1];
  if (offered === found) return null;
  return {
    code: 'DataVersionMismatch',
    message: `The data directory "${dataDirectory}" is of PostgreSQL ${found}, the programs in "${postgresBin}" are of ${offered ?? 'an unknown version'}: nothing was touched; run it with PostgreSQL ${found}`,
  };
}

/** initdb with checksums, then roles and the application's database in single-user mode: nobody can connect before it is done. */
export async function bootstrapDatabase(config: InstanceConfig, options: JobOptions): Promise<void> {
  const { dataDirectory, postgresBin } = config.paths;
  const incoming = incomingDirectory(dataDirectory);
  await rm(incoming, { recursive: true, force: true });
  await mkdir(dirname(dataDirectory), { recursive: true });
  await runProgram(
    'INITDB_FAILED',
    'make a database',
    join(postgresBin, 'initdb'),
    [
      '-D',
      incoming,
      '-U',
      'postgres',
      '--data-checksums',
      '--encoding=UTF8',
      '--locale=C.UTF-8',
      '--auth-local=peer',
      '--auth-host=reject',
      '--no-instructions',
    ],
    options,
  );
  options.onProgress(50);
  await runProgram(
    'BOOTSTRAP_FAILED',
    'make roles and database',
    join(postgresBin, 'postgres'),
    [
      '--single',
      '-D',
      incoming,
      '-c',
      'password_encryption=scram-sha-256',
      '-c',
      'log_statement=none',
      '-c',
      'log_min_error_statement=panic',
      'postgres',
    ],
    options,
    await bootstrapSql(config),
  );
  options.onProgress(95);
  await moveIntoPlace(incoming, dataDirectory);
}

/** One command a line, as single-user mode reads them. */
async function bootstrapSql(config: InstanceConfig): Promise<string> {
  const { database, owner, ownerPasswordFile, superuserPasswordFile } = config.bootstrap;
  const commands = [
    'CREATE ROLE streaming_replica LOGIN REPLICATION',
    // What pg_rewind reads: https://www.postgresql.org/docs/current/app-pgrewind.html#APP-PGREWIND-NOTES
    ...[
      'pg_ls_dir(text, boolean, boolean)',
      'pg_stat_file(text, boolean)',
      'pg_read_binary_file(text)',
      'pg_read_binary_file(text, bigint, bigint, boolean)',
    ].map((name) => `GRANT EXECUTE ON FUNCTION pg_catalog.${name} TO streaming_replica`),
    `CREATE ROLE ${quoteIdentifier(owner)} LOGIN PASSWORD ${quoteLiteral(await readPassword(ownerPasswordFile))}`,
    `CREATE DATABASE ${quoteIdentifier(database)} OWNER ${quoteIdentifier(owner)}`,
  ];
  if (superuserPasswordFile !== null)
    commands.push(`ALTER ROLE postgres PASSWORD ${quoteLiteral(await readPassword(superuserPasswordFile))}`);
  return `${commands.join('\n')}\n`;
}

async function readPassword(path: string): Promise<string> {
  const password = (await readFile(path, 'utf8')).replace(/\r?\n$/, '');
  if (password === '' || /[\r\n\0]/.test(password))
    throw new DatabaseFilesError(
      'BOOTSTRAP_FAILED',
      `Cannot use the password in "${path}": it is empty or has more than one line`,
    );
  return password;
}

/** A base backup of a running node, WAL included. */
export async function cloneDatabase(config: InstanceConfig, source: CopySource, options: JobOptions): Promise<void> {
  const { dataDirectory, postgresBin } = config.paths;
  const incoming = incomingDirectory(dataDirectory);
  await rm(incoming, { recursive: true, force: true });
  await mkdir(dirname(dataDirectory), { recursive: true });
  await runProgram(
    'CLONE_FAILED',
    'copy the database',
    join(postgresBin, 'pg_basebackup'),
    ['-D', incoming, '-d', source.conninfo, '-X', 'stream', '--checkpoint=fast', '--progress', '--no-password'],
    options,
  );
  await rm(dataDirectory, { recursive: true, force: true });
  await moveIntoPlace(incoming, dataDirectory);
}

/** Takes back what this node has beyond the fork. The server must have been stopped cleanly. */
export async function rewindDatabase(config: InstanceConfig, source: CopySource, options: JobOptions): Promise<void> {
  await runProgram(
    'REWIND_FAILED',
    'rewind the database',
    join(config.paths.postgresBin, 'pg_rewind'),
    ['--target-pgdata', config.paths.dataDirectory, '--source-server', source.conninfo, '--progress'],
    options,
  );
}

async function moveIntoPlace(incoming: string, dataDirectory: string): Promise<void> {
  await rename(incoming, dataDirectory);
  await syncDirectory(dirname(dataDirectory));
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export function quoteLiteral(text: string): string {
  const quoted = text.replaceAll("'", "''");
  return text.includes('\\') ? `E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`;
}

/** Runs one program; resolves with its standard output, throws with the end of what it printed. Progress: `  12345/67890 kB (18%)`. */
async function runProgram(
  code: string,
  action: string,
  program: string,
  args: readonly string[],
  options: JobOptions,
  input = '',
): Promise<string> {
  options.signal.throwIfAborted();
  const child = spawn(program, args, {
    cwd: '/',
    env: { ...serverEnvironment(), PGAPPNAME: 'pgspan_copy' },
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: options.signal,
    killSignal: 'SIGKILL',
  });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-16 * OUTPUT_BYTES_MAX);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-OUTPUT_BYTES_MAX);
    const percent = /\((\d{1,3})%\)/.exec(text);
    if (percent !== null) options.onProgress(Number(percent[1]));
  });
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new DatabaseFilesError(code, `Cannot ${action}: ${cause.message}`, { cause })),
    );
    child.once('close', (exit) => resolve(exit));
  });
  // Single-user mode exits with 0 after a failed command.
  const isFailedSql = input !== '' && /^.*\b(ERROR|FATAL|PANIC):/m.test(errors + output);
  if (exitCode !== 0 || isFailedSql) {
    const said = `${errors}\n${output}`
      .split('\n')
      .filter((line) => line.trim() !== '' && !/^\s*\d+\/\d+ kB/.test(line))
      .slice(-4)
      .join(' | ');
    throw new DatabaseFilesError(
      code,
      `Cannot ${action}: ${program.split('/').at(-1)} ended with ${exitCode}: ${said}`,
    );
  }
  return output;
}
