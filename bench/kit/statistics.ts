/** Summaries of a few measured values. */

export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly median: number;
  readonly p95: number;
  readonly max: number;
}

/**
 * Of at least one value. Percentiles are values that were measured: the nearest rank, ceil(p n)-th of n in ascending
 * order. So with fewer than 20 values the p95 is the maximum. The median of an even number is the mean of the middle two.
 */
export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (rank: number): number => sorted[rank - 1] ?? Number.NaN;
  const count = sorted.length;
  return {
    count,
    min: at(1),
    median: (at(Math.floor((count + 1) / 2)) + at(Math.ceil((count + 1) / 2))) / 2,
    p95: at(Math.ceil(0.95 * count)),
    max: at(count),
  };
}
