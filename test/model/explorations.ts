/** What is explored of the protocol as it is. Each must be complete and without a violation. */
import type { Bounds } from './machine.ts';
import { threeNodes } from './mutations.ts';

export interface NamedExploration {
  readonly name: string;
  readonly bounds: Bounds;
  /** States when it was last counted (0: not yet): far fewer would mean that the model has lost a step. */
  readonly states: number;
  /** Explored by `npm test`; the others by `node test/model/main.ts all`. */
  readonly isQuick: boolean;
}

export const explorations: readonly NamedExploration[] = [
  { name: 'three nodes', bounds: threeNodes, states: 309_676, isQuick: true },
  {
    name: 'w = 3 of three, so one vote elects, and an agent crashes',
    bounds: { ...threeNodes, writeQuorum: 3, termMax: 2, agentCrashes: 1 },
    states: 102_609,
    isQuick: true,
  },
  {
    name: 'a disk is lost',
    bounds: { ...threeNodes, termMax: 2, wipes: 1 },
    states: 115_425,
    isQuick: true,
  },
  {
    name: 'two nodes become two members, and one again',
    bounds: { ...threeNodes, nodes: 2, members: [0], writeQuorum: 1, minCopies: 1, changes: true, versionMax: 4 },
    states: 222_411,
    isQuick: true,
  },
  { name: 'three nodes, two writes', bounds: { ...threeNodes, entriesMax: 2 }, states: 1_924_136, isQuick: false },
  { name: 'three nodes, an agent crashes', bounds: { ...threeNodes, agentCrashes: 1 }, states: 0, isQuick: false },
  { name: 'three nodes, a standby crashes', bounds: { ...threeNodes, serverCrashes: 1 }, states: 0, isQuick: false },
  { name: 'three terms and a lost disk', bounds: { ...threeNodes, wipes: 1 }, states: 2_455_823, isQuick: false },
  {
    name: 'three terms with w = 3',
    bounds: { ...threeNodes, writeQuorum: 3, agentCrashes: 1 },
    states: 6_580_361,
    isQuick: false,
  },
  {
    name: 'three members become two and three again, an agent crashes',
    bounds: { ...threeNodes, termMax: 2, versionMax: 3, changes: true, agentCrashes: 1 },
    states: 6_396_920,
    isQuick: false,
  },
  {
    name: 'w = 3 of three becomes as many as are left',
    bounds: { ...threeNodes, writeQuorum: 3, minCopies: 1, termMax: 2, versionMax: 3, changes: true },
    states: 21_829_935,
    isQuick: false,
  },
];
