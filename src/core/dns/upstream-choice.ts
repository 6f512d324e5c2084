/**
 * Which upstream is asked next for one question. They are asked in their order; one that was silent or refused twice in a row
 * stands behind the others for a while, so that a dead one costs its patience once and not with every question.
 */
export interface UpstreamHealth {
  readonly failuresInRow: number;
  /** Of the last failure; the caller's clock. */
  readonly failedAtMs: number;
}

export const NEW_HEALTH: UpstreamHealth = { failuresInRow: 0, failedAtMs: 0 };

const FAILURES_UNTIL_DOWN = 2;
/** As long as CoreDNS waits between probes of a dead one, times ten: each try is a real question that waits. */
const DOWN_MS = 5000;

export function isDown({ failuresInRow, failedAtMs }: UpstreamHealth, nowMs: number): boolean {
  return failuresInRow >= FAILURES_UNTIL_DOWN && nowMs - failedAtMs < DOWN_MS;
}

/** Indexes, the best first. */
export function orderUpstreams(health: readonly UpstreamHealth[], nowMs: number): number[] {
  const indexes = health.map((_one, index) => index);
  const down = (index: number) => isDown(health[index] as UpstreamHealth, nowMs);
  return [...indexes.filter((index) => !down(index)), ...indexes.filter(down)];
}

/** After an answer, or after silence or an error of the network. */
export function nextHealth(health: UpstreamHealth, event: 'answered' | 'failed', nowMs: number): UpstreamHealth {
  if (event === 'answered') return NEW_HEALTH;
  return { failuresInRow: health.failuresInRow + 1, failedAtMs: nowMs };
}
