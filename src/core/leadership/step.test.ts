/**
 * decideNodeStep as one table, role by data by promise by PostgreSQL, and what must hold in every cell of it. The keys are
 * types, so a cell that is missing does not compile.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ClusterRecord } from '../../api/record.ts';
import type { Lineage } from './position.ts';
import {
  decideNodeStep,
  type KnownLeader,
  type NodeSnapshot,
  type NodeStep,
  type PostgresState,
  type RecordView,
} from './step.ts';
import type { VoterState } from './voter.ts';

const life = (digit: number): string => String(digit).repeat(12);

const FORK_LSN = 50n;
const FIRST: Lineage = { timeline: 1, history: [] };
const SECOND: Lineage = { timeline: 2, history: [{ timeline: 1, endLsn: FORK_LSN }] };

function aRecord(given: Partial<ClusterRecord> = {}): ClusterRecord {
  return {
    format: 1,
    globalCluster: 'shop',
    systemIdentifier: '7300000000000000001',
    version: 2,
    term: 2,
    leader: 'b-1',
    timeline: 2,
    members: ['a-1', 'b-1', 'c-1'].map((node, index) => ({ node, incarnation: life(index + 1) })),
    writeQuorum: 2,
    switchover: null,
    paused: false,
    ...given,
  };
}

function aLeader(given: Partial<KnownLeader> = {}): KnownLeader {
  return { node: 'a-1', term: 2, lineage: SECOND, isPublished: true, isRewindable: true, ...given };
}

/** Node b-1 with PostgreSQL a standby of timeline 1, named as leader of term 2. */
function aVoter(given: Partial<VoterState> = {}): VoterState {
  return {
    incarnation: life(2),
    promisedTerm: 2,
    seen: { term: 2, version: 2 },
    lineage: FIRST,
    followedTerm: 1,
    rewinding: false,
    ...given,
  };
}

function aSnapshot(given: Partial<NodeSnapshot> = {}): NodeSnapshot {
  return {
    nowMs: 1000,
    self: 'b-1',
    bootstraps: false,
    voter: aVoter(),
    record: { kind: 'present', record: aRecord() },
    data: 'present',
    systemIdentifier: '7300000000000000001',
    dataProblem: null,
    peersKnowDatabase: true,
    postgres: { kind: 'standby', flushLsn: 40n, isReplayedToEnd: true },
    leader: null,
    path: null,
    handOverMs: 0,
    isFenced: false,
    ...given,
  };
}

const named: RecordView = { kind: 'present', record: aRecord() };
const otherNamed: RecordView = { kind: 'present', record: aRecord({ leader: 'a-1' }) };
const neverSeen = { promisedTerm: 0, seen: { term: 0, version: 0 }, followedTerm: 0 };

interface Role {
  readonly snapshot: Partial<NodeSnapshot>;
  readonly voter: Partial<VoterState>;
}

/** What the record, the leader and the own past say of this node. */
const roles = {
  'the record was never read': { snapshot: { record: { kind: 'unread' } }, voter: {} },
  'the record is older than one seen': {
    snapshot: { record: { kind: 'refused', reason: { code: 'RecordOlder', message: 'older' } } },
    voter: {},
  },
  'no record yet, the first node': {
    snapshot: { record: { kind: 'absent' }, bootstraps: true, peersKnowDatabase: false },
    voter: neverSeen,
  },
  'no record yet, another node': {
    snapshot: { record: { kind: 'absent' }, peersKnowDatabase: false },
    voter: neverSeen,
  },
  elected: { snapshot: { record: named }, voter: {} },
  leading: { snapshot: { record: named }, voter: { lineage: SECOND } },
  'leading, fenced': { snapshot: { record: named, isFenced: true }, voter: { lineage: SECOND } },
  'elected in a former life': { snapshot: { record: named }, voter: { lineage: SECOND, incarnation: life(9) } },
  'elected while it rewinds': { snapshot: { record: named }, voter: { rewinding: true } },
  'another leads and is not heard': { snapshot: { record: otherNamed }, voter: {} },
  'another leads and is not published': {
    snapshot: { record: otherNamed, leader: aLeader({ isPublished: false, isRewindable: false }) },
    voter: {},
  },
  'another leads': { snapshot: { record: otherNamed, leader: aLeader() }, voter: {} },
  'another leads from below our WAL': {
    snapshot: {
      record: otherNamed,
      leader: aLeader({ lineage: { timeline: 2, history: [{ timeline: 1, endLsn: 30n }] } }),
    },
    voter: {},
  },
  'another leads, a rewind began': { snapshot: { record: otherNamed, leader: aLeader() }, voter: { rewinding: true } },
} as const satisfies Record<string, Role>;
type RoleName = keyof typeof roles;

