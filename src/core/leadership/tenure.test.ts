import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ClusterRecord } from '../../api/record.ts';
import { CONFIRM_AFTER_FRACTION, decideFence, decideReaffirm, type Hearing, quorumHeardAtMs } from './tenure.ts';

const members = ['a-1', 'b-1', 'c-1'].map((node, index) => ({ node, incarnation: String(index + 1).repeat(12) }));
const three = { members, writeQuorum: 2 };
const FENCE_MS = 3000;
const START_MS = 1000;

/** A leader a-1 that has led since START_MS; `heard` are the sendings that the others echoed. */
function hearing(
  nowMs: number,
  heard: Readonly<Record<string, number>> = {},
  confirmedMs = Number.NEGATIVE_INFINITY,
): Hearing {
  return {
    nowMs,
    self: 'a-1',
    echoedSentAtMs: new Map(Object.entries(heard)),
    recordConfirmedSentAtMs: confirmedMs,
    sinceMs: START_MS,
  };
}
const fence = (...given: Parameters<typeof hearing>): string => {
  const decision = decideFence(hearing(...given), three, FENCE_MS);
  return decision.kind === 'confirm' ? `confirm until ${decision.fenceAtMs}` : decision.kind;
};

describe('the fence', () => {
  test('holds off while one other of three echoes', () => {
    assert.equal(fence(10_000, { 'b-1': 9900 }), 'hold');
    assert.equal(fence(10_000, { 'c-1': 9900, 'b-1': 2000 }), 'hold');
  });

  test('asks for the record in time, and falls when neither quorum nor record was there for its length', () => {
    assert.equal(fence(10_000 + FENCE_MS * CONFIRM_AFTER_FRACTION, { 'b-1': 10_000 }), 'confirm until 13000');
    assert.equal(fence(12_999, { 'b-1': 10_000 }), 'confirm until 13000');
    assert.equal(fence(13_000, { 'b-1': 10_000 }), 'fence');
  });

  test('is held off by a confirmed record, counted from when it was asked for', () => {
    assert.equal(fence(15_000, { 'b-1': 10_000 }, 14_000), 'confirm until 17000');
    assert.equal(fence(17_000, { 'b-1': 10_000 }, 14_000), 'fence');
  });

  test('counts nothing as missing from before the leadership', () => {
    assert.equal(fence(START_MS + FENCE_MS - 1), `confirm until ${START_MS + FENCE_MS}`);
    assert.equal(fence(START_MS + FENCE_MS), 'fence');
  });

  test('is not deceived after a freeze by echoes of what was sent before it', () => {
    assert.equal(fence(60_000, { 'b-1': 50_000, 'c-1': 50_000 }), 'fence');
  });

  test('never falls where the leader alone is a quorum', () => {
    const alone = { members: members.slice(0, 1), writeQuorum: 1 };
    assert.equal(decideFence(hearing(1e9), alone, FENCE_MS).kind, 'hold');
  });

  test('does not count nodes that are no members, and needs w - 1 others', () => {
    assert.equal(quorumHeardAtMs(hearing(9000, { 'd-1': 8000 }), three), START_MS);
    const all = { members, writeQuorum: 3 };
    assert.equal(quorumHeardAtMs(hearing(9000, { 'b-1': 8000, 'c-1': 5000 }), all), 5000);
  });

  test('never falls before its time and never later than it, for all echoes', () => {
    const time = fc.integer({ min: 0, max: 20_000 });
    fc.assert(
      fc.property(time, time, time, fc.integer({ min: START_MS, max: 30_000 }), (b, c, confirmed, nowMs) => {
        const contactMs = Math.max(START_MS, b, c, confirmed);
        const decision = decideFence(hearing(nowMs, { 'b-1': b, 'c-1': c }, confirmed), three, FENCE_MS);
        if (decision.kind === 'fence') assert.ok(nowMs >= contactMs + FENCE_MS);
        if (nowMs >= contactMs + FENCE_MS) assert.equal(decision.kind, 'fence');
      }),
    );
  });
});

describe('after a false alarm', () => {
  const record: ClusterRecord = {
    format: 1,
    globalCluster: 'shop',
    systemIdentifier: '7300000000000000001',
    version: 7,
    term: 3,
    leader: 'a-1',
    timeline: 2,
    members,
    writeQuorum: 2,
    switchover: null,
    paused: false,
  };
  const input = { record, voter: { promisedTerm: 3 }, self: 'a-1', hearsQuorum: true, highestPromise: 6 };

  test('the leader goes to a term above every promise, on its timeline', () => {
    const decision = decideReaffirm(input);
    assert.deepEqual(decision.kind === 'swap' && decision.next, { ...record, version: 8, term: 7 });
  });

  test('it does not when it no longer leads, hears too few, or has promised away itself', () => {
    assert.equal(decideReaffirm({ ...input, self: 'b-1' }).kind, 'none');
    assert.equal(decideReaffirm({ ...input, hearsQuorum: false }).kind, 'none');
    assert.equal(decideReaffirm({ ...input, voter: { promisedTerm: 4 } }).kind, 'none');
  });

  test('it leaves the record alone when nobody promised more, or while paused', () => {
    assert.equal(decideReaffirm({ ...input, highestPromise: 3 }).kind, 'none');
    assert.equal(decideReaffirm({ ...input, record: { ...record, paused: true } }).kind, 'none');
  });
});
