/** The decision functions that simulated agents use, and how they carry them out: what a mutation replaces. */
import { chooseTerm, decideCandidacy } from '../../src/core/leadership/candidacy.ts';
import { decideChange, decideChangeStep } from '../../src/core/leadership/membership.ts';
import { decidePosition } from '../../src/core/leadership/position.ts';
import { decideNodeStep } from '../../src/core/leadership/step.ts';
import { decideSuspicion } from '../../src/core/leadership/suspicion.ts';
import { decideSwap } from '../../src/core/leadership/swap.ts';
import { decideFence, decideReaffirm } from '../../src/core/leadership/tenure.ts';
import { decideFollow, decidePromise, decideRecordSeen, mayLeadByRemembered } from '../../src/core/leadership/voter.ts';

export const realRules = {
  chooseTerm,
  decideCandidacy,
  decideChange,
  decideChangeStep,
  decidePosition,
  decideNodeStep,
  decideSuspicion,
  decideSwap,
  decideFence,
  decideReaffirm,
  decideFollow,
  decidePromise,
  decideRecordSeen,
  mayLeadByRemembered,
};
export type SimulationRules = typeof realRules;

/**
 * How the simulated agent carries decisions out. The instance agent must do the same: each of these was wrong or missing at some
 * time, in the agent or in the simulation's copy of it, and was found by a history.
 */
export const realOptions = {
  /** See the effects of the same names in test/model/rules.ts. */
  verifiesLeaderOnConnect: true,
  resetsPath: true,
  keepsOneSender: true,
  publishesAfterProbe: true,
  closesPathBeforePosition: true,
  writesPromise: true,
  /** The same for the promise that a leader gives the target of a switchover. */
  writesSwitchoverPromise: true,
  reconcilesLineage: true,
  keepsSettingUntilBarrier: true,
  swapsBarrier: true,
  /** The fence counts an echo from when its nonce was sent, not from when it came. */
  countsEchoFromSending: true,
  /**
   * The fence counts the echo of a member that has promised a higher term. It must not: that member can no longer acknowledge, and
   * a superseded leader that reaches its members and not the record would serve old data for ever.
   */
  countsPromisedAway: false,
  /** The fence counts the echo of a node that has lost its disk, and with it its promise. It must not: it is no member. */
  countsOtherLives: false,
  /**
   * A false alarm is called one by whoever is heard, those that have promised a higher term as well: else, once they have, nobody
   * counts, the leader never swaps, and they never follow it again.
   */
  reaffirmsByAllHeard: true,
  /**
   * A leader that is not published within a second makes its checkpoint all the same: if the only other members must rewind first,
   * they wait for the checkpoint, and publishing waits for them.
   */
  checkpointsUnpublished: true,
  /**
   * The record's leader stands as a candidate once it has promised a higher term: if it holds the most, all others defer to it, and
   * it would wait for them.
   */
  promisedLeaderStands: true,
  /**
   * Members change also under a leader that is not published: a lost member may be what keeps it from that (two nodes: the standby
   * is lost, and the leader's server crashes before memberTimeout).
   */
  changesUnpublished: true,
  /** The pause after an attempt that failed has a random part. */
  backsOffAtRandom: true,
  /** A candidate takes from a promised member what that one holds more. */
  fetches: true,
  /** An agent that finds the primary by which the one before it led goes on leading, though the record be away. */
  remembersRecord: true,
  /** An agent that finds its PostgreSQL running as a primary and does not come to lead it stops it after the length of a fence. */
  fencesUnguarded: true,
} as const satisfies Record<string, boolean>;
export type SimulationOptions = { readonly [name in keyof typeof realOptions]: boolean };