/** `unknown`: there is data, but the promise file was lost. */
type Data = 'none' | 'unknown' | 'present';
/** `away`: a term above the record's is promised. */
type Promised = 'kept' | 'away';

const servers = {
  stopped: { kind: 'stopped', sinceMs: 0 },
  startsAsPrimary: { kind: 'starting', as: 'primary' },
  startsAsStandby: { kind: 'starting', as: 'standby' },
  standby: { kind: 'standby', flushLsn: 40n, isReplayedToEnd: true },
  primary: { kind: 'primary' },
} as const satisfies Record<string, PostgresState>;
type Server = keyof typeof servers;
const serverNames = Object.keys(servers) as Server[];

/** In the order of `servers`; one text stands for all five. */
type Row = string | readonly [string, string, string, string, string];
/** PostgreSQL runs on nothing, or on data of which nothing is known any more: it is stopped before anything else. */
const only = (whenStopped: string): Row => [whenStopped, GONE, GONE, GONE, GONE];
const GONE = 'stop DataUnknown';
/** Both promises alike. */
const both = (row: Row): Record<Promised, Row> => ({ kept: row, away: row });
const standbyOf = (row: string): Row => [
  'start standby StartStandby',
  'stop Deposed',
  'wait Starting',
  row,
  'stop Deposed',
];
const promisedAway: Row = [
  'start standby PromisedAway',
  'stop PromisedAway',
  'wait PromisedAway',
  'wait PromisedAway',
  'stop PromisedAway',
];
const withoutData = both(only('blocked LeaderWithoutData'));
const copies = both(only('clone Clone'));
const waitsToCopy = both(only('wait WaitingForLeader'));

const table: Record<RoleName, Record<Data, Record<Promised, Row>>> = {
  'the record was never read': {
    none: both(only('wait RecordUnread')),
    unknown: both(only('wait RecordUnread')),
    present: both('wait RecordUnread'),
  },
  'the record is older than one seen': {
    none: both(only('blocked RecordOlder')),
    unknown: both(only('blocked RecordOlder')),
    present: both('blocked RecordOlder'),
  },
  'no record yet, the first node': {
    none: both(only('bootstrap Bootstrap')),
    unknown: both(only('blocked RecordMissing')),
    present: both([
      'bootstrap Bootstrap',
      'blocked RecordMissing',
      'blocked RecordMissing',
      'blocked RecordMissing',
      'blocked RecordMissing',
    ]),
  },
  'no record yet, another node': {
    none: both(only('wait WaitingForBootstrap')),
    unknown: both(only('blocked RecordMissing')),
    present: both('blocked RecordMissing'),
  },
  elected: {
    none: withoutData,
    unknown: withoutData,
    present: {
      kept: ['start standby Elected', 'wait Starting', 'wait Starting', 'promote Elected', 'stop WrongTimeline'],
      away: promisedAway,
    },
  },
  leading: {
    none: withoutData,
    unknown: withoutData,
    present: {
      kept: ['start primary RestartInPlace', 'wait Starting', 'wait Starting', 'stop RestartAsPrimary', 'lead Leading'],
      away: promisedAway,
    },
  },
  'leading, fenced': {
    none: withoutData,
    unknown: withoutData,
    present: {
      kept: ['start standby Fenced', 'stop Fenced', 'wait Fenced', 'wait Fenced', 'stop Fenced'],
      away: promisedAway,
    },
  },
  'elected in a former life': {
    none: withoutData,
    unknown: withoutData,
    present: both([
      'blocked OtherIncarnation',
      'stop OtherIncarnation',
      'blocked OtherIncarnation',
      'blocked OtherIncarnation',
      'stop OtherIncarnation',
    ]),
  },
  'elected while it rewinds': {
    none: withoutData,
    unknown: withoutData,
    present: both([
      'blocked RewindUnfinished',
      'stop RewindUnfinished',
      'stop RewindUnfinished',
      'stop RewindUnfinished',
      'stop RewindUnfinished',
    ]),
  },
  'another leads and is not heard': {
    none: waitsToCopy,
    unknown: waitsToCopy,
    present: both(standbyOf('wait WaitingForLeader')),
  },
  'another leads and is not published': {
    none: waitsToCopy,
    unknown: waitsToCopy,
    present: { kept: standbyOf('follow Following'), away: standbyOf('wait TermBelowPromise') },
  },
  'another leads': {
    none: copies,
    unknown: copies,
    present: { kept: standbyOf('follow Following'), away: standbyOf('wait TermBelowPromise') },
  },
  'another leads from below our WAL': {
    none: copies,
    unknown: copies,
    present: { kept: standbyOf('rewind Diverged'), away: standbyOf('wait TermBelowPromise') },
  },
  'another leads, a rewind began': {
    none: copies,
    unknown: copies,
    present: {
      kept: ['rewind RewindUnfinished', 'stop Deposed', 'wait Starting', 'rewind RewindUnfinished', 'stop Deposed'],
      away: ['wait TermBelowPromise', 'stop Deposed', 'wait Starting', 'wait TermBelowPromise', 'stop Deposed'],
    },
  },
};

