/**
 * Values that states refer to by a small number, and the decision functions' results for them.
 *
 * A state holds ids; the values themselves (voter, lineage, WAL content) are kept once. The decision functions are pure, so
 * each is called once for each combination of arguments and its result is remembered: what is explored is the real function.
 */
import type { Lineage } from '../../src/core/leadership/position.ts';
import type { VoterState } from '../../src/core/leadership/voter.ts';

export interface Table<T> {
  id(value: T): number;
  value(id: number): T;
  readonly size: number;
}

export function createTable<T>(keyOf: (value: T) => string, sizeMax: number): Table<T> {
  const ids = new Map<string, number>();
  const values: T[] = [];
  return {
    id(value) {
      const key = keyOf(value);
      const known = ids.get(key);
      if (known !== undefined) return known;
      if (values.length >= sizeMax) throw new RangeError(`Cannot keep more than ${sizeMax} values`);
      ids.set(key, values.length);
      values.push(value);
      return values.length - 1;
    },
    value: (id) => values[id] as T,
    get size() {
      return values.length;
    },
  };
}

/** Remembers `compute` for a whole number that stands for all of its arguments. */
export function memoize<T>(compute: (key: number) => T): (key: number) => T {
  const results = new Map<number, T>();
  return (key) => {
    const known = results.get(key);
    if (known !== undefined || results.has(key)) return known as T;
    const result = compute(key);
    results.set(key, result);
    return result;
  };
}

export function lineageKey(lineage: Lineage | null): string {
  if (lineage === null) return '-';
  return `${lineage.timeline}:${lineage.history.map((end) => `${end.timeline}@${end.endLsn}`).join(',')}`;
}

export function voterKey(voter: VoterState): string {
  const { incarnation, promisedTerm, seen, followedTerm, rewinding } = voter;
  const mark = rewinding ? 'r' : voter.rewound === true ? 'c' : '-';
  return `${incarnation}|${promisedTerm}|${seen.term}|${seen.version}|${followedTerm}|${mark}|${lineageKey(voter.lineage)}`;
}

/**
 * One WAL entry as it truly is: which promotion wrote it, and under which timeline id. With rule "timeline id = term" both
 * are one number; a mutation makes them differ. GARBAGE stands for what a half-done rewind leaves.
 */
export interface Entry {
  readonly term: number;
  readonly timeline: number;
}
export type Wal = readonly Entry[];
export const GARBAGE: Entry = { term: 0, timeline: 0 };

export function walKey(wal: Wal): string {
  return wal.map((entry) => `${entry.term}.${entry.timeline}`).join(' ');
}

/** What PostgreSQL compares when a standby connects: timeline ids, not content. */
export function looksLikePrefix(a: Wal, b: Wal): boolean {
  return a.length <= b.length && a.every((entry, index) => entry.timeline === b[index]?.timeline);
}
