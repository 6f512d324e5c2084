/**
 * What every store of the record must do (src/coordination/store.ts). A store's test file calls describeStore with the way
 * to start a fresh one; faults that only some stores can have are tested beside that store.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ClusterRecord } from '../../src/api/record.ts';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import type { RecordStore, StoredRecord, SwapResult } from '../../src/coordination/store.ts';
import { genRecord } from '../kit/cluster-record.ts';

export interface StoreUnderTest {
  /** Another client, of a node, on a record of its own for each `name`. */
  open(name: string): Promise<RecordStore>;
  stop(): Promise<void>;
}

/** `options` are those of `describe`: `needs('etcd')`. */
export function describeStore(
  title: string,
  options: { readonly skip?: string | false },
  start: () => Promise<StoreUnderTest>,
): void {
  describe(`${title} as a record store`, options, () => {
    let store: StoreUnderTest;
    const clients: RecordStore[] = [];
    const open = async (name: string): Promise<RecordStore> => {
      const client = await store.open(name);
      clients.push(client);
      return client;
    };
    before(async () => {
      store = await start();
    });
    after(async () => {
      for (const client of clients) await client.close();
      await store.stop();
    });

    test('an absent record reads as null with an empty version', async () => {
      const client = await open('absent');
      assert.deepEqual(await client.read(), { storeVersion: '', record: null });
    });

    test('a swap from absent writes the record, and every client reads it', async () => {
      const [one, two] = [await open('first'), await open('first')];
      const record = genRecord();
      const swapped = assertKind(await one.compareAndSwap('', record), 'swapped');
      assert.deepEqual(swapped.stored.record, record);
      assert.notEqual(swapped.stored.storeVersion, '');
      assert.deepEqual(await two.read(), swapped.stored);
    });

    test('a swap from a version that is no longer there is lost and shows what is', async () => {
      const client = await open('stale');
      const first = assertKind(await client.compareAndSwap('', genRecord()), 'swapped');
      const second = assertKind(
        await client.compareAndSwap(first.stored.storeVersion, genRecord({ version: 2, term: 2 })),
        'swapped',
      );
      for (const expected of ['', first.stored.storeVersion]) {
        const lost = assertKind(await client.compareAndSwap(expected, genRecord({ version: 9 })), 'lost');
        assert.deepEqual(lost.stored, second.stored);
      }
      assert.deepEqual(await client.read(), second.stored);
    });

    test('a swap of an absent record that expects one is lost', async () => {
      const client = await open('nothing');
      const lost = assertKind(await client.compareAndSwap('7', genRecord()), 'lost');
      assert.deepEqual(lost.stored, { storeVersion: '', record: null });
    });

    test('a swap that is repeated after it was carried out is swapped, at the same version', async () => {
      const client = await open('repeated');
      const next = genRecord();
      const first = assertKind(await client.compareAndSwap('', next), 'swapped');
      assert.deepEqual(await client.compareAndSwap('', next), first);
      const second = assertKind(
        await client.compareAndSwap(first.stored.storeVersion, genRecord({ version: 2 })),
        'swapped',
      );
      assert.deepEqual(assertKind(await client.compareAndSwap('', next), 'lost').stored, second.stored);
    });

    test('of many swaps from one version exactly one wins', async () => {
      const racers = await Promise.all(Array.from({ length: 5 }, () => open('race')));
      let expected = '';
      for (let version = 1; version <= 4; version++) {
        const results = await Promise.all(
          racers.map((racer, index) =>
            racer.compareAndSwap(expected, genRecord({ version, leader: `leo-${index + 1}` })),
          ),
        );
        const winners = results.filter((result) => result.kind === 'swapped');
        assert.equal(winners.length, 1, `swaps of version ${version}: ${results.map((result) => result.kind)}`);
        const stored = (winners[0] as { stored: StoredRecord }).stored;
        for (const result of results) assert.deepEqual(assertSettled(result).stored, stored);
        expected = stored.storeVersion;
      }
    });

    test('a read that begins after a swap has returned sees it', async () => {
      const [writer, reader] = [await open('fresh'), await open('fresh')];
      let expected = '';
      for (let version = 1; version <= 20; version++) {
        expected = assertKind(await writer.compareAndSwap(expected, genRecord({ version })), 'swapped').stored
          .storeVersion;
        assert.equal((await reader.read()).record?.version, version);
      }
    });

    test('a record of the largest size comes back whole', async () => {
      const client = await open('large');
      const members = Array.from({ length: 32 }, (_, index) => ({
        node: `${'n'.repeat(60)}-${index % 10}${index < 10 ? '' : 'x'}`.slice(0, 63),
        incarnation: index.toString(16).padStart(12, '0'),
      }));
      const record = genRecord({ members, globalCluster: 'orders', leader: 'l'.repeat(63) });
      assert.deepEqual(assertKind(await client.compareAndSwap('', record), 'swapped').stored.record, record);
      assert.deepEqual((await client.read()).record, record);
    });

    test('a watcher is told the present record, then each newest one', async () => {
      const [writer, watcher] = [await open('watched'), await open('watched')];
      const seen: StoredRecord[] = [];
      const watch = watcher.watch((stored) => seen.push(stored));
      await eventually(() => seen.length === 1, 'the first call');
      assert.deepEqual(seen[0], { storeVersion: '', record: null });
      let expected = '';
      for (let version = 1; version <= 3; version++) {
        expected = assertKind(await writer.compareAndSwap(expected, genRecord({ version })), 'swapped').stored
          .storeVersion;
        await eventually(() => seen.at(-1)?.record?.version === version, `version ${version}`);
      }
      assert.equal(seen.at(-1)?.storeVersion, expected);
      const versions = seen.map((stored) => stored.record?.version ?? 0);
      assert.deepEqual(versions, versions.toSorted(), 'in order');
      watch.close();
      assertKind(await writer.compareAndSwap(expected, genRecord({ version: 4 })), 'swapped');
      await writer.read();
      await delay(20); // Time for a call that must not come.
      assert.equal(seen.at(-1)?.record?.version, 3, 'silent after close');
    });

    test('a lease holds off swapUnlessLeased until it runs out, and nothing else', async (t) => {
      const [leader, rival] = [await open('leased'), await open('leased')];
      if (leader.leases === undefined || rival.leases === undefined) return t.diagnostic('this store has no leases');
      const first = assertKind(await leader.compareAndSwap('', genRecord()), 'swapped').stored;
      const lease = { holder: 'leo-1', durationMs: 2000 };
      const before = performance.now();
      const held = await leader.leases.renew(lease, first.storeVersion);
      assert.equal(held.kind, 'held', JSON.stringify(held));
      assert.ok(held.kind === 'held' && held.sentAtMs >= before && held.sentAtMs <= performance.now());
      const usurper = genRecord({ version: 2, term: 2, leader: 'ait-1' });
      const refused = await rival.leases.swapUnlessLeased(first.storeVersion, usurper);
      assert.deepEqual(refused, { kind: 'leased', by: lease });
      // The leader's own changes go on.
      const second = assertKind(
        await leader.compareAndSwap(first.storeVersion, genRecord({ version: 2 })),
        'swapped',
      ).stored;
      const stale = await leader.leases.renew(lease, first.storeVersion);
      assert.deepEqual(stale, { kind: 'stale', stored: second });
      const renewedAt = performance.now();
      assert.equal((await leader.leases.renew(lease, second.storeVersion)).kind, 'held');
      let result: Awaited<ReturnType<typeof rival.leases.swapUnlessLeased>>;
      do {
        await delay(50);
        result = await rival.leases.swapUnlessLeased(second.storeVersion, { ...usurper, version: 3 });
      } while (result.kind === 'leased' && performance.now() - renewedAt < 10_000);
      assert.equal(result.kind, 'swapped');
      assert.ok(performance.now() - renewedAt >= lease.durationMs, 'not before the lease ran out');
      assert.equal((await leader.leases.renew(lease, second.storeVersion)).kind, 'stale');
    });
  });
}

