/**
 * A node's position in the WAL, and whether it may be told to anybody.
 *
 * Position = (timeline, end of flushed WAL), compared in this order. Because the timeline id is the term of the promotion
 * that began it, a higher timeline holds everything that was acknowledged before that promotion.
 *
 * A node's WAL is described by its *lineage*: the timeline that it follows, and where each ancestor of it ended. Bytes below
 * `forkLsn` (the end of the last ancestor) are the ancestors'. A node that has not yet passed the fork shows, through the
 * server's functions, the new timeline with a small LSN, although it may hold acknowledged WAL of the old one: it has no known position.
 */
import type { Lsn } from '../../base/lsn.ts';

export interface Position {
  readonly timeline: number;
  readonly lsn: Lsn;
}

/** One ancestor timeline and the LSN at which the next one left it, as in a timeline history file. */
export interface TimelineEnd {
  readonly timeline: number;
  readonly endLsn: Lsn;
}

export interface Lineage {
  readonly timeline: number;
  /** Oldest first; timelines and LSNs grow. */
  readonly history: readonly TimelineEnd[];
}

/** Negative, zero or positive, as for Array.sort: the higher position holds more. */
export function comparePositions(a: Position, b: Position): number {
  if (a.timeline !== b.timeline) return a.timeline - b.timeline;
  return a.lsn < b.lsn ? -1 : a.lsn > b.lsn ? 1 : 0;
}

export function forkLsnOf(lineage: Lineage): Lsn {
  return lineage.history.at(-1)?.endLsn ?? 0n;
}

/**
 * Where two lineages part: every byte below is the same in both. null: they never part (one continues the other without an end).
 */
export function divergenceLsn(a: Lineage, b: Lineage): Lsn | null {
  const endIn = (lineage: Lineage, index: number): Lsn | null => lineage.history[index]?.endLsn ?? null;
  const timelineAt = (lineage: Lineage, index: number): number | undefined =>
    index < lineage.history.length
      ? lineage.history[index]?.timeline
      : index === lineage.history.length
        ? lineage.timeline
        : undefined;
  let common: Lsn | null = 0n;
  for (let index = 0; ; index++) {
    const timeline = timelineAt(a, index);
    if (timeline === undefined || timeline !== timelineAt(b, index)) return common;
    const endA = endIn(a, index);
    const endB = endIn(b, index);
    if (endA === null && endB === null) return null;
    if (endA === null || endB === null) return endA ?? endB;
    if (endA !== endB) return endA < endB ? endA : endB;
    common = endA;
  }
}

/** Whether a node that holds `lineage` up to `lsn` can stream from a leader of `leader` without giving anything up. */
export function isPrefixOf(own: { lineage: Lineage; lsn: Lsn }, leader: Lineage): boolean {
  const divergence = divergenceLsn(own.lineage, leader);
  return divergence === null || own.lsn <= divergence;
}

/** What an agent reads from its PostgreSQL after the WAL receiver can no longer receive. */
export interface WalObservation {
  /** End of flushed WAL; null when the server does not run or did not answer. */
  readonly flushLsn: Lsn | null;
  /**
   * The server has replayed (or as a primary written) to the end of the WAL that was on its disk when it started.
   * Before that its functions show less than the node holds.
   */
  readonly isReplayedToEnd: boolean;
}

export type PositionResult =
  | { readonly kind: 'known'; readonly position: Position }
  | { readonly kind: 'unknown'; readonly reason: { readonly code: string; readonly message: string } };

/** leadership.md rule 3: who is behind a fork, rewinding, or has not replayed its own WAL, has no known position and no vote. */
export function decidePosition(
  voter: { readonly lineage: Lineage | null; readonly rewinding: boolean; readonly rewound?: boolean },
  wal: WalObservation,
): PositionResult {
  const unknown = (code: string, message: string): PositionResult => ({ kind: 'unknown', reason: { code, message } });
  if (voter.lineage === null) return unknown('NoData', 'This node holds no database yet');
  if (voter.rewinding || voter.rewound === true)
    return unknown('Rewinding', 'This node rewinds and has not passed the fork again');
  if (wal.flushLsn === null) return unknown('PostgresUnavailable', 'PostgreSQL does not run or does not answer');
  if (!wal.isReplayedToEnd)
    return unknown('Recovering', 'PostgreSQL has not yet replayed the WAL that was on its disk when it started');
  if (wal.flushLsn < forkLsnOf(voter.lineage))
    return unknown('BehindFork', `This node has not yet received timeline ${voter.lineage.timeline}`);
  return { kind: 'known', position: { timeline: voter.lineage.timeline, lsn: wal.flushLsn } };
}
