import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ClusterRecord } from '../../api/record.ts';
import { decideForcedSwap, decideSwap, type PromiseAnswer } from './swap.ts';

const lives: Readonly<Record<string, string>> = { 'a-1': '1'.repeat(12), 'b-1': '2'.repeat(12), 'c-1': '3'.repeat(12) };
const record: ClusterRecord = {
  format: 1,
  globalCluster: 'shop',
  systemIdentifier: '7300000000000000001',
  version: 7,
  term: 3,
  leader: 'a-1',
  timeline: 3,
  members: Object.entries(lives).map(([node, incarnation]) => ({ node, incarnation })),
  writeQuorum: 2,
  switchover: { id: 'x', to: 'b-1' },
  paused: false,
};
const candidate = { node: 'b-1', incarnation: lives['b-1'] ?? '', term: 5 };
const answer = (node: string, lsn: bigint | null, given: Partial<PromiseAnswer> = {}): PromiseAnswer => ({
  node,
  incarnation: lives[node] ?? '',
  term: 5,
  position: lsn === null ? null : { timeline: 3, lsn },
  ...given,
});
const show = (...answers: readonly PromiseAnswer[]): string => {
  const decision = decideSwap(record, candidate, answers);
  return decision.kind === 'behind' ? `behind ${decision.node}` : `${decision.kind} ${decision.reason.code}`;
};

describe('a candidate', () => {
  test('swaps with v promises, its own included, when nobody that answered holds more', () => {
    const decision = decideSwap(record, candidate, [answer('b-1', 100n), answer('c-1', 100n)]);
    assert.ok(decision.kind === 'swap');
    assert.deepEqual(decision.next, { ...record, version: 8, term: 5, leader: 'b-1', timeline: 5, switchover: null });
  });

  test('waits without its own vote, whatever the others say', () => {
    assert.equal(show(answer('a-1', 100n), answer('c-1', 100n)), 'wait NoOwnVote');
    assert.equal(show(answer('b-1', null), answer('c-1', 100n)), 'wait NoOwnVote');
  });

  test('waits for v votes: a promise without a position is none', () => {
    assert.equal(show(answer('b-1', 100n)), 'wait TooFewVotes');
    assert.equal(show(answer('b-1', 100n), answer('c-1', null)), 'wait TooFewVotes');
  });

  test('does not count strangers, other lives or other terms', () => {
    assert.equal(show(answer('b-1', 100n), answer('d-1', 100n)), 'wait TooFewVotes');
    assert.equal(show(answer('b-1', 100n), answer('c-1', 100n, { incarnation: 'f'.repeat(12) })), 'wait TooFewVotes');
    assert.equal(show(answer('b-1', 100n), answer('c-1', 100n, { term: 4 })), 'wait TooFewVotes');
    assert.equal(show(answer('b-1', 100n, { incarnation: 'f'.repeat(12) }), answer('c-1', 1n)), 'wait NoOwnVote');
  });

  test('is behind a voter that holds more, by LSN or by timeline, also beyond v votes', () => {
    assert.equal(show(answer('b-1', 100n), answer('c-1', 101n)), 'behind c-1');
    assert.equal(show(answer('b-1', 100n), answer('c-1', 1n, { position: { timeline: 4, lsn: 1n } })), 'behind c-1');
    assert.equal(show(answer('b-1', 100n), answer('c-1', 100n), answer('a-1', 200n)), 'behind a-1');
  });

  test('that swaps holds at least what every voter holds, for all answers', () => {
    const lsn = fc.option(fc.bigInt(0n, 3n));
    const timeline = fc.integer({ min: 2, max: 4 });
    const one = fc.record({ lsn, timeline });
    fc.assert(
      fc.property(one, one, one, (a, b, c) => {
        const answers = [a, b, c].map(({ lsn: at, timeline: of }, index) =>
          answer(['a-1', 'b-1', 'c-1'][index] ?? '', at, at === null ? {} : { position: { timeline: of, lsn: at } }),
        );
        const decision = decideSwap(record, candidate, answers);
        if (decision.kind !== 'swap') return;
        const rank = (position: PromiseAnswer['position']): bigint =>
          position === null ? -1n : BigInt(position.timeline) * 100n + position.lsn;
        for (const vote of answers) assert.ok(rank(vote.position) <= rank(answers[1]?.position ?? null));
        assert.ok(answers.filter((vote) => vote.position !== null).length >= 2);
      }),
    );
  });
});

describe('a forced election', () => {
  const forced = (...answers: readonly PromiseAnswer[]): string => {
    const decision = decideForcedSwap(record, candidate, answers);
    return decision.kind === 'swap' ? `swap without ${decision.unheard.join(' ')}` : `refuse ${decision.reason.code}`;
  };

  test('says whose commits may be gone, and leaves the candidate alone in M', () => {
    assert.equal(forced(answer('b-1', 100n)), 'swap without a-1 c-1');
    const decision = decideForcedSwap(record, candidate, [answer('b-1', 100n)]);
    assert.ok(decision.kind === 'swap');
    assert.deepEqual(decision.next.members, [{ node: 'b-1', incarnation: lives['b-1'] }]);
    assert.equal(decision.next.writeQuorum, 1);
  });

  test('is refused while a safe one is possible, or where another holds more', () => {
    assert.equal(forced(answer('b-1', 100n), answer('c-1', 90n)), 'refuse SafeElectionPossible');
    assert.equal(forced(answer('b-1', 100n), answer('c-1', 110n)), 'refuse Behind');
    assert.equal(forced(answer('b-1', 100n), answer('d-1', 110n)), 'refuse Behind');
    assert.equal(forced(answer('b-1', null)), 'refuse NoOwnPosition');
  });
});
