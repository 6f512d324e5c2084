/**
 * The demo: a database over three simulated Kubernetes clusters, a client that writes, the leader's death, the failover,
 * the return of the old leader, and a switchover back. What it says is measured: at the client, and by asking the new
 * leader for every row that was acknowledged.
 */
import { UserError } from '../../base/user-error.ts';
import { waitUntil } from '../../base/wait-until.ts';
import type { ClusterStatus } from '../../core/status/cluster-status.ts';
import { type LocalAccess, openLocalAccess } from '../../platform/local/access.ts';
import { killTarget } from '../../platform/local/faults/faults.ts';
import { parseTarget } from '../../platform/local/faults/targets.ts';
import { waitForSite } from '../../platform/local/readiness.ts';
import { openSite } from '../../platform/local/site.ts';
import { startSite } from '../../platform/local/up.ts';
import {
  findMissingWrites,
  monotonicMs,
  startWriter,
  type WriterProcess,
  type WriterTarget,
} from '../../platform/local/writer-process.ts';
import { observeCluster } from '../../platform/observe-cluster.ts';
import type { PostgresInstallation } from '../../platform/postgres-installation.ts';
import { connectionSpec } from '../connection.ts';
import { order } from '../orders.ts';
import { demoGroups } from './demo-groups.ts';
import { type Story, thousands } from './story.ts';

export interface DemoOptions {
  readonly folder: string;
  readonly postgres: PostgresInstallation;
  readonly user: string | null;
  readonly addressRange: string;
  readonly story: Story;
  /** Told as soon as there is one, so that an interrupted demo can end it. */
  readonly onWriter: (writer: WriterProcess) => void;
}

/** What `demo -o json` prints. */
export interface DemoResult {
  readonly postgres: string;
  readonly leaderBefore: string;
  readonly leaderAfter: string;
  readonly failover: {
    /** Longest time between two acknowledgements at the client. */
    readonly outageMs: number;
    /** Acknowledged rows that the new leader does not have. */
    readonly lostWrites: number;
    readonly acknowledgedWrites: number;
    /** Milliseconds after the kill. */
    readonly timelineMs: Readonly<Record<Moment, number | null>>;
  };
  /** The old leader, after its return. */
  readonly returned: { readonly node: string; readonly activity: string; readonly afterMs: number };
  readonly switchover: { readonly longestStallMs: number; readonly errors: number; readonly leader: string };
  readonly rows: { readonly acknowledged: number; readonly lost: number };
}

type Moment = 'suspected' | 'promised' | 'swapped' | 'promoted' | 'published' | 'firstWrite';

/** 50 rows a second. */
const WRITE_INTERVAL_MS = 20;
const ROWS_BEFORE_KILL = 100;
const READY_TIMEOUT_MS = 120_000;
const FAILOVER_TIMEOUT_MS = 30_000;
/** Rows that the demo waits for after a change, so that the gap is over and the next one would be another. */
const ROWS_AFTER = 50;

export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { story } = options;
  story.title('pgspan demo: one PostgreSQL database over three simulated Kubernetes clusters on this machine');
  const access = await bringUp(options);
  const leaderBefore = (await observeCluster(access)).leader ?? fail('nobody leads after the start');
  const writer = await startWriting(access, leaderBefore, options);
  try {
    const failover = await killLeader(access, leaderBefore, writer, options);
    const returned = await bringBack(access, leaderBefore, failover.status, options);
    const switchover = await switchBack(access, leaderBefore, writer, story);
    const final = await writer.stop();
    const { missing } = await findMissingWrites(
      await directTarget(access, switchover.leader),
      final.acknowledgedRanges,
    );
    const acknowledged = countKeys(final.acknowledgedRanges);
    story.verdict(missing === 0, `${thousands(acknowledged)} rows acknowledged in all, ${lostText(missing)}`);
    return {
      postgres: options.postgres.version,
      leaderBefore,
      leaderAfter: failover.result.leader,
      failover: failover.result.failover,
      returned,
      switchover,
      rows: { acknowledged, lost: missing },
    };
  } finally {
    writer.kill();
  }
}

