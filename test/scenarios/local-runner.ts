/**
 * Runs a scenario on real processes: a local site of three groups, real PostgreSQL, faults of the local platform. One site
 * serves many scenarios in a row; each leaves it whole.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import {
  cutTarget,
  fillDiskOf,
  freezeTarget,
  healTarget,
  killTarget,
  slowDiskOf,
  thawTarget,
} from '../../src/platform/local/faults/faults.ts';
import { openLocalAccess } from '../../src/platform/local/access.ts';
import { parseTarget } from '../../src/platform/local/faults/targets.ts';
import { openSite, runtimeDirectory } from '../../src/platform/local/site.ts';
import type { WriteEvent } from '../../src/platform/local/write-client.ts';
import {
  findMissingWrites,
  monotonicMs,
  startWriter,
  type WriterProcess,
  type WriterTarget,
} from '../../src/platform/local/writer-process.ts';
import type { Scenario, ScenarioStep } from './format.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const WRITE_INTERVAL_MS = 20;
/** Keys of the session on the leader itself, far above those of the client that goes through the proxy. */
const OPEN_SESSION_FIRST_KEY = 1_000_000_000_000;
const WHOLE_LIMIT_MS = 120_000;
const run = promisify(execFile);

interface NodeStatus {
  readonly name: string;
  readonly group: string;
  readonly role: string;
  readonly activity: string;
  readonly timeline: number;
}

export interface SiteStatus {
  readonly term: number;
  readonly leader: string | null;
  readonly members: readonly string[];
  readonly nodes: readonly NodeStatus[];
}

/** `pgspan ...` on the sources; resolves with what it printed. */
export async function pgspan(...words: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [join(ROOT, 'src/cli/main.ts'), ...words], {
    cwd: '/',
    timeout: 300_000,
    maxBuffer: 16 * 1024 * 1024,
  });
  return stdout;
}

export class LocalCluster {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  async up(manifest: string, ...words: string[]): Promise<void> {
    await pgspan('local', 'up', '-f', manifest, '--state', this.folder, '--timeout', '180', ...words);
  }

  async start(): Promise<void> {
    await pgspan('local', 'up', '--state', this.folder, '--timeout', '180');
  }

  async down(): Promise<void> {
    await pgspan('local', 'down', '--state', this.folder);
  }

  async status(): Promise<SiteStatus> {
    return JSON.parse(await pgspan('status', '-o', 'json', '--state', this.folder)) as SiteStatus;
  }

  async switchover(to: string | null): Promise<void> {
    await pgspan('switchover', ...(to === null ? [] : ['--to', to]), '--state', this.folder);
  }

  async isWhole(): Promise<SiteStatus | null> {
    const status = await this.status();
    const isWhole =
      status.nodes.every(({ activity }) => activity === 'leading' || activity === 'following') &&
      status.members.length === status.nodes.length;
    return isWhole ? status : null;
  }

  async whole(withinMs: number): Promise<SiteStatus> {
    return await waitUntil('all nodes lead or follow and are members', { timeoutMs: withinMs, intervalMs: 300 }, () =>
      this.isWhole().catch(() => null),
    );
  }

  /** How a client reaches the write route through the proxy of `group`; `node`: that node itself. */
  async target(words: readonly string[]): Promise<WriterTarget> {
    const json = JSON.parse(await pgspan('connection', ...words, '-o', 'json', '--state', this.folder)) as {
      readonly host: string;
      readonly hostaddr: string;
      readonly port: number;
      readonly dbname: string;
      readonly user: string;
      readonly sslrootcert: string;
    };
    const passwordFile = openLocalAccess(this.folder).applicationPasswordFile;
    assert.ok(passwordFile !== null);
    return {
      host: json.host,
      hostaddr: json.hostaddr,
      port: json.port,
      database: json.dbname,
      user: json.user,
      passwordFile,
      sslRootCert: json.sslrootcert,
    };
  }

  async fault(verb: string, targetText: string): Promise<void> {
    const site = openSite(this.folder);
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
    const { site } = healTarget(openSite(this.folder), null);
    for (const { name } of site.state.nodes) await thawTarget(site, parseTarget(site.state, name));
    if (site.state.recordAddress !== null) await thawTarget(site, parseTarget(site.state, 'record'));
  }
}

/** A session on the leader's own socket, as a process beside PostgreSQL would have it; it never begins another one. */
class OpenSession {
  readonly acks: number[] = [];
  readonly #child: ChildProcess;
  #sessions = 0;

  constructor(cluster: LocalCluster, node: string) {
    const site = openSite(cluster.folder);
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
      if (event.type === 'ack' && this.#sessions === 1) this.acks.push(event.atMs);
    });
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}

interface Cast {
  readonly former: string;
  readonly follower: string;
  readonly other: string;
}

export interface ScenarioResult {
  readonly acknowledged: number;
  readonly longestGapMs: number;
  readonly leaderBefore: string;
  readonly leaderAfter: string;
}