interface Cell {
  readonly title: string;
  readonly role: RoleName;
  readonly data: Data;
  readonly promised: Promised;
  readonly server: Server;
  readonly expected: string;
  readonly snapshot: NodeSnapshot;
}

const cells: readonly Cell[] = (Object.keys(table) as RoleName[]).flatMap((role) =>
  (Object.keys(table[role]) as Data[]).flatMap((data) =>
    (Object.keys(table[role][data]) as Promised[]).flatMap((promised) =>
      serverNames.map((server, index): Cell => {
        const row = table[role][data][promised];
        return {
          title: `${role}; data ${data}; promise ${promised}; ${server}`,
          role,
          data,
          promised,
          server,
          expected: typeof row === 'string' ? row : (row[index] as string),
          snapshot: snapshotOf(role, data, promised, server),
        };
      }),
    ),
  ),
);

function snapshotOf(role: RoleName, data: Data, promised: Promised, server: Server): NodeSnapshot {
  const { snapshot, voter }: Role = roles[role];
  return aSnapshot({
    ...snapshot,
    data: data === 'none' ? 'none' : 'present',
    systemIdentifier: data === 'none' ? null : '7300000000000000001',
    voter: aVoter({
      ...voter,
      ...(data === 'unknown' ? { lineage: null } : {}),
      ...(promised === 'away' ? { promisedTerm: 3 } : {}),
    }),
    postgres: servers[server],
  });
}

const describeStep = (step: NodeStep): string =>
  `${step.kind}${step.kind === 'start' ? ` ${step.as}` : ''} ${step.reason.code}`;
const isPrimary = (server: Server): boolean => server === 'primary' || server === 'startsAsPrimary';

describe('the step of a node, by role, data, promise and PostgreSQL', () => {
  for (const role of Object.keys(table) as RoleName[]) {
    test(role, () => {
      for (const cell of cells.filter((one) => one.role === role))
        assert.equal(describeStep(decideNodeStep(cell.snapshot)), cell.expected, cell.title);
    });
  }
});