/** Asserts the kind of a result and narrows it. */
export function assertKind<Kind extends SwapResult['kind']>(
  result: SwapResult,
  kind: Kind,
): Extract<SwapResult, { kind: Kind }> {
  assert.equal(result.kind, kind, resultText(result));
  return result as Extract<SwapResult, { kind: Kind }>;
}

function resultText(result: SwapResult): string {
  return result.kind === 'unknown' ? (result.error.stack ?? result.error.message) : JSON.stringify(result);
}

function assertSettled(result: SwapResult): Exclude<SwapResult, { kind: 'unknown' }> {
  assert.notEqual(result.kind, 'unknown', resultText(result));
  return result as Exclude<SwapResult, { kind: 'unknown' }>;
}

/** As waitUntil, with a limit for what a store tells by itself. */
export async function eventually(condition: () => boolean, what: string, timeoutMs = 5000): Promise<void> {
  await waitUntil(`the watcher was told ${what}`, { timeoutMs }, condition);
}

/** Repeats an unknown swap as the port says, until it is known. */
export async function swapUntilKnown(
  store: RecordStore,
  expected: string,
  next: ClusterRecord,
  timeoutMs = 20_000,
): Promise<Exclude<SwapResult, { kind: 'unknown' }>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const result = await store.compareAndSwap(expected, next);
    if (result.kind !== 'unknown') return result;
    if (performance.now() > deadline) throw result.error;
    await delay(50);
  }
}
