/**
 * A client that writes one row every few milliseconds and remembers each acknowledged key. The demo, the chaos tests
 * and the failover benchmark run it as a process of its own, so that the agents' load does not delay its clock.
 *
 *   node write-client.ts write --host leo.example --hostaddr 127.0.1.5 --database app --user app \
 *     --password-file FILE --sslrootcert FILE [--mode session|connect] [--interval-ms 20] ...
 *   node write-client.ts check ... < ranges.json      which acknowledged keys this node does not have
 *
 * `write` prints one JSON object a line: `ack`, `error`, `connected`, and in answer to a line on stdin
 * (`mark` begins a new window, `summary`, `stop`) `marked` or `summary`. It ends on `stop`, on the end of stdin, SIGINT
 * and SIGTERM, with a last `summary`. Times (`atMs`) are the machine's monotonic clock, so they compare between processes.
 *
 * Timeouts are the client's own: it drops the connection. It never asks the server to cancel, and sets no
 * statement_timeout, because a cancelled wait for a standby makes PostgreSQL report a success that may not survive.
 */
import { readFileSync } from 'node:fs';
import { isIP, Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { type KeyRange, WriteLedger, type WriteSummary } from './write-ledger.ts';

export interface WriteTarget {
  /** Name that the certificate must carry, an address, or a socket's folder. */
  readonly host: string;
  /** Address to dial instead of resolving `host`. */
  readonly hostaddr?: string | undefined;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password?: string | undefined;
  /** PEM file of the certificate authorities: TLS with verify-full. Without it the connection is plain. */
  readonly sslrootcert?: string | undefined;
}

export interface WriteOptions {
  readonly target: WriteTarget;
  /** `session`: one connection as long as it lives. `connect`: a new one for each row. */
  readonly mode: 'session' | 'connect';
  /** From the start of one write to the start of the next; a slower write delays the next one. Also the pause after an error. */
  readonly intervalMs: number;
  readonly statementTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** First key; default: after the highest in the table when the first connection is made. */
  readonly firstKey?: number | undefined;
}

export type WriteEvent =
  | { readonly type: 'connected'; readonly atMs: number }
  /** `server` is the address that PostgreSQL itself was reached at, behind any proxy; null on a socket file. */
  | { readonly type: 'ack'; readonly atMs: number; readonly key: number; readonly server: string | null }
  | {
      readonly type: 'error';
      readonly atMs: number;
      readonly key: number | null;
      readonly code: string;
      readonly message: string;
    };

export interface WriteClient {
  beginWindow(): void;
  summary(): WriteSummary;
  /** Ends the writing: the write under way is waited for, within its timeout. Rejects if the loop itself failed. */
  stop(): Promise<WriteSummary>;
}

const CREATE_TABLE = `create table if not exists pgspan_writes (key bigint primary key, at timestamptz not null)`;
const INSERT = `insert into pgspan_writes (key, at) values ($1, clock_timestamp()) returning host(inet_server_addr()) as server`;
/** More missing keys than this are only counted. */
const MISSING_KEYS_SHOWN_MAX = 100;
/** A reader of stdout that does not read gets no `ack` lines beyond this; the ledger still has them. */
const STDOUT_BUFFER_BYTES_MAX = 1024 * 1024;

/** Milliseconds of the machine's monotonic clock: the same for every process on it, unlike `performance.now()`. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

export function startWriteClient(options: WriteOptions, onEvent: (event: WriteEvent) => void): WriteClient {
  const ledger = new WriteLedger(monotonicMs());
  const stopping = new AbortController();
  const finished = writeUntilStopped(options, ledger, onEvent, stopping.signal);
  finished.catch(() => stopping.abort()); // seen by whoever calls stop()
  return {
    beginWindow: () => ledger.beginWindow(monotonicMs()),
    summary: () => ledger.summary(monotonicMs()),
    async stop() {
      stopping.abort();
      await finished;
      return ledger.summary(monotonicMs());
    },
  };
}

async function writeUntilStopped(
  options: WriteOptions,
  ledger: WriteLedger,
  onEvent: (event: WriteEvent) => void,
  stop: AbortSignal,
): Promise<void> {
  let session: Session | null = null;
  let key = options.firstKey ?? null;
  let tableExists = false;
  let addressIndex = 0;
  while (!stop.aborted) {
    const startedMs = monotonicMs();
    let keyTried: number | null = null;
    try {
      if (session === null) {
        // The one that answered last is tried first; from one that does not answer the next try goes on to the next.
        const address = addressIndex++;
        session = await openSession(options, address);
        addressIndex = address;
        ledger.reconnect();
        onEvent({ type: 'connected', atMs: monotonicMs() });
      }
      if (!tableExists) await session.query(CREATE_TABLE);
      tableExists = true;
      key ??= Number((await session.query('select coalesce(max(key), 0) + 1 as next from pgspan_writes'))[0]?.next);
      keyTried = key;
      key += 1; // whatever happens to it, a key is used once
      const rows = await session.query(INSERT, [keyTried]);
      const atMs = monotonicMs();
      ledger.acknowledge(keyTried, atMs);
      onEvent({ type: 'ack', atMs, key: keyTried, server: (rows[0]?.server as string | null) ?? null });
    } catch (error) {
      const { code, message } = describeError(error);
      ledger.fail(code);
      onEvent({ type: 'error', atMs: monotonicMs(), key: keyTried, code, message });
      session?.drop();
      session = null;
    }
    if (options.mode === 'connect') {
      session?.close();
      session = null;
    }
    const waitMs = startedMs + options.intervalMs - monotonicMs();
    if (waitMs > 0) await sleep(waitMs, undefined, { signal: stop }).catch(() => {});
  }
  session?.close();
}

interface Session {
  /** Rejects with code CLIENT_TIMEOUT when the answer takes longer than the statement timeout; the connection is gone then. */
  query(sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  /** Says goodbye to the server. */
  close(): void;
  /** Closes the socket at once. */
  drop(): void;
}

async function openSession(options: WriteOptions, addressIndex: number): Promise<Session> {
  const socket = new Socket();
  const addresses = options.target.hostaddr?.split(',') ?? [];
  const hostaddr = addresses[addressIndex % addresses.length];
  const client = new pg.Client({ ...clientConfig({ ...options.target, hostaddr }), stream: () => socket });
  const broken = Promise.withResolvers<never>();
  broken.promise.catch(() => {}); // nobody may be waiting
  client.on('error', broken.reject);
  const drop = () => socket.destroy();
  const within = <T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> =>
    withTimeout(Promise.race([promise, broken.promise]), timeoutMs, what).catch((error: unknown) => {
      drop();
      promise.catch(() => {});
      throw error;
    });
  await within(client.connect(), options.connectTimeoutMs, 'connect');
  return {
    query: async (sql, values) =>
      (await within(client.query(sql, values), options.statementTimeoutMs, 'statement')).rows as Record<
        string,
        unknown
      >[],
    close: () => void client.end().catch(() => {}),
    drop,
  };
}

function clientConfig(target: WriteTarget): pg.ClientConfig {
  const config: pg.ClientConfig = {
    host: target.hostaddr ?? target.host,
    port: target.port,
    database: target.database,
    user: target.user,
    application_name: 'pgspan-write-client',
  };
  if (target.password !== undefined) config.password = target.password;
  if (target.sslrootcert !== undefined) {
    const ca = readFileSync(target.sslrootcert, 'utf8');
    // The name that is verified is `host`, wherever it lies; Node takes an address (an IP SAN) only from `host`.
    config.ssl =
      isIP(target.host) === 0 ? { ca, servername: target.host } : ({ ca, host: target.host } as { ca: string });
  }
  return config;
}

async function withTimeout<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  const timer = new AbortController();
  const timeout = sleep(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw Object.assign(new Error(`No answer to the ${what} in ${timeoutMs} ms`), { code: 'CLIENT_TIMEOUT' });
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    timer.abort();
    timeout.catch(() => {});
  }
}