describe('in every cell', () => {
  const every = (check: (cell: Cell, step: NodeStep) => void): void => {
    for (const cell of cells) check(cell, decideNodeStep(cell.snapshot));
  };

  test('a node that promised another term does not lead, is not promoted and starts no primary', () => {
    every((cell, step) => {
      if (cell.promised === 'away') assert.ok(!leads(step), cell.title);
    });
  });

  test('nothing starts, leads, follows or is promoted on data that is not there or not known', () => {
    every((cell, step) => {
      if (cell.data !== 'present')
        assert.ok(!leads(step) && !['start', 'follow', 'rewind'].includes(step.kind), cell.title);
    });
  });

  test('files are made, copied or given up only while no server runs on them', () => {
    every((cell, step) => {
      if (cell.server !== 'stopped') assert.ok(step.kind !== 'clone' && step.kind !== 'bootstrap', cell.title);
    });
  });

  test('a half-done rewind is never started', () => {
    every((cell, step) => {
      if (!cell.snapshot.voter.rewinding) return;
      assert.ok(step.kind !== 'start' && !leads(step) && step.kind !== 'follow', cell.title);
    });
  });

  test('a primary that the record and the promise do not allow is stopped at once', () => {
    every((cell, step) => {
      const isUndecided = cell.snapshot.record.kind !== 'present' && cell.data === 'present';
      const isAllowed = cell.role === 'leading' && cell.data === 'present' && cell.promised === 'kept';
      const isStarting = cell.server === 'startsAsPrimary' && cell.role === 'elected';
      if (!isPrimary(cell.server) || isUndecided || isAllowed || isStarting) return;
      assert.deepEqual([step.kind, step.kind === 'stop' ? step.mode : null], ['stop', 'immediate'], cell.title);
    });
  });
});

function leads(step: NodeStep): boolean {
  return step.kind === 'lead' || step.kind === 'promote' || (step.kind === 'start' && step.as === 'primary');
}

