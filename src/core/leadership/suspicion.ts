/**
 * Rule 1: when a member holds its leader for lost. A suspicion alone changes nothing: it only makes the member ask the others.
 */
import type { Reason } from './voter.ts';

/** What one member knows of its leader; every time is of one monotonic clock, in ms. */
export interface LeaderSigns {
  readonly nowMs: number;
  readonly detectionMs: number;
  /** When the newest heartbeat of this leader and term came in, or when this member began to wait for the first one. */
  readonly lastBeatAtMs: number;
  /** The stream ended and a new one was refused: nothing listens there any more. */
  readonly isRefused: boolean;
  /** The leader itself says that its PostgreSQL is gone and that somebody else should lead. */
  readonly handsOver: boolean;
  /** Age of the leader's newest probe commit as of `lastBeatAtMs`; null when it told none. */
  readonly probeAgeMs: number | null;
  /** Age of the newest answer of the leader's PostgreSQL to anything, told with the same heartbeat. */
  readonly answerAgeMs: number | null;
  /**
   * When more WAL of the leader was last seen to arrive at this member. A leader whose commits are slow while its WAL flows
   * is busy, as with a bulk load on a slow disk, and whoever took over would be as slow.
   */
  readonly walArrivedAtMs: number;
  /**
   * Members that hear the leader and stream from it are a write quorum: then a probe that gets no answer is the fault of the
   * leader's PostgreSQL, not of missing members.
   */
  readonly hasStreamingQuorum: boolean;
}

export type Suspicion = { readonly isSuspect: boolean; readonly reason: Reason };

/**
 * A probe waits for the slowest flush on w members, and is sent each PROBE_INTERVAL_MS: a PostgreSQL is held for hung only
 * after this multiple of `detection`, since a checkpoint may hold up a flush for longer than a heartbeat ever waits.
 */
export const PROBE_DETECTION_FACTOR = 3;

/**
 * One that answers questions and cannot commit waits for its disk. A volume under a bulk load or a checkpoint may hold up every
 * flush for some seconds, and those of the others are no faster; after this multiple of `detection` it is held for broken.
 */
export const STALL_DETECTION_FACTOR = 10;

export function decideSuspicion(signs: LeaderSigns): Suspicion {
  const suspect = (code: string, message: string): Suspicion => ({ isSuspect: true, reason: { code, message } });
  if (signs.handsOver) return suspect('LeaderHandsOver', 'The leader says that its PostgreSQL is gone');
  if (signs.isRefused) return suspect('LeaderRefused', "The leader's agent is gone: connections are refused");
  const silenceMs = signs.nowMs - signs.lastBeatAtMs;
  if (silenceMs >= signs.detectionMs)
    return suspect('LeaderSilent', `No heartbeat from the leader for ${Math.round(silenceMs)} ms`);
  if (signs.probeAgeMs !== null && signs.hasStreamingQuorum) {
    const { detectionMs, probeAgeMs, answerAgeMs, walArrivedAtMs, nowMs } = signs;
    const isLate = (ageMs: number, factor: number): boolean => ageMs >= detectionMs * factor;
    if (isLate(probeAgeMs, PROBE_DETECTION_FACTOR) && isLate(nowMs - walArrivedAtMs, PROBE_DETECTION_FACTOR)) {
      const what = `has not committed for ${probeAgeMs} ms`;
      if (isLate(answerAgeMs ?? probeAgeMs, PROBE_DETECTION_FACTOR))
        return suspect('LeaderHangs', `The leader's PostgreSQL ${what}, sends no WAL and answers nothing`);
      if (isLate(probeAgeMs, STALL_DETECTION_FACTOR))
        return suspect('LeaderStalls', `The leader's PostgreSQL ${what} and sends no WAL: its disk may have failed`);
    }
  }
  return { isSuspect: false, reason: { code: 'LeaderAlive', message: 'The leader is heard' } };
}
