import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { decideRollingStep } from './decide-rolling-step.ts';
import type { RollingDecision, RollingNode, RollingSnapshot } from './rolling-snapshot.ts';

type NodeChange = Partial<Omit<RollingNode, 'pod' | 'agent'>> & {
  readonly pod?: Partial<NonNullable<RollingNode['pod']>> | null;
  readonly agent?: Partial<NonNullable<RollingNode['agent']>> | null;
};

/** A healthy node that needs nothing, but for the changes. */
function genNode(ordinal: number, change: NodeChange = {}): RollingNode {
  const { pod, agent, ...rest } = change;
  return {
    name: `leo-${ordinal}`,
    ordinal,
    isWanted: true,
    votes: true,
    priority: 100,
    volume: null,
    ...rest,
    pod: pod === null ? null : { isOutdated: false, isReady: true, isTerminating: false, isHeldBack: false, ...pod },
    agent:
      agent === null
        ? null
        : {
            activity: ordinal === 1 ? 'leading' : 'following',
            message: 'as it should',
            isStreaming: true,
            isMember: true,
            lagBytes: 0,
            isConfigured: true,
            pendingRestart: [],
            major: 18,
            ...agent,
          },
  };
}

/** leo-1 leads; w is the majority. */
function genSnapshot(nodes: readonly RollingNode[], change: Partial<RollingSnapshot> = {}): RollingSnapshot {
  const members = nodes.map(({ name }) => name);
  return {
    group: 'leo',
    record: { leader: 'leo-1', members, writeQuorum: Math.floor(members.length / 2) + 1, paused: false },
    isLeaderPublished: true,
    nodes,
    remoteMembers: [],
    wantedMajor: 18,
    ...change,
  };
}

const outdated = { pod: { isOutdated: true } } as const;
const pending = { agent: { pendingRestart: ['max_connections'] } } as const;

/** `delete-pod leo-3 (PodOutdated)`, `wait leo-2 (NodeNotReady)`. */
function inShort(decision: RollingDecision): string {
  const { code } = decision.reason;
  if (decision.kind === 'converged') return 'converged';
  if (decision.kind !== 'step') return `${decision.kind} ${decision.node ?? 'all'} (${code})`;
  const { step } = decision;
  return step.kind === 'switch-over'
    ? `switch-over ${step.from} to ${step.to} (${code})`
    : `${step.kind} ${step.node} (${code})`;
}

interface Case {
  readonly title: string;
  readonly snapshot: RollingSnapshot;
  readonly expected: string;
}

const THREE = [genNode(1), genNode(2), genNode(3)] as const;

