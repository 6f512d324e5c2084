/**
 * The process of one PostgreSQL: start, adopt, signal, stop, and know when it has ended. Knows nothing of roles beyond
 * whether `standby.signal` is there.
 *
 * A postmaster outlives its agent: it is started in a session of its own with its log in a file, and the next agent adopts it
 * by postmaster.pid. There is never a second one: PostgreSQL itself refuses while shared memory of the first is attached.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { open, readdir, readFile, readlink, realpath, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileIfPresent } from '../../base/durable-file.ts';
import { delay, waitUntil } from '../../base/wait-until.ts';

export interface PostmasterOptions {
  readonly postgresBin: string;
  readonly dataDirectory: string;
  /** Files outside the data directory, which a clone or a rewind would overwrite inside. */
  readonly configFile: string;
  readonly logFile: string | null;
}

/** An adopted postmaster is not our child: its end is looked for this often (a lost connection tells earlier). */
const ADOPTED_CHECK_INTERVAL_MS = 200;
/** It is there within milliseconds; a server that cannot write it ends by itself. */
const PID_FILE_LIMIT_MS = 2000;
/** PostgreSQL itself kills children that ignore an immediate stop after 5 s; then we do. */
const IMMEDIATE_STOP_LIMIT_MS = 6000;
/** Backends of a killed postmaster notice within milliseconds; until then a new one is refused. */
const ORPHANS_LIMIT_MS = 5000;

/** Codes: POSTGRES_START_FAILED, POSTGRES_STILL_RUNS. */
export class PostmasterError extends Error {
  override name = 'PostmasterError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Emits 'exit' once for each postmaster that was started or adopted. */
export class Postmaster extends EventEmitter<{ exit: [] }> {
  readonly #options: PostmasterOptions;
  #pid: number | null = null;
  /** Without symbolic links, as /proc shows it; the data directory may be replaced, its path stays. */
  #dataDirectory: string | null = null;
  #child: ChildProcess | null = null;
  #adoptedTimer: NodeJS.Timeout | null = null;
  #startedAs: 'primary' | 'standby' = 'standby';

  constructor(options: PostmasterOptions) {
    super();
    this.#options = options;
  }

  get pid(): number | null {
    return this.#pid;
  }

  /** Whether the running (or last) one was started with standby.signal; an adopted one may have been promoted since. */
  get startedAs(): 'primary' | 'standby' {
    return this.#startedAs;
  }

