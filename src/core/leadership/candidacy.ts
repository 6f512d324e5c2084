/**
 * Rule 2: ask first, promise nothing. The suspect asks all members what they think and where they are, and only the best of
 * v suspecting members goes on. Nothing here can lose a write: it keeps elections rare and short. Safety is in rule 3 and 4.
 */
import { comparePositions, type Position } from './position.ts';
import type { Reason } from './voter.ts';

/** What a member answers when asked. */
export interface AskAnswer {
  readonly node: string;
  readonly group: string;
  /** The member itself holds the present leader for lost. */
  readonly suspects: boolean;
  readonly position: Position | null;
  /** WAL that is flushed and not replayed: it must be replayed before the promotion is done. */
  readonly replayBytes: bigint;
  /** 0: must not lead. */
  readonly priority: number;
  /** False: cannot lead just now (replay paused, a promotion failed, not running). */
  readonly canLead: boolean;
  readonly promisedTerm: number;
  /** Highest term of the record that it has seen. */
  readonly seenTerm: number;
  /** It is the leader, PostgreSQL serves, and it has the record confirmed: vetoes where one vote would do. */
  readonly vetoes: boolean;
}

export interface CandidacyQuestion {
  readonly self: string;
  readonly leader: string;
  /** Group of the leader that is lost: among equals a node beside it is preferred. */
  readonly leaderGroup: string;
  /** v. */
  readonly voteQuorum: number;
  /** Members, incarnation-checked: the nodes whose answers count. */
  readonly members: readonly string[];
  /** Answers of members only, this node's own included; a member that did not answer is absent. */
  readonly answers: readonly AskAnswer[];
}

export type CandidacyDecision =
  /** This node is the best and goes on to promise. */
  | { readonly kind: 'stand'; readonly reason: Reason }
  /** Another is better: give it time; `rank` others come before this one. */
  | { readonly kind: 'defer'; readonly rank: number; readonly to: string; readonly reason: Reason }
  /** Too few suspect, or the leader vetoes: no election now. */
  | { readonly kind: 'refrain'; readonly reason: Reason };

/** The best first: highest position, least to replay, priority, the leader's own group, name. */
export function compareCandidates(leaderGroup: string): (a: AskAnswer, b: AskAnswer) => number {
  return (a, b) => {
    if (a.position === null || b.position === null)
      return (a.position === null ? 1 : 0) - (b.position === null ? 1 : 0);
    const byPosition = comparePositions(b.position, a.position);
    if (byPosition !== 0) return byPosition;
    if (a.replayBytes !== b.replayBytes) return a.replayBytes < b.replayBytes ? -1 : 1;
    if (a.priority !== b.priority) return b.priority - a.priority;
    const isNearA = a.group === leaderGroup;
    const isNearB = b.group === leaderGroup;
    if (isNearA !== isNearB) return isNearA ? -1 : 1;
    return a.node < b.node ? -1 : a.node > b.node ? 1 : 0;
  };
}

export function decideCandidacy(question: CandidacyQuestion): CandidacyDecision {
  const { answers, self, voteQuorum } = question;
  const refrain = (code: string, message: string): CandidacyDecision => ({
    kind: 'refrain',
    reason: { code, message },
  });
  const suspecting = answers.filter((answer) => answer.suspects);
  if (suspecting.length < voteQuorum)
    return refrain(
      'TooFewSuspect',
      `${suspecting.length} of ${question.members.length} members hold "${question.leader}" for lost, ${voteQuorum} are needed`,
    );
  const veto = answers.find((answer) => answer.vetoes);
  if (voteQuorum === 1 && veto !== undefined)
    return refrain('LeaderVetoes', `"${veto.node}" is reached, leads, and has the record confirmed`);
  // Without enough known positions no vote can succeed, and each promise would disturb those that recover.
  const known = answers.filter((answer) => answer.position !== null).length;
  if (known < voteQuorum)
    return refrain(
      'TooFewPositions',
      `${known} of ${question.members.length} members know where they are, ${voteQuorum} are needed`,
    );
  const able = answers
    .filter((answer) => answer.position !== null && answer.canLead && answer.priority > 0)
    .sort(compareCandidates(question.leaderGroup));
  const rank = able.findIndex((answer) => answer.node === self);
  if (rank < 0) return refrain('NotAble', `"${self}" cannot lead now`);
  const best = able[0];
  if (rank === 0 || best === undefined)
    return { kind: 'stand', reason: { code: 'Best', message: `"${self}" is the best of ${able.length}` } };
  // A node that is behind another that may never lead (priority 0, paused) would fail at the swap; see fetchFrom in swap.ts.
  return {
    kind: 'defer',
    rank,
    to: best.node,
    reason: { code: 'BetterCandidate', message: `"${best.node}" is better placed than "${self}"` },
  };
}

/** The next term: above the record's, and above every term that anybody has promised or seen. */
export function chooseTerm(
  recordTerm: number,
  answers: readonly Pick<AskAnswer, 'promisedTerm' | 'seenTerm'>[],
): number {
  return 1 + Math.max(recordTerm, ...answers.map((answer) => Math.max(answer.promisedTerm, answer.seenTerm)));
}
