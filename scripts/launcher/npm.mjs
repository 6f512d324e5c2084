/**
 * Runs the machine's npm to fetch packages, away from whatever npm, user or project surrounds us.
 */
import { spawn } from 'node:child_process';
import { accessSync, constants, readdirSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { LauncherError } from './launcher-error.mjs';

/** How much of npm's complaint is repeated. */
const OUTPUT_CHARS_MAX = 2000;

const COMMAND_NOT_FOUND = 127;

/**
 * `npm ci` in `folder`, which holds package.json and package-lock.json. Packages' own scripts are not run: none that we use
 * needs one, and they would be somebody else's code, run as root in CI.
 * @param {{ folder: string, cache: string, development: boolean, what: string }} options `what` completes "Cannot get ..."
 */
export async function npmCi({ folder, cache, development, what }) {
  const words = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error'];
  words.push(development ? '--include=dev' : '--omit=dev', '--include=optional');
  const { status, output } = await run('npm', words, { cwd: folder, env: npmEnvironment(cache) });
  if (status === 0) return;
  if (status === COMMAND_NOT_FOUND) {
    throw new LauncherError({
      code: 'NPM_MISSING',
      message: `Cannot get ${what}: there is no npm on this machine`,
      todo: 'Install it (Debian, Ubuntu: "apt-get install npm"; Fedora: "dnf install npm"; macOS: "brew install node"), then run the command again',
    });
  }
  throw new LauncherError({
    code: 'NPM_FAILED',
    message: `Cannot get ${what}: npm ended with status ${status}: ${output.trim().slice(0, OUTPUT_CHARS_MAX)}`,
    todo: 'Check that this machine reaches an npm registry ("npm ping"), then run the command again: it goes on where it stopped',
  });
}

/**
 * The environment without what an outer `npm run` put there: it would make this npm work on the outer project.
 * @param {string} cache
 */
function npmEnvironment(cache) {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      !/^npm_(package|lifecycle|command|config_(local_prefix|global_prefix|prefix|noproxy$|node_gyp|globalconfig))/.test(
        name,
      ),
  );
  /** @type {Record<string, string | undefined>} */
  const environment = Object.fromEntries(kept);
  delete environment.NODE_OPTIONS;
  // An account such as `nobody` has no home, and npm wants to write there.
  if (environment.npm_config_cache === undefined && !isWritable(homedir()))
    environment.npm_config_cache = join(cache, 'npm');
  return environment;
}

/**
 * @param {string} command
 * @param {readonly string[]} words
 * @param {{ cwd?: string, env?: Record<string, string | undefined> }} options
 * @returns {Promise<{ status: number, output: string }>} status COMMAND_NOT_FOUND: no such command
 */
export function run(command, words, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, words, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const take = (/** @type {Buffer} */ data) => {
      if (output.length < 64 * 1024) output += data.toString();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    child.on('error', (error) => resolve({ status: COMMAND_NOT_FOUND, output: String(error) }));
    child.on('close', (status, signal) =>
      resolve({ status: status ?? 128, output: signal === null ? output : `${output}\nended by ${signal}` }),
    );
  });
}

/**
 * Removes what a run that was killed left behind. Only under the lock that its maker held.
 * @param {string} folder
 * @param {string} prefix of the temporary folders' names
 */
export function removeLeftovers(folder, prefix) {
  for (const name of readdirSync(folder)) {
    if (name.startsWith(prefix)) rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/** @param {string} path */
export function isWritable(path) {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
