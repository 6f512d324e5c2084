import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RawResult, renderReport } from './report.ts';
import type { FaultResult } from './series.ts';

function fault(change: Partial<FaultResult>): FaultResult {
  return {
    type: 'fault',
    system: 'pgspan-3x1',
    fault: 'node-killed',
    run: 1,
    at: '2026-01-01T00:00:00.000Z',
    leaderBefore: 'leo-1',
    leaderAfter: 'ait-1',
    outageMs: 1000,
    errors: 1,
    errorsByCode: {},
    details: null,
    firstErrors: [],
    healGapMs: 20,
    wholeMs: 100,
    repaired: null,
    acknowledged: 100,
    lost: 0,
    connections: null,
    ...change,
  };
}

const system: RawResult = {
  type: 'system',
  system: 'pgspan-3x1',
  description: 'three groups',
  facts: {},
  sizes: { scale: 100, rate: 200, clients: 4 },
};

const verdict = (results: RawResult[], title: RegExp) =>
  renderReport(results)
    .split('\n')
    .find((line) => title.test(line) && /met|missed|not measured/.test(line))
    ?.split('|')
    .at(-2)
    ?.trim();

test('says that a target is met, and by how many runs', () => {
  const runs = [1, 2, 3].map((run) => fault({ run, outageMs: 1900 + run, acknowledged: run * 100 }));
  assert.equal(verdict([system, ...runs], /^\| Node killed/), 'met (3 runs)');
  assert.equal(verdict([system, ...runs], /^\| Node frozen/), 'not measured');
});

test('says that a target is missed when a write was lost, however short the outage', () => {
  assert.equal(verdict([system, fault({ outageMs: 10, lost: 1 })], /^\| Node killed/), '**missed** (1 runs)');
});

test('says that a target of the switchover is missed when a new connection met an error', () => {
  const connections = { outageMs: 400, errors: 1 };
  const switched = fault({ fault: 'switchover', outageMs: 400, connections });
  assert.equal(verdict([system, switched], /^\| Switchover/), '**missed** (1 runs)');
});

test('counts a lost write once, in the run that lost it', () => {
  const runs = [
    fault({ run: 1, acknowledged: 100, lost: 0 }),
    fault({ run: 2, acknowledged: 200, lost: 3 }),
    fault({ run: 3, acknowledged: 300, lost: 3 }),
  ];
  assert.match(renderReport([system, ...runs]), /- pgspan-3x1: 1000, 1000 \(3\), 1000$/m);
});