async function bringUp({ story, ...options }: DemoOptions): Promise<LocalAccess> {
  const startedMs = performance.now();
  story.step(`Bring up leo, ait and pit: PostgreSQL ${options.postgres.version}, TLS with verify-full everywhere`);
  const { site, plan } = await startSite({ ...options, groups: demoGroups(), disks: true });
  await waitForSite({
    site,
    replication: plan.replication,
    except: [],
    timeoutMs: READY_TIMEOUT_MS,
    onChange: (name, text) => {
      if (!name.includes('proxy')) story.line(`${name}  ${text}`);
    },
  });
  story.verdict(true, `ready after ${seconds(performance.now() - startedMs)}`);
  return openLocalAccess(options.folder);
}

/** Through the proxy of a group that does not lead, by the name that survives the loss of any group. */
async function startWriting(access: LocalAccess, leader: string, options: DemoOptions): Promise<WriterProcess> {
  const { story } = options;
  const leaderGroup = access.nodes.find(({ name }) => name === leader)?.group;
  const proxy = access.proxies.find(({ group }) => group !== leaderGroup) ?? fail('there is no proxy in another group');
  const target = await writerTarget(access, { hostaddr: proxy.write.address ?? proxy.write.host });
  story.step(`A client writes ${1000 / WRITE_INTERVAL_MS} rows a second to ${target.host}, through ${proxy.name}`);
  const writer = startWriter(target, WRITE_INTERVAL_MS);
  options.onWriter(writer);
  await waitForRows(writer, ROWS_BEFORE_KILL, story);
  story.endCount(`${thousands(acknowledgements(writer))} rows acknowledged by ${leader}, each on two of three nodes`);
  return writer;
}

async function killLeader(access: LocalAccess, leader: string, writer: WriterProcess, { folder, story }: DemoOptions) {
  story.step(`kill -9 of everything on the leader, ${leader}: PostgreSQL, its agent, its watchdog`);
  await writer.beginWindow();
  const before = acknowledgements(writer);
  const killedAt = Date.now();
  const killedMs = monotonicMs();
  const site = openSite(folder);
  const count = await killTarget(site, parseTarget(site.state, leader));
  story.moment(0, `${count} processes killed`);
  const status = await waitUntil('another node leads', { timeoutMs: FAILOVER_TIMEOUT_MS, intervalMs: 50 }, async () => {
    const now = await observeCluster(openLocalAccess(folder));
    return now.leader !== leader && now.phase === 'published' && now.lastFailover?.publishedMs != null ? now : null;
  });
  const newLeader = status.leader ?? fail('nobody leads after the failover');
  const address = access.nodes.find(({ name }) => name === newLeader)?.postgres.address;
  const firstWrite = await waitUntil('the client writes again', { timeoutMs: FAILOVER_TIMEOUT_MS }, () =>
    writer.events.find((event) => event.type === 'ack' && event.atMs > killedMs && event.server === address),
  );
  await waitUntil(
    'the gap is over',
    { timeoutMs: FAILOVER_TIMEOUT_MS },
    () => acknowledgements(writer) > before + ROWS_AFTER,
  );
  const timelineMs = momentsAfterKill(status, killedAt, firstWrite.atMs - killedMs);
  for (const [moment, text] of describeMoments(newLeader, leader, status)) {
    const ms = timelineMs[moment];
    if (ms !== null) story.moment(ms, text);
  }
  const summary = await writer.summary();
  const { missing } = await findMissingWrites(await directTarget(access, newLeader), summary.acknowledgedRanges);
  const acknowledgedWrites = countKeys(summary.acknowledgedRanges);
  const outageMs = Math.round(summary.longestGapMs);
  story.verdict(
    missing === 0,
    `the client waited ${thousands(outageMs)} ms; ${thousands(acknowledgedWrites)} rows acknowledged, ${lostText(missing)}`,
  );
  return {
    status,
    result: { leader: newLeader, failover: { outageMs, lostWrites: missing, acknowledgedWrites, timelineMs } },
  };
}

async function bringBack(access: LocalAccess, node: string, before: ClusterStatus, { story, ...options }: DemoOptions) {
  story.step(`${node} comes back`);
  const startedMs = performance.now();
  const { site } = await startSite({ ...options, groups: null, disks: true });
  await waitForSite({
    site,
    replication: access.plan.replication,
    except: [],
    timeoutMs: READY_TIMEOUT_MS,
    onChange: (name, text) => {
      if (name === node) story.line(`${name}  ${text}`);
    },
  });
  const afterMs = Math.round(performance.now() - startedMs);
  const line = (await observeCluster(openLocalAccess(options.folder))).nodes.find(({ name }) => name === node);
  const activity = line?.activity ?? 'unreachable';
  story.verdict(
    activity === 'following',
    `${node} is ${activity} ${before.leader} on timeline ${line?.timeline}, after ${seconds(afterMs)}`,
  );
  return { node, activity, afterMs };
}

