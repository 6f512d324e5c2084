/**
 * Processes of a benchmark: started with a log of their own, found again by nothing but their handle, and ended with it.
 * A command may carry a prefix (a network namespace, the forky root), each of which `exec`s the next: one pid for all.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

export const CLONE = join(import.meta.dirname, '../..');

const execFileAsync = promisify(execFile);

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly input?: string;
}

/** Runs a command to its end and returns its standard output. Rejects with what it wrote when it fails. */
export async function run(command: readonly string[], options: CommandOptions = {}): Promise<string> {
  const [file = '', ...args] = command;
  const running = execFileAsync(file, args, {
    env: { ...process.env, ...options.env },
    timeout: options.timeoutMs ?? 120_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  if (options.input !== undefined) running.child.stdin?.end(options.input);
  try {
    return (await running).stdout;
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(`Cannot run "${command.join(' ')}": ${`${stdout}${stderr}`.trim().slice(-2000) || String(error)}`, {
      cause: error,
    });
  }
}

/**
 * Starts a process in the background; its output is appended to `logFile`. If this process dies, it is killed, unless its
 * command changes the user, which takes that mark off.
 */
export function start(command: readonly string[], logFile: string, env: Record<string, string> = {}): ChildProcess {
  mkdirSync(dirname(logFile), { recursive: true });
  const log = openSync(logFile, 'a');
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', ...command], {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...env },
  });
  closeSync(log);
  child.on('error', () => {}); // told by its exit and its log
  return child;
}

export function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null;
}

/** Sends `signal`, and SIGKILL if the process is still there after `graceMs`. Resolves when it is gone. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM', graceMs = 10_000): Promise<void> {
  if (!isRunning(child)) return;
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await exited;
  clearTimeout(timer);
}

/**
 * Asks until the answer is null. `ask` says in words what is still missing; an error it throws counts as such words.
 * Throws with the last of them after `timeoutMs`.
 */
export async function waitUntilNothingMissing(
  what: string,
  ask: () => Promise<string | null>,
  { timeoutMs = 60_000, pauseMs = 200 } = {},
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const missing = await ask().catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
    if (missing === null) return;
    if (performance.now() > deadlineMs) throw new Error(`Waited ${timeoutMs / 1000} s for ${what}: ${missing}`);
    await sleep(pauseMs);
  }
}
