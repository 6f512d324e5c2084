import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cardOf } from '../../../test/kit/cards.ts';
import { postgresGroupStatusSchema } from '../../api/postgres-group-status.ts';
import type { NodeLine } from './cluster-status.ts';
import { otherGroups } from './other-groups.ts';

const line = (name: string, group: string, change: Partial<NodeLine> = {}) =>
  ({
    name,
    group,
    role: 'follower',
    reachable: true,
    isMember: true,
    reason: { code: 'Following', message: '' },
    ...change,
  }) as NodeLine;

test('says of each other group whether it is known, who of it is reached, and why not', () => {
  const groups = otherGroups({
    counted: ['ait', 'pit', 'vig'],
    cards: [cardOf('ait', { generation: 3 }), cardOf('pit')],
    cluster: {
      leader: 'ait-1',
      nodes: [
        line('leo-1', 'leo'),
        line('ait-1', 'ait', { role: 'leader' }),
        line('pit-1', 'pit', {
          role: 'none',
          reachable: false,
          isMember: false,
          reason: { code: 'Unreachable', message: 'no answer' },
        }),
      ],
    },
    silence: { vig: 'connection refused' },
  });
  assert.deepEqual(
    groups.map(({ name, known, leads, message }) => [name, known, leads, message]),
    [
      ['ait', true, true, undefined],
      ['pit', true, false, 'no answer'],
      ['vig', false, false, 'connection refused'],
    ],
  );
  assert.deepEqual(groups[0]?.nodes, [{ name: 'ait-1', role: 'leader', reachable: true, member: true }]);
  assert.equal(groups[0]?.generation, 3);
  assert.deepEqual(postgresGroupStatusSchema.parse({ groups }).groups, groups);
});