async function switchBack(access: LocalAccess, node: string, writer: WriterProcess, story: Story) {
  story.step(`Hand the lead back to ${node}: a planned switchover under the same writes`);
  const { leader } = await observeCluster(access);
  await writer.beginWindow();
  const before = acknowledgements(writer);
  await order(access, leader ?? fail('nobody leads'), {
    action: 'switch over',
    path: '/v1/switchover',
    body: { to: node },
    timeoutMs: FAILOVER_TIMEOUT_MS,
  });
  await waitForRows(writer, before + ROWS_AFTER, story);
  const { longestGapMs, errors } = await writer.summary();
  const longestStallMs = Math.round(longestGapMs);
  story.endCount(
    `${node} leads again; the longest stall was ${longestStallMs} ms, with ${errors} errors at the client`,
  );
  return { longestStallMs, errors, leader: node };
}

async function writerTarget(access: LocalAccess, change: { host?: string; hostaddr: string }): Promise<WriterTarget> {
  const spec = await connectionSpec(access, null, {});
  const [first] = spec.hosts;
  return {
    host: change.host ?? first?.host ?? '',
    hostaddr: change.hostaddr,
    port: first?.port ?? 5432,
    database: spec.database,
    user: spec.user,
    passwordFile: access.applicationPasswordFile,
    sslRootCert: spec.sslRootCert,
  };
}

/** A node itself, past every proxy: what is asked is what this node has. */
async function directTarget(access: LocalAccess, node: string): Promise<WriterTarget> {
  const spec = await connectionSpec(access, null, { node });
  const [host] = spec.hosts;
  return writerTarget(access, { host: host?.host ?? node, hostaddr: host?.address ?? node });
}

function momentsAfterKill(
  status: ClusterStatus,
  killedAt: number,
  firstWriteMs: number,
): Record<Moment, number | null> {
  const { lastFailover } = status;
  const suspectedMs = lastFailover === null ? null : Date.parse(lastFailover.suspectedAt) - killedAt;
  const after = (ms: number | null | undefined) => (suspectedMs === null || ms == null ? null : suspectedMs + ms);
  return {
    suspected: suspectedMs,
    promised: after(lastFailover?.promisedMs),
    swapped: after(lastFailover?.swappedMs),
    promoted: after(lastFailover?.promotedMs),
    published: after(lastFailover?.publishedMs),
    firstWrite: Math.round(firstWriteMs),
  };
}

function describeMoments(leader: string, former: string, status: ClusterStatus): [Moment, string][] {
  return [
    ['suspected', `${leader} suspects ${former}`],
    ['promised', `enough members promise to follow term ${status.term}: ${former} can acknowledge nothing any more`],
    ['swapped', `the record says: ${leader} leads in term ${status.term}`],
    ['promoted', `${leader} is promoted, on timeline ${status.timeline}`],
    ['published', 'the end of recovery is on two nodes: the proxies let clients in'],
    ['firstWrite', `first row acknowledged by ${leader}`],
  ];
}

async function waitForRows(writer: WriterProcess, count: number, story: Story): Promise<void> {
  await waitUntil(`${count} rows are acknowledged`, { timeoutMs: FAILOVER_TIMEOUT_MS, intervalMs: 40 }, () => {
    story.count(`${thousands(acknowledgements(writer))} rows acknowledged`);
    return acknowledgements(writer) >= count;
  });
}

function acknowledgements(writer: WriterProcess): number {
  return writer.events.filter(({ type }) => type === 'ack').length;
}

function countKeys(ranges: readonly (readonly [number, number])[]): number {
  return ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
}

function lostText(missing: number): string {
  return missing === 0 ? 'none lost' : `${thousands(missing)} LOST`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

function fail(found: string): never {
  throw new UserError({
    code: 'DEMO_FAILED',
    message: `Cannot go on with the demo: ${found}`,
    todo: 'Run it again with --keep, and look at `pgspan status` and `pgspan logs`.',
  });
}
