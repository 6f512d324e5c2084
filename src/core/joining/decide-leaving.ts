/** A group that is being deleted tells the others first, as long as that may take. Pure. */

/** Kubernetes deletes nothing of the group before. A cluster that cannot be reached learns it later, from the others. */
export const LEAVING_MS_MAX = 60_000;

export interface LeavingFacts {
  /** Since the deletion was asked for, in ms. */
  readonly elapsedMs: number;
  /** The other groups that are known. */
  readonly others: readonly string[];
  /** The generation of the tombstone; null: it is not told yet. */
  readonly tombstone: number | null;
  /** Generation of this group's card that each other group has shown. */
  readonly heard: Readonly<Record<string, number>>;
  /** The leader is here, and there is a node elsewhere that could lead. */
  readonly mustHandOver: boolean;
}

export type LeavingDecision =
  | { readonly kind: 'hand-over' }
  | { readonly kind: 'tell' }
  | { readonly kind: 'wait'; readonly missing: readonly string[] }
  | { readonly kind: 'let-go'; readonly missing: readonly string[] };

/** Half of the time is for the hand-over: the others can lead without it, after a failover. */
export function decideLeaving({ elapsedMs, others, tombstone, heard, mustHandOver }: LeavingFacts): LeavingDecision {
  if (others.length === 0) return { kind: 'let-go', missing: [] };
  if (tombstone === null)
    return mustHandOver && elapsedMs < LEAVING_MS_MAX / 2 ? { kind: 'hand-over' } : { kind: 'tell' };
  const missing = others.filter((group) => (heard[group] ?? 0) < tombstone);
  return missing.length === 0 || elapsedMs >= LEAVING_MS_MAX ? { kind: 'let-go', missing } : { kind: 'wait', missing };
}
