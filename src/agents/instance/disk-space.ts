/**
 * Whether the node's volume has room. A PostgreSQL that cannot make its next WAL segment ends with a PANIC; before that it fails
 * every statement that needs a new page. So a leader without room hands over while it still can, and everybody says so.
 */
import { statfs } from 'node:fs/promises';
import type { Reason } from '../../core/leadership/voter.ts';

/** One WAL segment of the default size: with less, the next segment is the end. */
export const FREE_BYTES_MIN = 16 * 1024 * 1024;
/** It counts as full until there is this much room, so that it does not come and go with each checkpoint. */
const FREE_BYTES_AGAIN = 2 * FREE_BYTES_MIN;

export class DiskSpace {
  readonly #folder: string;
  #freeBytes: number | null = null;
  #isFull = false;

  /** @param folder on the volume that holds data directory and promise */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Never throws: a volume that does not tell is not full. */
  async look(): Promise<void> {
    try {
      const { bavail, bsize } = await statfs(this.#folder);
      this.#freeBytes = bavail * bsize;
      this.#isFull = this.#freeBytes < (this.#isFull ? FREE_BYTES_AGAIN : FREE_BYTES_MIN);
    } catch {
      this.#freeBytes = null;
      this.#isFull = false;
    }
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  /** For people; null: there is room. */
  get problem(): Reason | null {
    if (!this.#isFull) return null;
    const mebibytes = Math.floor((this.#freeBytes ?? 0) / 1024 / 1024);
    return {
      code: 'DiskFull',
      message: `The volume of "${this.#folder}" is full: ${mebibytes} MiB are left, at least ${FREE_BYTES_AGAIN / 1024 / 1024} are needed; enlarge it, or make room`,
    };
  }
}
