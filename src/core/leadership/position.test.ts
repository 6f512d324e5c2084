import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  comparePositions,
  decidePosition,
  divergenceLsn,
  forkLsnOf,
  isPrefixOf,
  type Lineage,
  type Position,
} from './position.ts';

const lineage = (timeline: number, ...ends: readonly (readonly [number, bigint])[]): Lineage => ({
  timeline,
  history: ends.map(([ancestor, endLsn]) => ({ timeline: ancestor, endLsn })),
});
const FIRST = lineage(1);
const SECOND = lineage(2, [1, 100n]);

describe('positions', () => {
  test('compare by timeline first: a later one holds all that was acknowledged before it', () => {
    assert.ok(comparePositions({ timeline: 2, lsn: 5n }, { timeline: 1, lsn: 900n }) > 0);
    assert.ok(comparePositions({ timeline: 2, lsn: 5n }, { timeline: 2, lsn: 6n }) < 0);
    assert.equal(comparePositions({ timeline: 2, lsn: 5n }, { timeline: 2, lsn: 5n }), 0);
  });

  test('are in a total order', () => {
    const position = fc.record({ timeline: fc.integer({ min: 1, max: 4 }), lsn: fc.bigInt(0n, 2n ** 64n - 1n) });
    fc.assert(
      fc.property(position, position, position, (a: Position, b: Position, c: Position) => {
        assert.equal(Math.sign(comparePositions(a, b)), -Math.sign(comparePositions(b, a)) || 0);
        if (comparePositions(a, b) <= 0 && comparePositions(b, c) <= 0) assert.ok(comparePositions(a, c) <= 0);
      }),
    );
  });
});

describe('where two lineages part', () => {
  const cases: readonly [name: string, a: Lineage, b: Lineage, expected: bigint | null][] = [
    ['one and the same never do', SECOND, SECOND, null],
    ['a promotion parts from its ancestor at the fork', FIRST, SECOND, 100n],
    ['two promotions of one ancestor at the earlier fork', lineage(2, [1, 100n]), lineage(3, [1, 70n]), 70n],
    ['and so where the later fork is the other one', lineage(2, [1, 60n]), lineage(3, [1, 70n]), 60n],
    ['two of one fork at that fork', lineage(2, [1, 70n]), lineage(3, [1, 70n]), 70n],
    ['a chain at the first difference', lineage(4, [1, 10n], [2, 30n]), lineage(5, [1, 10n], [3, 40n]), 10n],
    ['a chain that goes on at its end', SECOND, lineage(3, [1, 100n], [2, 150n]), 150n],
    ['strangers at the beginning', lineage(5), lineage(6), 0n],
  ];
  for (const [name, a, b, expected] of cases)
    test(name, () => {
      assert.equal(divergenceLsn(a, b), expected);
      assert.equal(divergenceLsn(b, a), expected, 'the other way round');
    });

  /** A tree of promotions: each takes a fork of an earlier one, at or above that one's own fork. */
  const tree = fc
    .array(fc.record({ parent: fc.nat(), above: fc.bigInt(0n, 20n) }), { minLength: 1, maxLength: 6 })
    .map((choices) => {
      const lineages: Lineage[] = [FIRST];
      for (const [index, { parent, above }] of choices.entries()) {
        const from = lineages[parent % lineages.length] as Lineage;
        const endLsn = forkLsnOf(from) + above;
        lineages.push({ timeline: index + 2, history: [...from.history, { timeline: from.timeline, endLsn }] });
      }
      return lineages;
    });
  /** Which timeline wrote the byte at `lsn`, in the WAL of a lineage. */
  const writerOf = (of: Lineage, lsn: bigint): number =>
    of.history.find((end) => lsn < end.endLsn)?.timeline ?? of.timeline;

  test('every byte below is of the same timeline in both, and the first one at it is not', () => {
    fc.assert(
      fc.property(tree, fc.nat(), fc.nat(), (lineages, left, right) => {
        const a = lineages[left % lineages.length] as Lineage;
        const b = lineages[right % lineages.length] as Lineage;
        const parting = divergenceLsn(a, b);
        if (parting === null) return assert.deepEqual(a, b);
        for (let lsn = 0n; lsn < parting; lsn++) assert.equal(writerOf(a, lsn), writerOf(b, lsn));
        assert.notEqual(writerOf(a, parting), writerOf(b, parting));
      }),
    );
  });
});

describe('a node can stream without giving anything up', () => {
  test('as long as its WAL ends at or below where the leader left it', () => {
    assert.ok(isPrefixOf({ lineage: FIRST, lsn: 100n }, SECOND));
    assert.ok(!isPrefixOf({ lineage: FIRST, lsn: 101n }, SECOND));
  });

  test('on the same timeline always: the leader has all that it sent', () => {
    assert.ok(isPrefixOf({ lineage: SECOND, lsn: 10_000n }, SECOND));
  });
});

describe('a position is told', () => {
  const voter = { lineage: SECOND, rewinding: false };
  const wal = { flushLsn: 120n, isReplayedToEnd: true };
  const codeOf = (...given: Parameters<typeof decidePosition>): string => {
    const result = decidePosition(...given);
    return result.kind === 'known' ? `${result.position.timeline}/${result.position.lsn}` : result.reason.code;
  };

  test('when all that the node holds is known', () => {
    assert.equal(codeOf(voter, wal), '2/120');
  });
  test('exactly at the fork: everything before the promotion is there', () => {
    assert.equal(codeOf(voter, { ...wal, flushLsn: 100n }), '2/100');
  });
  test('not below the fork: the node may hold more of the old timeline than its server shows', () => {
    assert.equal(codeOf(voter, { ...wal, flushLsn: 99n }), 'BehindFork');
  });
  test('not without data, not in a rewind or on a rewound copy, not before the own WAL is replayed, not without an answer', () => {
    assert.equal(codeOf({ ...voter, lineage: null }, wal), 'NoData');
    assert.equal(codeOf({ ...voter, rewinding: true }, wal), 'Rewinding');
    assert.equal(codeOf({ ...voter, rewound: true }, wal), 'Rewinding');
    assert.equal(codeOf(voter, { ...wal, isReplayedToEnd: false }), 'Recovering');
    assert.equal(codeOf(voter, { flushLsn: null, isReplayedToEnd: true }), 'PostgresUnavailable');
  });
});
