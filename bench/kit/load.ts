/**
 * The load beside a measurement: pgbench's own transaction at a fixed rate, over the same endpoint as the write client,
 * so that shared buffers are dirty and WAL flows when a fault comes. pgbench ends when its connections break; then it is
 * started again, until told to stop.
 */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inForky } from './forky.ts';
import { run, start, stop } from './processes.ts';
import type { Target } from './target.ts';

export interface LoadOptions {
  /** pgbench's scale: 100,000 accounts and 15 MB each. */
  readonly scale: number;
  /** Transactions a second, all clients together. */
  readonly rate: number;
  readonly clients: number;
}

export interface Load {
  /** Transactions committed through `target` since the present leader counts (its statistics are its own). */
  transactions(): Promise<number>;
  stop(): Promise<void>;
}

const RESTART_PAUSE_MS = 200;

/** Fills the tables; minutes at a large scale. */
export async function fillTables(target: Target, { scale }: LoadOptions): Promise<void> {
  await run([...client(target), 'pgbench', '--initialize', '--quiet', `--scale=${scale}`], {
    env: environment(target),
    timeoutMs: 1_800_000,
  });
}

export function startLoad(target: Target, { rate, clients }: LoadOptions, logFile: string): Load {
  const command = [
    ...client(target),
    'pgbench',
    '--no-vacuum',
    `--client=${clients}`,
    `--rate=${rate}`,
    '--time=86400',
  ];
  let stopped = false;
  let child = start(command, logFile, environment(target));
  const supervised = (async () => {
    while (!stopped) {
      if (child.exitCode === null && child.signalCode === null) {
        await new Promise((resolve) => child.once('exit', resolve));
      }
      if (stopped) return;
      await sleep(RESTART_PAUSE_MS);
      child = start(command, logFile, environment(target));
    }
  })();
  return {
    transactions: async () =>
      Number(await query(target, `select n_tup_ins from pg_stat_user_tables where relname = 'pgbench_history'`)),
    async stop() {
      stopped = true;
      await stop(child, 'SIGKILL');
      await supervised;
      await stop(child, 'SIGKILL');
    },
  };
}

/** One value from the database, by psql. */
export async function query(target: Target, sql: string): Promise<string> {
  const command = [...client(target), 'psql', '-XAtqc', sql];
  return (await run(command, { env: environment(target), timeoutMs: 30_000 })).trim();
}

function client(target: Target): string[] {
  return [...target.on, ...inForky(dirname(target.sslrootcert))];
}

function environment(target: Target): Record<string, string> {
  return {
    PGHOST: target.host,
    PGHOSTADDR: target.hostaddr,
    PGPORT: String(target.port),
    PGDATABASE: target.database,
    PGUSER: target.user,
    PGPASSWORD: readFileSync(target.passwordFile, 'utf8').trim(),
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: target.sslrootcert,
    PGCONNECT_TIMEOUT: '5',
  };
}
