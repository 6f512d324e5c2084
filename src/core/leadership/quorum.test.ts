import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Member } from '../../api/record.ts';
import {
  APPLICATION_NAME_BYTES_MAX,
  applicationName,
  type Configuration,
  decideWriteQuorum,
  formatSynchronousStandbyNames,
  isMember,
  jointSynchronousStandbyNames,
  majority,
  synchronousStandbyNames,
  voteQuorum,
} from './quorum.ts';

const members: readonly Member[] = ['a', 'b', 'c', 'd', 'e'].map((letter, index) => ({
  node: `${letter}-1`,
  incarnation: String(index + 1).repeat(12),
}));
const ofSize = (count: number): readonly Member[] => members.slice(0, count);

describe('the write quorum', () => {
  const cases: readonly [members: number, minCopies: number, siteMembersMax: number, writeQuorum: number][] = [
    [1, 1, 0, 1],
    [2, 1, 0, 2],
    [3, 2, 0, 2],
    [4, 2, 0, 3],
    [5, 2, 0, 3],
    [3, 3, 0, 3],
    [2, 3, 0, 2],
    [5, 2, 2, 3],
    [5, 2, 3, 4],
    [6, 2, 4, 5],
  ];
  for (const [count, minCopies, siteMembersMax, expected] of cases)
    test(`of ${count} members with ${minCopies} copies and a site of ${siteMembersMax} is ${expected}`, () => {
      assert.equal(decideWriteQuorum(count, { minCopies, siteMembersMax }), expected);
    });

  test('and the vote quorum always meet, and each is at least one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 32 }), fc.nat(32), fc.nat(32), (count, minCopies, siteMembersMax) => {
        const writeQuorum = decideWriteQuorum(count, { minCopies, siteMembersMax });
        const configuration = { members: Array.from({ length: count }, () => members[0] as Member), writeQuorum };
        const votes = voteQuorum(configuration);
        assert.equal(writeQuorum + votes, count + 1);
        assert.ok(votes >= 1 && writeQuorum >= Math.min(count, majority(count)));
      }),
    );
  });
});

describe('the name of a WAL receiver', () => {
  test('differs for another life of the node', () => {
    const [one, other] = ['0123456789ab', 'fedcba987654'].map((incarnation) =>
      applicationName({ node: 'a-1', incarnation }),
    );
    assert.notEqual(one, other);
    assert.equal(one, 'a-1_01234567');
  });

  test('is never longer than PostgreSQL keeps, and keeps the life', () => {
    const name = applicationName({ node: 'x'.repeat(63), incarnation: '0123456789ab' });
    assert.equal(Buffer.byteLength(name), APPLICATION_NAME_BYTES_MAX);
    assert.ok(name.endsWith('_01234567'));
  });
});

describe('synchronous_standby_names', () => {
  test("is '' where the leader alone is a quorum, since the server rejects ANY 0", () => {
    assert.equal(formatSynchronousStandbyNames(0, members), '');
    assert.equal(synchronousStandbyNames({ members: ofSize(1), writeQuorum: 1 }, 'a-1'), '');
  });

  test('names the members without the leader, in one order whatever theirs is', () => {
    const expected = 'ANY 1 ("b-1_22222222", "c-1_33333333")';
    assert.equal(synchronousStandbyNames({ members: ofSize(3), writeQuorum: 2 }, 'a-1'), expected);
    assert.equal(synchronousStandbyNames({ members: [...ofSize(3)].reverse(), writeQuorum: 2 }, 'a-1'), expected);
  });

  test('quotes a name as PostgreSQL reads it', () => {
    const odd = [{ node: 'we"ird', incarnation: '0123456789ab' }];
    assert.equal(formatSynchronousStandbyNames(1, odd), 'ANY 1 ("we""ird_01234567")');
  });
});

test('a member is one node in one life', () => {
  const configuration = { members: ofSize(2), writeQuorum: 2 };
  assert.ok(isMember(configuration, members[1] as Member));
  assert.ok(!isMember(configuration, { node: 'b-1', incarnation: 'f'.repeat(12) }));
});

describe('the setting that requires both configurations', () => {
  /** Whether the leader and the standbys in `acked` are a commit under a setting. */
  const isCommit = (setting: string, acked: readonly Member[]): boolean => {
    const count = Number(/^ANY (\d+)/.exec(setting)?.[1] ?? 0);
    return acked.filter((member) => setting.includes(`"${applicationName(member)}"`)).length >= count;
  };
  const holds = (configuration: Configuration, acked: readonly Member[]): boolean =>
    1 + acked.filter((member) => isMember(configuration, member)).length >= configuration.writeQuorum;

  /** Of one member, or of w alone; w is whatever it may be, since it falls below the policy's where a site is lost. */
  function* changes(): Generator<{ from: Configuration; to: Configuration }> {
    const all = (of: readonly Member[]): Configuration[] =>
      of.map((_, index) => ({ members: of, writeQuorum: index + 1 }));
    for (let size = 1; size <= members.length; size++)
      for (const from of all(ofSize(size))) {
        for (const to of all(from.members)) yield { from, to };
        for (const to of size < members.length ? all(ofSize(size + 1)) : []) yield { from, to };
        for (let gone = 1; gone < size; gone++)
          for (const to of all(from.members.filter((_, index) => index !== gone))) yield { from, to };
      }
  }

  test('lets no commit through that does not satisfy both, for every change of one member or of w', () => {
    let count = 0;
    for (const { from, to } of changes()) {
      const setting = jointSynchronousStandbyNames(from, to, 'a-1');
      const others = members.slice(1);
      for (let subset = 0; subset < 1 << others.length; subset++) {
        const acked = others.filter((_, index) => subset & (1 << index));
        if (!isCommit(setting, acked)) continue;
        const what = `${setting} acknowledged by ${acked.map((one) => one.node).join()} in ${JSON.stringify({ from, to })}`;
        assert.ok(holds(from, acked), `not on the old members: ${what}`);
        assert.ok(holds(to, acked), `not on the new members: ${what}`);
      }
      count++;
    }
    assert.ok(count > 100);
  });

  test('asks for no more than is needed where a member goes and w stays', () => {
    const from = { members: ofSize(3), writeQuorum: 2 };
    assert.equal(
      jointSynchronousStandbyNames(from, { members: ofSize(2), writeQuorum: 2 }, 'a-1'),
      'ANY 1 ("b-1_22222222")',
    );
  });
});
