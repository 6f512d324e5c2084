/** Answers of an election between their form on the wire (api/peer-stream.ts) and what decisions are made on. */
import type { AskAnswerMessage, PromiseAnswerMessage } from '../../api/peer-stream.ts';
import { formatLsn, parseLsn } from '../../base/lsn.ts';
import type { AskAnswer } from '../../core/leadership/candidacy.ts';
import type { Position } from '../../core/leadership/position.ts';
import type { PromiseAnswer } from '../../core/leadership/swap.ts';

export function encodePosition(position: Position): { timeline: number; lsn: string } {
  return { timeline: position.timeline, lsn: formatLsn(position.lsn) };
}

function decodePosition(position: { timeline: number; lsn: string } | null): Position | null {
  return position === null ? null : { timeline: position.timeline, lsn: parseLsn(position.lsn) };
}

export function decodeAsk(answer: AskAnswerMessage): AskAnswer {
  const { leaderLsn: _leaderLsn, ...rest } = answer;
  return { ...rest, position: decodePosition(answer.position), replayBytes: BigInt(answer.replayBytes) };
}

export function decodePromise(answer: PromiseAnswerMessage): PromiseAnswer {
  return {
    node: answer.node,
    incarnation: answer.incarnation,
    term: answer.term,
    position: decodePosition(answer.position),
  };
}
