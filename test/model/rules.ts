/**
 * What the model runs: the real decision functions, and the order of effects that the instance agent keeps to.
 * A mutation replaces one of them, and must be caught.
 */
import { chooseTerm } from '../../src/core/leadership/candidacy.ts';
import { decideChange, decideChangeStep } from '../../src/core/leadership/membership.ts';
import { decidePosition } from '../../src/core/leadership/position.ts';
import { synchronousStandbyNames } from '../../src/core/leadership/quorum.ts';
import { decideSwap } from '../../src/core/leadership/swap.ts';
import { decideReaffirm } from '../../src/core/leadership/tenure.ts';
import { decideNodeStep } from '../../src/core/leadership/step.ts';
import { decidePromise, decideRecordSeen } from '../../src/core/leadership/voter.ts';

export const realRules = {
  decidePromise,
  decideRecordSeen,
  decideNodeStep,
  decidePosition,
  chooseTerm,
  decideSwap,
  decideReaffirm,
  decideChange,
  decideChangeStep,
  synchronousStandbyNames,
};
export type Rules = typeof realRules;

/** How the agent carries decisions out. Each is true in the real agent; a mutation makes one false. */
export const realEffects = {
  /** The promise is on disk before it is answered. */
  writesPromise: true,
  /** The path is closed, and the receiver has ended, before the position is read. */
  closesPathBeforePosition: true,
  /** The path is closed before a promise is answered. */
  closesPath: true,
  /**
   * The path is closed with a reset, not with an orderly end: else the kernel goes on sending an acknowledgement that a cut
   * held up, and after the heal the old leader tells a client of a commit long after the new one leads.
   */
  resetsPath: true,
  /** A leader that promises stops its PostgreSQL before it answers. */
  stopsLeaderBeforeAnswer: true,
  /** The record changes only if it is the one that the swap was decided on. */
  comparesAndSwaps: true,
  /** A lost disk makes another incarnation. */
  changesIncarnation: true,
  /** Placeholder histories make the new timeline's id the term. */
  reservesTimelines: true,
  /** An agent that starts writes the lineage that PostgreSQL has, before anything else. */
  reconcilesLineage: true,
  /**
   * The path carries a connection only after the leader's agent, asked when the connection stood, said that its PostgreSQL is
   * the primary of the timeline that this follower has written down. Else a receiver that comes back by itself reaches what the
   * leader has become since: a standby of somebody else, or the leader of a newer timeline.
   */
  verifiesLeaderOnConnect: true,
  /** Opened to clients only when a commit of its own is on a write quorum. */
  publishesAfterProbe: true,
  /** Peers rewind only after the leader's first checkpoint. */
  rewindsAfterCheckpoint: true,
  /** One active sender a node: a second connection waits until the first is gone. */
  keepsOneSender: true,
  /** A follower writes the leader's lineage before it connects. */
  writesLineageBeforeStreaming: true,
  /** Whoever begins to lead anew in an old term swaps the record once before it changes or relaxes anything. */
  swapsBarrier: true,
  /** A server that is restarted in place keeps its setting until that swap. */
  keepsSettingUntilBarrier: true,
  /** A candidate does not open before its server waits for others: from '' to a list a checkpoint must have come between. */
  armsBeforePromotion: true,
  /** After the reload of a joint setting: senders older than it are ended. */
  endsOldSenders: true,
  /** After the reload of a joint setting that replaces '': a checkpoint. */
  checkpointsAfterArming: true,
  /** PostgreSQL requires the old and the new members before the swap. */
  requiresBoth: true,
} as const satisfies Record<string, true>;
export type Effects = { readonly [name in keyof typeof realEffects]: boolean };

export interface Machinery {
  readonly rules: Rules;
  readonly effects: Effects;
}
export const real: Machinery = { rules: realRules, effects: realEffects };
