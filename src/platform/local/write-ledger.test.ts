import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WriteLedger } from './write-ledger.ts';

test('keeps keys that follow one another as one range', () => {
  const ledger = new WriteLedger(0);
  for (const key of [1, 2, 3, 5, 6, 9]) ledger.acknowledge(key, key);
  assert.deepEqual(ledger.summary(9).acknowledgedRanges, [
    [1, 3],
    [5, 6],
    [9, 9],
  ]);
  assert.equal(ledger.summary(9).acknowledged, 6);
});

test('reports the longest time between two acknowledgements', () => {
  const ledger = new WriteLedger(0);
  for (const [key, atMs] of [
    [1, 10],
    [2, 30],
    [4, 1530],
    [5, 1550],
  ] as const) {
    ledger.acknowledge(key, atMs);
  }
  assert.deepEqual(ledger.summary(1560).longestGap, { startMs: 30, endMs: 1530, ms: 1500, open: false });
});

test('reports an outage that has not ended as open', () => {
  const ledger = new WriteLedger(0);
  ledger.acknowledge(1, 10);
  assert.deepEqual(ledger.summary(5000).longestGap, { startMs: 10, endMs: 5000, ms: 4990, open: true });
});

test('forgets earlier gaps and errors with a new window, but no acknowledged key', () => {
  const ledger = new WriteLedger(0);
  ledger.acknowledge(1, 1000);
  ledger.fail('57P01');
  ledger.reconnect();
  ledger.beginWindow(1010);
  ledger.acknowledge(2, 1020);
  assert.deepEqual(ledger.summary(1025), {
    acknowledged: 1,
    acknowledgedRanges: [[1, 2]],
    longestGapMs: 20,
    longestGap: { startMs: 1000, endMs: 1020, ms: 20, open: false },
    errors: 0,
    errorsByCode: {},
    reconnects: 0,
  });
});

test('counts a gap that was open when the window began in full', () => {
  const ledger = new WriteLedger(0);
  ledger.acknowledge(1, 100);
  ledger.beginWindow(900);
  ledger.acknowledge(2, 1100);
  assert.equal(ledger.summary(1100).longestGapMs, 1000);
});
