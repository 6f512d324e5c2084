/**
 * Finds the PostgreSQL of this machine: the folder with the server's programs, and its version.
 *
 * Looked for, the highest supported major first: `--postgres-bin` or PGSPAN_POSTGRES_BIN (then nothing else), the folders where
 * Debian, PGDG's RPMs, Alpine, Homebrew, Postgres.app and a build from source put them, and the folders of PATH.
 * Getting it when there is none: postgres-package.ts.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { UserError } from '../base/user-error.ts';

export interface PostgresInstallation {
  /** Absolute path of the folder that holds `postgres`, `initdb`, `pg_basebackup`, `pg_rewind`, `pg_controldata`. */
  readonly bin: string;
  /** 15 to 18. */
  readonly major: number;
  /** As the server says it, such as `15.14`. */
  readonly version: string;
}

export const POSTGRES_MAJOR_MIN = 15;
export const POSTGRES_MAJOR_MAX = 18;

/** What pgspan runs. psql is not among them: it is for people, and may be missing. */
const PROGRAMS = ['postgres', 'initdb', 'pg_basebackup', 'pg_rewind', 'pg_controldata'] as const;

/** `*` stands for a part of one path segment. */
const PLACES = [
  '/usr/lib/postgresql/*/bin',
  '/usr/pgsql-*/bin',
  '/usr/libexec/postgresql*',
  '/opt/homebrew/opt/postgresql@*/bin',
  '/usr/local/opt/postgresql@*/bin',
  '/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin',
  '/Applications/Postgres.app/Contents/Versions/*/bin',
  '/usr/local/pgsql/bin',
] as const;

/** How long `postgres --version` may take; a network file system may be slow the first time. */
const VERSION_TIMEOUT_MS = 10_000;

/** One place that was looked at: usable, or why not. */
type Candidate = { readonly bin: string } & (
  | { readonly installation: PostgresInstallation }
  | { readonly problem: string }
);

/** All usable ones, the highest major first; of one major the place that comes first in the list above. */
export function findPostgresInstallations(): PostgresInstallation[] {
  return candidates()
    .flatMap((candidate) => ('installation' in candidate ? [candidate.installation] : []))
    .sort((a, b) => b.major - a.major);
}

/**
 * The PostgreSQL to run.
 * @param postgresBin value of `--postgres-bin`; undefined or null: PGSPAN_POSTGRES_BIN, else the highest that is found
 * @throws UserError POSTGRES_BIN_INVALID for a folder that was named and cannot be used; POSTGRES_MISSING when none was found
 */
export function findPostgres(postgresBin?: string | null): PostgresInstallation {
  const named = postgresBin ?? nonEmpty(process.env.PGSPAN_POSTGRES_BIN);
  if (named !== undefined) return inspectNamed(resolve(named));
  const [best] = findPostgresInstallations();
  if (best !== undefined) return best;
  throw new UserError({
    code: 'POSTGRES_MISSING',
    kind: 'missing',
    message: `Cannot find PostgreSQL ${POSTGRES_MAJOR_MIN} to ${POSTGRES_MAJOR_MAX}: ${describeUnusable(candidates())}`,
    todo: 'Install the server package of your system (Debian, Ubuntu: "apt-get install postgresql"), or name the folder of its programs with --postgres-bin',
  });
}

function inspectNamed(bin: string): PostgresInstallation {
  const candidate = inspect(bin);
  if ('installation' in candidate) return candidate.installation;
  throw new UserError({
    code: 'POSTGRES_BIN_INVALID',
    kind: 'usage',
    message: `Cannot use PostgreSQL in "${bin}": ${candidate.problem}`,
    todo: `Name the folder that holds "postgres", "initdb" and "pg_rewind" of PostgreSQL ${POSTGRES_MAJOR_MIN} to ${POSTGRES_MAJOR_MAX} ("pg_config --bindir" prints it), or leave --postgres-bin out`,
  });
}

function describeUnusable(found: readonly Candidate[]): string {
  const problems = found.flatMap((candidate) =>
    'problem' in candidate ? [`in ${candidate.bin}: ${candidate.problem}`] : [],
  );
  return problems.length === 0 ? 'there is none in the usual places nor in PATH' : problems.join('; ');
}

function candidates(): Candidate[] {
  const onPath = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '' && existsSync(join(folder, 'postgres')));
  const bins = [...PLACES.flatMap(expand), ...onPath.map(realFolderOfPostgres)].filter((bin) =>
    existsSync(join(bin, 'postgres')),
  );
  return [...new Set(bins)].map(inspect);
}

/** Distributions link `postgres` in PATH to the folder of one version, where the other programs are. */
function realFolderOfPostgres(folder: string): string {
  const real = dirname(realpathSync(join(folder, 'postgres')));
  return existsSync(join(real, 'initdb')) ? real : folder;
}

/** Paths that exist for a pattern of PLACES. */
function expand(pattern: string): string[] {
  const star = pattern.indexOf('*');
  if (star < 0) return [pattern];
  const parent = dirname(pattern.slice(0, star + 1));
  const [segment = '', ...below] = pattern.slice(parent.length + 1).split('/');
  const [before = '', after = ''] = segment.split('*');
  const names = existsSync(parent) && statSync(parent).isDirectory() ? readdirSync(parent) : [];
  return names
    .filter((name) => name.startsWith(before) && name.endsWith(after))
    .map((name) => join(parent, name, ...below));
}

function inspect(bin: string): Candidate {
  const missing = PROGRAMS.filter((program) => !isExecutable(join(bin, program)));
  if (missing.length > 0)
    return { bin, problem: `${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} missing or not executable` };
  let words: string;
  try {
    // `postgres --version` answers root too.
    words = execFileSync(join(bin, 'postgres'), ['--version'], {
      encoding: 'utf8',
      timeout: VERSION_TIMEOUT_MS,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    return {
      bin,
      problem: `"postgres --version" failed: ${error instanceof Error ? error.message.trim() : String(error)}`,
    };
  }
  return parseVersion(bin, words);
}

/** @param words such as `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `postgres (PostgreSQL) 19beta1` */
function parseVersion(bin: string, words: string): Candidate {
  const [, version, major] = /\(PostgreSQL\) ((\d+)[^\s]*)/.exec(words) ?? [];
  if (version === undefined)
    return { bin, problem: `"postgres --version" says "${words.trim()}", which is no PostgreSQL version` };
  const number = Number(major);
  if (number < POSTGRES_MAJOR_MIN || number > POSTGRES_MAJOR_MAX) {
    return {
      bin,
      problem: `it is PostgreSQL ${version}, and pgspan supports ${POSTGRES_MAJOR_MIN} to ${POSTGRES_MAJOR_MAX}`,
    };
  }
  return { bin, installation: { bin, major: number, version } };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}