function describeError(error: unknown): { code: string; message: string } {
  const message = error instanceof Error ? error.message : String(error);
  const code = (error as { code?: unknown } | null)?.code;
  return { code: typeof code === 'string' ? code : 'CONNECTION_LOST', message: message.slice(0, 300) };
}

export interface MissingKeys {
  readonly checked: number;
  readonly missing: number;
  /** The lowest of them. */
  readonly keys: readonly number[];
}

/** Which of the acknowledged keys the node at `target` does not have. Throws when it cannot be asked. */
export async function findMissingKeys(target: WriteTarget, ranges: readonly KeyRange[]): Promise<MissingKeys> {
  const client = new pg.Client({ ...clientConfig(target), connectionTimeoutMillis: 5000 });
  client.on('error', () => {}); // the query's own promise tells
  await client.connect();
  try {
    const result = await client.query(
      `select count(*)::int as checked, (count(*) filter (where w.key is null))::int as missing,
              coalesce((array_agg(k order by k) filter (where w.key is null))[1:$3], '{}')::text[] as keys
         from unnest($1::bigint[], $2::bigint[]) as range(first, last),
              generate_series(first, last) as k left join pgspan_writes w on w.key = k`,
      [ranges.map(([first]) => first), ranges.map(([, last]) => last), MISSING_KEYS_SHOWN_MAX],
    );
    const row = result.rows[0] as { checked: number; missing: number; keys: string[] };
    return { checked: row.checked, missing: row.missing, keys: row.keys.map(Number) };
  } finally {
    await client.end();
  }
}

