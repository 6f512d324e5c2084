import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PresentInput, presentSurvival } from './present-survival.ts';

/** `leo-1 leo-2! ait-1`: members by name, `!` for one that does not answer. The first leads. */
function gen(members: string, writeQuorum: number, minCopies = 2): PresentInput {
  const names = members.split(' ').filter(Boolean);
  return {
    members: names.map((name) => ({
      name: name.replace('!', ''),
      group: name.split('-')[0] ?? '',
      isHealthy: !name.endsWith('!'),
    })),
    leader: names[0]?.replace('!', '') ?? null,
    writeQuorum,
    minCopies,
    memberTimeoutMs: 30_000,
    othersHealthy: 0,
  };
}

const cases: [title: string, input: PresentInput, survives: RegExp[], doesNotSurvive: RegExp[]][] = [
  [
    'three groups of one',
    gen('leo-1 ait-1 pit-1', 2),
    [/any one of groups leo, ait, pit: no.*writes go on$/],
    [/2 nodes at once/],
  ],
  ['three groups of one, one away', gen('leo-1 ait-1 pit-1!', 2), [], [/any one of groups leo, ait: writes stop/]],
  [
    'three groups of one, two away',
    gen('leo-1 ait-1! pit-1!', 2),
    [],
    [/1 of 3 members are well, and a write needs 2/],
  ],
  ['the leader away', gen('leo-1! ait-1 pit-1', 2), [], [/any one of groups ait, pit/]],
  ['one group of three', gen('leo-1 leo-2 leo-3', 2), [/any one of nodes leo-1, leo-2, leo-3/], [/2 nodes at once/]],
  ['two nodes', gen('leo-1 leo-2', 2, 1), [/nodes leo-1, leo-2: no.*writes go on after 30 s$/], [/2 nodes at once/]],
  ['one node', gen('leo-1', 1, 1), [], [/node leo-1: writes stop until it is back/]],
  [
    'one node, others behind it (scope: group)',
    { ...gen('leo-1', 1, 1), othersHealthy: 2 },
    [],
    [/node leo-1: another group takes over .* may be gone/],
  ],
  [
    'five in three groups',
    gen('leo-1 leo-2 ait-1 ait-2 pit-1', 3),
    [/any one of nodes/, /any one of groups leo, ait, pit: no.*writes go on$/],
    [/3 nodes at once/],
  ],
];

for (const [title, input, survives, doesNotSurvive] of cases) {
  test(`${title}: what may be lost is said as it is`, () => {
    const said = presentSurvival(input);
    for (const [list, patterns] of [
      [said.survives, survives],
      [said.doesNotSurvive, doesNotSurvive],
    ] as const) {
      assert.equal(list.length, patterns.length, JSON.stringify(said));
      for (const [index, pattern] of patterns.entries()) assert.match(list[index] ?? '', pattern);
    }
  });
}
