/** The word that somebody who mistyped probably meant. */

/**
 * The candidate nearest to `word` (letters added, left out, changed or swapped; case does not count), or undefined if none
 * is near: at most a third of the word's letters, and at least one, may differ.
 * @param limitMax no more letters than this may differ, however long the word.
 */
export function nearest(word: string, candidates: readonly string[], limitMax = Infinity): string | undefined {
  const limit = Math.min(limitMax, Math.max(1, Math.floor(word.length / 3)));
  let best: { readonly candidate: string; readonly distance: number } | undefined;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance <= limit && (best === undefined || distance < best.distance)) best = { candidate, distance };
  }
  return best?.candidate;
}

/** Words longer than this are not compared: the work grows with the square. */
const WORD_LENGTH_MAX = 128;

/** Damerau's distance with adjacent swaps (optimal string alignment). */
export function editDistance(a: string, b: string): number {
  if (a.length > WORD_LENGTH_MAX || b.length > WORD_LENGTH_MAX) return a === b ? 0 : WORD_LENGTH_MAX;
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let distance = Math.min((row[j - 1] as number) + 1, (last[j] as number) + 1, (last[j - 1] as number) + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, (beforeLast[j - 2] as number) + 1);
      }
      row.push(distance);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] as number;
}
