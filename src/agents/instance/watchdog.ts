/**
 * The watchdog: a small shell process that stops PostgreSQL when the agent of a leading node is frozen or dead. The agent can
 * then neither beat nor fence, and its sessions would hang on a server that can acknowledge nothing.
 *
 * Files in the runtime folder: `watchdog.pid` says which watchdog is on duty; `heartbeat` holds `<count> <looks>`, rewritten by
 * the agent: the same count for `looks` looks in a row and PostgreSQL gets SIGQUIT; 0 looks: nothing to guard. Counts and not
 * times of files, since not every shell compares these more finely than by the second.
 *
 *   agent     feed  feed  feed  feed x                           LOOKS_PER_FENCE = 3, SILENT_LOOKS = 2: after the last feed
 *   watchdog    look    look    look    look    look: SIGQUIT    PostgreSQL runs for 2/3 to 3/3 of `fence`
 *
 * A shell loop, not a second Node. It outlives its agent and guards on until the next
 * agent feeds it or puts another in its place.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, writeSync } from 'node:fs';
import { type FileHandle, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const BASH = '/bin/bash';
/** How often the agent is to feed: more often than the watchdog looks, so that one late feed is no silence. */
export const FEEDS_PER_FENCE = 4;
const LOOKS_PER_FENCE = 3;
const SILENT_LOOKS = 2;
/** A watchdog that was killed is replaced; one that cannot be started at all is tried again this often. */
const RESTART_DELAY_MS = 1000;

/**
 * bash waits without a process of its own: `read -t` on a pipe into which nobody writes. `sleep` once a second is 0.12 % of a
 * core, this 0.01 % (docs/decisions/agent-memory.md).
 */
const SCRIPT = `
cd "$1" || exit 1
pause() { sleep "$1"; }
if [ -n "\${BASH_VERSION-}" ] && { [ -p pause ] || mkfifo -m 600 pause; } 2>/dev/null && exec 9<>pause; then
  pause() { read -r -t "$1" -u 9 _; :; }
fi
last=
silent=0
strange=0
while :; do
  pause "$3"
  owner=
  read -r owner 2>/dev/null < watchdog.pid
  if [ "$owner" = "$$" ]; then strange=0; else strange=$((strange + 1)); [ "$strange" -ge 2 ] && exit 0; fi
  read -r beat looks 2>/dev/null < heartbeat || continue
  if [ "$looks" = 0 ] || [ "$beat" != "$last" ]; then last=$beat; silent=0; continue; fi
  silent=$((silent + 1))
  [ "$silent" -ge "$looks" ] || continue
  read -r pid 2>/dev/null < "$2/postmaster.pid" || continue
  echo '{"level":"warn","msg":"watchdog: the agent is silent, stopping PostgreSQL"}' >&2
  kill -QUIT "$pid" 2>/dev/null
  silent=0
done
`;

export class Watchdog {
  readonly #folder: string;
  #options = { dataDirectory: '', fenceMs: 0 };
  #process: ChildProcess | null = null;
  #heartbeat: FileHandle | null = null;
  #count = 0;
  #isGuarding: boolean | null = null;
  #isEnding = false;

  constructor(runtimeDirectory: string) {
    this.#folder = runtimeDirectory;
  }

  /** Starts the loop; an older one of this folder sees the new pid and ends. What that one guarded is guarded on until `feed`. */
  async start(options: { readonly dataDirectory: string; readonly fenceMs: number }): Promise<void> {
    this.#options = options;
    this.#heartbeat = await open(join(this.#folder, 'heartbeat'), 'a+', 0o600).then(async (created) => {
      await created.close();
      return await open(join(this.#folder, 'heartbeat'), 'r+');
    });
    // Counts of the former agent must not come again.
    this.#count = Date.now();
    await this.#spawn();
  }

  async #spawn(): Promise<void> {
    const { dataDirectory, fenceMs } = this.#options;
    const seconds = (fenceMs / LOOKS_PER_FENCE / 1000).toFixed(3);
    const child = spawn(
      existsSync(BASH) ? BASH : '/bin/sh',
      ['-c', SCRIPT, 'pgspan-watchdog', this.#folder, dataDirectory, seconds],
      {
        detached: true,
        stdio: ['ignore', 'ignore', 'inherit'],
        cwd: '/',
        env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
      },
    );
    this.#process = child;
    const replace = (): void => {
      if (this.#isEnding) return;
      setTimeout(() => void (this.#isEnding || this.#spawn().catch(replace)), RESTART_DELAY_MS).unref();
    };
    // It ends by itself, with 0, when another took its place or its folder is gone.
    child.once('error', replace).once('exit', (status) => status !== 0 && replace());
    child.unref();
    await writeFile(join(this.#folder, 'watchdog.pid'), `${child.pid ?? 0}\n`, { mode: 0o600 });
  }

  /** Says that the agent lives, and whether its PostgreSQL is one to guard: a primary. Call it FEEDS_PER_FENCE times a fence. */
  async feed(isPrimary: boolean): Promise<void> {
    if (isPrimary || this.#isGuarding !== false) this.#beat(isPrimary ? SILENT_LOOKS : 0);
    this.#isGuarding = isPrimary;
  }

  /** Ends with the agent, after PostgreSQL has been stopped. */
  async stop(): Promise<void> {
    this.#isEnding = true;
    await rm(join(this.#folder, 'watchdog.pid'), { force: true });
    this.#process?.kill('SIGTERM');
    await this.#close();
  }

  /** The agent ends and PostgreSQL runs on: guards it on, but gives the next agent `graceMs` to come. */
  async release(graceMs: number): Promise<void> {
    this.#isEnding = true;
    const lookMs = this.#options.fenceMs / LOOKS_PER_FENCE;
    if (this.#isGuarding === true) this.#beat(SILENT_LOOKS + Math.ceil(graceMs / lookMs));
    await this.#close();
  }

  /** In place and always as long, so that no reader sees a part of two beats; at once, since the folder is in memory. */
  #beat(looks: number): void {
    this.#count++;
    const heartbeat = this.#heartbeat;
    if (heartbeat !== null)
      writeSync(heartbeat.fd, `${String(this.#count).padStart(16, '0')} ${looks}`.padEnd(31) + '\n', 0);
  }

  async #close(): Promise<void> {
    const heartbeat = this.#heartbeat;
    this.#heartbeat = null;
    await heartbeat?.close();
  }
}
