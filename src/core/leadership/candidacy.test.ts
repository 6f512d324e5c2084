import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type AskAnswer, chooseTerm, compareCandidates, decideCandidacy } from './candidacy.ts';

function says(node: string, given: Partial<AskAnswer> = {}): AskAnswer {
  return {
    node,
    group: node.split('-')[0] ?? '',
    suspects: true,
    position: { timeline: 3, lsn: 100n },
    replayBytes: 0n,
    priority: 100,
    canLead: true,
    promisedTerm: 3,
    seenTerm: 3,
    vetoes: false,
    ...given,
  };
}

const decide = (self: string, answers: readonly AskAnswer[], voteQuorum = 2) =>
  decideCandidacy({
    self,
    leader: 'leo-1',
    leaderGroup: 'leo',
    voteQuorum,
    members: ['leo-1', 'ait-1', 'pit-1'],
    answers,
  });
const show = (...given: Parameters<typeof decide>): string => {
  const decision = decide(...given);
  return decision.kind === 'defer'
    ? `defer to ${decision.to}, ${decision.rank} before`
    : `${decision.kind} ${decision.reason.code}`;
};

describe('a member that suspects its leader', () => {
  test('stands when v members suspect and it is the best', () => {
    assert.equal(show('ait-1', [says('ait-1'), says('pit-1')]), 'stand Best');
  });

  test('refrains while fewer than v suspect', () => {
    assert.equal(show('ait-1', [says('ait-1'), says('pit-1', { suspects: false })]), 'refrain TooFewSuspect');
    assert.equal(show('ait-1', [says('ait-1')]), 'refrain TooFewSuspect');
  });

  test('refrains where one vote would do and the leader is reached', () => {
    const leader = says('leo-1', { suspects: false, position: null, canLead: false, vetoes: true });
    assert.equal(show('ait-1', [says('ait-1'), leader], 1), 'refrain LeaderVetoes');
    assert.equal(
      show('ait-1', [says('ait-1'), says('pit-1'), leader], 2),
      'stand Best',
      'two suspect, which is enough',
    );
  });

  test('refrains while fewer than v know where they are', () => {
    assert.equal(show('ait-1', [says('ait-1'), says('pit-1', { position: null })]), 'refrain TooFewPositions');
  });

  test('defers to a better one, by how many are before it', () => {
    const ahead = says('pit-1', { position: { timeline: 3, lsn: 101n } });
    assert.equal(show('ait-1', [says('ait-1'), ahead]), 'defer to pit-1, 1 before');
    const further = says('leo-2', { position: { timeline: 4, lsn: 1n } });
    assert.equal(show('ait-1', [says('ait-1'), ahead, further]), 'defer to leo-2, 2 before');
  });

  test('passes over those that may not or cannot lead', () => {
    const ahead = { position: { timeline: 3, lsn: 200n } };
    assert.equal(show('ait-1', [says('ait-1'), says('pit-1', { ...ahead, priority: 0 })]), 'stand Best');
    assert.equal(show('ait-1', [says('ait-1'), says('pit-1', { ...ahead, canLead: false })]), 'stand Best');
    assert.equal(show('ait-1', [says('ait-1', { canLead: false }), says('pit-1')]), 'refrain NotAble');
  });
});

describe('of two candidates the better one', () => {
  const cases: readonly [why: string, better: Partial<AskAnswer>, worse: Partial<AskAnswer>][] = [
    ['holds more', { position: { timeline: 3, lsn: 101n }, replayBytes: 9n }, {}],
    ['has less to replay', { priority: 1 }, { replayBytes: 1n }],
    ['has the higher priority', { priority: 101, group: 'x' }, { group: 'leo' }],
    ["is in the lost leader's group", { group: 'leo' }, {}],
  ];
  for (const [why, better, worse] of cases)
    test(why, () => {
      // By name alone the other one would be first.
      const sorted = [says('a-1', worse), says('z-1', better)].sort(compareCandidates('leo'));
      assert.equal(sorted[0]?.node, 'z-1');
    });

  test('comes first by name if all else is equal, so that exactly one stands', () => {
    const someone = fc.record({
      lsn: fc.option(fc.bigInt(0n, 2n)),
      priority: fc.integer({ min: 0, max: 2 }),
      canLead: fc.boolean(),
      replayBytes: fc.bigInt(0n, 1n),
    });
    fc.assert(
      fc.property(fc.array(someone, { minLength: 1, maxLength: 5 }), (people) => {
        const answers = people.map(({ lsn, ...rest }, index) =>
          says(`n-${index}`, { ...rest, position: lsn === null ? null : { timeline: 1, lsn } }),
        );
        const standing = answers.filter((one) => decide(one.node, answers, 1).kind === 'stand');
        const isAble = answers.some((one) => one.position !== null && one.canLead && one.priority > 0);
        assert.equal(standing.length, isAble ? 1 : 0);
      }),
    );
  });
});

test('the next term is above the record, every promise and every term that was seen', () => {
  assert.equal(chooseTerm(3, []), 4);
  assert.equal(chooseTerm(3, [says('ait-1', { promisedTerm: 7 }), says('pit-1', { seenTerm: 5 })]), 8);
  assert.equal(chooseTerm(9, [says('ait-1', { promisedTerm: 7 })]), 10);
});
