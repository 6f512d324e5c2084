/**
 * Variants of the rules that the random histories must catch, above all those about time, which the explorer has none of. Each is
 * run on histories from a seed on that caught it when it was last looked for; if the simulation has changed since, a later one does.
 */
import { realRules, type SimulationOptions, type SimulationRules } from './rules.ts';

export interface SimulationMutation {
  readonly name: string;
  readonly rules?: Partial<SimulationRules>;
  readonly options?: Partial<SimulationOptions>;
  /** A history that catches it, when it was last looked for. */
  readonly seed: number;
}

const { decideFence } = realRules;

export const simulationMutations: readonly SimulationMutation[] = [
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
  { name: 'members change only under a published leader', options: { changesUnpublished: false }, seed: 19 },
  { name: 'an agent does not guard a primary that it finds', options: { fencesUnguarded: false }, seed: 1228 },
  {
    name: 'the fence counts a node that has lost its disk',
    options: { countsOtherLives: true },
    seed: 2418,
  },
];
