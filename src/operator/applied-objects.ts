/**
 * Applies rendered objects, and only those that are not as they were rendered: whose rendering changed since the last apply,
 * or whose stored fields are no longer what the server made of ours. An operator that has just started applies everything once;
 * the server writes nothing where nothing differs.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KubeClient, NamedObject } from '../platform/kubernetes/kube-client.ts';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';

interface Applied {
  /** What was sent. */
  readonly text: string;
  /** What the server made of the fields that were sent: defaults and normal forms included. */
  readonly stored: unknown;
}

export interface ApplyResult {
  readonly isChanged: boolean;
  readonly object: KubeObject | null;
}

export class AppliedObjects {
  readonly #applied = new Map<string, Applied>();

  /**
   * @param live as the cache has it; undefined: not there; null: not watched, so what was applied is believed to be there
   * @returns the stored object if a request was made.
   */
  async apply(
    client: KubeClient,
    key: string,
    object: NamedObject,
    live: KubeObject | null | undefined,
  ): Promise<ApplyResult> {
    const text = JSON.stringify(object);
    const applied = this.#applied.get(key);
    if (applied?.text === text && live !== undefined) {
      if (live === null || isDeepStrictEqual(projectOnto(live, object), applied.stored))
        return { isChanged: false, object: null };
    }
    const stored = await client.apply(object);
    this.#applied.set(key, { text, stored: projectOnto(stored, object) });
    return { isChanged: applied?.text !== text, object: stored };
  }

  /** Everything is applied anew the next time. */
  forget(): void {
    this.#applied.clear();
  }

  drop(key: string): void {
    this.#applied.delete(key);
  }

  get keys(): IterableIterator<string> {
    return this.#applied.keys();
  }
}

/** The part of `live` that lies where `wanted` has something. Lists are taken whole: their elements have no names here. */
export function projectOnto(live: unknown, wanted: unknown): unknown {
  if (Array.isArray(wanted)) {
    if (!Array.isArray(live) || live.length !== wanted.length) return live;
    return wanted.map((one, index) => projectOnto(live[index], one));
  }
  if (typeof wanted !== 'object' || wanted === null) return live;
  if (typeof live !== 'object' || live === null) return live;
  const source = live as Record<string, unknown>;
  return Object.fromEntries(Object.entries(wanted).map(([key, value]) => [key, projectOnto(source[key], value)]));
}