const CASES: readonly Case[] = [
  { title: 'nothing to do', snapshot: genSnapshot(THREE), expected: 'converged' },
  {
    title: 'the standby with the highest ordinal comes first',
    snapshot: genSnapshot([genNode(1, outdated), genNode(2, outdated), genNode(3, outdated)]),
    expected: 'delete-pod leo-3 (PodOutdated)',
  },
  {
    title: 'then the next, when the first is back',
    snapshot: genSnapshot([genNode(1, outdated), genNode(2, outdated), genNode(3)]),
    expected: 'delete-pod leo-2 (PodOutdated)',
  },
  {
    title: 'one that is not back yet is waited for',
    snapshot: genSnapshot([
      genNode(1, outdated),
      genNode(2, outdated),
      genNode(3, { agent: { activity: 'recovering' } }),
    ]),
    expected: 'wait leo-3 (NodeNotReady)',
  },
  {
    title: 'the leader hands over when all others are done',
    snapshot: genSnapshot([genNode(1, outdated), genNode(2), genNode(3)]),
    expected: 'switch-over leo-1 to leo-2 (LeaderOutdated)',
  },
  {
    title: 'to the node with the highest priority',
    snapshot: genSnapshot([genNode(1, outdated), genNode(2, { priority: 0 }), genNode(3)]),
    expected: 'switch-over leo-1 to leo-3 (LeaderOutdated)',
  },
  {
    title: 'to another group if it has no node beside it',
    snapshot: genSnapshot([genNode(1, outdated)], {
      record: { leader: 'leo-1', members: ['leo-1', 'ait-1', 'pit-1'], writeQuorum: 2, paused: false },
      remoteMembers: [
        { name: 'ait-1', isHealthy: false, priority: 100 },
        { name: 'pit-1', isHealthy: true, priority: 100 },
      ],
    }),
    expected: 'wait leo-1 (QuorumAtRisk)',
  },
  {
    title: 'and does so when both other groups are well',
    snapshot: genSnapshot([genNode(1, outdated)], {
      record: { leader: 'leo-1', members: ['leo-1', 'ait-1', 'pit-1'], writeQuorum: 2, paused: false },
      remoteMembers: ['ait-1', 'pit-1'].map((name) => ({ name, isHealthy: true, priority: 100 })),
    }),
    expected: 'switch-over leo-1 to ait-1 (LeaderOutdated)',
  },
  {
    title: 'a setting that needs it restarts PostgreSQL only',
    snapshot: genSnapshot([genNode(1, pending), genNode(2, pending), genNode(3, pending)]),
    expected: 'restart-postgres leo-3 (SettingsPending)',
  },
  {
    title: 'the leader does not restart before all have loaded the configuration',
    snapshot: genSnapshot([genNode(1, pending), genNode(2), genNode(3, { agent: { isConfigured: false } })]),
    expected: 'wait leo-3 (ConfigurationLoading)',
  },
  {
    title: 'a configuration that is not loaded everywhere is not the end',
    snapshot: genSnapshot([genNode(1), genNode(2), genNode(3, { agent: { isConfigured: false } })]),
    expected: 'wait leo-3 (ConfigurationLoading)',
  },
  {
    title: 'a broken pod of an older revision is made again at once, though another is away',
    snapshot: genSnapshot([
      genNode(1, outdated),
      genNode(2, { pod: { isOutdated: true, isReady: false }, agent: null }),
      genNode(3, { pod: null, agent: null }),
    ]),
    expected: 'delete-pod leo-2 (BrokenPod)',
  },
  {
    title: 'a pod that was killed and waits for nothing is made again, though nothing is to be changed',
    snapshot: genSnapshot([
      genNode(1),
      genNode(2, { pod: { isHeldBack: true, isReady: false }, agent: null }),
      genNode(3),
    ]),
    expected: 'delete-pod leo-2 (PodHeldBack)',
  },
  {
    title: 'a broken pod is made again before there is a leader',
    snapshot: genSnapshot([genNode(1, { pod: { isOutdated: true, isReady: false }, agent: { activity: 'blocked' } })], {
      record: null,
      isLeaderPublished: false,
    }),
    expected: 'delete-pod leo-1 (BrokenPod)',
  },
  {
    title: 'a node whose agent only we do not reach is left alone',
    snapshot: genSnapshot([genNode(1), genNode(2, { ...outdated, agent: null }), genNode(3, outdated)]),
    expected: 'wait leo-2 (NodeNotReady)',
  },
  {
    title: 'nothing is touched while nobody leads',
    snapshot: genSnapshot([genNode(1), genNode(2), genNode(3, outdated)], { isLeaderPublished: false }),
    expected: 'wait leo-1 (NoLeader)',
  },
  {
    title: 'nor while the group is paused',
    snapshot: genSnapshot([genNode(1), genNode(2), genNode(3, outdated)], {
      record: { leader: 'leo-1', members: ['leo-1', 'leo-2', 'leo-3'], writeQuorum: 2, paused: true },
    }),
    expected: 'wait all (Paused)',
  },
  {
    title: 'of two nodes each write needs both: it goes on all the same when both are well',
    snapshot: genSnapshot([genNode(1), genNode(2, outdated)]),
    expected: 'delete-pod leo-2 (PodOutdated)',
  },
  {
    title: 'a single node is made again, since there is no other way',
    snapshot: genSnapshot([genNode(1, outdated)]),
    expected: 'delete-pod leo-1 (PodOutdated)',
  },
  {
    title: 'a member of another group that is away counts',
    snapshot: genSnapshot([genNode(1), genNode(2, outdated)], {
      record: { leader: 'leo-1', members: ['leo-1', 'leo-2', 'ait-1'], writeQuorum: 2, paused: false },
      remoteMembers: [{ name: 'ait-1', isHealthy: false, priority: 100 }],
    }),
    expected: 'wait leo-2 (QuorumAtRisk)',
  },
  {
    title: 'an image of another major version is touched by nothing',
    snapshot: genSnapshot([genNode(1, outdated), genNode(2, outdated), genNode(3, outdated)], { wantedMajor: 19 }),
    expected: 'blocked leo-1 (MajorVersion)',
  },
  {
    title: 'volumes grow first',
    snapshot: genSnapshot([
      genNode(1),
      genNode(2, { volume: { wantedBytes: 20, requestedBytes: 10, canGrow: true } }),
      genNode(3, outdated),
    ]),
    expected: 'grow-volume leo-2 (VolumeTooSmall)',
  },
  {
    title: 'a volume that cannot grow does not hold up the rest',
    snapshot: genSnapshot([
      genNode(1),
      genNode(2, { volume: { wantedBytes: 20, requestedBytes: 10, canGrow: false } }),
      genNode(3, outdated),
    ]),
    expected: 'delete-pod leo-3 (PodOutdated)',
  },
  {
    title: 'and is said in the end',
    snapshot: genSnapshot([genNode(1, { volume: { wantedBytes: 20, requestedBytes: 10, canGrow: false } })]),
    expected: 'blocked leo-1 (VolumeCannotGrow)',
  },
  {
    title: 'no volume shrinks',
    snapshot: genSnapshot([genNode(1, { volume: { wantedBytes: 10, requestedBytes: 20, canGrow: true } })]),
    expected: 'blocked leo-1 (VolumeCannotShrink)',
  },
  {
    title: 'a node too many gives up its vote first',
    snapshot: genSnapshot([...THREE, genNode(4, { isWanted: false })]),
    expected: 'retire-node leo-4 (TooManyNodes)',
  },
  {
    title: 'then it is waited for',
    snapshot: genSnapshot([...THREE, genNode(4, { isWanted: false, votes: false, priority: 0 })]),
    expected: 'wait leo-4 (Retiring)',
  },
  {
    title: 'then it goes',
    snapshot: genSnapshot([...THREE, genNode(4, { isWanted: false, votes: false, agent: { isMember: false } })], {
      record: { leader: 'leo-1', members: ['leo-1', 'leo-2', 'leo-3'], writeQuorum: 2, paused: false },
    }),
    expected: 'remove-node leo-4 (TooManyNodes)',
  },
  {
    title: 'a leader that leaves hands over first',
    snapshot: genSnapshot(
      [
        genNode(1, { agent: { activity: 'following' } }),
        genNode(2),
        genNode(3, { isWanted: false, agent: { activity: 'leading' } }),
      ],
      { record: { leader: 'leo-3', members: ['leo-1', 'leo-2', 'leo-3'], writeQuorum: 2, paused: false } },
    ),
    expected: 'switch-over leo-3 to leo-1 (LeaderLeaves)',
  },
  {
    title: 'no node leaves while those that stay are too few',
    snapshot: genSnapshot([
      genNode(1),
      genNode(2, { agent: { activity: 'cloning' } }),
      genNode(3, { isWanted: false }),
    ]),
    expected: 'wait leo-2 (NodeNotReady)',
  },
];

suite('the next step of a rolling change', () => {
  for (const { title, snapshot, expected } of CASES) {
    test(title, () => {
      const decision = decideRollingStep(snapshot);
      assert.equal(inShort(decision), expected, decision.reason.message);
    });
  }

  test('says that writes pause where no better way is', () => {
    const decision = decideRollingStep(genSnapshot([genNode(1), genNode(2, outdated)]));
    assert.match(decision.reason.message, /writes wait until it is back, since each needs 2 of 2 members/);
  });
});
