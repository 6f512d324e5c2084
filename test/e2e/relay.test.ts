/**
 * Relays on real processes: leo has one node, ait has three and `replication.relay`. While leo leads, one node of ait streams from
 * it and votes, and the two others stream from that one; whatever is lost, no acknowledged write is.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { NodeStatus } from '../../src/api/node-status.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { AgentSite, Writer } from '../kit/agent-site.ts';
import { needs } from '../kit/requirement.ts';

const AIT = ['ait-1', 'ait-2', 'ait-3'];
const ALL = ['leo-1', ...AIT];
const MANIFEST = ['leo', 'ait']
  .map(
    (group) => `
apiVersion: pgspan.io/v1alpha1
kind: PostgresGroup
metadata: { name: ${group} }
spec:
  instances: ${group === 'leo' ? 1 : AIT.length}
  storage: { size: 512Mi }
  globalCluster: { name: relays, primaryGroup: leo }
  connectivity: { dns: { domain: db.example.com } }
  proxySettings: { instances: 0 }
  replication: { memberTimeout: 10s, relay: ${group === 'ait'} }
`,
  )
  .join('---');
/** The machine may be busy with other tests. */
const SETTLED_LIMIT_MS = 120_000;

describe('a group with a relay', {
  ...needs('root', 'postgres', 'psql', 'nft', 'mkfs.ext4', 'loopback'),
  timeout: 600_000,
}, () => {
  let site: AgentSite;
  let writer: Writer;
  before(async () => {
    site = AgentSite.of('127.77', MANIFEST);
    await site.up();
    await cascade();
    writer = new Writer(site, 'leo-1', ALL);
  });
  after(async () => {
    await writer?.stop();
    await site?.close();
  });

  const membersOf = (status: NodeStatus | null) => (status?.record?.members ?? []).map(({ node }) => node).sort();
  /** Who streams from this node now, by name; nobody while its PostgreSQL is away. */
  function streamFrom(node: string): string[] {
    try {
      return site
        .superuser(node, `select application_name from pg_stat_replication where state = 'streaming'`)
        .split('\n')
        .filter((name) => name !== '')
        .map((name) => name.replace(/_[0-9a-f]{8}$/, ''))
        .sort();
    } catch {
      return [];
    }
  }

  /** leo-1 leads, one of `nodes` is the relay, and the others are behind it. @returns the relay */
  async function cascade(nodes: readonly string[] = AIT): Promise<string> {
    let seen = '';
    try {
      return await waitUntil('a cascade', { timeoutMs: SETTLED_LIMIT_MS, intervalMs: 200 }, async () => {
        const status = await site.status('leo-1');
        const direct = streamFrom('leo-1');
        const relay = direct.find((name) => nodes.includes(name));
        const behind = relay === undefined ? [] : streamFrom(relay);
        seen = JSON.stringify({ members: membersOf(status), direct, behind });
        const others = nodes.filter((name) => name !== relay);
        const isAsWanted =
          relay !== undefined &&
          direct.length === 1 &&
          others.every((name) => behind.includes(name)) &&
          behind.length === others.length &&
          membersOf(status).join() === [relay, 'leo-1'].sort().join();
        return isAsWanted ? relay : null;
      });
    } catch (error) {
      throw new Error(`${(error as Error).message}: ${seen}`, { cause: error });
    }
  }

  async function nothingMissing(nodes: readonly string[]): Promise<void> {
    await writer.goesOn();
    for (const node of nodes)
      await waitUntil(`${node} has every acknowledged write`, { timeoutMs: 60_000 }, () => {
        try {
          return writer.missingOn(node).length === 0;
        } catch {
          return false;
        }
      });
  }

  test('streams once from the leader and passes it on; who is behind the relay says why it does not vote', async () => {
    const relay = await cascade();
    await nothingMissing(ALL);
    for (const node of AIT.filter((name) => name !== relay)) {
      const said = await site.until(node, 'is behind the relay', ({ reason }) =>
        reason.message.includes('behind relay'),
      );
      assert.equal(said.isMember, false);
      assert.match(said.reason.message, new RegExp(`Following "leo-1".*behind relay "${relay}".*no voting member`));
      const answer = await site.ask('leo-1', 'POST', '/v1/switchover', { to: node });
      assert.match(JSON.stringify(answer.body), /no voting member/);
    }
  });

  test('its relay is killed: another one takes its place, and the old one comes back behind it', async () => {
    const former = await cascade();
    writer.mark();
    const atMs = performance.now();
    await site.kill(former);
    const relay = await cascade(AIT.filter((name) => name !== former));
    console.log(
      `another relay after ${Math.round(performance.now() - atMs)} ms, longest stall ${Math.round(writer.longestGapMs)} ms`,
    );
    assert.notEqual(relay, former);
    await site.up();
    assert.equal(await cascade(), relay);
    await nothingMissing(ALL);
  });

  test('the leader is killed: the relay leads, all follow it directly, and there is a second copy', async () => {
    const relay = await cascade();
    writer.mark();
    await site.kill('leo-1');
    await waitUntil(`${relay} leads`, { timeoutMs: 60_000 }, () => site.leads(relay));
    await nothingMissing(AIT);
    const others = AIT.filter((name) => name !== relay);
    await waitUntil(`all stream from ${relay} and vote`, { timeoutMs: 60_000 }, async () => {
      const members = membersOf(await site.status(relay));
      return others.every((name) => streamFrom(relay).includes(name) && members.includes(name));
    });
    console.log(`longest stall ${Math.round(writer.longestGapMs)} ms`);
    await site.up();
    await waitUntil('leo-1 is the other member again', { timeoutMs: 120_000 }, async () => {
      return membersOf(await site.status(relay)).join() === [relay, 'leo-1'].sort().join();
    });
    await nothingMissing(ALL);
  });

  test('leo leads again: one node of ait streams from it, the others from that one', async () => {
    const leader = (await Promise.all(AIT.map(async (name) => ((await site.leads(name)) ? name : null)))).find(
      (name) => name !== null,
    ) as string;
    const answer = await site.ask(leader, 'POST', '/v1/switchover', { to: 'leo-1' });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.equal(await cascade(), leader);
    await nothingMissing(ALL);
  });
});
