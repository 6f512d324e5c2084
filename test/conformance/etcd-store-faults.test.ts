/** What the etcd store does when members, links and contents fail: three real members over TLS. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { Endpoint } from '../../src/api/agent-config.ts';
import { createReloadableTls, type ReloadableTls } from '../../src/base/mutual-tls.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { openRecordStore } from '../../src/coordination/open-store.ts';
import type { RecordStore, StoredRecord } from '../../src/coordination/store.ts';
import { createTestPki, type TestPki } from '../kit/certificates.ts';
import { genRecord } from '../kit/cluster-record.ts';
import { startEtcd, type TestEtcd } from '../kit/etcd.ts';
import { openLink } from '../kit/link.ts';
import { needs } from '../kit/requirement.ts';
import { assertKind, eventually, swapUntilKnown } from './store.ts';

const ADDRESSES = ['127.61.3.1', '127.61.3.2', '127.61.3.3'];

describe('etcd as a record store, when something fails', needs('etcd', 'loopback'), () => {
  let pki: TestPki;
  let etcd: TestEtcd;
  let tls: ReloadableTls;
  const opened: RecordStore[] = [];
  const open = (key: string, endpoints: Endpoint[] = etcd.endpoints, credentials = tls): RecordStore => {
    const store = openRecordStore(
      { kind: 'etcd', endpoints, key: `/pgspan/${key}`, tls: null, secure: true },
      credentials,
      {
        sourceAddress: null,
      },
    );
    opened.push(store);
    return store;
  };

  before(async () => {
    pki = await createTestPki();
    etcd = await startEtcd({ addresses: ADDRESSES, pki });
    tls = await createReloadableTls(await pki.issue('leo-1'));
  });
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
  });
  after(async () => {
    await etcd[Symbol.asyncDispose]();
    await pki[Symbol.asyncDispose]();
  });

  test('reads, swaps and watches go on when the member in use is killed', async () => {
    const store = open('member-lost');
    const seen: StoredRecord[] = [];
    store.watch((stored) => seen.push(stored));
    let expected = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored.storeVersion;
    await eventually(() => seen.at(-1)?.storeVersion === expected, 'the first record');
    const [inUse] = etcd.members;
    await inUse?.kill();
    // That member may have led: then the others elect first.
    expected = (await swapUntilKnown(store, expected, genRecord({ version: 2 }))).stored.storeVersion;
    assert.equal((await store.read()).record?.version, 2);
    await eventually(() => seen.at(-1)?.storeVersion === expected, 'the second record');
    await inUse?.start();
  });

  test('a frozen follower costs a read a quarter of a second, not its time', async () => {
    const leader = await etcd.leader();
    const follower = etcd.members.find((member) => member !== leader);
    assert.ok(follower);
    const others = etcd.endpoints.filter((endpoint) => endpoint !== follower.endpoint);
    follower.freeze();
    try {
      const store = open('frozen-follower', [follower.endpoint, ...others]);
      const took: number[] = [];
      for (let count = 0; count < 6; count++) {
        const startedAt = performance.now();
        await store.read({ timeoutMs: 10_000 });
        took.push(performance.now() - startedAt);
      }
      const [first, ...later] = took;
      assert.ok(first !== undefined && first > 240 && first < 5000, `took ${took} ms`);
      assert.ok(Math.min(...later) < 240, `the member that answered is asked first from then on: took ${took} ms`);
    } finally {
      follower.thaw();
    }
  });

  test('a swap while the leading member is frozen is settled by repeating it, and carried out once', async () => {
    const store = open('frozen-leader');
    const first = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored;
    const leader = await etcd.leader();
    const rest = etcd.members.filter((member) => member !== leader).map((member) => member.endpoint);
    const other = open('frozen-leader', rest);
    leader.freeze();
    try {
      const next = genRecord({ version: 2, term: 2 });
      const settled = await swapUntilKnown(store, first.storeVersion, next);
      assert.deepEqual(settled.stored.record, next);
      assert.deepEqual(await other.read({ timeoutMs: 5000 }), settled.stored);
    } finally {
      leader.thaw();
    }
  });

  test('without a majority reads fail in their time, swaps are unknown, and a watcher is told; all of it heals', async () => {
    const store = open('majority-lost');
    const first = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored;
    const seen: StoredRecord[] = [];
    const errors: Error[] = [];
    store.watch(
      (stored) => seen.push(stored),
      (error) => errors.push(error),
    );
    await eventually(() => seen.length > 0, 'the first record');
    const lost = etcd.members.slice(1);
    await Promise.all(lost.map((member) => member.kill()));
    const startedAt = performance.now();
    await assert.rejects(store.read({ timeoutMs: 700 }), {
      code: 'STORE_UNAVAILABLE',
      message: /^Cannot read the record: /,
    });
    assert.ok(performance.now() - startedAt < 1500, 'within the time allowed');
    const next = genRecord({ version: 2 });
    assertKind(await store.compareAndSwap(first.storeVersion, next, { timeoutMs: 700 }), 'unknown');
    await eventually(() => errors.length > 0, 'that etcd failed', 15_000);
    const seenBefore = seen.length;
    await Promise.all(lost.map((member) => member.start()));
    // The unknown swap may have been carried out meanwhile: the record is then already what it would have made it.
    const settled = await swapUntilKnown(store, first.storeVersion, next);
    assert.deepEqual(settled.stored.record, next);
    await eventually(() => seen.length > seenBefore && seen.at(-1)?.record?.version === 2, 'the second record', 10_000);
  });

  test('slow answers are answers, as long as they come in time', async () => {
    const member = await etcd.leader();
    await using link = await openLink({ listenAddress: '127.61.3.10', to: targetOf(member.endpoint) });
    const store = open('slow', [{ ...member.endpoint, address: link.address, port: link.port }]);
    await store.read({ timeoutMs: 5000 });
    link.answerDelayMs = 200;
    assertKind(await store.compareAndSwap('', genRecord()), 'swapped');
    await assert.rejects(store.read({ timeoutMs: 100 }), { code: 'STORE_UNAVAILABLE' });
    assert.equal((await store.read({ timeoutMs: 5000 })).record?.version, 1);
  });

  test('a swap whose answer is lost is unknown; repeated, it is swapped and was carried out once', async () => {
    const member = await etcd.leader();
    await using link = await openLink({ listenAddress: '127.61.3.10', to: targetOf(member.endpoint) });
    const store = open('answer-lost', [{ ...member.endpoint, address: link.address, port: link.port }]);
    await store.read();
    link.losesAnswers = true;
    const next = genRecord();
    const unknown = assertKind(await store.compareAndSwap('', next, { timeoutMs: 500 }), 'unknown');
    assert.equal((unknown.error as NodeJS.ErrnoException).code, 'STORE_UNAVAILABLE');
    link.losesAnswers = false;
    const before = await store.read();
    assert.deepEqual(before.record, next, 'the first try was carried out');
    assert.deepEqual(assertKind(await store.compareAndSwap('', next), 'swapped').stored, before);
  });

  test('a watcher that was cut off while its revision was compacted away comes back with the newest record', async () => {
    const member = await etcd.leader();
    await using link = await openLink({ listenAddress: '127.61.3.10', to: targetOf(member.endpoint) });
    const watcher = open('compacted', [{ ...member.endpoint, address: link.address, port: link.port }]);
    const writer = open('compacted');
    let expected = assertKind(await writer.compareAndSwap('', genRecord()), 'swapped').stored.storeVersion;
    const seen: StoredRecord[] = [];
    watcher.watch((stored) => seen.push(stored));
    await eventually(() => seen.length === 1, 'the first record');
    link.cut();
    for (let version = 2; version <= 4; version++) {
      expected = assertKind(await writer.compareAndSwap(expected, genRecord({ version })), 'swapped').stored
        .storeVersion;
    }
    await member.post('/v3/kv/compaction', { revision: expected, physical: true });
    link.heal();
    await eventually(() => seen.at(-1)?.storeVersion === expected, 'the newest record', 10_000);
    // An old, compacted record does not keep the watch from following what comes next.
    expected = assertKind(await writer.compareAndSwap(expected, genRecord({ version: 5 })), 'swapped').stored
      .storeVersion;
    await eventually(() => seen.at(-1)?.storeVersion === expected, 'the record after it');
  });

  test('a deleted record is told as absent', async () => {
    const store = open('deleted');
    const seen: StoredRecord[] = [];
    store.watch((stored) => seen.push(stored));
    assertKind(await store.compareAndSwap('', genRecord()), 'swapped');
    await eventually(() => seen.at(-1)?.record != null, 'the record');
    await (await etcd.leader()).post('/v3/kv/deleterange', { key: base64('/pgspan/deleted') });
    await eventually(() => seen.at(-1)?.record === null, 'its end');
    assert.deepEqual(await store.read(), { storeVersion: '', record: null });
  });

  test('what is no record is refused, whatever asks', async () => {
    const leader = await etcd.leader();
    const contents = ['no JSON', '{"format":2}', JSON.stringify({ ...genRecord(), format: 2 }), 'x'.repeat(20_000)];
    for (const [index, content] of contents.entries()) {
      const store = open(`foreign-${index}`);
      await leader.post('/v3/kv/put', { key: base64(`/pgspan/foreign-${index}`), value: base64(content) });
      await assert.rejects(store.read(), { code: 'STORE_CONTENT_INVALID', message: /^Cannot read the record at / });
      await assert.rejects(store.compareAndSwap('', genRecord()), { code: 'STORE_CONTENT_INVALID' });
    }
    const store = open('foreign-huge');
    await leader.post('/v3/kv/put', { key: base64('/pgspan/foreign-huge'), value: base64('x'.repeat(1_000_000)) });
    await assert.rejects(store.read(), { code: 'STORE_UNAVAILABLE', message: /over 262144 bytes/ });
  });

  test('while members freeze and die, no two clients ever win the same version, and no version is skipped', async () => {
    const winners = new Map<number, string>();
    const unknown = new Set<number>();
    /** Told as lost when the record was further already: another member may have carried out the same swap, unheard, before. */
    const passed = new Set<number>();
    const seen: number[] = [];
    const watch = open('history').watch((stored) => seen.push(stored.record?.version ?? 0));
    let over = false;
    const client = async (name: string): Promise<void> => {
      const store = open('history');
      while (!over) {
        const before = await store.read().catch(() => null);
        if (before === null) continue;
        const next = genRecord({ version: (before.record?.version ?? 0) + 1, leader: name });
        let result = await store.compareAndSwap(before.storeVersion, next);
        while (result.kind === 'unknown' && !over) {
          unknown.add(next.version);
          result = await store.compareAndSwap(before.storeVersion, next);
        }
        if (result.kind === 'unknown') unknown.add(next.version);
        if (result.kind === 'lost' && (result.stored.record?.version ?? 0) > next.version) passed.add(next.version);
        if (result.kind !== 'swapped') continue;
        assert.equal(winners.get(next.version), undefined, `version ${next.version} by ${name}`);
        winners.set(next.version, name);
      }
    };
    const clients = ['leo-1', 'ait-1', 'pit-1'].map(client);
    for (const fault of ['freeze the leader', 'kill the leader', 'freeze a follower'] as const) {
      const leader = await waitUntil('etcd has a leader', { timeoutMs: 10_000 }, () => etcd.leader().catch(() => null));
      const member = fault === 'freeze a follower' ? etcd.members.find((other) => other !== leader) : leader;
      if (fault === 'kill the leader') await member?.kill();
      else member?.freeze();
      const winnerCount = winners.size;
      await waitUntil(`clients go on after "${fault}"`, { timeoutMs: 15_000 }, () => winners.size > winnerCount + 20);
      if (fault === 'kill the leader') await member?.start();
      else member?.thaw();
    }
    over = true;
    await Promise.all(clients);
    const last = (await open('history').read({ timeoutMs: 5000 })).record?.version ?? 0;
    for (let version = 1; version <= last; version++) {
      const isExplained = winners.has(version) || unknown.has(version) || passed.has(version);
      assert.ok(isExplained, `nobody knows who wrote version ${version} of ${last}`);
    }
    await eventually(() => seen.at(-1) === last, 'the last version', 15_000);
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => a - b),
    );
    watch.close();
  });

  test('a certificate of a foreign CA is refused by both sides, in words that say which', async () => {
    await using foreign = await createTestPki({ group: 'foreign' });
    const distrusts = await createReloadableTls(await foreign.issue('leo-1'));
    await assert.rejects(open('tls', etcd.endpoints, distrusts).read(), {
      code: 'STORE_UNAVAILABLE',
      message: /its certificate is signed by none of the CAs in the trust bundle/,
    });
    const distrusted = await createReloadableTls(await foreign.issue('leo-2', { caFile: pki.caFile }));
    await assert.rejects(open('tls', etcd.endpoints, distrusted).read(), {
      code: 'STORE_UNAVAILABLE',
      message: /it refused our certificate/,
    });
  });
});

function targetOf(endpoint: Endpoint): { address: string; port: number } {
  return { address: endpoint.address ?? endpoint.host, port: endpoint.port };
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
