/** The write client (src/platform/local/write-client.ts) as a process beside the system under test. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { join } from 'node:path';
import type { MissingKeys } from '../../src/platform/local/write-client.ts';
import type { KeyRange, WriteSummary } from '../../src/platform/local/write-ledger.ts';
import { CLONE, run } from './processes.ts';
import type { Target } from './target.ts';

const PROGRAM = join(CLONE, 'src/platform/local/write-client.ts');

export interface WriterEvent {
  readonly type: 'ack' | 'error' | 'connected' | 'marked' | 'summary' | 'unknown';
  readonly atMs: number;
  readonly code?: string;
  readonly message?: string;
  readonly server?: string | null;
}

export interface Writer {
  /** Begins a new window. */
  mark(): Promise<void>;
  /** Of the window since the last mark. */
  summary(): Promise<WriteSummary>;
  /** Server address of the last acknowledged row, and when it was acknowledged (monotonic). */
  lastAck(): WriterEvent | null;
  /** Errors of the window, at most ERRORS_MAX of them. */
  errors(): readonly WriterEvent[];
  /**
   * Resolves to true when, from now on, rows have been acknowledged for `ms` on end without an error or a pause longer
   * than half a second; to false if that did not come within `timeoutMs`.
   */
  writesSteadily(ms: number, timeoutMs: number): Promise<boolean>;
  stop(): Promise<WriteSummary>;
}

const ERRORS_MAX = 50;
const PAUSE_MAX_MS = 500;

function connection(target: Target): string[] {
  const { host, hostaddr, port, database, user, passwordFile, sslrootcert } = target;
  const options = { host, hostaddr, port, database, user, 'password-file': passwordFile, sslrootcert };
  return Object.entries(options).map(([name, value]) => `--${name}=${value}`);
}

/** Starts it and waits for its first acknowledged row. */
export async function startWriter(
  target: Target,
  options: { mode: 'session' | 'connect'; intervalMs: number; firstKey?: number; timeoutMs: number },
): Promise<Writer> {
  const [file = '', ...args] = [
    ...target.on,
    ...[process.execPath, PROGRAM, 'write', ...connection(target)],
    ...[`--mode=${options.mode}`, `--interval-ms=${options.intervalMs}`],
    ...[`--connect-timeout-ms=${options.timeoutMs}`, `--statement-timeout-ms=${options.timeoutMs}`],
    ...(options.firstKey === undefined ? [] : [`--first-key=${options.firstKey}`]),
  ];
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const answers: ((event: WriterEvent) => void)[] = [];
  const errors: WriterEvent[] = [];
  let lastAck: WriterEvent | null = null;
  let steadySinceMs = Number.POSITIVE_INFINITY;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const event = JSON.parse(line) as WriterEvent;
    if (event.type === 'ack') {
      if (!(event.atMs - (lastAck?.atMs ?? 0) < PAUSE_MAX_MS) || steadySinceMs === Number.POSITIVE_INFINITY) {
        steadySinceMs = event.atMs;
      }
      lastAck = event;
    } else if (event.type === 'error') {
      steadySinceMs = Number.POSITIVE_INFINITY;
      if (errors.length < ERRORS_MAX) errors.push(event);
    } else if (event.type !== 'connected') answers.shift()?.(event);
  });
  const ask = (command: string): Promise<WriterEvent> => {
    const { promise, resolve } = Promise.withResolvers<WriterEvent>();
    answers.push(resolve);
    child.stdin.write(`${command}\n`);
    return promise;
  };
  const writer: Writer = {
    async mark() {
      await ask('mark');
      errors.length = 0;
    },
    summary: async () => (await ask('summary')) as unknown as WriteSummary,
    lastAck: () => lastAck,
    errors: () => errors,
    async writesSteadily(ms, timeoutMs) {
      const deadlineMs = performance.now() + timeoutMs;
      steadySinceMs = Number.POSITIVE_INFINITY;
      while (performance.now() < deadlineMs && child.exitCode === null) {
        const newest = lastAck as WriterEvent | null;
        if (newest !== null && newest.atMs - steadySinceMs >= ms) return true;
        await sleep(50);
      }
      return false;
    },
    async stop() {
      const summary = (await ask('stop')) as unknown as WriteSummary;
      if (child.exitCode === null) await once(child, 'exit');
      return summary;
    },
  };
  if (!(await writer.writesSteadily(0, 60_000))) {
    child.kill('SIGKILL');
    throw new Error(`Cannot write to "${target.host}" at ${target.hostaddr}: ${errors.at(-1)?.message ?? 'no answer'}`);
  }
  return writer;
}

/** Which of the acknowledged keys the server behind `target` does not have. */
export async function findMissing(target: Target, ranges: readonly KeyRange[]): Promise<MissingKeys> {
  const command = [...target.on, process.execPath, PROGRAM, 'check', ...connection(target)];
  return JSON.parse(await run(command, { input: JSON.stringify(ranges) })) as MissingKeys;
}
