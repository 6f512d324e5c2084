import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { decideSuspicion, type LeaderSigns, PROBE_DETECTION_FACTOR, STALL_DETECTION_FACTOR } from './suspicion.ts';

const DETECTION_MS = 1000;
const codeOf = (given: Partial<LeaderSigns>): string =>
  decideSuspicion({
    nowMs: 10_000,
    detectionMs: DETECTION_MS,
    lastBeatAtMs: 9900,
    isRefused: false,
    handsOver: false,
    probeAgeMs: 100,
    answerAgeMs: null,
    walArrivedAtMs: 0,
    hasStreamingQuorum: true,
    ...given,
  }).reason.code;

describe('a leader is', () => {
  test('trusted while its heartbeats come and its commits pass', () => assert.equal(codeOf({}), 'LeaderAlive'));
  test('suspected after silence for the detection time, and not before', () => {
    assert.equal(codeOf({ lastBeatAtMs: 10_000 - DETECTION_MS }), 'LeaderSilent');
    assert.equal(codeOf({ lastBeatAtMs: 10_001 - DETECTION_MS }), 'LeaderAlive');
  });
  test('suspected at once when its agent refuses, or hands over', () => {
    assert.equal(codeOf({ isRefused: true }), 'LeaderRefused');
    assert.equal(codeOf({ handsOver: true }), 'LeaderHandsOver');
  });
  test('suspected when its PostgreSQL hangs under a living agent', () => {
    assert.equal(codeOf({ probeAgeMs: DETECTION_MS * PROBE_DETECTION_FACTOR }), 'LeaderHangs');
    assert.equal(codeOf({ probeAgeMs: DETECTION_MS * PROBE_DETECTION_FACTOR - 1 }), 'LeaderAlive');
  });
  test('given more time when it answers and only its commits wait, as for a disk', () => {
    const stalledMs = DETECTION_MS * STALL_DETECTION_FACTOR;
    const signs = { nowMs: 100_000, lastBeatAtMs: 99_900 };
    assert.equal(codeOf({ ...signs, probeAgeMs: stalledMs - 1, answerAgeMs: 500 }), 'LeaderAlive');
    assert.equal(codeOf({ ...signs, probeAgeMs: stalledMs, answerAgeMs: 500 }), 'LeaderStalls');
    const silentMs = DETECTION_MS * PROBE_DETECTION_FACTOR;
    assert.equal(codeOf({ ...signs, probeAgeMs: silentMs, answerAgeMs: silentMs }), 'LeaderHangs');
  });
  test('not blamed for slow commits while its WAL flows', () => {
    const probeAgeMs = 60_000;
    const limitMs = DETECTION_MS * PROBE_DETECTION_FACTOR;
    assert.equal(codeOf({ probeAgeMs, walArrivedAtMs: 10_001 - limitMs }), 'LeaderAlive');
    assert.equal(codeOf({ probeAgeMs, walArrivedAtMs: 10_000 - limitMs }), 'LeaderHangs');
  });
  test('not blamed for commits that wait for missing members, or for a probe that it has not told of', () => {
    assert.equal(codeOf({ probeAgeMs: 60_000, hasStreamingQuorum: false }), 'LeaderAlive');
    assert.equal(codeOf({ probeAgeMs: null }), 'LeaderAlive');
  });
});
