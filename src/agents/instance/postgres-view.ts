/**
 * What this node's PostgreSQL is and where its WAL ends, read over the local socket.
 */
import { type Lsn, parseLsnOrNull } from '../../base/lsn.ts';
import { delay } from '../../base/wait-until.ts';
import type { PostgresState } from '../../core/leadership/step.ts';
import type { LocalSql } from './local-sql.ts';
import type { Postmaster } from './postmaster.ts';

export interface PostgresView {
  readonly state: PostgresState;
  readonly flushLsn: Lsn | null;
  readonly replayLsn: Lsn | null;
  /** A WAL receiver process exists. */
  readonly hasReceiver: boolean;
  /** When an observation last found more WAL of the leader than the one before, of performance.now(); on the disk or not. */
  readonly walArrivedAtMs: number;
  readonly isReplayPaused: boolean;
  /** server_version_num; null before the first answer. */
  readonly serverVersion: number | null;
  /** Settings that were changed and take effect only by a restart. */
  readonly pendingRestart: readonly string[];
}

/** One row; functions of the wrong role would throw, so each is behind the role. */
const VIEW_SQL = `
select r.recovering,
  case when r.recovering then pg_last_wal_receive_lsn()::text end as received,
  case when r.recovering then pg_last_wal_replay_lsn()::text else pg_current_wal_flush_lsn()::text end as position,
  case when r.recovering then pg_is_wal_replay_paused() else false end as paused,
  w.pid is not null as receiver,
  w.written_lsn::text as written,
  current_setting('server_version_num')::int as version
from (select pg_is_in_recovery() as recovering) r left join pg_stat_get_wal_receiver() w on true`;

/** What the startup process waits for once it has replayed all WAL on the disk. */
const END_OF_WAL_SQL = `
select coalesce(bool_or(wait_event in ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')), false) as at_end
from pg_stat_activity where backend_type = 'startup'`;

const PENDING_RESTART_SQL = `select coalesce(array_agg(name order by name), '{}') as names from pg_settings where pending_restart`;

const CLOCK_SQL = 'select clock_timestamp()::text as now';
/** Each session has its own, and takes the postmaster's signal before its next command; a new one begins with the postmaster's. */
const IS_LOADED_SQL = 'select pg_conf_load_time() > $1::timestamptz as loaded';
/** The postmaster passes a reload on in milliseconds, unless it is frozen or the machine is overloaded. */
const RELOAD_LIMIT_MS = 2000;
const RELOAD_CHECK_MS = 20;

export class PostgresObserver {
  readonly #postmaster: Postmaster;
  readonly #sql: LocalSql;
  #stoppedAtMs: number;
  #isReplayedToEnd = false;
  #isPendingKnown = false;
  #pid: number | null = null;
  #written: Lsn | null = null;
  #walArrivedAtMs = Number.NEGATIVE_INFINITY;
  #observedAtMs = Number.NEGATIVE_INFINITY;
  #view: PostgresView;

  constructor(postmaster: Postmaster, sql: LocalSql) {
    this.#postmaster = postmaster;
    this.#sql = sql;
    this.#stoppedAtMs = performance.now();
    this.#view = this.#withoutServer({ kind: 'stopped', sinceMs: this.#stoppedAtMs });
  }

  /** As of the last observation. */
  get view(): PostgresView {
    return this.#view;
  }

  /** When the last observation began, of performance.now(). */
  get observedAtMs(): number {
    return this.#observedAtMs;
  }

  /** Never throws: a server that does not answer in `timeoutMs` is one whose positions are unknown. */
  async observe(timeoutMs: number): Promise<PostgresView> {
    this.#observedAtMs = performance.now();
    const pid = this.#postmaster.pid;
    if (pid !== this.#pid) {
      this.#pid = pid;
      this.#isReplayedToEnd = false;
      this.#isPendingKnown = false;
      if (pid === null) this.#stoppedAtMs = performance.now();
      else this.#view = this.#withoutServer({ kind: 'starting', as: this.#postmaster.startedAs });
    }
    if (pid === null) {
      this.#view = this.#withoutServer({ kind: 'stopped', sinceMs: this.#stoppedAtMs });
      return this.#view;
    }
    try {
      this.#view = await this.#read(timeoutMs);
    } catch {
      const { state } = this.#view;
      // A server that was up and does not answer keeps its role; one that never answered is starting.
      if (state.kind === 'primary') this.#view = this.#withoutServer({ kind: 'primary' });
      else if (state.kind === 'standby')
        this.#view = this.#withoutServer({ kind: 'standby', flushLsn: null, isReplayedToEnd: this.#isReplayedToEnd });
      else this.#view = this.#withoutServer({ kind: 'starting', as: this.#postmaster.startedAs });
    }
    return this.#view;
  }

