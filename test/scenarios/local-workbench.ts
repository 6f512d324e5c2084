/**
 * What scenarios do inside of the nodes of a local site: traps that spring at one moment of the protocol, an old record, a client
 * that cancels, a slow checkpoint (runner.ts, Workbench).
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { waitUntil } from '../../src/base/wait-until.ts';
import { cutTarget, freezeTarget, killTarget, thawTarget } from '../../src/platform/local/faults/faults.ts';
import { parseTarget } from '../../src/platform/local/faults/targets.ts';
import { signalProcess } from '../../src/platform/local/processes.ts';
import {
  type LocalSite,
  openSite,
  postgresLogFile,
  processesOf,
  recordFolder,
  runtimeDirectory,
  stateDirectory,
} from '../../src/platform/local/site.ts';
import type { Workbench } from './runner.ts';

/** The record names a new leader some tens of milliseconds before that one is promoted. */
const TRAP_LOOK_MS = 2;
const run = promisify(execFile);

interface Trap {
  readonly when: 'elected' | 'joined' | 'rewinding';
  readonly fault: 'kill' | 'cut';
}

interface StoredRecord {
  readonly leader: string;
  readonly members: readonly { readonly node: string }[];
}

export class LocalWorkbench implements Workbench {
  readonly #folder: string;
  readonly #start: () => Promise<void>;
  readonly neverLeads: string | null;
  #timer: NodeJS.Timeout | null = null;
  #caught: string | null = null;
  #problem: Error | null = null;
  #checkpoint: ChildProcess | null = null;

  /** @param start starts what is missing in the site */
  constructor(folder: string, options: { readonly start: () => Promise<void>; readonly neverLeads: string | null }) {
    this.#folder = folder;
    this.#start = options.start;
    this.neverLeads = options.neverLeads;
  }

  setTrap(trap: Trap): void {
    this.end();
    this.#caught = null;
    this.#problem = null;
    const site = openSite(this.#folder);
    const before = this.#record();
    this.#timer = setInterval(() => {
      const node = prey(trap, site, before, () => this.#record());
      if (node === null) return;
      this.end();
      spring(trap, site, node).then(
        () => {
          this.#caught = node;
        },
        (error: Error) => {
          this.#problem = error;
        },
      );
    }, TRAP_LOOK_MS);
  }

