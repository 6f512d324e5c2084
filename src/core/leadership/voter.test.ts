import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ClusterRecord } from '../../api/record.ts';
import {
  decideFollow,
  decidePromise,
  decideRecordSeen,
  type LeaderTimeline,
  mayLeadByRemembered,
  type VoterState,
} from './voter.ts';

function aVoter(given: Partial<VoterState> = {}): VoterState {
  return {
    incarnation: '111111111111',
    promisedTerm: 3,
    seen: { term: 3, version: 9 },
    lineage: { timeline: 3, history: [{ timeline: 1, endLsn: 100n }] },
    followedTerm: 3,
    rewinding: false,
    ...given,
  };
}

describe('a promise', () => {
  const codeOf = (voter: VoterState, term: number): string =>
    decidePromise(voter, { term, candidate: 'b-1' }).reason.code;

  test('is given to a term above all that was promised and seen', () => {
    const decision = decidePromise(aVoter(), { term: 4, candidate: 'b-1' });
    assert.deepEqual(decision.kind === 'grant' && decision.next, aVoter({ promisedTerm: 4 }));
  });

  test('is refused to a term that was promised, also to the same candidate', () => {
    assert.equal(codeOf(aVoter({ promisedTerm: 5 }), 5), 'TermPromised');
    assert.equal(codeOf(aVoter({ promisedTerm: 5 }), 4), 'TermPromised');
  });

  test('is refused to a term that the record has had', () => {
    assert.equal(codeOf(aVoter({ promisedTerm: 3, seen: { term: 6, version: 12 } }), 6), 'TermPassed');
  });

  test('never sinks, whatever is asked', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 30 }), (terms) => {
        let voter = aVoter();
        for (const term of terms) {
          const decision = decidePromise(voter, { term, candidate: 'x' });
          if (decision.kind !== 'grant') continue;
          assert.ok(decision.next.promisedTerm > voter.promisedTerm);
          voter = decision.next;
        }
      }),
    );
  });
});

describe('a record', () => {
  const show = (voter: VoterState, record: { term: number; version: number } | null): string => {
    const check = decideRecordSeen(voter, record);
    return check.kind === 'older' ? check.reason.code : `seen ${check.next.seen.term}/${check.next.seen.version}`;
  };

  test('that is newer is remembered', () => {
    assert.equal(show(aVoter(), { term: 4, version: 10 }), 'seen 4/10');
    assert.equal(show(aVoter(), { term: 3, version: 10 }), 'seen 3/10');
  });
  test('that was seen before changes nothing, so that nothing need be written', () => {
    const voter = aVoter();
    const check = decideRecordSeen(voter, { term: 3, version: 9 });
    assert.ok(check.kind === 'current' && check.next === voter);
  });
  test('that is older in version or in term is a restored backup', () => {
    assert.equal(show(aVoter(), { term: 3, version: 8 }), 'RecordOlder');
    assert.equal(show(aVoter(), { term: 2, version: 20 }), 'RecordOlder');
  });
  test('that is missing is refused by who has seen one, and awaited by who has not', () => {
    assert.equal(show(aVoter(), null), 'RecordMissing');
    assert.equal(show(aVoter({ seen: { term: 0, version: 0 } }), null), 'seen 0/0');
  });
});

describe('a leader', () => {
  const leader = (given: Partial<LeaderTimeline> = {}): LeaderTimeline => ({
    term: 4,
    node: 'b-1',
    lineage: {
      timeline: 4,
      history: [
        { timeline: 1, endLsn: 100n },
        { timeline: 3, endLsn: 150n },
      ],
    },
    ...given,
  });
  const own = (flushLsn: bigint | null, isReplayedToEnd = true) => ({ flushLsn, isReplayedToEnd });

  test('is followed with its lineage written down first', () => {
    const decision = decideFollow(aVoter(), leader(), own(150n));
    assert.equal(decision.kind, 'stream');
    assert.deepEqual(
      decision.kind === 'stream' && decision.next,
      aVoter({ lineage: leader().lineage, followedTerm: 4 }),
    );
  });

  test('is not followed below the promise, or below a term that was followed', () => {
    assert.equal(decideFollow(aVoter({ promisedTerm: 5 }), leader(), own(120n)).reason.code, 'TermBelowPromise');
    assert.equal(decideFollow(aVoter({ followedTerm: 5 }), leader(), own(120n)).reason.code, 'TermBelowFollowed');
  });

  test('that was reaffirmed is followed in its higher term on the same timeline', () => {
    const reaffirmed = leader({ term: 6, lineage: aVoter().lineage as NonNullable<VoterState['lineage']> });
    const decision = decideFollow(aVoter({ promisedTerm: 5 }), reaffirmed, own(999n));
    assert.equal(decision.kind, 'stream');
  });

  test('from whom this node has parted is rewound to, and the lineage stays what is on the disk', () => {
    const decision = decideFollow(aVoter(), leader(), own(151n));
    assert.ok(decision.kind === 'rewind');
    assert.equal(decision.forkLsn, 150n);
    assert.deepEqual(decision.next, aVoter({ followedTerm: 4, rewinding: true }));
  });

  test('is waited for while the own WAL is not known', () => {
    assert.equal(decideFollow(aVoter(), leader(), own(null)).reason.code, 'PositionUnknown');
    assert.equal(decideFollow(aVoter(), leader(), own(120n, false)).reason.code, 'PositionUnknown');
    assert.equal(decideFollow(aVoter({ lineage: null }), leader(), own(null)).reason.code, 'NoData');
  });

  test('is rewound to again when a rewind did not finish, whatever the server shows', () => {
    const decision = decideFollow(aVoter({ rewinding: true }), leader(), own(10n));
    assert.equal(decision.kind, 'rewind');
    assert.ok(decision.kind === 'rewind' && decision.next.rewinding);
  });

  test('whose copy this node is, is followed without a known position; another one only after a new rewind', () => {
    const copy = aVoter({ lineage: leader().lineage, rewound: true });
    assert.equal(decideFollow(copy, leader(), own(null)).kind, 'stream');
    const other = leader({ term: 5, lineage: { timeline: 5, history: [{ timeline: 1, endLsn: 90n }] } });
    const decision = decideFollow(copy, other, own(null));
    assert.ok(decision.kind === 'rewind' && decision.next.rewinding);
  });
});

test('a remembered record is led by only as the newest that was seen, and while nothing was promised away', () => {
  const record = { leader: 'a-1', term: 3, version: 9, timeline: 3 } as ClusterRecord;
  assert.equal(mayLeadByRemembered(aVoter(), record, 'a-1'), true);
  for (const [why, voter, other] of [
    ['another leads', aVoter(), { ...record, leader: 'b-1' }],
    ['a newer version was seen', aVoter({ seen: { term: 3, version: 10 } }), record],
    ['a higher term was seen', aVoter({ seen: { term: 4, version: 9 } }), record],
    ['a higher term is promised', aVoter({ promisedTerm: 4 }), record],
    ['the data is of another timeline', aVoter({ lineage: { timeline: 2, history: [] } }), record],
    ['it rewinds', aVoter({ rewinding: true }), record],
  ] as const)
    assert.equal(mayLeadByRemembered(voter, other, 'a-1'), false, why);
});
