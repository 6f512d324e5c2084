/**
 * Gets PostgreSQL where there is none, with the system's package manager, and only where that is wanted: by root, by `--yes`,
 * or after a question on a terminal. Never silently in somebody else's script.
 *
 * Only the server package; no cluster is made and no service started: pgspan makes its own clusters, and a server of the
 * distribution on port 5432 of all addresses would be in their way.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline/promises';
import { UserError } from '../base/user-error.ts';
import {
  findPostgres,
  POSTGRES_MAJOR_MAX,
  POSTGRES_MAJOR_MIN,
  type PostgresInstallation,
} from './postgres-installation.ts';

export interface EnsurePostgresOptions {
  /** Value of `--postgres-bin`. */
  readonly postgresBin?: string | null | undefined;
  /** `--yes`: install without asking, with sudo where this is not root. */
  readonly assumeYes: boolean;
  /** One line of progress, for stderr. */
  readonly onProgress: (line: string) => void;
}

/**
 * The PostgreSQL to run; installed first if there is none and it may be.
 * @throws UserError as findPostgres does; POSTGRES_INSTALL_FAILED when the package manager failed
 */
export async function ensurePostgres(options: EnsurePostgresOptions): Promise<PostgresInstallation> {
  try {
    return findPostgres(options.postgresBin);
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== 'POSTGRES_MISSING') throw error;
    const manager = MANAGERS.find(({ program }) => isProgram(program));
    if (manager === undefined || !(await mayInstall(manager, options))) throw error;
    options.onProgress(`installing PostgreSQL with ${manager.program}`);
    await install(manager);
    return findPostgres(options.postgresBin);
  }
}

interface PackageManager {
  readonly program: string;
  /** Homebrew refuses root; the others need it. */
  readonly needsRoot: boolean;
  /** For `sh -e`. */
  readonly script: string;
}

const MAJORS = Array.from({ length: POSTGRES_MAJOR_MAX - POSTGRES_MAJOR_MIN + 1 }, (_, i) => POSTGRES_MAJOR_MAX - i);

/** Debian's has been tried on fresh systems; the others are the documented commands of their systems, untried. */
const MANAGERS: readonly PackageManager[] = [
  {
    program: 'apt-get',
    needsRoot: true,
    // First the package that knows how clusters are made, then its setting, then the server that must not make one.
    script: `
      export DEBIAN_FRONTEND=noninteractive
      install() { apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"; }
      apt-get update -q
      install postgresql-common
      conf=/etc/postgresql-common/createcluster.conf
      grep -qs '^create_main_cluster *= *false' $conf || echo 'create_main_cluster = false' >>$conf
      for major in ${MAJORS.join(' ')}; do
        if apt-cache show postgresql-$major >/dev/null 2>&1; then install postgresql-$major; exit; fi
      done
      echo "this system's packages have no PostgreSQL ${POSTGRES_MAJOR_MIN} to ${POSTGRES_MAJOR_MAX}" >&2
      exit 1`,
  },
  { program: 'dnf', needsRoot: true, script: 'dnf install -y -q postgresql-server' },
  {
    program: 'apk',
    needsRoot: true,
    script: `for major in ${MAJORS.join(' ')}; do apk add postgresql$major postgresql$major-client && exit; done; exit 1`,
  },
  { program: 'brew', needsRoot: false, script: `brew install postgresql@${POSTGRES_MAJOR_MAX}` },
];

/** How much of a failed package manager's last words is repeated. */
const OUTPUT_CHARS_MAX = 2000;

async function mayInstall(manager: PackageManager, { assumeYes }: EnsurePostgresOptions): Promise<boolean> {
  if (isRoot()) return manager.needsRoot;
  if (assumeYes) return true;
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const how = manager.needsRoot ? `sudo and ${manager.program}` : manager.program;
    const answer = await terminal.question(`There is no PostgreSQL on this machine. Install it with ${how}? [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

/** sudo may ask for a password on the terminal itself; it takes nothing from stdin. */
async function install(manager: PackageManager): Promise<void> {
  const words = ['sh', '-ec', manager.script];
  if (manager.needsRoot && !isRoot()) words.unshift('sudo');
  const { status, output } = await run(words);
  if (status === 0) return;
  throw new UserError({
    code: 'POSTGRES_INSTALL_FAILED',
    message: `Cannot install PostgreSQL with ${manager.program}: it ended with status ${status}: ${output.trim().slice(-OUTPUT_CHARS_MAX)}`,
    todo: `Install PostgreSQL ${POSTGRES_MAJOR_MIN} to ${POSTGRES_MAJOR_MAX} by hand (https://www.postgresql.org/download/ has packages for every system), then run the command again`,
  });
}

function run([command = '', ...words]: readonly string[]): Promise<{ status: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const take = (data: Buffer) => {
      output = `${output}${data.toString()}`.slice(-OUTPUT_CHARS_MAX);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', (error) => resolve({ status: 127, output: error.message }));
    child.on('close', (status) => resolve({ status: status ?? 128, output }));
  });
}

function isProgram(name: string): boolean {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0;
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}
