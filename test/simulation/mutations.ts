/**
 * Variants of the rules that the random histories must catch, above all those about time, which the explorer has none of. Each is
 * run on histories from a seed on that is known to catch it; if the simulation changes, a later one will.
 */
import type { PromiseAnswer } from '../../src/core/leadership/swap.ts';
import { realRules, type SimulationOptions, type SimulationRules } from './rules.ts';

export interface SimulationMutation {
  readonly name: string;
  readonly rules?: Partial<SimulationRules>;
  readonly options?: Partial<SimulationOptions>;
  /** A history that catches it, when it was last looked for. */
  readonly seed: number;
}

const { decideSwap, decidePosition, decideFence } = realRules;

const levelled = (answers: readonly PromiseAnswer[], node: string): PromiseAnswer[] => {
  const own = answers.find((answer) => answer.node === node)?.position ?? null;
  return answers.map((answer) => ({ ...answer, position: answer.position === null ? null : own }));
};

export const simulationMutations: readonly SimulationMutation[] = [
  { name: 'a promise is not kept', options: { writesPromise: false }, seed: 36 },
  {
    name: 'one vote fewer is enough',
    rules: {
      decideSwap: (record, candidate, answers) =>
        decideSwap({ ...record, writeQuorum: record.writeQuorum + 1 }, candidate, answers),
    },
    seed: 33,
  },
  {
    name: 'positions are not compared',
    rules: {
      decideSwap: (record, candidate, answers) => decideSwap(record, candidate, levelled(answers, candidate.node)),
    },
    seed: 364,
  },
  {
    name: 'a node behind a fork votes',
    rules: {
      decidePosition: (voter, wal) =>
        decidePosition({ ...voter, lineage: voter.lineage && { ...voter.lineage, history: [] } }, wal),
    },
    seed: 2647,
  },
  {
    name: 'the leader lets clients in before its first commit has a quorum',
    options: { publishesAfterProbe: false },
    seed: 1649,
  },
  {
    name: 'the fence counts members that have promised a higher term',
    options: { countsPromisedAway: true },
    seed: 876,
  },
  {
    name: 'a leader never fences',
    rules: { decideFence: (hearing, configuration) => decideFence(hearing, configuration, 1e9) },
    seed: 51,
  },
  {
    name: 'a leader makes its checkpoint only once it is published',
    options: { checkpointsUnpublished: false },
    seed: 11,
  },
  { name: "the record's leader never stands again", options: { promisedLeaderStands: false }, seed: 8 },
  { name: 'members change only under a published leader', options: { changesUnpublished: false }, seed: 17 },
  { name: 'an agent does not guard a primary that it finds', options: { fencesUnguarded: false }, seed: 1228 },
  {
    name: 'the fence counts a node that has lost its disk',
    options: { countsOtherLives: true },
    seed: 2418,
  },
];