  /** Takes over a postmaster that an earlier agent started in this data directory; false if there is none. */
  async adopt(): Promise<boolean> {
    const text = await readFileIfPresent(join(this.#options.dataDirectory, 'postmaster.pid'));
    const pid = Number.parseInt(text?.split('\n')[0] ?? '', 10);
    if (!Number.isInteger(pid) || pid <= 1 || !(await this.#isOurs(pid))) return false;
    this.#pid = pid;
    this.#startedAs = (await this.#hasStandbySignal()) ? 'standby' : 'primary';
    this.#adoptedTimer = setInterval(() => {
      if (!isAlive(pid)) this.#ended(pid);
    }, ADOPTED_CHECK_INTERVAL_MS);
    return true;
  }

  /** Starts the server; resolves once the process runs (it may still recover). */
  async start(as: 'primary' | 'standby'): Promise<void> {
    if (this.#pid !== null)
      throw new PostmasterError('POSTGRES_STILL_RUNS', `Cannot start PostgreSQL: process ${this.#pid} runs`);
    const { dataDirectory, postgresBin, configFile, logFile } = this.#options;
    await this.#waitForOrphans();
    const signalFile = join(dataDirectory, 'standby.signal');
    if (as === 'standby') await writeFile(signalFile, '', { mode: 0o600 });
    else await rm(signalFile, { force: true });
    const log = logFile === null ? null : await open(logFile, 'a', 0o600);
    try {
      const output = log === null ? 'inherit' : log.fd;
      const child = spawn(join(postgresBin, 'postgres'), ['-D', dataDirectory, '-c', `config_file=${configFile}`], {
        cwd: '/',
        detached: true,
        stdio: ['ignore', output, output],
        env: serverEnvironment(),
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', (cause) =>
          reject(
            new PostmasterError('POSTGRES_START_FAILED', `Cannot start "${postgresBin}/postgres": ${cause.message}`, {
              cause,
            }),
          ),
        );
      });
      const pid = child.pid as number;
      this.#pid = pid;
      this.#child = child;
      this.#startedAs = as;
      child.once('exit', () => this.#ended(pid));
      await this.#untilItTakesSignals(pid);
    } finally {
      await log?.close();
    }
  }

  /** Before it has written its pid a SIGHUP would end it: its handlers are set just before that. */
  async #untilItTakesSignals(pid: number): Promise<void> {
    const path = join(this.#options.dataDirectory, 'postmaster.pid');
    await waitUntil(
      'PostgreSQL has written its pid',
      { timeoutMs: PID_FILE_LIMIT_MS, intervalMs: 2 },
      async () => this.#pid !== pid || (await readFileIfPresent(path))?.startsWith(`${pid}\n`) === true,
    ).catch(() => {});
  }

  /** SIGHUP: PostgreSQL reads its files again. */
  reload(): void {
    if (this.#pid !== null) trySignal(this.#pid, 'SIGHUP');
  }

  /**
   * Stops and resolves when no process of the server is left. `fast` ships all WAL to connected standbys and may wait for
   * them: after `limitMs` it becomes immediate. `immediate`: what has not ended after `limitMs` is killed.
   */
  async stop(mode: 'fast' | 'immediate', limitMs: number = IMMEDIATE_STOP_LIMIT_MS): Promise<void> {
    const pid = this.#pid;
    if (pid === null) {
      await this.#killOrphans();
      return;
    }
    const exited = new Promise<void>((resolve) => this.once('exit', resolve));
    trySignal(pid, mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    if (mode === 'fast') {
      if (await endsWithin(exited, limitMs)) return;
      trySignal(pid, 'SIGQUIT');
    }
    if (!(await endsWithin(exited, mode === 'fast' ? IMMEDIATE_STOP_LIMIT_MS : limitMs))) {
      // Stopped by a debugger or in uninterruptible sleep: nothing softer can help.
      trySignal(pid, 'SIGKILL');
      // Children outlive it then: a postmaster that ends by itself has waited for them.
      await this.#killOrphans();
      await endsWithin(exited, IMMEDIATE_STOP_LIMIT_MS);
      await this.#killOrphans();
    }
  }

  /** Lets go of a running server without stopping it, for the next agent to adopt. */
  release(): void {
    if (this.#adoptedTimer !== null) clearInterval(this.#adoptedTimer);
    this.#child?.removeAllListeners('exit');
    this.#child?.unref();
    this.removeAllListeners();
  }

  #ended(pid: number): void {
    if (this.#pid !== pid) return;
    if (this.#adoptedTimer !== null) clearInterval(this.#adoptedTimer);
    this.#adoptedTimer = null;
    this.#child = null;
    this.#pid = null;
    this.emit('exit');
  }

  async #realDataDirectory(): Promise<string> {
    this.#dataDirectory ??= await realpath(this.#options.dataDirectory);
    return this.#dataDirectory;
  }

  /** A process whose working directory is the data directory: postmaster and all its children change into it. */
  async #isOurs(pid: number): Promise<boolean> {
    try {
      return (await readlink(`/proc/${pid}/cwd`)) === (await this.#realDataDirectory());
    } catch {
      return false;
    }
  }

  async #orphans(): Promise<number[]> {
    const pids: number[] = [];
    for (const name of await readdir('/proc')) {
      const pid = Number(name);
      if (Number.isInteger(pid) && pid !== process.pid && (await this.#isOurs(pid)) && (await isPostgres(pid)))
        pids.push(pid);
    }
    return pids;
  }

  async #waitForOrphans(): Promise<void> {
    try {
      await waitUntil(
        'the backends of the last server have ended',
        { timeoutMs: ORPHANS_LIMIT_MS },
        async () => (await this.#orphans()).length === 0,
      );
    } catch {
      await this.#killOrphans();
    }
  }

  async #killOrphans(): Promise<void> {
    for (const pid of await this.#orphans()) trySignal(pid, 'SIGKILL');
    await delay(1);
  }

  async #hasStandbySignal(): Promise<boolean> {
    return (await readFileIfPresent(join(this.#options.dataDirectory, 'standby.signal'))) !== null;
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function isPostgres(pid: number): Promise<boolean> {
  try {
    return (await readFile(`/proc/${pid}/comm`, 'utf8')).trim().startsWith('postgres');
  } catch {
    return false;
  }
}

async function endsWithin(exited: Promise<void>, limitMs: number): Promise<boolean> {
  const timer = new AbortController();
  return await Promise.race([
    exited.then(() => true),
    new Promise<boolean>((resolve) => {
      const handle = setTimeout(() => resolve(false), limitMs);
      timer.signal.addEventListener('abort', () => clearTimeout(handle));
    }),
  ]).finally(() => timer.abort());
}

/** Nothing of the agent's environment reaches the server but what it needs: no PG* variable may change its meaning. */
export function serverEnvironment(): NodeJS.ProcessEnv {
  const { PATH, TZ, LD_LIBRARY_PATH } = process.env;
  return {
    PATH: PATH ?? '/usr/bin:/bin',
    LC_ALL: 'C.UTF-8',
    ...(TZ === undefined ? {} : { TZ }),
    ...(LD_LIBRARY_PATH === undefined ? {} : { LD_LIBRARY_PATH }),
  };
}
