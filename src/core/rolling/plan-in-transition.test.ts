import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupsOf } from '../../../test/kit/manifests.ts';
import { planInTransition } from './plan-in-transition.ts';

const nodesOf = (wanted: number, existing: number[], retiring: string[]) => {
  const plan = planInTransition(groupsOf([wanted]), { group: 'leo', existing, retiring });
  const nodes = (plan.groups[0]?.nodes ?? []).map(({ name, votes }) => `${name}${votes ? '' : ' (no vote)'}`);
  return { nodes: nodes.join(', '), copies: plan.replication.minCopies, voters: plan.replication.voters.length };
};

test('as many nodes as are asked for, when no more exist', () => {
  assert.deepEqual(nodesOf(3, [1, 2], []), { nodes: 'leo-1, leo-2, leo-3', copies: 2, voters: 3 });
});

test('nodes too many are planned like the others until they retire', () => {
  assert.deepEqual(nodesOf(2, [1, 2, 3], []), { nodes: 'leo-1, leo-2, leo-3', copies: 2, voters: 3 });
});

test('a retiring node has no vote, and the others need only their own copies', () => {
  assert.deepEqual(nodesOf(2, [1, 2, 3], ['leo-3']), { nodes: 'leo-1, leo-2, leo-3 (no vote)', copies: 1, voters: 2 });
});

test('a node that is asked for again has its vote back', () => {
  assert.deepEqual(nodesOf(3, [1, 2, 3], ['leo-3']), { nodes: 'leo-1, leo-2, leo-3', copies: 2, voters: 3 });
});

test('a gap among the existing ones is planned: the node may be a member', () => {
  assert.equal(nodesOf(1, [1, 3], []).nodes, 'leo-1, leo-2, leo-3');
});