async function main(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      host: { type: 'string' },
      hostaddr: { type: 'string' },
      port: { type: 'string', default: '5432' },
      database: { type: 'string', default: 'app' },
      user: { type: 'string', default: 'app' },
      'password-file': { type: 'string' },
      sslrootcert: { type: 'string' },
      mode: { type: 'string', default: 'session' },
      'interval-ms': { type: 'string', default: '20' },
      'statement-timeout-ms': { type: 'string', default: '500' },
      'connect-timeout-ms': { type: 'string', default: '500' },
      'first-key': { type: 'string' },
      'no-acks': { type: 'boolean', default: false },
    },
  });
  if (values.host === undefined) throw new Error('Cannot start: --host is missing');
  if (values.mode !== 'session' && values.mode !== 'connect') {
    throw new Error(`Cannot start: --mode is "${values.mode}"; it may be session or connect`);
  }
  const target: WriteTarget = {
    host: values.host,
    hostaddr: values.hostaddr,
    port: integer('port', values.port),
    database: values.database,
    user: values.user,
    password: values['password-file'] && readFileSync(values['password-file'], 'utf8').trimEnd(),
    sslrootcert: values.sslrootcert,
  };
  switch (positionals[0]) {
    case 'check':
      print(await findMissingKeys(target, JSON.parse(await text(process.stdin)) as KeyRange[]));
      return;
    case 'write':
      return writeProgram({
        target,
        mode: values.mode,
        intervalMs: integer('interval-ms', values['interval-ms']),
        statementTimeoutMs: integer('statement-timeout-ms', values['statement-timeout-ms']),
        connectTimeoutMs: integer('connect-timeout-ms', values['connect-timeout-ms']),
        firstKey: values['first-key'] === undefined ? undefined : integer('first-key', values['first-key']),
        printAcks: !values['no-acks'],
      });
    default:
      throw new Error(`Cannot start: "${positionals[0] ?? ''}" is no command; there are write and check`);
  }
}

async function writeProgram(options: WriteOptions & { printAcks: boolean }): Promise<void> {
  const client = startWriteClient(options, (event) => {
    if (event.type !== 'ack') print(event);
    else if (options.printAcks && process.stdout.writableLength < STDOUT_BUFFER_BYTES_MAX) print(event);
  });
  const commands = createInterface({ input: process.stdin });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => commands.close());
  process.stdout.on('error', () => commands.close()); // nobody listens any more
  for await (const command of commands) {
    if (command === 'stop') break;
    if (command === 'mark') client.beginWindow();
    if (command === 'mark') print({ type: 'marked', atMs: monotonicMs() });
    else if (command === 'summary') print({ type: 'summary', atMs: monotonicMs(), ...client.summary() });
    else print({ type: 'unknown', message: `Cannot do "${command}": there are mark, summary and stop` });
  }
  print({ type: 'summary', atMs: monotonicMs(), ...(await client.stop()) });
  process.stdin.destroy();
}

function integer(name: string, value: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0) {
    throw new Error(`Cannot start: --${name} is "${value}", which is no whole number`);
  }
  return number;
}

function print(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

if (import.meta.main) {
  await main(process.argv.slice(2)).catch((error: unknown) => {
    process.stderr.write(`write-client: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  });
}
