/**
 * Real PostgreSQL servers without TLS, agents or passwords, for tests of what PostgreSQL itself does (test/facts). One initdb
 * serves all; servers are reached over Unix sockets, and over TCP where a test gives an address.
 *
 * PostgreSQL refuses to be root: as root everything here runs as user `postgres`.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { waitUntil } from '../../src/base/wait-until.ts';
import { findPostgres } from '../../src/platform/postgres-installation.ts';

export type Settings = Readonly<Record<string, string>>;

const START_TIMEOUT_MS = 30_000;
/** Small and fast; durability is not what is tested. */
const COMMON: Settings = {
  listen_addresses: '',
  fsync: 'off',
  shared_buffers: '16MB',
  max_connections: '30',
  wal_log_hints: 'on',
  wal_keep_size: '64MB',
  hot_standby: 'on',
  max_wal_senders: '10',
  wal_retrieve_retry_interval: '100ms',
  checkpoint_timeout: '1h',
  log_min_messages: 'log',
};

export class PlainPostgresKit {
  readonly bin: string;
  readonly major: number;
  readonly folder = mkdtempSync('/tmp/pgspan-facts-');
  readonly owner: { uid?: number; gid?: number };
  readonly #servers: PlainPostgres[] = [];
  readonly #template: string;
  #nextPort = 5432;

