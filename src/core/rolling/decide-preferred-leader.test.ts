import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import {
  decidePreferredLeader,
  noteFitness,
  type PreferredDecision,
  type PreferredNode,
  type PreferredSnapshot,
  RETRY_MS,
} from './decide-preferred-leader.ts';

const AFTER_MS = 600_000;
const NOW_MS = 5_000_000;

/** Healthy: it follows, or leads if it is leo-1. */
function genNode(name: string, change: Partial<PreferredNode> = {}): PreferredNode {
  return {
    name,
    group: name.replace(/-[0-9]+$/, ''),
    activity: name === 'leo-1' ? 'leading' : 'following',
    isStreaming: true,
    isMember: true,
    shallVote: true,
    lagBytes: 0,
    ...change,
  };
}

type Changes = Partial<Omit<PreferredSnapshot, 'wanted' | 'nodes'>> & {
  readonly wanted?: Partial<PreferredSnapshot['wanted']>;
  /** By node; null: there is no such node. */
  readonly nodes?: Readonly<Record<string, Partial<PreferredNode> | null>>;
};

/** leo-1 leads, leo-2 and ait-1 to ait-2 follow, and leo-2 was named just now. */
function genSnapshot({ wanted, nodes = {}, ...change }: Changes = {}): PreferredSnapshot {
  return {
    wanted: { name: 'leo-2', switchBack: 'Never', afterMs: AFTER_MS, ...wanted },
    group: 'leo',
    leader: 'leo-1',
    isLeaderPublished: true,
    paused: false,
    scope: 'global',
    change: null,
    nodes: ['leo-1', 'leo-2', 'ait-1', 'ait-2'].flatMap((name) => {
      const one = nodes[name];
      return one === null ? [] : [genNode(name, one)];
    }),
    hasLed: false,
    fitSinceMs: new Map(),
    failure: null,
    nowMs: NOW_MS,
    ...change,
  };
}

/** `leo-1 to leo-2`, `wait (TargetNotReady)`, `leads (Leads)`. */
function inShort(decision: PreferredDecision): string {
  return decision.kind === 'switch-over'
    ? `${decision.from} to ${decision.to}`
    : `${decision.kind} (${decision.reason.code})`;
}

const back = { switchBack: 'WhenHealthy' } as const;
const wellFor = (name: string, ms: number) => new Map([[name, NOW_MS - ms]]);

