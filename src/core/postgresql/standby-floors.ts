/**
 * Five settings that a standby must have at least as high as its leader had when it wrote the WAL: else PostgreSQL ends while
 * it starts ("recovery aborted because of insufficient parameter settings"). The control file says what the leader had. So a
 * setting that was lowered stays up on a standby, until a leader has been started with the lower one.
 *
 * https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN
 */

/** Names as pg_controldata prints them, and as the server has them. */
const PRINTED: Readonly<Record<string, string>> = {
  max_connections: 'max_connections',
  max_worker_processes: 'max_worker_processes',
  max_wal_senders: 'max_wal_senders',
  max_prepared_xacts: 'max_prepared_transactions',
  max_locks_per_xact: 'max_locks_per_transaction',
};

/** Lowest values by setting, from what `LC_ALL=C pg_controldata` printed. Empty if it printed none of them. */
export function parseStandbyFloors(printed: string): Record<string, number> {
  return Object.fromEntries(
    [...printed.matchAll(/^(max_[a-z_]+) setting:\s+([0-9]+)\s*$/gm)].flatMap(([, name = '', value]) => {
      const setting = PRINTED[name];
      return setting === undefined ? [] : [[setting, Number(value)]];
    }),
  );
}

/** PostgreSQL's own values, which hold where nothing is set; max_worker_processes and the locks differ in no supported version. */
const DEFAULTS: Readonly<Record<string, number>> = {
  max_connections: 100,
  max_worker_processes: 8,
  max_wal_senders: 10,
  max_prepared_transactions: 0,
  max_locks_per_transaction: 64,
};

/** What must be set higher than `parameters` say. */
export function raisedForStandby(
  parameters: Readonly<Record<string, string>>,
  floors: Readonly<Record<string, number>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(floors)
      .filter(([name, floor]) => Number(parameters[name] ?? DEFAULTS[name]) < floor)
      .map(([name, floor]) => [name, String(floor)]),
  );
}
