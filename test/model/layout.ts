/**
 * The bytes of one state, for `n` nodes: one block a node, one a sender (leader side of a replication connection), one a
 * promise answer on its way, and the record with the swaps that may still land.
 *
 * Everything that can no longer matter is zeroed (an attempt whose record is gone, the senders of a stopped server), so that
 * states that behave alike are one state; and of states that differ by a renaming of nodes only the first in byte order is kept.
 */

/** Fields of a node's block. */
export const NODE = {
  /** Id of its VoterState, two bytes. */
  voter: 0,
  /** Id of what truly is in its WAL. */
  wal: 2,
  /** PG_DOWN, PG_STANDBY or PG_PRIMARY. */
  postgres: 3,
  flags: 4,
  /** HANDLER_*: how far the promise handler is. */
  handler: 5,
  /** Node whose request the handler answers. */
  requester: 6,
  /** Term of its own attempt to be elected; 0: none. */
  attempt: 7,
  /** As primary: entries up to here have been acknowledged to clients, or nobody waits for them any more. */
  released: 8,
  /** Node + 1 that its receiver may reach; 0: the path is closed. */
  path: 9,
  /** Term of a promotion whose lineage is not yet in the voter file; 0: none. */
  unwritten: 10,
  /** synchronous_standby_names as loaded: how many, which nodes (bits), their incarnations (2 bits each). */
  syncCount: 11,
  syncMask: 12,
  syncLives: 13,
  /** A change of members under way: CHANGE_*, its target, and armedLsn. */
  change: 14,
  changeMask: 15,
  changeQuorum: 16,
  changeLives: 17,
  armed: 18,
  /** As primary: the term of the promotion since which it writes. */
  reign: 19,
  /** The record that this node last learned and that names it as leader: term (0: none), timeline, members, quorum, lives. */
  office: 20,
  officeTimeline: 21,
  officeMask: 22,
  officeQuorum: 23,
  officeLives: 24,
} as const;
export const NODE_BYTES = 25;

export const PG_DOWN = 0;
export const PG_STANDBY = 1;
export const PG_PRIMARY = 2;

/** The server has replayed all WAL that was on its disk when it started. */
export const FLAG_REPLAYED = 1;
/** A leader whose agent started anew: an older swap of its own may still land. */
export const FLAG_BARRIER = 2;
/** Synchronous commit is on in shared memory; until a checkpointer has done that, commits return unprotected. */
export const FLAG_DEFINED = 4;

export const HANDLER_IDLE = 0;
/** The promise is on disk; path and receiver are as before. */
export const HANDLER_WRITTEN = 1;
/** Only in mutations: the position is read, the path is not closed yet. */
export const HANDLER_LATCHED = 2;

/**
 * Fields of a sender. It counts by its own copy of synchronous_standby_names; the last three are that copy, and are kept only
 * where settings change while a server runs.
 */
export const SENDER = { state: 0, acked: 1, pending: 2, count: 3, mask: 4, lives: 5 } as const;
export const SENDER_BYTES = 6;
export const SENDER_NONE = 0;
/** Its receiver is alive and holds what it was sent. */
export const SENDER_LIVE = 1;
/** The other end is gone and the leader has not noticed: what was acknowledged on the way may still arrive, up to `pending`. */
export const SENDER_HALF_OPEN = 2;
/** `state` >> this: incarnation in its application name. */
export const SENDER_LIFE_SHIFT = 2;

/** The target is decided; PostgreSQL knows nothing of it yet. */
export const CHANGE_BEGUN = 1;
/** The joint setting is written and loaded. */
export const CHANGE_LOADED = 2;
/** Every sender uses it since LSN `armed`. */
export const CHANGE_ARMED = 3;
/** The swap was sent; what became of it is known when the record is another. */
export const CHANGE_SENT = 4;

/** Fields of a promise answer. */
export const ANSWER = { position: 0, life: 1 } as const;
export const ANSWER_BYTES = 2;
/** 0: no answer; 1: promised without a position; else 2 + 16 timeline + LSN. */
export const ANSWER_NO_POSITION = 1;

/** Fields of the record, then of each swap on its way. */
export const RECORD = { term: 0, leader: 1, mask: 2, quorum: 3, lives: 4, timeline: 5, version: 6 } as const;
export const RECORD_BYTES = 7;
/** A swap on its way: term (0: none), leader, members, quorum, lives, timeline. */
export const SWAP_BYTES = 6;
export const SWAPS_MAX = 3;

export interface Layout {
  readonly nodes: number;
  readonly connections: number;
  readonly bytes: number;
  node(index: number): number;
  /** Sender at `leader` for `standby`. */
  sender(leader: number, standby: number, connection: number): number;
  answer(from: number, to: number): number;
  readonly record: number;
  readonly swaps: number;
  /** For each term: node + 1 that announced itself as its leader, and the id of its lineage. */
  readonly announced: number;
  /** Newest acknowledged entry: term, LSN; then bits of the timelines that were promoted. */
  readonly acknowledged: number;
  readonly promoted: number;
  /** What may still go wrong, by kind. */
  readonly budgets: number;
  /** Index into PROBLEMS. */
  readonly problem: number;
}

export const BUDGET = { agentCrash: 0, serverCrash: 1, wipe: 2 } as const;
export const BUDGETS = 3;

export function createLayout(nodes: number, connections: number, termMax: number): Layout {
  const senders = nodes * NODE_BYTES;
  const answers = senders + nodes * nodes * connections * SENDER_BYTES;
  const record = answers + nodes * nodes * ANSWER_BYTES;
  const swaps = record + RECORD_BYTES;
  const announced = swaps + SWAPS_MAX * SWAP_BYTES;
  const acknowledged = announced + (termMax + 1) * 2;
  const promoted = acknowledged + 2;
  const budgets = promoted + 1;
  return {
    nodes,
    connections,
    bytes: Math.ceil((budgets + BUDGETS + 1) / 4) * 4,
    node: (index) => index * NODE_BYTES,
    sender: (leader, standby, connection) =>
      senders + ((leader * nodes + standby) * connections + connection) * SENDER_BYTES,
    answer: (from, to) => answers + (from * nodes + to) * ANSWER_BYTES,
    record,
    swaps,
    announced,
    acknowledged,
    promoted,
    budgets,
    problem: budgets + BUDGETS,
  };
}
