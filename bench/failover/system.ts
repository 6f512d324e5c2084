/** What the failover benchmark asks of a system under test; ours and each variant of a peer are one of these. */
import type { Target } from '../kit/target.ts';

/**
 * - `postgres-killed`: SIGKILL to the leader's postmaster; its agent lives.
 * - `node-killed`: SIGKILL to every process of the leader's node.
 * - `node-frozen`: SIGSTOP to every process of the leader's node; its kernel still answers.
 * - `node-cut`: every packet from and to the leader's node is dropped; nothing is reset.
 * - `switchover`: a planned change of leader by the system's own means.
 */
export const FAULTS = ['postgres-killed', 'node-killed', 'node-frozen', 'node-cut', 'switchover'] as const;
export type Fault = (typeof FAULTS)[number];

export interface System {
  /** Short, unique, for tables and for `--only`. */
  readonly name: string;
  /** One sentence: what it is and what is set. */
  readonly description: string;
  /** Starts it from nothing and waits until it is whole. */
  up(): Promise<void>;
  /** Versions and settings as they are in the running system. */
  facts(): Promise<Record<string, string>>;
  /** Where clients write. Valid after `up`. */
  target(): Target;
  /** The node that leads. */
  leader(): Promise<string>;
  /** Carries out the fault on `node`, the leader. Resolves when it is done, or for a switchover when the system says so. */
  fault(kind: Fault, node: string): Promise<void>;
  /** Gives back what the fault took: starts, thaws or reconnects. Nothing to do is no error. */
  heal(kind: Fault, node: string): Promise<void>;
  /** Null when every node serves, follows and could take over; else what is missing, in words. */
  missing(): Promise<string | null>;
  /** What the system itself says about the last change of leader, for the raw results; null if it says nothing. */
  details(): Promise<object | null>;
  /** Rebuilds from the leader what did not come back by itself, where the system has no better way. */
  repair(): Promise<void>;
  /** Ends every process. Also after a failed or interrupted `up`. */
  down(): Promise<void>;
}

export interface Sizes {
  /** pgbench's scale. */
  readonly scale: number;
  /** pgbench's transactions a second. */
  readonly rate: number;
  readonly clients: number;
}

/** The same for every system; the rest is its own default. Large enough that the load's dirty pages stay in memory. */
export const POSTGRESQL_PARAMETERS: Readonly<Record<string, string>> = {
  shared_buffers: '512MB',
  max_wal_size: '4GB',
  checkpoint_timeout: '15min',
  max_connections: '100',
};
