/**
 * SQL on this node's own PostgreSQL, as superuser over the local socket only. Connections are made when they are needed.
 *
 * A statement that exceeds its limit loses its connection, it is not cancelled: a cancelled wait for a standby would make
 * PostgreSQL report success for a commit that may not survive. So whatever may wait for a quorum goes through a connection of
 * its own without a limit (see `probe` in leadership.ts).
 */
import pg from 'pg';

export interface LocalSqlOptions {
  readonly socketDirectory: string;
  readonly port: number;
  readonly applicationName: string;
  readonly database?: string;
  /** `on`: statements wait for the write quorum. Default `local`. */
  readonly synchronousCommit?: 'on' | 'local';
}

const CONNECT_TIMEOUT_MS = 2000;

/** `code` is LOCAL_SQL_TIMEOUT. */
export class LocalSqlTimeoutError extends Error {
  override name = 'LocalSqlTimeoutError';
  readonly code = 'LOCAL_SQL_TIMEOUT';
}

type Row = Record<string, unknown>;

/** A checkpoint, a probe and an observation may run at one time; more would be a loop gone wrong. */
const CONNECTIONS_MAX = 6;

/** Up to CONNECTIONS_MAX connections, of which one is kept between statements. */
export class LocalSql {
  readonly #options: LocalSqlOptions;
  readonly #onLost: () => void;
  readonly #open = new Set<pg.Client>();
  #idle: pg.Client | null = null;

  /** `onLost` is called when an open connection ends by itself: the earliest sign that PostgreSQL is gone. */
  constructor(options: LocalSqlOptions, onLost: () => void = () => {}) {
    this.#options = options;
    this.#onLost = onLost;
  }

  /** Rows of one statement. `timeoutMs` null: waits for as long as it takes. Throws LocalSqlTimeoutError, or what PostgreSQL said. */
  async query<T extends Row = Row>(
    text: string,
    values: readonly unknown[] = [],
    options: { readonly timeoutMs: number | null } = { timeoutMs: 2000 },
  ): Promise<T[]> {
    const client = await this.#take();
    let isUsable = false;
    try {
      const rows = await within(options.timeoutMs, client.query<T>(text, values as unknown[]));
      isUsable = true;
      return rows.rows;
    } catch (error) {
      // PostgreSQL's own errors leave the connection as it was; a timeout leaves a statement running on it.
      isUsable = error instanceof pg.DatabaseError && error.severity === 'ERROR';
      throw error;
    } finally {
      this.#giveBack(client, isUsable);
    }
  }

  /** One statement without a result. */
  async run(text: string, options: { readonly timeoutMs: number | null } = { timeoutMs: 2000 }): Promise<void> {
    await this.query(text, [], options);
  }

  async close(): Promise<void> {
    for (const client of this.#open) this.#drop(client);
  }

  async #take(): Promise<pg.Client> {
    const idle = this.#idle;
    if (idle !== null) {
      this.#idle = null;
      return idle;
    }
    if (this.#open.size >= CONNECTIONS_MAX)
      throw new LocalSqlTimeoutError(`Cannot ask PostgreSQL: ${CONNECTIONS_MAX} statements of the agent are waiting`);
    const client = new pg.Client({
      host: this.#options.socketDirectory,
      port: this.#options.port,
      user: 'postgres',
      database: this.#options.database ?? 'postgres',
      application_name: this.#options.applicationName,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      // Nothing of the environment (PGOPTIONS, PGSSLMODE, ...) may change what the agent does.
      ssl: false,
      options: `-c synchronous_commit=${this.#options.synchronousCommit ?? 'local'} -c statement_timeout=0 -c lock_timeout=0`,
    });
    this.#open.add(client);
    client.on('error', () => {});
    client.on('end', () => {
      const wasOpen = this.#open.delete(client);
      if (this.#idle === client) this.#idle = null;
      if (wasOpen) this.#onLost();
    });
    try {
      await client.connect();
    } catch (error) {
      this.#drop(client);
      throw error;
    }
    return client;
  }

  #giveBack(client: pg.Client, isUsable: boolean): void {
    if (isUsable && this.#idle === null && this.#open.has(client)) this.#idle = client;
    else this.#drop(client);
  }

  #drop(client: pg.Client): void {
    this.#open.delete(client);
    if (this.#idle === client) this.#idle = null;
    // end() would wait for the running statement.
    (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }
}

async function within<T>(timeoutMs: number | null, work: Promise<T>): Promise<T> {
  if (timeoutMs === null) return await work;
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new LocalSqlTimeoutError(`PostgreSQL did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
    work.catch(() => {});
  }
}
