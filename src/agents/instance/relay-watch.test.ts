import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RelayWatch } from './relay-watch.ts';

describe('a relay', () => {
  const behind = { relay: 'ait-1', flushLsn: 10n, leaderLsn: 20n };

  it('that passes nothing on for 15 s is left for a minute', () => {
    const watch = new RelayWatch();
    for (const nowMs of [0, 14_999]) watch.look({ ...behind, nowMs });
    assert.equal(watch.isStalled(14_999), false);
    watch.look({ ...behind, nowMs: 15_000 });
    assert.equal(watch.isStalled(15_000), true);
    watch.look({ ...behind, relay: null, nowMs: 16_000 });
    assert.deepEqual([watch.isStalled(74_999), watch.isStalled(75_000)], [true, false]);
  });

  it('is kept while WAL comes, while there is none to come, and when another one was named just now', () => {
    const sights = [
      [{ ...behind, flushLsn: 11n }, { ...behind }],
      [
        { ...behind, leaderLsn: 10n },
        { ...behind, leaderLsn: 10n },
      ],
      [{ ...behind, relay: 'ait-2' }, { ...behind }],
    ] as const;
    for (const [before, after] of sights) {
      const watch = new RelayWatch();
      watch.look({ ...before, nowMs: 0 });
      watch.look({ ...after, nowMs: 20_000 });
      assert.equal(watch.isStalled(20_000), false);
    }
  });
});