  /** The postmaster has ended: what was known no longer holds. */
  forget(): void {
    this.#pid = null;
    this.#isPendingKnown = false;
    this.#stoppedAtMs = performance.now();
    this.#isReplayedToEnd = false;
    this.#view = this.#withoutServer({ kind: 'stopped', sinceMs: this.#stoppedAtMs });
  }

  /** Time by the server's clock; null: it does not answer. */
  async readClock(): Promise<string | null> {
    const rows = await this.#sql.query<{ now: string }>(CLOCK_SQL).catch(() => []);
    return rows[0]?.now ?? null;
  }

  /**
   * Waits until a reload that was asked for after `since` has been carried out, and reads which settings wait for a restart. The
   * postmaster passes the signal on in its own time; what is read before that is of the old files. @param since null: no reload.
   */
  async readPendingRestart(since: string | null): Promise<readonly string[]> {
    const deadlineMs = performance.now() + RELOAD_LIMIT_MS;
    while (since !== null && performance.now() < deadlineMs && !(await this.#isLoadedSince(since)))
      await delay(RELOAD_CHECK_MS);
    return await this.#readPendingRestart();
  }

  async #isLoadedSince(time: string): Promise<boolean> {
    const rows = await this.#sql.query<{ loaded: boolean }>(IS_LOADED_SQL, [time]);
    return rows[0]?.loaded === true;
  }

  async #readPendingRestart(): Promise<readonly string[]> {
    const rows = await this.#sql.query<{ names: string[] }>(PENDING_RESTART_SQL);
    const pendingRestart = rows[0]?.names ?? [];
    this.#isPendingKnown = true;
    this.#view = { ...this.#view, pendingRestart };
    return pendingRestart;
  }

  async #read(timeoutMs: number): Promise<PostgresView> {
    const [row] = await this.#sql.query<{
      recovering: boolean;
      received: string | null;
      position: string | null;
      paused: boolean;
      receiver: boolean;
      written: string | null;
      version: number;
    }>(VIEW_SQL, [], { timeoutMs });
    if (row === undefined) throw new Error('PostgreSQL gave no row');
    // Of a server that was adopted, nobody has asked yet.
    if (!this.#isPendingKnown) await this.#readPendingRestart();
    const common = {
      hasReceiver: row.receiver,
      walArrivedAtMs: this.#noteWritten(parseLsnOrNull(row.written)),
      isReplayPaused: row.paused,
      serverVersion: row.version,
      pendingRestart: this.#view.pendingRestart,
    };
    const position = parseLsnOrNull(row.position);
    if (!row.recovering) return { ...common, state: { kind: 'primary' }, flushLsn: position, replayLsn: position };
    const received = parseLsnOrNull(row.received);
    // The startup process asks for streaming only after it has replayed what is on the disk.
    if (!this.#isReplayedToEnd) this.#isReplayedToEnd = received !== null || (await this.#isAtEndOfWal(timeoutMs));
    const flushLsn = received === null || (position !== null && position > received) ? position : received;
    return {
      ...common,
      state: { kind: 'standby', flushLsn, isReplayedToEnd: this.#isReplayedToEnd },
      flushLsn,
      replayLsn: position,
    };
  }

  /** A receiver that began again may begin lower. */
  #noteWritten(written: Lsn | null): number {
    if (written !== null && this.#written !== null && written > this.#written) this.#walArrivedAtMs = performance.now();
    this.#written = written;
    return this.#walArrivedAtMs;
  }

  async #isAtEndOfWal(timeoutMs: number): Promise<boolean> {
    const rows = await this.#sql.query<{ at_end: boolean }>(END_OF_WAL_SQL, [], { timeoutMs });
    return rows[0]?.at_end === true;
  }

  #withoutServer(state: PostgresState): PostgresView {
    return {
      state,
      flushLsn: null,
      replayLsn: null,
      hasReceiver: false,
      walArrivedAtMs: this.#walArrivedAtMs,
      isReplayPaused: false,
      serverVersion: this.#view?.serverVersion ?? null,
      pendingRestart: [],
    };
  }
}
