/** What simulated agents tell each other: the contents of src/api/peer-stream.ts without their encoding. */
import type { AskAnswer } from '../../src/core/leadership/candidacy.ts';
import type { Lineage } from '../../src/core/leadership/position.ts';
import type { PromiseAnswer } from '../../src/core/leadership/swap.ts';

export type Phase = 'none' | 'elected' | 'published' | 'handing-over';

export interface LeaderView {
  readonly term: number;
  readonly version: number;
  readonly leader: string | null;
  readonly phase: Phase;
}

export interface State {
  readonly node: string;
  /** Which process of that node says it. */
  readonly life: number;
  /** Grows with each state of this process: a stream keeps the order. */
  readonly sequence: number;
  readonly incarnation: string;
  readonly leaderView: LeaderView;
  readonly promisedTerm: number;
  /** Set by a node that leads. */
  readonly leading: { readonly lineage: Lineage; readonly isRewindable: boolean; readonly handsOver: boolean } | null;
}

export interface Beat {
  readonly nonce: number;
  readonly term: number;
  readonly probeAgeMs: number;
  /** Of the newest answer of its PostgreSQL to anything. */
  readonly answerAgeMs: number;
}

export interface Echo {
  readonly nonce: number;
  readonly incarnation: string;
  readonly promisedTerm: number;
}

export type Request =
  | { readonly method: 'ask'; readonly leader: string }
  | { readonly method: 'promise'; readonly term: number; readonly candidate: string }
  | { readonly method: 'take-over'; readonly term: number; readonly promise: PromiseAnswer; readonly from: string };

export interface Answers {
  readonly ask: AskAnswer & { readonly incarnation: string };
  /** null: refused. */
  readonly promise: PromiseAnswer | null;
  readonly 'take-over': boolean;
}