  /** Makes the template data directory (about a second). */
  constructor() {
    const { bin, major } = findPostgres();
    this.bin = bin;
    this.major = major;
    this.owner = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {};
    this.#own(this.folder);
    this.#template = join(this.folder, 'template');
    this.makeFolder(this.#template);
    const words = ['-N', '-U', 'postgres', '--auth=trust', '--wal-segsize=1', '-D', this.#template];
    execFileSync(join(bin, 'initdb'), words, { ...this.owner, stdio: ['ignore', 'ignore', 'inherit'] });
  }

  /** A folder of the user that runs PostgreSQL. */
  makeFolder(path: string): string {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    this.#own(path);
    return path;
  }

  /** A file of that user. */
  write(path: string, text: string): void {
    writeFileSync(path, text, { mode: 0o600 });
    this.#own(path);
  }

  #own(path: string): void {
    if (this.owner.uid !== undefined) chownSync(path, this.owner.uid, this.owner.gid as number);
  }

  /** A server that is not started yet: a fresh database, or a copy of what another, stopped or running, has on its disk. */
  create(name: string, settings: Settings = {}, from: string = this.#template): PlainPostgres {
    const server = new PlainPostgres(this, name, this.#nextPort++);
    const command = ['-a', '--no-target-directory', from, server.home];
    execFileSync('cp', command);
    rmSync(join(server.home, 'postmaster.pid'), { force: true });
    server.configure(settings);
    this.#servers.push(server);
    return server;
  }

  /** A standby of `leader`, not started yet: from a base backup that serves all of its standbys. */
  standbyOf(leader: PlainPostgres, name: string, settings: Settings = {}): PlainPostgres {
    const backup = join(this.folder, `${leader.name}.backup`);
    if (!existsSync(backup)) {
      const words = ['-D', backup, '-d', leader.conninfo(), '-c', 'fast', '-X', 'stream', '--no-sync'];
      this.runOrThrow('pg_basebackup', words);
    }
    return this.create(name, { primary_conninfo: leader.conninfo(name), ...settings }, backup);
  }

  /** One of PostgreSQL's programs; its output, both streams, and its exit code. */
  run(program: string, words: readonly string[]): { status: number | null; output: string } {
    const done = spawnSync(join(this.bin, program), words, {
      ...this.owner,
      encoding: 'utf8',
      cwd: '/',
      env: { LC_ALL: 'C.UTF-8' },
    });
    return { status: done.status, output: `${done.stdout}${done.stderr}` };
  }

  runOrThrow(program: string, words: readonly string[]): string {
    const { status, output } = this.run(program, words);
    if (status !== 0) throw new Error(`${program} ended with ${status}: ${output}`);
    return output;
  }

  /** Ends all at once and removes the folder. */
  async close(): Promise<void> {
    for (const server of this.#servers) server.signalAll();
    await waitUntil('all servers have ended', { timeoutMs: START_TIMEOUT_MS }, () =>
      this.#servers.every((server) => !server.isRunning),
    );
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class PlainPostgres {
  readonly name: string;
  readonly home: string;
  readonly port: number;
  readonly #kit: PlainPostgresKit;
  readonly #clients = new Set<pg.Client>();
  readonly #log: string;
  #session: pg.Client | null = null;

  constructor(kit: PlainPostgresKit, name: string, port: number) {
    this.#kit = kit;
    this.name = name;
    this.port = port;
    this.home = join(kit.folder, name);
    this.#log = join(kit.folder, `${name}.log`);
    kit.write(this.#log, '');
  }

  /** How others reach it; `applicationName` is what its pg_stat_replication shows of them. */
  conninfo(applicationName = 'test'): string {
    return `host=${this.#kit.folder} port=${this.port} user=postgres application_name=${applicationName}`;
  }

  /** What the server has written to its log so far. */
  get log(): string {
    return readFileSync(this.#log, 'utf8');
  }

  /** Process id of the postmaster. */
  get pid(): number {
    return Number(readFileSync(join(this.home, 'postmaster.pid'), 'utf8').split('\n')[0]);
  }

  get isRunning(): boolean {
    return existsSync(join(this.home, 'postmaster.pid'));
  }

  /** Written behind what is there: the last one counts. Reload with `reload`. */
  configure(settings: Settings): void {
    const all = {
      ...COMMON,
      port: String(this.port),
      unix_socket_directories: this.#kit.folder,
      ...this.#settings,
      ...settings,
    };
    this.#settings = { ...this.#settings, ...settings };
    const lines = Object.entries(all).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`);
    this.write('pgspan-test.conf', `${lines.join('\n')}\n`);
    const conf = join(this.home, 'postgresql.conf');
    const include = "include 'pgspan-test.conf'\n";
    if (!readFileSync(conf, 'utf8').includes(include)) appendFileSync(conf, include);
    this.write(
      'pg_hba.conf',
      'local all all trust\nlocal replication all trust\nhost all all 127.0.0.0/8 trust\nhost replication all 127.0.0.0/8 trust\n',
    );
  }
  #settings: Settings = {};

  /** Changes settings of the running server and waits until new sessions have them. */
  async reload(settings: Settings): Promise<void> {
    this.configure(settings);
    process.kill(this.pid, 'SIGHUP');
    for (const [name, value] of Object.entries(settings))
      await waitUntil(`"${this.name}" has ${name} = '${value}'`, { timeoutMs: 10_000 }, async () => {
        const client = await this.connect();
        const { rows } = await client.query('select current_setting($1) as value', [name]);
        await client.end();
        return rows[0].value === value;
      });
  }

  /** Starts it as a primary or a standby; resolves when it answers. Throws with its log if it ends. */
  async start(as: 'primary' | 'standby' = 'primary', timeoutMs: number = START_TIMEOUT_MS): Promise<void> {
    const signal = join(this.home, 'standby.signal');
    if (as === 'standby') this.write('standby.signal', '');
    else rmSync(signal, { force: true });
    const child = spawn(
      '/bin/sh',
      ['-c', 'exec "$0" -D "$1" >> "$2" 2>&1', join(this.#kit.bin, 'postgres'), this.home, this.#log],
      {
        ...this.#kit.owner,
        cwd: '/',
        stdio: 'ignore',
        env: { LC_ALL: 'C.UTF-8' },
      },
    );
    let hasEnded = false;
    child.once('exit', () => (hasEnded = true));
    await waitUntil(`"${this.name}" accepts connections`, { timeoutMs, intervalMs: 50 }, async () => {
      if (hasEnded) throw new Error(`"${this.name}" does not start: ${this.log.slice(-3000)}`);
      return await this.connect().then(
        (client) => client.end().then(() => true),
        () => false,
      );
    });
  }

  /** A file inside the data directory, of the server's own user. */
  write(path: string, text: string): void {
    this.#kit.write(join(this.home, path), text);
  }

  /** Gives the server what a function of ours, running as root, has put into its data directory. */
  takeOver(): void {
    const { uid, gid } = this.#kit.owner;
    if (uid !== undefined) execFileSync('chown', ['-R', `${uid}:${gid}`, this.home]);
  }

  async stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.#endSessions();
    if (this.isRunning) this.#kit.runOrThrow('pg_ctl', ['stop', '-s', '-w', '-m', mode, '-D', this.home]);
  }

  /** SIGQUIT, to processes that a test has stopped as well; for the end of all tests. */
  signalAll(): void {
    for (const client of this.#clients) client.end().catch(() => {});
    if (!this.isRunning) return;
    const { pid } = this;
    for (const one of [...this.childPids(), pid]) trySignal(one, 'SIGCONT');
    trySignal(pid, 'SIGQUIT');
  }

  /** Processes of the server beside the postmaster; `title` is a part of what `ps` shows, such as `checkpointer`. */
  childPids(title = ''): number[] {
    const lines = execFileSync('ps', ['-o', 'pid=,args=', '--ppid', String(this.pid)], { encoding: 'utf8' })
      .trim()
      .split('\n');
    return lines.filter((line) => line.includes(title)).map((line) => Number.parseInt(line, 10));
  }

  /** A session of its own, which the caller or the end of the server ends. */
  async connect(options: pg.ClientConfig = {}): Promise<pg.Client> {
    const client = new pg.Client({
      host: this.#kit.folder,
      port: this.port,
      user: 'postgres',
      database: 'postgres',
      connectionTimeoutMillis: 5000,
      ...options,
    });
    client.on('error', () => {});
    client.once('end', () => this.#clients.delete(client));
    await client.connect();
    this.#clients.add(client);
    return client;
  }

  /** Rows of one statement, in a session that is kept. */
  async sql<T extends Record<string, unknown> = Record<string, unknown>>(
    text: string,
    values: unknown[] = [],
  ): Promise<T[]> {
    this.#session ??= await this.connect();
    return (await this.#session.query<T>(text, values)).rows;
  }

  /** The one value of one statement. */
  async value<T = unknown>(text: string, values: unknown[] = []): Promise<T> {
    const [row] = await this.sql(text, values);
    return Object.values(row ?? {})[0] as T;
  }

  async #endSessions(): Promise<void> {
    this.#session = null;
    for (const client of this.#clients) await client.end().catch(() => {});
  }
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

function idOf(which: '-u' | '-g'): number {
  return Number(execFileSync('id', [which, 'postgres']));
}
