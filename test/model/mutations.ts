/**
 * One variant for each rule of leadership.md without which a write is lost or two nodes lead. Each must be caught: a mutation
 * that is not says that the rule does nothing, or that the model does not show what it is for.
 */
import type { PromiseAnswer } from '../../src/core/leadership/swap.ts';
import type { Bounds } from './machine.ts';
import { type Effects, type Machinery, real, type Rules } from './rules.ts';

export interface Mutation {
  /** What the mutated system does, as a fact. */
  readonly name: string;
  readonly machinery: Machinery;
  readonly bounds: Bounds;
  /** The smallest number of states after which exploring stops unsuccessfully. */
  readonly statesMax: number;
}

/** Three nodes, w = 2, v = 2. */
export const threeNodes: Bounds = {
  nodes: 3,
  members: [0, 1, 2],
  writeQuorum: 2,
  termMax: 3,
  entriesMax: 1,
  versionMax: 6,
  agentCrashes: 0,
  serverCrashes: 0,
  wipes: 0,
  connections: 1,
  changes: false,
  minCopies: 2,
};

function mutate(
  name: string,
  change: { readonly rules?: Partial<Rules>; readonly effects?: Partial<Effects>; readonly bounds?: Partial<Bounds> },
): Mutation {
  return {
    name,
    machinery: { rules: { ...real.rules, ...change.rules }, effects: { ...real.effects, ...change.effects } },
    bounds: { ...threeNodes, ...change.bounds },
    statesMax: 6_000_000,
  };
}

const { rules } = real;
/** Two members and a third node that may become one; w = 2. */
const growing: Partial<Bounds> = { changes: true, termMax: 2, versionMax: 3, members: [0, 1], minCopies: 1 };
/** Three members that may become two. */
const shrinking: Partial<Bounds> = { changes: true, termMax: 2, versionMax: 3, minCopies: 2, agentCrashes: 1 };
/** What decideSwap sees if every answer claims the candidate's own position. */
const levelled = (answers: readonly PromiseAnswer[], node: string): PromiseAnswer[] => {
  const own = answers.find((answer) => answer.node === node)?.position ?? null;
  return answers.map((answer) => ({ ...answer, position: answer.position === null ? null : own }));
};

export const mutations: readonly Mutation[] = [
  mutate('a promise is not kept', { effects: { writesPromise: false } }),
  mutate('a follower follows a leader below its promise', {
    rules: {
      decideNodeStep: (snapshot) => {
        const isFollower = snapshot.record.kind === 'present' && snapshot.record.record.leader !== snapshot.self;
        const voter = isFollower ? { ...snapshot.voter, promisedTerm: 0 } : snapshot.voter;
        return rules.decideNodeStep({ ...snapshot, voter });
      },
    },
  }),
  mutate('a promise leaves the path open', { effects: { closesPath: false } }),
  mutate('the position is read before the path is closed', { effects: { closesPathBeforePosition: false } }),
  mutate('a leader promises and goes on', { effects: { stopsLeaderBeforeAnswer: false } }),
  mutate('the record is written without comparing', { effects: { comparesAndSwaps: false } }),
  mutate('one vote fewer is enough', {
    rules: {
      decideSwap: (record, candidate, answers) =>
        rules.decideSwap({ ...record, writeQuorum: record.writeQuorum + 1 }, candidate, answers),
    },
  }),
  mutate('positions are not compared', {
    rules: {
      decideSwap: (record, candidate, answers) =>
        rules.decideSwap(record, candidate, levelled(answers, candidate.node)),
    },
  }),
  mutate('a promise without a position is a vote', {
    rules: {
      decideSwap: (record, candidate, answers) =>
        rules.decideSwap(
          record,
          candidate,
          answers.map((answer) => ({ ...answer, position: answer.position ?? { timeline: 0, lsn: 0n } })),
        ),
    },
  }),
  mutate('the elected takes office although it promised a higher term', {
    rules: {
      decideNodeStep: (snapshot) =>
        rules.decideNodeStep({ ...snapshot, voter: { ...snapshot.voter, promisedTerm: 0 } }),
    },
  }),
  mutate('a node behind a fork votes', {
    rules: {
      decidePosition: (voter, wal) =>
        rules.decidePosition({ ...voter, lineage: voter.lineage && { ...voter.lineage, history: [] } }, wal),
    },
    bounds: { entriesMax: 2 },
  }),
  mutate('a node votes before it has replayed its WAL', {
    rules: { decidePosition: (voter, wal) => rules.decidePosition(voter, { ...wal, isReplayedToEnd: true }) },
    bounds: { serverCrashes: 1 },
  }),
  mutate('a node that rewinds is started and votes', {
    rules: {
      decidePosition: (voter, wal) => rules.decidePosition({ ...voter, rewinding: false }, wal),
      decideNodeStep: (snapshot) =>
        rules.decideNodeStep({ ...snapshot, voter: { ...snapshot.voter, rewinding: false } }),
    },
    bounds: { entriesMax: 2 },
  }),
  mutate('the next timeline id is taken, not the term', { effects: { reservesTimelines: false } }),
  mutate('an agent that starts trusts the lineage in its file', { effects: { reconcilesLineage: false } }),
  mutate('the path leads to a node, whatever it has become', {
    effects: { verifiesLeaderOnConnect: false },
    bounds: { termMax: 4 },
  }),
  mutate('the path is closed in an orderly way', { effects: { resetsPath: false }, bounds: { entriesMax: 2 } }),
  mutate('a follower connects before it writes whom it follows', {
    effects: { writesLineageBeforeStreaming: false, verifiesLeaderOnConnect: false },
  }),
  mutate('the leader lets clients in before its first commit has a quorum', {
    effects: { publishesAfterProbe: false },
  }),
  mutate('peers rewind before the first checkpoint', {
    effects: { rewindsAfterCheckpoint: false },
    bounds: { entriesMax: 2 },
  }),
  mutate('a lost disk does not make another incarnation', {
    effects: { changesIncarnation: false },
    bounds: { wipes: 1 },
  }),
  mutate('two connections of one node count twice', {
    effects: { keepsOneSender: false },
    bounds: { writeQuorum: 3, connections: 2, agentCrashes: 1 },
  }),
  mutate('members change without the setting that requires both', {
    effects: { requiresBoth: false },
    bounds: shrinking,
  }),
  mutate('members change before the new ones hold what was acknowledged', {
    rules: {
      decideChangeStep: (progress, record, self, views) =>
        rules.decideChangeStep({ ...progress, armedLsn: progress.armedLsn && 0n }, record, self, views),
    },
    bounds: shrinking,
  }),
  mutate('senders that count by the old list go on', { effects: { endsOldSenders: false }, bounds: shrinking }),
  mutate('a reload is taken for the moment from which commits wait', {
    effects: { checkpointsAfterArming: false },
    bounds: { ...growing, members: [0], writeQuorum: 1, minCopies: 2 },
  }),
  mutate('an agent that starts relies on the record while an older swap may land', {
    effects: { swapsBarrier: false },
    bounds: shrinking,
  }),
  mutate('a server restarted in place takes the setting of the record at once', {
    effects: { keepsSettingUntilBarrier: false },
    bounds: shrinking,
  }),
  mutate('a candidate opens before its server waits for others', {
    effects: { armsBeforePromotion: false },
    bounds: { ...growing, nodes: 2, members: [0], writeQuorum: 1, minCopies: 2, termMax: 3, versionMax: 4 },
  }),
];