const CASES: readonly (Changes & { readonly title: string; readonly becomes: string })[] = [
  { title: 'a new name is a switchover at once', becomes: 'leo-1 to leo-2' },
  { title: 'of another group too', wanted: { name: 'ait-2' }, becomes: 'leo-1 to ait-2' },
  { title: 'of a group, the first of its nodes', wanted: { name: 'ait' }, becomes: 'leo-1 to ait-1' },
  {
    title: 'of a group, one that is well',
    wanted: { name: 'ait' },
    nodes: { 'ait-1': { shallVote: false, isMember: false } },
    becomes: 'leo-1 to ait-2',
  },
  { title: 'it leads', wanted: { name: 'leo-1' }, becomes: 'leads (Leads)' },
  { title: 'a node of its group leads', wanted: { name: 'leo' }, becomes: 'leads (Leads)' },
  {
    title: 'it leads, and is not open for clients yet',
    wanted: { name: 'leo-1' },
    isLeaderPublished: false,
    becomes: 'leads (Leads)',
  },
  { title: 'Never: it has led, and another leads since', hasLed: true, becomes: 'left (LeftElsewhere)' },
  {
    title: 'Never: also however long it has been well',
    hasLed: true,
    fitSinceMs: wellFor('leo-2', 9 * AFTER_MS),
    becomes: 'left (LeftElsewhere)',
  },
  {
    title: 'WhenHealthy: it has led and is well again, for too short a time',
    hasLed: true,
    wanted: back,
    fitSinceMs: wellFor('leo-2', AFTER_MS - 1),
    becomes: 'wait (Settling)',
  },
  { title: 'WhenHealthy: it is seen well for the first time', hasLed: true, wanted: back, becomes: 'wait (Settling)' },
  {
    title: 'WhenHealthy: it has been well for long enough',
    hasLed: true,
    wanted: back,
    fitSinceMs: wellFor('leo-2', AFTER_MS),
    becomes: 'leo-1 to leo-2',
  },
  { title: 'WhenHealthy: a new name waits for nothing', wanted: back, becomes: 'leo-1 to leo-2' },
  {
    title: 'WhenHealthy: of a group, the one that was well for long enough',
    hasLed: true,
    wanted: { name: 'ait', ...back },
    fitSinceMs: new Map([
      ['ait-1', NOW_MS - 1],
      ['ait-2', NOW_MS - AFTER_MS],
    ]),
    becomes: 'leo-1 to ait-2',
  },
  { title: 'nobody leads', leader: null, becomes: 'wait (NoLeader)' },
  { title: 'the leader is not open for clients', isLeaderPublished: false, becomes: 'wait (NoLeader)' },
  { title: 'another group leads', group: 'ait', becomes: 'wait (OtherGroupLeads)' },
  { title: 'an unknown node leads', leader: 'pit-1', becomes: 'wait (OtherGroupLeads)' },
  { title: 'it is paused', paused: true, becomes: 'wait (Paused)' },
  {
    title: 'a rolling change is under way',
    change: { code: 'PodOutdated', message: 'The pod of "leo-2" is made again' },
    becomes: 'wait (ChangeUnderWay)',
  },
  { title: 'it is not there yet', nodes: { 'leo-2': null }, becomes: 'wait (TargetNotReady)' },
  { title: 'it clones', nodes: { 'leo-2': { activity: 'cloning' } }, becomes: 'wait (TargetNotReady)' },
  { title: 'it does not stream', nodes: { 'leo-2': { isStreaming: false } }, becomes: 'wait (TargetNotReady)' },
  { title: 'it has no vote yet', nodes: { 'leo-2': { isMember: false } }, becomes: 'wait (TargetNotReady)' },
  {
    title: 'it is behind a relay',
    wanted: { name: 'ait-1' },
    nodes: { 'ait-1': { isMember: false, shallVote: false } },
    becomes: 'wait (TargetNotReady)',
  },
  { title: 'it is far behind', nodes: { 'leo-2': { lagBytes: 17 * 2 ** 20 } }, becomes: 'wait (TargetNotReady)' },
  {
    title: 'with scope group, a node that does not vote may take over',
    scope: 'group',
    wanted: { name: 'ait-1' },
    nodes: { 'ait-1': { isMember: false, shallVote: false }, 'ait-2': { isMember: false, shallVote: false } },
    becomes: 'leo-1 to ait-1',
  },
  { title: 'another is lost', nodes: { 'ait-1': { activity: 'unreachable' } }, becomes: 'wait (NodeNotReady)' },
  { title: 'another does not stream', nodes: { 'ait-1': { isStreaming: false } }, becomes: 'wait (NodeNotReady)' },
  { title: 'another was taken out', nodes: { 'ait-1': { isMember: false } }, becomes: 'wait (NodeNotReady)' },
  { title: 'another is far behind', nodes: { 'ait-1': { lagBytes: 17 * 2 ** 20 } }, becomes: 'wait (NodeNotReady)' },
  {
    title: 'another that never votes is lost',
    nodes: { 'ait-1': { activity: 'unreachable', isMember: false, shallVote: false } },
    becomes: 'leo-1 to leo-2',
  },
  {
    title: 'an attempt has failed just now',
    failure: { atMs: NOW_MS - RETRY_MS + 1, message: 'Cannot order "leo-1" to hand over' },
    becomes: 'wait (SwitchoverFailed)',
  },
  {
    title: 'an attempt has failed a minute ago',
    failure: { atMs: NOW_MS - RETRY_MS, message: 'Cannot order "leo-1" to hand over' },
    becomes: 'leo-1 to leo-2',
  },
];

suite('decidePreferredLeader', () => {
  for (const { title, becomes, ...changes } of CASES) {
    test(`${title}: ${becomes}`, () => {
      assert.equal(inShort(decidePreferredLeader(genSnapshot(changes))), becomes);
    });
  }

  test('says what it waits for, in words that stay while nothing changes', () => {
    const settling = (forMs: number) =>
      decidePreferredLeader(genSnapshot({ wanted: back, hasLed: true, fitSinceMs: wellFor('leo-2', forMs) }));
    const decision = settling(AFTER_MS - 90_000);
    assert.deepEqual(decision, {
      kind: 'wait',
      reason: { code: 'Settling', message: '"leo-2" is well again, and leads when it has been so for 600 s' },
      againMs: 90_000,
    });
    assert.equal(settling(1000).reason.message, decision.reason.message);
  });

  test('leaves it to the operator of the group that leads, and is told when that changes', () => {
    const decision = decidePreferredLeader(genSnapshot({ group: 'ait' }));
    assert.deepEqual(decision, {
      kind: 'wait',
      reason: { code: 'OtherGroupLeads', message: '"leo-1" leads: the operator of group "leo" hands over when it can' },
      againMs: null,
    });
  });
});

suite('noteFitness', () => {
  const before = new Map([
    ['leo-2', 1],
    ['ait-1', 2],
  ]);

  test('keeps the time of the preferred node alone, and begins anew after a break', () => {
    const well = noteFitness(genSnapshot(), before);
    assert.deepEqual([...well], [['leo-2', 1]]);
    const broken = noteFitness(genSnapshot({ nodes: { 'leo-2': { isStreaming: false } } }), well);
    assert.deepEqual([...broken], []);
    assert.deepEqual([...noteFitness(genSnapshot(), broken)], [['leo-2', NOW_MS]]);
  });

  test('keeps one for each node of a preferred group', () => {
    assert.deepEqual(
      [...noteFitness(genSnapshot({ wanted: { name: 'ait' } }), before)],
      [
        ['ait-1', 2],
        ['ait-2', NOW_MS],
      ],
    );
  });

  test('has none while the preferred one leads, so that after a switchover by hand it counts from then', () => {
    assert.deepEqual([...noteFitness(genSnapshot({ wanted: { name: 'leo' } }), before)], []);
  });
});