  caught(): string | null {
    if (this.#problem !== null) throw this.#problem;
    return this.#caught;
  }

  async record(verb: 'remember' | 'restore' | 'bring back'): Promise<void> {
    const file = this.#recordFile();
    if (verb === 'remember') return copyFileSync(file, `${file}.old`);
    const site = openSite(this.#folder);
    await killTarget(site, parseTarget(site.state, 'record'));
    if (verb === 'restore') copyFileSync(file, `${file}.newest`);
    // Into the file that is there: its owner and mode stay.
    copyFileSync(verb === 'restore' ? `${file}.old` : `${file}.newest`, file);
    await this.#start();
  }

  async cancelWaitingCommit(node: string): Promise<void> {
    const name = 'pgspan scenario that cancels';
    const commit = `select pg_logical_emit_message(true, 'scenario', 'cancelled')`;
    const client = spawnPsql(openSite(this.#folder), node, commit, name);
    const said = text(client);
    const cancel = `select count(pg_cancel_backend(pid)) from pg_stat_activity
      where application_name = '${name}' and wait_event = 'SyncRep'`;
    await waitUntil('its commit waits for a standby', { timeoutMs: 20_000 }, async () => {
      const { stdout } = await psql(openSite(this.#folder), node, cancel);
      return Number(stdout) > 0;
    });
    await waitUntil('it has been told that its commit is done', { timeoutMs: 10_000 }, () =>
      said.value.includes('canceling wait for synchronous replication due to user request'),
    );
  }

  async beginSlowCheckpoint(node: string): Promise<void> {
    const site = openSite(this.#folder);
    // Much to write, so that a checkpoint that is not asked to be quick takes minutes.
    await psql(
      site,
      node,
      `create table if not exists dirty as select n, repeat('x', 400) as filler from generate_series(1, 40000) n;
       update dirty set n = n + 1`,
    );
    // A base backup begins with a checkpoint that spreads its writes.
    const begin = `select pg_backup_start('scenario', false)`;
    this.#checkpoint = spawnPsql(site, node, begin, 'pgspan scenario checkpoint');
    const isRunning = `select count(*) from pg_stat_activity where application_name = 'pgspan scenario checkpoint'
      and wait_event_type = 'IPC' and wait_event like 'Checkpoint%'`;
    await waitUntil('a checkpoint runs', { timeoutMs: 20_000 }, async () => {
      const { stdout } = await psql(site, node, isRunning);
      return Number(stdout) > 0;
    });
  }

  /** PostgreSQL says it in its log, which no rewind and no clone touches. */
  promotions(): ReadonlyMap<number, readonly string[]> {
    const site = openSite(this.#folder);
    const result = new Map<number, string[]>();
    for (const { name } of site.state.nodes) {
      const log = existsSync(postgresLogFile(site, name)) ? readFileSync(postgresLogFile(site, name), 'utf8') : '';
      for (const [, timeline] of log.matchAll(/selected new timeline ID: (\d+)/g)) {
        const nodes = result.get(Number(timeline)) ?? [];
        result.set(Number(timeline), [...nodes, name]);
      }
    }
    return result;
  }

  /** Takes the trap away. */
  end(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#checkpoint?.kill('SIGTERM');
    this.#checkpoint = null;
  }

  #recordFile(): string {
    return join(recordFolder(openSite(this.#folder)), 'data', 'record.json');
  }
  #record(): StoredRecord {
    return (JSON.parse(readFileSync(this.#recordFile(), 'utf8')) as { record: StoredRecord }).record;
  }
}

/** The node that the trap catches now, or null. */
function prey({ when }: Trap, site: LocalSite, before: StoredRecord, now: () => StoredRecord): string | null {
  if (when === 'rewinding')
    return site.state.nodes.find(({ name }) => readVoter(site, name)?.rewinding === true)?.name ?? null;
  const record = now();
  if (when === 'elected') return record.leader === before.leader ? null : record.leader;
  return record.members.length > before.members.length ? record.leader : null;
}

/** The moment is short: everything is stopped first, in one sweep, and then the fault is done in peace. */
async function spring({ fault }: Trap, site: LocalSite, node: string): Promise<void> {
  const target = parseTarget(site.state, node);
  const signal = fault === 'kill' ? 'SIGKILL' : 'SIGSTOP';
  for (const one of processesOf(site)) if (one.part.startsWith(`${node}/`)) signalProcess(one, signal);
  if (fault === 'kill') {
    await killTarget(site, target);
    return;
  }
  await freezeTarget(site, target);
  cutTarget(openSite(site.folder), target);
  await thawTarget(site, target);
}

function readVoter(site: LocalSite, node: string): { readonly rewinding: boolean } | null {
  try {
    return JSON.parse(readFileSync(join(stateDirectory(site, node), 'voter.json'), 'utf8')) as { rewinding: boolean };
  } catch {
    return null;
  }
}

function psqlWords(site: LocalSite, node: string, statement: string): string[] {
  const { ports } = site.state;
  const words = ['-XAtq', '-h', runtimeDirectory(site, node), '-p', String(ports.postgres), '-U', 'postgres'];
  return [...words, '-d', 'app', '-c', statement];
}

function psqlOptions(site: LocalSite, applicationName: string) {
  const { user } = site.state;
  const env = { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', PGAPPNAME: applicationName };
  return { cwd: '/', env, ...(user === null ? {} : { uid: user.uid, gid: user.gid }) };
}

/** One statement as superuser over the local socket. */
async function psql(site: LocalSite, node: string, statement: string): Promise<{ stdout: string }> {
  return await run('psql', psqlWords(site, node, statement), {
    ...psqlOptions(site, 'pgspan scenario'),
    timeout: 60_000,
  });
}

function spawnPsql(site: LocalSite, node: string, statement: string, applicationName: string): ChildProcess {
  const stdio = ['pipe', 'pipe', 'pipe'] as const;
  return spawn('psql', psqlWords(site, node, statement), { ...psqlOptions(site, applicationName), stdio: [...stdio] });
}

function text(child: ChildProcess): { value: string } {
  const said = { value: '' };
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      said.value += chunk.toString();
    });
  return said;
}
