/**
 * Runs write-client.ts as a process of its own and keeps what it says: each acknowledgement, and answers to questions.
 * A process of its own, because a loop that shares a process with the one that watches it measures that one's pauses too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { MissingKeys, WriteEvent } from './write-client.ts';
import type { KeyRange, WriteSummary } from './write-ledger.ts';

export interface WriterTarget {
  /** Name to verify, and address to dial. */
  readonly host: string;
  readonly hostaddr: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly passwordFile: string;
  readonly sslRootCert: string;
}

export interface WriterProcess {
  /** Newest events last, at most EVENTS_KEPT_MAX of them. */
  readonly events: readonly WriteEvent[];
  /** Begins a new window for `summary`: gaps and errors count from here. */
  beginWindow(): Promise<void>;
  summary(): Promise<WriteSummary>;
  /** Ends the writing. @returns the last summary. */
  stop(): Promise<WriteSummary>;
  /** Ends the process at once, if it still runs. */
  kill(): void;
}

/** About half an hour at 50 rows a second. */
const EVENTS_KEPT_MAX = 100_000;
/** A write waits at most this long; the next try then is on a new connection. */
const STATEMENT_TIMEOUT_MS = 500;
const ANSWER_TIMEOUT_MS = 5000;

/** Milliseconds of the machine's monotonic clock, as `atMs` of the events. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

export interface WriterOptions {
  /** Default STATEMENT_TIMEOUT_MS. */
  readonly statementTimeoutMs?: number;
  /** Default STATEMENT_TIMEOUT_MS. */
  readonly connectTimeoutMs?: number;
  /** Default: after the highest key of the table. */
  readonly firstKey?: number;
  /** Default `session`: one connection as long as it lives. `connect`: a new one for each row. */
  readonly mode?: 'session' | 'connect';
}

/** @param intervalMs from one write to the next. */
export function startWriter(target: WriterTarget, intervalMs: number, options: WriterOptions = {}): WriterProcess {
  const { statementTimeoutMs = STATEMENT_TIMEOUT_MS, connectTimeoutMs = STATEMENT_TIMEOUT_MS, firstKey } = options;
  const { mode = 'session' } = options;
  const child = runClient('write', target, [
    '--interval-ms',
    String(intervalMs),
    '--statement-timeout-ms',
    String(statementTimeoutMs),
    '--mode',
    mode,
    ...(firstKey === undefined ? [] : ['--first-key', String(firstKey)]),
    '--connect-timeout-ms',
    String(connectTimeoutMs),
  ]);
  const events: WriteEvent[] = [];
  const waiting: { readonly type: string; readonly resolve: (line: unknown) => void }[] = [];
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-1000);
  });
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    const value = JSON.parse(line) as { type: string };
    const index = waiting.findIndex(({ type }) => type === value.type);
    if (index >= 0) return waiting.splice(index, 1)[0]?.resolve(value);
    if (events.length === EVENTS_KEPT_MAX) events.shift();
    events.push(value as WriteEvent);
  });
  const ask = <T>(command: string, type: string): Promise<T> => {
    child.stdin?.write(`${command}\n`);
    return new Promise<T>((resolve, reject) => {
      const fail = () =>
        reject(new Error(`Cannot ask the writing client for "${command}": it does not answer. ${errors}`));
      const timer = setTimeout(fail, ANSWER_TIMEOUT_MS);
      waiting.push({
        type,
        resolve: (line) => {
          clearTimeout(timer);
          resolve(line as T);
        },
      });
    });
  };
  child.stdin?.on('error', () => {}); // it has ended; the question's own deadline tells
  return {
    events,
    beginWindow: async () => {
      await ask('mark', 'marked');
    },
    summary: () => ask<WriteSummary>('summary', 'summary'),
    stop: () => ask<WriteSummary>('stop', 'summary'),
    kill: () => child.kill('SIGKILL'),
  };
}

/** Which of the acknowledged keys the server at `target` does not have. Throws when it cannot be asked. */
export async function findMissingWrites(target: WriterTarget, ranges: readonly KeyRange[]): Promise<MissingKeys> {
  const child = runClient('check', target, []);
  child.stdin?.end(JSON.stringify(ranges));
  const [output, errors] = await Promise.all([
    text(child.stdout as NodeJS.ReadableStream),
    text(child.stderr as NodeJS.ReadableStream),
  ]);
  if (output === '') throw new Error(`Cannot check the acknowledged writes at "${target.host}": ${errors.trim()}`);
  return JSON.parse(output) as MissingKeys;
}

function runClient(command: 'write' | 'check', target: WriterTarget, options: readonly string[]): ChildProcess {
  const words = {
    host: target.host,
    hostaddr: target.hostaddr,
    port: String(target.port),
    database: target.database,
    user: target.user,
    'password-file': target.passwordFile,
    sslrootcert: target.sslRootCert,
  };
  return spawn(
    process.execPath,
    [
      join(import.meta.dirname, 'write-client.ts'),
      command,
      ...Object.entries(words).flatMap(([name, value]) => [`--${name}`, value]),
      ...options,
    ],
    { stdio: 'pipe' },
  );
}
