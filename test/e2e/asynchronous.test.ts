/**
 * `scope: group` on real processes: three groups of one node each, whose commits wait for nobody. Acknowledged writes may be lost
 * there; what must hold is that the old leader acknowledges nothing any more when the next one begins, that the lease decides
 * when, and that status says what may be gone.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { clusterRecordSchema, type ClusterRecord } from '../../src/api/record.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { FENCE_STOP_MS, leaseDurationMs } from '../../src/core/leadership/lease.ts';
import { recordFolder } from '../../src/platform/local/site.ts';
import { AgentSite, NODES } from '../kit/agent-site.ts';
import { needs } from '../kit/requirement.ts';

/** Of preset `lan`. */
const FENCE_MS = 3000;
const LEASE_MS = leaseDurationMs(FENCE_MS);
/** What a machine that is busy with other tests may add to any time. */
const MARGIN_MS = 15_000;

interface Stored {
  readonly counter: number;
  readonly record: ClusterRecord;
  readonly lease: { readonly holder: string } | null;
}

describe('commits within the group', {
  ...needs('root', 'postgres', 'psql', 'nft', 'mkfs.ext4', 'loopback'),
  timeout: 400_000,
}, () => {
  let site: AgentSite;
  before(async () => {
    site = new AgentSite('127.72', 'replication: { scope: group, maximumLag: 1Mi }');
    await site.up();
    await settled();
    site.superuser('leo-1', 'create table written (key bigint primary key); grant all on written to app');
  });
  after(() => site?.close());

  const stored = (): Stored => {
    const value = JSON.parse(readFileSync(join(recordFolder(site.site), 'data', 'record.json'), 'utf8'));
    return { ...value, record: clusterRecordSchema.parse(value.record) };
  };

  /**
   * One leads, alone in M, and the others follow it: on its timeline, and told how far it is, since without either of
   * them no follower may take over when it is lost the next moment. @returns the leader
   */
  async function settled(nodes: readonly string[] = NODES): Promise<string> {
    const leader = await leaderAmong(nodes, 120_000);
    for (const node of nodes)
      await site.until(node, `leads or follows "${leader}"`, ({ activity, leaderView, timeline, lagBytes }) => {
        const isSettled = activity === (node === leader ? 'leading' : 'following');
        const isPlaced = node === leader || lagBytes !== null;
        return isSettled && isPlaced && leaderView.leader === leader && timeline === stored().record.timeline;
      });
    await waitUntil('all of them stream', { timeoutMs: 60_000, intervalMs: 100 }, () => {
      const streaming = site.superuser(leader, `select count(*) from pg_stat_replication where state = 'streaming'`);
      return Number(streaming) === nodes.length - 1;
    });
    assert.deepEqual(
      stored().record.members.map(({ node }) => node),
      [leader],
    );
    return leader;
  }

  async function leaderAmong(nodes: readonly string[], timeoutMs: number): Promise<string> {
    return await waitUntil('one of them leads', { timeoutMs, intervalMs: 50 }, async () => {
      for (const node of nodes) if (await site.leads(node)) return node;
      return null;
    });
  }

  const others = (leader: string): string[] => NODES.filter((node) => node !== leader);

  /** A session on the node's own socket that writes until it cannot; when its last write was acknowledged. */
  function openWriter(node: string): { lastMs(): number; end(): void } {
    let lastMs = 0;
    let isEnding = false;
    let key = Date.now() * 1000;
    void (async () => {
      const client = await site.connect(node);
      while (!isEnding) {
        await client.query('insert into written values ($1)', [++key]);
        lastMs = performance.now();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await client.end();
    })().catch(() => {});
    return {
      lastMs: () => lastMs,
      end: () => {
        isEnding = true;
      },
    };
  }

  /** The moment of the first commit that is not the promotion's own: seen by a client that asks all the time. */
  async function firstWriteOn(nodes: readonly string[], timeoutMs: number): Promise<{ node: string; atMs: number }> {
    return await waitUntil('another acknowledges a write', { timeoutMs, intervalMs: 5 }, async () => {
      for (const node of nodes) {
        try {
          site.superuser(node, `insert into written values (${-Math.ceil(performance.now() * 1000)})`);
          return { node, atMs: performance.now() };
        } catch {
          // A standby, or none.
        }
      }
      return null;
    });
  }

  test('the leader renews its lease, and nothing else writes to the record', async () => {
    const leader = await settled();
    const before = stored();
    assert.equal(before.lease?.holder, leader);
    const status = (await site.ask(leader, 'GET', '/v1/status')).body as { lease: { isHeld: boolean } | null };
    assert.equal(status.lease?.isHeld, true);
    await new Promise((resolve) => setTimeout(resolve, FENCE_MS));
    assert.equal(stored().counter, before.counter);
  });

  test('a leading group that is cut off stops by itself before another takes over, not before its lease is over', async () => {
    const leader = await settled();
    const writer = openWriter(leader);
    await waitUntil('it writes', { timeoutMs: 10_000 }, () => writer.lastMs() > 0);
    const cutAtMs = performance.now();
    site.cut(leader.slice(0, -2));
    const next = await firstWriteOn(others(leader), LEASE_MS + MARGIN_MS);
    writer.end();
    const stoppedMs = writer.lastMs() - cutAtMs;
    const takenOverMs = next.atMs - cutAtMs;
    assert.ok(writer.lastMs() < next.atMs, `acknowledged ${stoppedMs} ms after the cut, the next at ${takenOverMs} ms`);
    assert.ok(stoppedMs < FENCE_MS + FENCE_STOP_MS, `the old leader went on for ${stoppedMs} ms`);
    // The last renewal was carried out within a quarter of the fence before the cut.
    assert.ok(takenOverMs > LEASE_MS - FENCE_MS / 2, `taken over after ${takenOverMs} ms, the lease is ${LEASE_MS} ms`);
    const { lastFailover } = await site.until(next.node, 'leads', () => true);
    assert.equal(lastFailover?.formerLeader, leader);
    assert.ok(lastFailover?.loss != null, 'it says what may be gone');
    assert.match(lastFailover.reason, /^Lease over/);
    site.heal();
    assert.equal(await settled(), next.node, 'the old leader follows');
  });

  test('an agent frozen beside its server is the watchdog’s, before another takes over', async () => {
    const leader = await settled();
    const writer = openWriter(leader);
    await waitUntil('it writes', { timeoutMs: 10_000 }, () => writer.lastMs() > 0);
    const frozenAtMs = performance.now();
    await site.freeze(`${leader}/agent`);
    const next = await firstWriteOn(others(leader), LEASE_MS + MARGIN_MS);
    writer.end();
    assert.ok(writer.lastMs() < next.atMs, 'the old leader acknowledged after the next one');
    assert.ok(writer.lastMs() - frozenAtMs < 1.5 * FENCE_MS + FENCE_STOP_MS);
    await site.thaw(`${leader}/agent`);
    await settled();
  });

  test('without the record the leader stops, whatever others hear, and leads again with it', async () => {
    const leader = await settled();
    const { record } = stored();
    await site.freeze('record');
    await waitUntil(
      `the server of "${leader}" has stopped`,
      { timeoutMs: FENCE_MS + FENCE_STOP_MS + MARGIN_MS },
      async () => (await site.status(leader))?.activity !== 'leading',
    );
    assert.ok(!(await site.leads(leader)));
    await site.thaw('record');
    const after = await settled();
    // Its lease ran out meanwhile: another may have been first.
    if (after === leader) assert.equal(stored().record.term, record.term);
  });

  test('a killed leading group is replaced by the best of the others; it comes back as a follower', async () => {
    const leader = await settled();
    await site.kill(leader.slice(0, -2));
    const next = await firstWriteOn(others(leader), LEASE_MS + MARGIN_MS);
    await site.up();
    assert.equal(await settled(), next.node);
    assert.ok(stored().record.term > 1);
  });

  test('a switchover to another group waits for no lease and loses nothing', async () => {
    const leader = await settled();
    const [to] = others(leader) as [string];
    for (let key = 1; key <= 50; key++) site.superuser(leader, `insert into written values (${9e15 + key})`);
    const { status, body } = await site.ask(leader, 'POST', '/v1/switchover', { to });
    assert.equal(status, 200, JSON.stringify(body));
    assert.ok(
      (body as { heldMs: number }).heldMs < LEASE_MS - FENCE_MS,
      `held for ${(body as { heldMs: number }).heldMs} ms`,
    );
    assert.equal(await settled(), to);
    assert.equal(site.superuser(to, `select count(*) from written where key > ${9e15}`), '50');
    assert.equal((await site.status(to))?.lastFailover?.loss, null);
  });
});
