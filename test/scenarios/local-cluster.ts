/** Scenarios on real processes: a local site of three groups, real PostgreSQL, faults of the local platform (runner.ts). */
import { execFile, spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { openLocalAccess } from '../../src/platform/local/access.ts';
import {
  cutTarget,
  fillDiskOf,
  freezeTarget,
  healTarget,
  killTarget,
  slowDiskOf,
  thawTarget,
} from '../../src/platform/local/faults/faults.ts';
import { parseTarget } from '../../src/platform/local/faults/targets.ts';
import { signalProcess } from '../../src/platform/local/processes.ts';
import { type LocalSite, openSite, processesOf, runtimeDirectory } from '../../src/platform/local/site.ts';
import { startSite } from '../../src/platform/local/up.ts';
import type { WriteEvent } from '../../src/platform/local/write-client.ts';
import type { WriterTarget } from '../../src/platform/local/writer-process.ts';
import { findPostgres } from '../../src/platform/postgres-installation.ts';
import type { SiteName } from './format.ts';
import { LocalWorkbench } from './local-workbench.ts';
import {
  OPEN_SESSION_FIRST_KEY,
  type OpenSession,
  type ScenarioCluster,
  type SessionAck,
  type SiteStatus,
  WRITE_INTERVAL_MS,
} from './runner.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const run = promisify(execFile);

/** `pgspan ...` on the sources; resolves with what it printed. */
export async function pgspan(...words: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [join(ROOT, 'src/cli/main.ts'), ...words], {
    cwd: '/',
    timeout: 300_000,
    maxBuffer: 16 * 1024 * 1024,
  });
  return stdout;
}

export class LocalCluster implements ScenarioCluster {
  readonly folder: string;
  readonly workbench: LocalWorkbench;

  constructor(folder: string, site: SiteName = 'three-groups') {
    this.folder = folder;
    const neverLeads = site === 'one-may-not-lead' ? 'ait-1' : null;
    this.workbench = new LocalWorkbench(folder, { start: () => this.start(), neverLeads });
  }

  async up(manifest: string, ...words: string[]): Promise<void> {
    await pgspan('local', 'up', '-f', manifest, '--state', this.folder, '--timeout', '180', ...words);
  }

  /** As `pgspan local up`, which then waits until all is ready: what a scenario waits for it says itself. */
  async start(): Promise<void> {
    const { postgresBin } = openSite(this.folder).state;
    const postgres = findPostgres(postgresBin);
    await startSite({ folder: this.folder, groups: null, postgres, user: null, disks: true, addressRange: '127' });
  }

  async down(): Promise<void> {
    this.workbench.end();
    await pgspan('local', 'down', '--state', this.folder);
  }

  async status(): Promise<SiteStatus> {
    return JSON.parse(await pgspan('status', '-o', 'json', '--state', this.folder)) as SiteStatus;
  }

  async switchover(to: string | null): Promise<void> {
    await pgspan('switchover', ...(to === null ? [] : ['--to', to]), '--state', this.folder);
  }

  async writeTarget(group: string): Promise<WriterTarget> {
    return await this.#target([group]);
  }

  async nodeTarget(node: string): Promise<WriterTarget> {
    return await this.#target(['--node', node]);
  }

  async #target(words: readonly string[]): Promise<WriterTarget> {
    const json = JSON.parse(await pgspan('connection', ...words, '-o', 'json', '--state', this.folder)) as {
      readonly host: string;
      readonly hostaddr: string;
      readonly port: number;
      readonly dbname: string;
      readonly user: string;
      readonly sslrootcert: string;
    };
    return {
      host: json.host,
      hostaddr: json.hostaddr,
      port: json.port,
      database: json.dbname,
      user: json.user,
      passwordFile: openLocalAccess(this.folder).applicationPasswordFile,
      sslRootCert: json.sslrootcert,
    };
  }

  async addressOf(node: string): Promise<string> {
    return openSite(this.folder).state.nodes.find(({ name }) => name === node)?.address as string;
  }

  async openSession(node: string): Promise<OpenSession> {
    return new SocketSession(this.folder, node);
  }

  async fault(verb: string, targetText: string): Promise<void> {
    const site = openSite(this.folder);
    if (targetText.endsWith('/postmaster')) return signalPostmaster(site, verb, targetText);
    const target = parseTarget(site.state, targetText);
    switch (verb) {
      case 'kill':
        await killTarget(site, target);
        return;
      case 'freeze':
        await freezeTarget(site, target);
        return;
      case 'thaw':
        await thawTarget(site, target);
        return;
      case 'cut':
        cutTarget(site, target);
        return;
      case 'heal':
        healTarget(site, target);
        return;
      case 'fill-disk':
        fillDiskOf(site, target);
        return;
      case 'slow-disk':
        slowDiskOf(site, target);
        return;
    }
    throw new Error(`no fault "${verb}"`);
  }

  async healAll(): Promise<void> {
    this.workbench.end();
    const { site } = healTarget(openSite(this.folder), null);
    for (const { name } of site.state.nodes) await thawTarget(site, parseTarget(site.state, name));
    if (site.state.recordAddress !== null) await thawTarget(site, parseTarget(site.state, 'record'));
  }
}

/** The one server process that makes the others; those that it has made go on. */
function signalPostmaster(site: LocalSite, verb: string, target: string): void {
  const signal = { freeze: 'SIGSTOP', thaw: 'SIGCONT' }[verb];
  if (signal === undefined) throw new Error(`no fault "${verb}" of a postmaster`);
  const part = target.replace('/postmaster', '/postgres');
  const servers = processesOf(site).filter((one) => one.part === part && one.executable === 'postgres');
  const pids = new Set(servers.map(({ pid }) => pid));
  const postmasters = servers.filter(({ parentPid }) => !pids.has(parentPid));
  if (postmasters.length !== 1) throw new Error(`"${part}" has ${postmasters.length} postmasters`);
  for (const one of postmasters) signalProcess(one, signal as NodeJS.Signals);
}

/** On the node's own socket, as a process beside PostgreSQL would have it. */
class SocketSession implements OpenSession {
  readonly acks: SessionAck[] = [];
  readonly #child;
  #sessions = 0;

  constructor(folder: string, node: string) {
    const site = openSite(folder);
    const { user, ports } = site.state;
    this.#child = spawn(
      process.execPath,
      [
        join(ROOT, 'src/platform/local/write-client.ts'),
        'write',
        '--host',
        runtimeDirectory(site, node),
        '--port',
        String(ports.postgres),
        '--database',
        'app',
        '--user',
        'postgres',
        '--interval-ms',
        String(WRITE_INTERVAL_MS),
        '--statement-timeout-ms',
        '600000',
        '--first-key',
        String(OPEN_SESSION_FIRST_KEY + Date.now()),
      ],
      { stdio: ['pipe', 'pipe', 'inherit'], cwd: '/', ...(user === null ? {} : { uid: user.uid, gid: user.gid }) },
    );
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const event = JSON.parse(line) as WriteEvent;
      if (event.type === 'connected') this.#sessions++;
      if (event.type === 'ack' && this.#sessions === 1) this.acks.push(event);
    });
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}