describe('beside the table', () => {
  test('a node copies the database from a leader that made its checkpoint and cannot be published without this node', () => {
    const step = decideNodeStep(
      aSnapshot({
        record: otherNamed,
        data: 'none',
        voter: aVoter({ lineage: null }),
        postgres: { kind: 'stopped', sinceMs: 0 },
        leader: aLeader({ isPublished: false, isRewindable: true }),
      }),
    );
    assert.equal(step.kind, 'clone');
  });

  const stepOf = (given: Partial<NodeSnapshot>): string => describeStep(decideNodeStep(aSnapshot(given)));
  const leading = { voter: aVoter({ lineage: SECOND }) };

  test('a crashed leader gives the others their time, and then restarts in place', () => {
    const crashed = { ...leading, postgres: { kind: 'stopped', sinceMs: 900 } as const, handOverMs: 1500 };
    const step = decideNodeStep(aSnapshot({ ...crashed, nowMs: 1000 }));
    assert.deepEqual(
      [step.kind, step.reason.code, step.kind === 'wait' && step.untilMs],
      ['wait', 'HandingOver', 2400],
    );
    assert.equal(stepOf({ ...crashed, nowMs: 2400 }), 'start primary RestartInPlace');
  });

  test('a leader whose disk is full hands over in order where somebody else has room, and leads on where nobody has', () => {
    const problem = { code: 'DiskFull', message: 'The volume is full' };
    const step = decideNodeStep(
      aSnapshot({ ...leading, postgres: servers.primary, disk: { problem, mayHandOver: true } }),
    );
    assert.deepEqual([step.kind, step.reason.code, step.kind === 'stop' && step.mode], ['stop', 'DiskFull', 'fast']);
    assert.equal(
      stepOf({ ...leading, postgres: servers.primary, disk: { problem, mayHandOver: false } }),
      'lead Leading',
    );
    assert.equal(stepOf({ disk: { problem, mayHandOver: true } }), 'promote Elected', 'who is elected has been judged');
  });

  test('a node whose data the programs cannot use touches nothing, whatever the record says', () => {
    const dataProblem = { code: 'DataVersionMismatch', message: 'The data directory is of PostgreSQL 14' };
    for (const cell of cells)
      assert.equal(stepOf({ ...cell.snapshot, dataProblem }), 'blocked DataVersionMismatch', cell.title);
  });

  test('data of another database is not started, replaced or rewound', () => {
    for (const cell of cells) {
      if (cell.data !== 'present' || cell.snapshot.record.kind !== 'present') continue;
      const step = stepOf({ ...cell.snapshot, systemIdentifier: '7399999999999999999' });
      assert.equal(step, 'blocked SystemIdentifierMismatch', cell.title);
    }
  });

  test('the first node makes no second database when a peer has one', () => {
    const { snapshot } = roles['no record yet, the first node'];
    assert.equal(
      stepOf({
        ...snapshot,
        voter: aVoter(neverSeen),
        data: 'none',
        postgres: servers.stopped,
        peersKnowDatabase: true,
      }),
      'blocked RecordMissing',
    );
  });

  test('a follower waits for the checkpoint of its leader before it rewinds, and for its own position before it decides', () => {
    const { snapshot } = roles['another leads from below our WAL'];
    assert.equal(
      stepOf({ ...snapshot, leader: { ...snapshot.leader, isRewindable: false } }),
      'wait WaitingForCheckpoint',
    );
    for (const postgres of [
      { kind: 'standby', flushLsn: null, isReplayedToEnd: true },
      { kind: 'standby', flushLsn: 40n, isReplayedToEnd: false },
    ] as const)
      assert.equal(stepOf({ ...snapshot, postgres }), 'wait PositionUnknown');
  });

  test('a follower does not open a path that leads there already, and opens it anew for another term or node', () => {
    const { snapshot } = roles['another leads'];
    assert.equal(stepOf({ ...snapshot, path: { node: 'a-1', term: 2 } }), 'wait Following');
    assert.equal(stepOf({ ...snapshot, path: { node: 'a-1', term: 1 } }), 'follow Following');
    assert.equal(stepOf({ ...snapshot, path: { node: 'c-1', term: 2 } }), 'follow Following');
  });

  test('who is no member goes behind the relay of its group once it is on the timeline, and says why it does not vote', () => {
    const members = aRecord().members.filter(({ node }) => node !== 'b-1');
    const snapshot = aSnapshot({
      relayGroup: 'b',
      record: { kind: 'present', record: aRecord({ leader: 'a-1', members }) },
      leader: aLeader({ relays: { b: 'b-2' } }),
      voter: aVoter({ lineage: SECOND, followedTerm: 2 }),
      postgres: { kind: 'standby', flushLsn: FORK_LSN + 1n, isReplayedToEnd: true },
      path: { node: 'a-1', term: 2 },
    });
    const upstreamOf = (given: Partial<NodeSnapshot>): string => {
      const step = decideNodeStep({ ...snapshot, ...given });
      return step.kind === 'follow' ? step.upstream : `${step.kind}: ${step.reason.message}`;
    };
    assert.equal(upstreamOf({}), 'b-2');
    assert.match(
      upstreamOf({ path: { node: 'b-2', term: 2 } }),
      /^wait: .*behind relay "b-2" and therefore no voting member$/,
    );
    const before = { kind: 'standby', flushLsn: FORK_LSN, isReplayedToEnd: true } as const;
    assert.match(upstreamOf({ postgres: before }), /^wait: Following "a-1" .*of a group with a relay one node votes$/);
    const asMember = { kind: 'present', record: aRecord({ leader: 'a-1' }) } as const;
    assert.match(upstreamOf({ record: asMember }), /^wait: Following "a-1" on timeline 2 in term 2$/);
    assert.match(upstreamOf({ relayGroup: null }), /^wait: Following "a-1" on timeline 2 in term 2$/);
    assert.match(
      upstreamOf({ leader: aLeader({ relays: { b: 'b-1' } }) }),
      /^wait: Following "a-1" on timeline 2 in term 2$/,
    );
  });

  test('a leader of an older term than the record has is not followed, one of a newer term is', () => {
    const record = { kind: 'present', record: aRecord({ leader: 'a-1', term: 4 }) } as const;
    assert.equal(stepOf({ record, leader: aLeader({ term: 3 }) }), 'wait WaitingForLeader');
    assert.equal(stepOf({ record, leader: aLeader({ term: 5 }) }), 'follow Following');
  });
});

