import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { groupsOf, postgresGroup } from '../../../test/kit/manifests.ts';
import { planGlobalCluster } from './plan.ts';
import type { ReplicationPlan } from './plan-types.ts';

function replicationOf(instances: number[], spec: Record<string, unknown> = {}): ReplicationPlan {
  return planGlobalCluster(groupsOf(instances, spec)).replication;
}

describe('quorums', () => {
  const table: [instances: number[], w: number, v: number, minCopies: number, siteMembersMax: number][] = [
    [[1], 1, 1, 1, 0],
    [[2], 2, 1, 1, 0],
    [[3], 2, 2, 2, 0],
    [[4], 3, 2, 2, 0],
    [[5], 3, 3, 2, 0],
    [[1, 1], 2, 1, 1, 1],
    [[1, 1, 1], 2, 2, 2, 1],
    [[2, 1, 1], 3, 2, 2, 2],
    [[3, 1, 1], 4, 2, 2, 3],
    [[3, 3, 3], 5, 5, 2, 3],
    [[1, 1, 0], 2, 1, 1, 1],
    [[3, 3, 0], 4, 3, 2, 3],
  ];
  for (const [instances, w, v, minCopies, siteMembersMax] of table) {
    it(`of ${instances.join('+')} nodes: ${w} hold a commit, ${v} elect`, () => {
      const plan = replicationOf(instances);
      assert.deepEqual(
        [plan.writeQuorum, plan.electionQuorum, plan.minCopies, plan.siteMembersMax],
        [w, v, minCopies, siteMembersMax],
      );
    });
  }

  it('always meet: w + v is one more than the voters', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 3 }),
        fc.option(fc.boolean(), { nil: undefined }),
        (instances, surviveSiteLoss) => {
          fc.pre(instances.some((count) => count > 0));
          const spec = surviveSiteLoss === undefined ? {} : { replication: { surviveSiteLoss } };
          const { writeQuorum, electionQuorum, voters, survives } = replicationOf(instances, spec);
          assert.equal(writeQuorum + electionQuorum, voters.length + 1);
          assert(writeQuorum >= 1 && electionQuorum >= 1);
          assert(survives.nodesAtOnce <= survives.nodesAfterMemberTimeout);
        },
      ),
    );
  });

  it('do not count read-only groups', () => {
    assert.deepEqual(replicationOf([1, 1, 1]).voters, ['leo-1', 'ait-1', 'pit-1']);
    assert.deepEqual(
      planGlobalCluster([...groupsOf([3]), ...groupsOf([0, 2], { role: 'readOnly' }).slice(1)]).replication.voters,
      ['leo-1', 'leo-2', 'leo-3'],
    );
  });
});

describe('what a set-up survives', () => {
  const table: [instances: number[], text: string[]][] = [
    [
      [1],
      [
        'one node: its loss is an outage until it is back, and loses what its volume loses',
        'one group: the loss of its cluster is an outage',
      ],
    ],
    [
      [2],
      [
        'any one node may be lost at once: no acknowledged write is lost, and writes go on after 30s',
        'two nodes: each write waits for both, so that either may be lost; three would go on at once',
        'one group: the loss of its cluster is an outage',
      ],
    ],
    [
      [3],
      [
        'any one node may be lost at once: no acknowledged write is lost, and writes go on',
        '2 nodes lost at once: writes stop until one is back (2 copies are asked for)',
        'one group: the loss of its cluster is an outage',
      ],
    ],
    [
      [1, 1, 1],
      [
        'any one node may be lost at once: no acknowledged write is lost, and writes go on',
        '2 nodes lost at once: writes stop until one is back (2 copies are asked for)',
        'any one group may be lost with its cluster: no acknowledged write is lost, and another group takes over by itself',
      ],
    ],
    [
      [1, 1],
      [
        'any one node may be lost at once: no acknowledged write is lost, and writes go on after 30s',
        'two nodes: each write waits for both, so that either may be lost; three would go on at once',
        'two groups: without a third site nobody can tell a lost group from a lost link, so the loss of one may need your word (a witness group, instances: 0, is enough)',
      ],
    ],
  ];
  for (const [instances, text] of table) {
    it(`${instances.join('+')} nodes`, () => assert.deepEqual(replicationOf(instances).survives.text, text));
  }

  it('commits within the group: members of the primary group, and what the lease costs', () => {
    const alone = replicationOf([1, 1, 1], { replication: { scope: 'group' } });
    assert.deepEqual([alone.voters, alone.writeQuorum, alone.minCopies], [['leo-1'], 1, 1]);
    assert.match(alone.survives.text.join('; '), /acknowledges alone .*when the lease has run out/);
    const three = replicationOf([3, 3], { replication: { scope: 'group', maximumLag: '1Mi' } });
    assert.deepEqual(
      [three.voters, three.writeQuorum, three.minCopies, three.siteMembersMax, three.maximumLagBytes],
      [['leo-1', 'leo-2', 'leo-3'], 2, 2, 0, 1024 * 1024],
    );
    assert.equal(replicationOf([3, 1], { replication: { scope: 'group' } }).minCopies, 1);
  });

  it('groups with a relay count for one voter each', () => {
    const relay = { replication: { relay: true } };
    const three = replicationOf([3, 3, 3], relay);
    assert.deepEqual(
      [three.voters, three.relayGroups, three.writeQuorum, three.electionQuorum, three.siteMembersMax],
      [['leo-1', 'ait-1', 'pit-1'], ['leo', 'ait', 'pit'], 2, 2, 1],
    );
    assert.deepEqual(three.survives.groups, ['leo', 'ait', 'pit']);
    assert.deepEqual(replicationOf([1, 1, 1], relay).relayGroups, [], 'one node is its own relay');
  });

  it('a relay that leaves too few voters is warned of', () => {
    const warningsOf = (instances: readonly [number, number, number], relays: readonly boolean[]) =>
      planGlobalCluster(
        ['leo', 'ait', 'pit'].map((name, index) =>
          postgresGroup({ name, spec: { instances: instances[index], replication: { relay: relays[index] } } }),
        ),
      ).warnings.filter(({ path }) => path === 'spec.replication.relay');
    const [warning, ...rest] = warningsOf([3, 2, 0], [false, true, false]);
    assert.deepEqual(rest, []);
    assert.equal(warning?.group, 'ait');
    assert.match(
      warning?.message ?? '',
      /^with relays 4 nodes vote, and the loss of group "leo" is an outage \(2 copies are asked for\); without them it is survived$/,
    );
    assert.deepEqual(warningsOf([3, 3, 3], [true, true, true]), []);
    assert.deepEqual(warningsOf([3, 2, 0], [false, false, false]), []);
  });

  it('two groups with data and a witness: either group', () => {
    assert.deepEqual(replicationOf([1, 1, 0]).survives.groups, ['leo', 'ait']);
    assert.deepEqual(replicationOf([3, 3, 0]).survives.groups, ['leo', 'ait']);
  });

  it('a group that holds most voters is missed', () => {
    const { survives } = replicationOf([3, 1, 1], { replication: { surviveSiteLoss: false } });
    assert.deepEqual(survives.groups, ['ait', 'pit']);
    assert.match(
      survives.text.at(-1) ?? '',
      /^group "ait" or "pit" may be lost with its cluster$|the loss of group "leo" is an outage until it is back/,
    );
  });
});