/** Runs all steps and the checks that hold for every scenario; throws an AssertionError that says which step it was. */
export async function runScenario(
  cluster: LocalCluster,
  scenario: Scenario,
  options: { readonly patience: number },
): Promise<ScenarioResult> {
  const before = await cluster.whole(WHOLE_LIMIT_MS);
  const leader = before.leader as string;
  const [follower, other] = before.nodes.map(({ name }) => name).filter((name) => name !== leader) as [string, string];
  const cast: Cast = { former: leader, follower, other };
  // Through a proxy that no step of the scenario cuts off: that of the second follower's group.
  const through = before.nodes.find(({ name }) => name === other)?.group as string;
  const target = await cluster.target([through]);
  const writer = startWriter(target, WRITE_INTERVAL_MS);
  let session: OpenSession | null = null;
  try {
    // The application's client first: the table must be the application's.
    await waitUntil('the client has written', { timeoutMs: 20_000 }, () => countAcks(writer) > 0);
    const open = new OpenSession(cluster, leader);
    session = open;
    await waitUntil(
      'both clients have written',
      { timeoutMs: 20_000 },
      () => countAcks(writer) > 10 && open.acks.length > 10,
    );
    await writer.beginWindow();
    for (const [index, step] of scenario.steps.entries()) {
      try {
        await runStep(cluster, step, cast, writer, options.patience);
      } catch (error) {
        throw new Error(`step ${index + 1} (${JSON.stringify(step)}): ${(error as Error).message}`, { cause: error });
      }
    }
    await cluster.healAll();
    const after = await cluster.whole(WHOLE_LIMIT_MS);
    const summary = await writer.stop();
    open.end();
    const missing = await findMissingWrites(
      await cluster.target(['--node', after.leader as string]),
      summary.acknowledgedRanges,
    );
    assert.equal(
      missing.missing,
      0,
      `acknowledged writes are missing on "${after.leader}": ${missing.keys.join(', ')}`,
    );
    assertSilentAfter(open, writer, cast.former, cluster);
    if (scenario.outageMsMax !== null)
      assert.ok(
        summary.longestGapMs <= scenario.outageMsMax * options.patience,
        `the client waited ${Math.round(summary.longestGapMs)} ms, at most ${scenario.outageMsMax} ms are allowed`,
      );
    return {
      acknowledged: summary.acknowledged,
      longestGapMs: summary.longestGapMs,
      leaderBefore: leader,
      leaderAfter: after.leader as string,
    };
  } finally {
    writer.kill();
    session?.end();
    await cluster.healAll().catch(() => {});
  }
}

/** F4: nothing on the former leader's open session after the first commit of the next leader. */
function assertSilentAfter(session: OpenSession, writer: WriterProcess, former: string, cluster: LocalCluster): void {
  const address = openSite(cluster.folder).state.nodes.find(({ name }) => name === former)?.address;
  const first = writer.events.find(
    (event) => event.type === 'ack' && event.server !== null && event.server !== address,
  );
  if (first === undefined) return;
  const late = session.acks.filter((atMs) => atMs > first.atMs);
  assert.deepEqual(late, [], `an open session on "${former}" was acknowledged after the next leader's first commit`);
}

function countAcks(writer: WriterProcess): number {
  return writer.events.filter((event) => event.type === 'ack').length;
}

async function runStep(
  cluster: LocalCluster,
  step: ScenarioStep,
  cast: Cast,
  writer: WriterProcess,
  patience: number,
): Promise<void> {
  if ('fault' in step) return await cluster.fault(step.fault, await resolveTarget(cluster, step.target, cast));
  if ('start' in step) return await cluster.start();
  if ('switchover' in step) return await cluster.switchover(step.switchover === 'best' ? null : cast.follower);
  if ('pauseMs' in step) return await delay(step.pauseMs);
  switch (step.expect) {
    case 'another leader': {
      const address = openSite(cluster.folder).state.nodes.find(({ name }) => name === cast.former)?.address;
      const startMs = monotonicMs();
      await waitUntil('another node acknowledges writes', { timeoutMs: step.withinMs * patience }, () =>
        writer.events.some(
          (event) =>
            event.type === 'ack' && event.server !== null && event.server !== address && event.atMs > startMs - 60_000,
        ),
      );
      return;
    }
    case 'same leader': {
      const from = monotonicMs();
      await delay(step.forMs);
      const acks = writer.events.filter((event) => event.type === 'ack' && event.atMs >= from - step.gapMs);
      const times = [...acks.map((event) => event.atMs), monotonicMs()];
      const gaps = times.slice(1).map((atMs, index) => atMs - (times[index] as number));
      assert.ok(acks.length > 0, 'no write was acknowledged');
      assert.ok(Math.max(...gaps) <= step.gapMs * patience, `a gap of ${Math.round(Math.max(...gaps))} ms`);
      const status = await cluster.status();
      assert.equal(status.leader, cast.former, 'the leader was replaced');
      return;
    }
    case 'whole':
      await cluster.whole(step.withinMs * patience);
      return;
    case 'writes': {
      const count = countAcks(writer);
      await waitUntil(
        'a write is acknowledged',
        { timeoutMs: step.withinMs * patience },
        () => countAcks(writer) > count,
      );
      return;
    }
    case 'no writes': {
      const count = countAcks(writer);
      await delay(step.forMs);
      assert.equal(countAcks(writer), count, 'writes were acknowledged');
      return;
    }
  }
}

async function resolveTarget(cluster: LocalCluster, text: string, cast: Cast): Promise<string> {
  if (text === 'record') return text;
  const [, word, rest = ''] = /^(leader|follower|other|former)(.*)$/.exec(text) as unknown as [string, string, string];
  const name = word === 'leader' ? ((await cluster.status()).leader as string) : cast[word as keyof Cast];
  if (rest !== '-group') return name + rest;
  return openSite(cluster.folder).state.nodes.find((node) => node.name === name)?.group as string;
}
