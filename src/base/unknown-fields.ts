/**
 * Reading what a newer version wrote: fields that a strict schema does not know are set aside, so that all the others are checked
 * as strictly as ever, and can be put back for whoever it is handed on to.
 */
import type * as z from 'zod';

export interface UnknownField {
  /** From the outermost object to the field. */
  readonly path: readonly PropertyKey[];
  readonly value: unknown;
}

export type ParsedKnown<T> =
  | { readonly kind: 'parsed'; readonly data: T; readonly unknown: readonly UnknownField[] }
  | { readonly kind: 'refused'; readonly issue: { readonly path: readonly PropertyKey[]; readonly message: string } };

/** @param value JSON, not nested deeper than isNestedDeeper allows; it is not changed. */
export function parseKnown<T>(schema: z.ZodType<T>, value: unknown): ParsedKnown<T> {
  const strict = schema.safeParse(value);
  if (strict.success) return { kind: 'parsed', data: strict.data, unknown: [] };
  const wrong = strict.error.issues.find(({ code }) => code !== 'unrecognized_keys');
  if (wrong !== undefined) return { kind: 'refused', issue: wrong };
  const known = structuredClone(value);
  const unknown = strict.error.issues.flatMap((issue) => {
    const parent = at(known, issue.path);
    if (issue.code !== 'unrecognized_keys' || parent === null) return [];
    return issue.keys.map((key) => {
      const field = { path: [...issue.path, key], value: parent[key] };
      delete parent[key];
      return field;
    });
  });
  // What holds for several fields together is checked only once each of them is right.
  const parsed = schema.safeParse(known);
  if (parsed.success) return { kind: 'parsed', data: parsed.data, unknown };
  return { kind: 'refused', issue: parsed.error.issues[0] ?? { path: [], message: 'it cannot be read' } };
}

/** Puts the fields back to where they were; `data` is changed. One whose place is gone stays out. */
export function putBack(data: unknown, fields: readonly UnknownField[]): void {
  for (const { path, value } of fields) {
    const parent = at(data, path.slice(0, -1));
    // Not by assignment: a field may be called like something that every object inherits.
    if (parent !== null)
      Object.defineProperty(parent, path.at(-1) as string, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
  }
}

/** Whether objects and arrays are nested deeper than that: without recursion, which hostile input could exhaust. */
export function isNestedDeeper(value: unknown, depthMax: number): boolean {
  const isNested = (one: unknown): one is object => typeof one === 'object' && one !== null;
  let level = [value].filter(isNested);
  for (let depth = 0; level.length > 0; depth++) {
    if (depth >= depthMax) return true;
    level = level.flatMap((one) => Object.values(one).filter(isNested));
  }
  return false;
}

function at(value: unknown, path: readonly PropertyKey[]): Record<string, unknown> | null {
  let present = value;
  for (const key of path) {
    if (typeof present !== 'object' || present === null || !Object.hasOwn(present, key)) return null;
    present = (present as Record<PropertyKey, unknown>)[key];
  }
  return typeof present === 'object' && present !== null ? (present as Record<string, unknown>) : null;
}
