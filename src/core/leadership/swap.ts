/**
 * Rule 4: with v promises from M, itself included, and a position not behind any answered one, the candidate swaps the record.
 */
import type { ClusterRecord } from '../../api/record.ts';
import { formatLsn } from '../../base/lsn.ts';
import { comparePositions, type Position } from './position.ts';
import { configurationOf, isMember, voteQuorum } from './quorum.ts';
import type { Reason } from './voter.ts';

/** A member's answer to a promise request, given after its receiver has ended. */
export interface PromiseAnswer {
  readonly node: string;
  readonly incarnation: string;
  readonly term: number;
  /** null: promised, but no known position: no vote. */
  readonly position: Position | null;
}

export type SwapDecision =
  | { readonly kind: 'swap'; readonly next: ClusterRecord; readonly reason: Reason }
  /** More answers may still come. */
  | { readonly kind: 'wait'; readonly reason: Reason }
  /** A promised member holds more: fetch from it, or let it lead. */
  | { readonly kind: 'behind'; readonly node: string; readonly position: Position; readonly reason: Reason };

/**
 * @param record the record that the candidate read before it promised; the swap is conditional on it
 * @param answers promises for `term`, the candidate's own included
 */
export function decideSwap(
  record: ClusterRecord,
  candidate: { readonly node: string; readonly incarnation: string; readonly term: number },
  answers: readonly PromiseAnswer[],
): SwapDecision {
  const configuration = configurationOf(record);
  const promised = answers.filter((answer) => answer.term === candidate.term && isMember(configuration, answer));
  const votes = promised.filter((answer) => answer.position !== null);
  const own = votes.find((answer) => answer.node === candidate.node && answer.incarnation === candidate.incarnation);
  const needed = voteQuorum(configuration);
  const wait = (code: string, message: string): SwapDecision => ({ kind: 'wait', reason: { code, message } });
  if (own?.position === undefined || own.position === null)
    return wait('NoOwnVote', `"${candidate.node}" is no member with a known position`);
  if (votes.length < needed)
    return wait('TooFewVotes', `${votes.length} of ${needed} votes for term ${candidate.term}`);
  for (const vote of votes) {
    if (vote.position !== null && comparePositions(vote.position, own.position) > 0)
      return {
        kind: 'behind',
        node: vote.node,
        position: vote.position,
        reason: {
          code: 'Behind',
          message: `"${vote.node}" holds WAL up to ${formatLsn(vote.position.lsn)} on timeline ${vote.position.timeline}, "${candidate.node}" does not`,
        },
      };
  }
  return {
    kind: 'swap',
    next: {
      ...record,
      version: record.version + 1,
      term: candidate.term,
      leader: candidate.node,
      timeline: candidate.term,
      switchover: null,
    },
    reason: {
      code: 'Elected',
      message: `${votes.length} of ${record.members.length} members promised term ${candidate.term} to "${candidate.node}"`,
    },
  };
}

export type ForcedSwapDecision =
  | {
      readonly kind: 'swap';
      readonly next: ClusterRecord;
      readonly unheard: readonly string[];
      readonly reason: Reason;
    }
  | { readonly kind: 'refuse'; readonly reason: Reason };

/**
 * A person's decision to go on with fewer than v votes: commits that only the unheard members hold are gone. Refused while a
 * safe election is possible. M becomes the candidate alone; the others enter again as they catch up, and whatever they hold
 * beyond the fork is rewound.
 */
export function decideForcedSwap(
  record: ClusterRecord,
  candidate: { readonly node: string; readonly incarnation: string; readonly term: number },
  answers: readonly PromiseAnswer[],
): ForcedSwapDecision {
  const refuse = (code: string, message: string): ForcedSwapDecision => ({ kind: 'refuse', reason: { code, message } });
  const safe = decideSwap(record, candidate, answers);
  if (safe.kind === 'swap') return refuse('SafeElectionPossible', 'Enough members answer: an election loses nothing');
  if (safe.kind === 'behind') return refuse('Behind', safe.reason.message);
  const own = answers.find((answer) => answer.node === candidate.node && answer.position !== null);
  if (own === undefined) return refuse('NoOwnPosition', `"${candidate.node}" has no known position`);
  const better = answers.find(
    (answer) =>
      answer.position !== null && own.position !== null && comparePositions(answer.position, own.position) > 0,
  );
  if (better !== undefined) return refuse('Behind', `"${better.node}" holds more: let it lead`);
  const unheard = record.members
    .filter((member) => !answers.some((answer) => answer.node === member.node && answer.position !== null))
    .map((member) => member.node);
  return {
    kind: 'swap',
    unheard,
    next: {
      ...record,
      version: record.version + 1,
      term: candidate.term,
      leader: candidate.node,
      timeline: candidate.term,
      members: [{ node: candidate.node, incarnation: candidate.incarnation }],
      writeQuorum: 1,
      switchover: null,
    },
    reason: {
      code: 'Forced',
      message: `Forced: commits that only ${unheard.map((name) => `"${name}"`).join(', ')} hold are gone`,
    },
  };
}
