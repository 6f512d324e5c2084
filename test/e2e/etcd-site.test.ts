/** A local site that keeps its record in an etcd of its own, one member in each group: what the loss of members does, and of none. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { waitUntil } from '../../src/base/wait-until.ts';
import { etcdFolder } from '../../src/platform/local/site.ts';
import type { StoreConfig } from '../../src/api/agent-config.ts';
import { AgentSite, NODES, Writer } from '../kit/agent-site.ts';
import { type Link, openLink } from '../kit/link.ts';
import { needs } from '../kit/requirement.ts';

describe('a site with an etcd of its own', {
  ...needs('root', 'postgres', 'psql', 'etcd', 'nft', 'mkfs.ext4', 'loopback'),
  timeout: 500_000,
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

  /** `pgspan WORDS` for this site. @returns what it printed, and its exit code. */
  async function pgspan(...words: string[]): Promise<{ code: number; text: string }> {
    const main = join(import.meta.dirname, '../../src/cli/main.ts');
    const args = [main, ...words, '--state', site.folder];
    try {
      const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: '/' });
      return { code: 0, text: stdout };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, text: stdout + stderr };
    }
  }

  /** All that etcd held is lost for ever, and an empty etcd runs in its place. */
  async function loseEtcd(meanwhile: () => void = () => {}): Promise<void> {
    for (const { name } of site.site.state.etcd) {
      await site.kill(name);
      rmSync(join(etcdFolder(site.site, name), 'data', 'member'), { recursive: true });
    }
    meanwhile();
    await site.up();
  }

  test('gets its record back from its nodes when etcd has lost everything, and elects again', async () => {
    const leader = await isWholeAgain();
    const there = await pgspan('record', 'restore');
    assert.ok(there.code === 4 && /nothing needs to be put back/.test(there.text), there.text);
    const { record } = (await site.status(leader)) ?? {};
    writer.mark();
    await loseEtcd();
    await writer.goesOn();
    assert.ok(writer.longestGapMs < 3000, `the database goes on: a gap of ${Math.round(writer.longestGapMs)} ms`);

    // A node whose agent starts anew finds no record, and says what to do.
    const standby = NODES.find((node) => node !== leader) as string;
    await site.endAgent(standby, 'SIGKILL');
    await site.startAgent(standby);
    await site.until(standby, 'misses the record', ({ reason }) => reason.code === 'RecordMissing');
    assert.match((await site.status(standby))?.reason.message ?? '', /`pgspan record restore`/);

    const shown = await pgspan('record', 'show');
    assert.match(shown.text, /it may be put back/, shown.text);
    const restored = await pgspan('record', 'restore', '-o', 'json');
    assert.equal(restored.code, 0, restored.text);
    const { term, version } = JSON.parse(restored.text) as { term: number; version: number };
    assert.deepEqual([term, version], [record?.term, record?.version]);
    assert.equal(await isWholeAgain(), leader);
    assert.equal((await site.status(leader))?.leaderView.term, term, 'nothing has changed hands');
    await site.kill(leader);
    await anotherLeads(leader);
    await site.up();
    await isWholeAgain();
  });

  test('gets its record back although the leader is cut off too, if a person accepts what that risks', async () => {
    const leader = await isWholeAgain();
    await loseEtcd(() => site.cut(leader));
    const other = NODES.find((node) => node !== leader) as string;
    await site.until(other, 'misses the record', ({ reason }) => reason.code === 'RecordMissing');
    const refused = await pgspan('record', 'restore');
    assert.ok(refused.code === 4 && /may have changed the members/.test(refused.text), refused.text);
    const restored = await pgspan('record', 'restore', '--accept-loss');
    assert.equal(restored.code, 0, restored.text);
    await anotherLeads(leader);
    // The writer may hang in a session on the leader that is cut off, and goes on when that one hears that it was replaced.
    site.heal();
    await isWholeAgain();
  });

  test('with slow answers of etcd nothing changes hands; a failover works at 0.5 s, and waits for faster ones at 2 s', async (t) => {
    await isWholeAgain();
    const { etcd, ports } = site.site.state;
    await using slow = new AsyncDisposableStack();
    const links: Link[] = [];
    for (const [index, { address }] of etcd.entries()) {
      const listenAddress = `127.74.9.${index + 1}`;
      links.push(slow.use(await openLink({ listenAddress, to: { address, port: ports.etcdClient } })));
    }
    const delayAnswers = (ms: number): void => {
      for (const link of links) link.answerDelayMs = ms;
    };
    // The agents alone: the members of etcd reach each other as before.
    for (const node of NODES) {
      site.configure(node, (config) => ({ ...config, store: through(links, config.store) }));
      await site.endAgent(node, 'SIGUSR2');
      await site.startAgent(node);
    }
    // An agent that ended while it led has handed over.
    const first = await isWholeAgain();
    const term = async (): Promise<number> => {
      const seen = await Promise.all(NODES.map(async (node) => (await site.status(node))?.leaderView.term ?? 0));
      return Math.max(...seen);
    };

    for (const delayMs of [10_000, 500]) {
      const before = await term();
      delayAnswers(delayMs);
      writer.mark();
      // More than a recheck of the watch, a fence and several detections; and what was asked at the longest delay is answered.
      await new Promise((resolve) => setTimeout(resolve, 11_000));
      await writer.goesOn();
      t.diagnostic(`${delayMs} ms: longest time between two writes ${Math.round(writer.longestGapMs)} ms`);
      assert.ok(writer.longestGapMs < 2000, `${delayMs} ms: a gap of ${Math.round(writer.longestGapMs)} ms`);
      assert.equal(await term(), before, `nothing has changed hands at ${delayMs} ms`);
    }

    const killedAtMs = performance.now();
    await site.kill(first);
    await anotherLeads(first);
    await writer.goesOn();
    t.diagnostic(
      `500 ms: another leads, and writes go on, ${Math.round(performance.now() - killedAtMs)} ms after the kill`,
    );
    delayAnswers(0);
    await site.startAgent(first);
    const second = await isWholeAgain();

    delayAnswers(2000);
    const before = await term();
    await site.kill(second);
    const standby = NODES.find((node) => node !== second) as string;
    const { reason } = await site.until(
      standby,
      'says why it waits',
      (status) => status.reason.code === 'ElectionWaits',
    );
    assert.match(reason.message, /another cannot be elected yet: Cannot read the record: .*no answer within the time/);
    assert.equal(await term(), before);
    delayAnswers(0);
    await anotherLeads(second);
    await site.startAgent(second);
    await isWholeAgain();
  });
});

/** The same store, each member behind its link. */
function through(links: readonly Link[], store: StoreConfig): StoreConfig {
  assert.ok(store.kind === 'etcd');
  const endpoints = store.endpoints.map((endpoint, index) => {
    const { address, port } = links[index] as Link;
    return { ...endpoint, address, port };
  });
  return { ...store, endpoints };
}
