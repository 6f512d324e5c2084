/** A local site that keeps its record in an etcd of its own, one member in each group: what the loss of members does, and of none. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { waitUntil } from '../../src/base/wait-until.ts';
import { AgentSite, NODES, Writer } from '../kit/agent-site.ts';
import { needs } from '../kit/requirement.ts';

describe('a site with an etcd of its own', {
  ...needs('root', 'postgres', 'psql', 'etcd', 'nft', 'mkfs.ext4', 'loopback'),
  timeout: 400_000,
}, () => {
  let site: AgentSite;
  let writer: Writer;
  before(async () => {
    site = new AgentSite('127.74', 'coordination: { store: etcd }');
    await site.up();
    writer = new Writer(site, await site.whole());
    await writer.goesOn();
  });
  after(async () => {
    await writer?.stop();
    await site?.close();
  });

  async function isWholeAgain(): Promise<string> {
    const leader = await site.whole();
    await writer.goesOn();
    assert.deepEqual(writer.missingOn(leader), []);
    return leader;
  }
  const groupOf = (node: string): string => node.slice(0, -2);

  /** Whether the members of etcd can elect a leader and answer, as a node sees it: its last confirmation is new. */
  async function confirms(node: string): Promise<boolean> {
    const { body } = await site.ask(node, 'GET', '/v1/status');
    const { recordConfirmedAgeMs } = body as { recordConfirmedAgeMs: number | null };
    return recordConfirmedAgeMs !== null && recordConfirmedAgeMs < 60_000;
  }

  async function anotherLeads(former: string): Promise<void> {
    await waitUntil('another leads', { timeoutMs: 30_000, intervalMs: 50 }, async () =>
      (await Promise.all(NODES.filter((node) => node !== former).map((node) => site.leads(node)))).includes(true),
    );
  }

  test('has one member in each group, each under a user of its own', async () => {
    const leader = await isWholeAgain();
    const { etcd } = site.site.state;
    assert.deepEqual(
      etcd.map(({ name, group }) => [name, group]),
      ['leo', 'ait', 'pit'].map((group) => [`${group}-etcd`, group]),
    );
    for (const { name } of etcd) assert.equal(site.processes(name).length, 1, name);
    assert.equal(new Set(etcd.map(({ uid }) => uid)).size, 3);
    assert.ok(await confirms(leader));
  });

  test('loses a group with its member of etcd and its leader, and no write; both come back', async () => {
    const leader = await isWholeAgain();
    await site.kill(groupOf(leader));
    assert.equal(site.processes(`${groupOf(leader)}-etcd`).length, 0, 'the member is part of the group');
    await anotherLeads(leader);
    await writer.goesOn();
    await site.up();
    await isWholeAgain();
  });

  test('elects with a member of etcd cut off, the leader of etcd too', async () => {
    for (const member of ['leo-etcd', 'ait-etcd']) {
      const leader = await isWholeAgain();
      site.cut(member);
      await writer.goesOn();
      await site.kill(leader);
      await anotherLeads(leader);
      await writer.goesOn();
      site.heal();
      await site.up();
    }
    await isWholeAgain();
  });

  test('goes on without etcd, and elects again when it is back', async () => {
    const leader = await isWholeAgain();
    for (const { name } of site.site.state.etcd) await site.kill(name);
    writer.mark();
    await new Promise((resolve) => setTimeout(resolve, 5000));
    await writer.goesOn();
    assert.ok(await site.leads(leader));
    assert.ok(writer.longestGapMs < 3000, `a gap of ${Math.round(writer.longestGapMs)} ms`);
    await site.up();
    await isWholeAgain();
    await site.kill(leader);
    await anotherLeads(leader);
    await site.up();
    await isWholeAgain();
  });
});