describe('decided again after an interruption', () => {
  const STEPS_MAX = 12;

  test('every step leads to the end that it would have led to', () => {
    for (const cell of cells) {
      const whole = run(cell.snapshot);
      for (const half of whole.halves)
        assert.equal(run(half.snapshot).end, whole.end, `${cell.title}: ${half.after}, interrupted`);
    }
  });

  /** Carries steps out as the agent does until one of them is an end, and collects what an interruption would leave behind. */
  function run(first: NodeSnapshot): { end: string; halves: { after: string; snapshot: NodeSnapshot }[] } {
    const halves: { after: string; snapshot: NodeSnapshot }[] = [];
    let snapshot = first;
    for (let count = 0; count < STEPS_MAX; count++) {
      snapshot = reconcile(snapshot);
      const step = decideNodeStep(snapshot);
      const effects = effectsOf(step, snapshot);
      if (effects.length === 0) return { end: describeStep(step), halves };
      for (const effect of effects) {
        snapshot = { ...snapshot, ...effect(snapshot) };
        halves.push({ after: describeStep(step), snapshot });
      }
    }
    assert.fail(`No end after ${STEPS_MAX} steps: ${describeStep(decideNodeStep(snapshot))}`);
  }

  type Effect = (snapshot: NodeSnapshot) => Partial<NodeSnapshot>;
  const voter =
    (change: Partial<VoterState>): Effect =>
    (snapshot) => ({ voter: { ...snapshot.voter, ...change } });
  const server =
    (name: Server): Effect =>
    () => ({ postgres: servers[name] });

  /** In the order of agent.ts; between any two the agent may die. */
  function effectsOf(step: NodeStep, snapshot: NodeSnapshot): Effect[] {
    const { postgres } = snapshot;
    switch (step.kind) {
      case 'blocked':
      case 'lead':
        return [];
      case 'wait':
        if (postgres.kind === 'starting' && step.reason.code === 'Starting') return [server(postgres.as)];
        return step.untilMs === null ? [] : [() => ({ nowMs: step.untilMs as number })];
      case 'stop':
        return [() => ({ path: null }), server('stopped')];
      case 'start':
        return [server(step.as === 'primary' ? 'startsAsPrimary' : 'startsAsStandby'), server(step.as)];
      case 'promote':
        return [server('primary'), voter({ lineage: SECOND, followedTerm: step.record.term })];
      case 'follow':
        return [
          () => ({ voter: step.decision.next }),
          () => ({ path: { node: step.leader.node, term: step.leader.term } }),
        ];
      case 'rewind':
        return [
          voter({ rewinding: true, followedTerm: step.leader.term }),
          server('stopped'),
          voter({ rewinding: false, lineage: step.leader.lineage }),
        ];
      case 'clone':
        return [
          voter({ incarnation: life(7), lineage: null, rewinding: false }),
          () => ({ data: 'none', systemIdentifier: null }),
          voter({ lineage: step.from.lineage, followedTerm: step.from.term }),
          () => ({ data: 'present', systemIdentifier: '7300000000000000001' }),
        ];
      case 'bootstrap':
        return [
          voter({ lineage: FIRST, followedTerm: 1 }),
          () => ({ data: 'present', systemIdentifier: '7300000000000000001' }),
          () => ({
            record: {
              kind: 'present',
              record: aRecord({
                version: 1,
                term: 1,
                timeline: 1,
                members: [{ node: 'b-1', incarnation: snapshot.voter.incarnation }],
                writeQuorum: 1,
              }),
            },
          }),
        ];
    }
  }

  /** What the agent does before it decides: the history file of the promotion is on the disk, the voter file is behind. */
  function reconcile(snapshot: NodeSnapshot): NodeSnapshot {
    const { record, postgres } = snapshot;
    const isBehind =
      record.kind === 'present' &&
      record.record.leader === snapshot.self &&
      postgres.kind === 'primary' &&
      snapshot.voter.lineage?.timeline === 1 &&
      record.record.timeline === 2 &&
      snapshot.voter.promisedTerm <= record.record.term;
    return isBehind ? { ...snapshot, voter: { ...snapshot.voter, lineage: SECOND } } : snapshot;
  }
});
