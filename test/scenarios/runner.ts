/**
 * Runs a scenario (format.ts) on a real global cluster, whichever platform runs it. One cluster serves many scenarios in a
 * row; each leaves it whole.
 */
import assert from 'node:assert/strict';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import {
  findMissingWrites,
  monotonicMs,
  startWriter,
  type WriterProcess,
  type WriterTarget,
} from '../../src/platform/local/writer-process.ts';
import type { Scenario, ScenarioStep } from './format.ts';

export const WRITE_INTERVAL_MS = 20;
/** Keys of the session on the leader itself, far above those of the client that goes through the proxy. */
export const OPEN_SESSION_FIRST_KEY = 1_000_000_000_000;
const WHOLE_LIMIT_MS = 120_000;

export interface NodeStatus {
  readonly name: string;
  readonly group: string;
  readonly role: string;
  readonly activity: string;
  readonly timeline: number | null;
}

export interface SiteStatus {
  readonly term: number;
  readonly leader: string | null;
  readonly members: readonly string[];
  readonly nodes: readonly NodeStatus[];
}

/** A session on one node itself, inside of it, so that no fault of the network ends it. It never begins another one. */
export interface OpenSession {
  /** Times of its acknowledgements, `monotonicMs`. */
  readonly acks: readonly number[];
  end(): void;
}

/** What a scenario needs of a platform. */
export interface ScenarioCluster {
  status(): Promise<SiteStatus>;
  /** Starts what is missing, where nothing does it by itself. */
  start(): Promise<void>;
  switchover(to: string | null): Promise<void>;
  /** @param target `leo-1`, `leo-1/postgres`, `leo`, `record`. */
  fault(verb: string, target: string): Promise<void>;
  healAll(): Promise<void>;
  /** The write route through proxies of this group. */
  writeTarget(group: string): Promise<WriterTarget>;
  /** A node itself. */
  nodeTarget(node: string): Promise<WriterTarget>;
  openSession(node: string): Promise<OpenSession>;
  /** What PostgreSQL of this node says that it was reached at. */
  addressOf(node: string): Promise<string>;
}

/** All nodes run, lead or follow, and are members; null: not so. */
export function isWhole(status: SiteStatus): boolean {
  return (
    status.nodes.every(({ activity }) => activity === 'leading' || activity === 'following') &&
    status.members.length === status.nodes.length
  );
}

export async function whole(cluster: ScenarioCluster, withinMs: number): Promise<SiteStatus> {
  return await waitUntil(
    'all nodes lead or follow and are members',
    { timeoutMs: withinMs, intervalMs: 300 },
    async () => {
      const status = await cluster.status().catch(() => null);
      return status !== null && isWhole(status) ? status : null;
    },
  );
}

interface Cast {
  readonly former: string;
  readonly formerAddress: string;
  readonly follower: string;
  readonly other: string;
  readonly groups: Readonly<Record<string, string>>;
}

export interface ScenarioResult {
  readonly acknowledged: number;
  readonly longestGapMs: number;
  /** At the client. */
  readonly errors: number;
  readonly leaderBefore: string;
  readonly leaderAfter: string;
}

/** Runs all steps and the checks that hold for every scenario; throws an AssertionError that says which step it was. */
export async function runScenario(
  cluster: ScenarioCluster,
  scenario: Pick<Scenario, 'steps' | 'outageMsMax'>,
  options: { readonly patience: number },
): Promise<ScenarioResult> {
  const before = await whole(cluster, WHOLE_LIMIT_MS);
  const leader = before.leader as string;
  const [follower, other] = before.nodes.map(({ name }) => name).filter((name) => name !== leader) as [string, string];
  const groups = Object.fromEntries(before.nodes.map(({ name, group }) => [name, group]));
  const cast: Cast = { former: leader, formerAddress: await cluster.addressOf(leader), follower, other, groups };
  // Through a proxy that no step of the scenario cuts off: that of the second follower's group.
  const writer = startWriter(await cluster.writeTarget(groups[other] as string), WRITE_INTERVAL_MS);
  let session: OpenSession | null = null;
  try {
    // The application's client first: the table must be the application's.
    await waitUntil('the client has written', { timeoutMs: 20_000 }, () => countAcks(writer) > 0);
    const open = await cluster.openSession(leader);
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
    const after = await whole(cluster, WHOLE_LIMIT_MS);
    const summary = await writer.stop();
    open.end();
    const missing = await findMissingWrites(
      await cluster.nodeTarget(after.leader as string),
      summary.acknowledgedRanges,
    );
    assert.equal(
      missing.missing,
      0,
      `acknowledged writes are missing on "${after.leader}": ${missing.keys.join(', ')}`,
    );
    assertSilentAfter(open, writer, cast);
    if (scenario.outageMsMax !== null)
      assert.ok(
        summary.longestGapMs <= scenario.outageMsMax * options.patience,
        `the client waited ${Math.round(summary.longestGapMs)} ms, at most ${scenario.outageMsMax} ms are allowed`,
      );
    return {
      acknowledged: summary.acknowledged,
      longestGapMs: summary.longestGapMs,
      errors: summary.errors,
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
function assertSilentAfter(session: OpenSession, writer: WriterProcess, { former, formerAddress }: Cast): void {
  const first = writer.events.find(
    (event) => event.type === 'ack' && event.server !== null && event.server !== formerAddress,
  );
  if (first === undefined) return;
  const late = session.acks.filter((atMs) => atMs > first.atMs);
  assert.deepEqual(late, [], `an open session on "${former}" was acknowledged after the next leader's first commit`);
}

function countAcks(writer: WriterProcess): number {
  return writer.events.filter((event) => event.type === 'ack').length;
}

async function runStep(
  cluster: ScenarioCluster,
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
      const startMs = monotonicMs();
      await waitUntil('another node acknowledges writes', { timeoutMs: step.withinMs * patience }, () =>
        writer.events.some(
          (event) =>
            event.type === 'ack' &&
            event.server !== null &&
            event.server !== cast.formerAddress &&
            event.atMs > startMs - 60_000,
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
      // What acknowledged says it, not the status: this holds while the record's store is away, too.
      const servers = new Set(acks.map((event) => (event.type === 'ack' ? event.server : null)));
      assert.deepEqual([...servers], [cast.formerAddress], 'the leader was replaced');
      return;
    }
    case 'whole':
      await whole(cluster, step.withinMs * patience);
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

async function resolveTarget(cluster: ScenarioCluster, text: string, cast: Cast): Promise<string> {
  if (text === 'record' || text === 'operator' || text === 'kubelet') return text;
  const [, word, rest = ''] = /^(leader|follower|other|former)(.*)$/.exec(text) as unknown as [string, string, string];
  const name = word === 'leader' ? (await cluster.status()).leader : cast[word as 'former'];
  assert.ok(name !== null, 'nobody could be asked who leads');
  return rest === '-group' ? (cast.groups[name] as string) : name + rest;
}
