/**
 * Timeline history files in pg_wal: reading a timeline's ancestors, and reserving ids so that the next promotion takes the
 * id that the record gave it ("timeline id = term of the promotion").
 *
 * PostgreSQL takes the next id for which it sees no history file. Placeholders for the missing ids below the wanted one make
 * it take that one. A placeholder holds only a comment: a made-up parent line would make pg_rewind say "no rewind required".
 * They must be gone before PostgreSQL starts or follows without the real history of a later timeline, else it refuses to start.
 */
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileIfPresent, syncDirectory } from '../../base/durable-file.ts';
import { parseLsn } from '../../base/lsn.ts';
import type { Lineage, TimelineEnd } from '../../core/leadership/position.ts';

const PLACEHOLDER_TEXT = '# Reserved by pgspan: this timeline id belongs to an election that did not happen here.\n';
/** A jump over more ids than this is a damaged record rather than a busy cluster. */
export const RESERVED_TIMELINES_MAX = 100_000;
const HISTORY_FILE = /^([0-9A-F]{8})\.history$/;

export function historyFileName(timeline: number): string {
  return `${timeline.toString(16).toUpperCase().padStart(8, '0')}.history`;
}

/** The ancestors that a history file lists; null if there is no file or it is a placeholder. Format: `id <tab> LSN <tab> reason`. */
export function parseHistory(text: string): TimelineEnd[] {
  const ends: TimelineEnd[] = [];
  for (const line of text.split('\n')) {
    const match = /^\s*(\d+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)/.exec(line);
    if (match !== null) ends.push({ timeline: Number(match[1]), endLsn: parseLsn(match[2] as string) });
  }
  return ends;
}

export async function readLineage(dataDirectory: string, timeline: number): Promise<Lineage | null> {
  if (timeline === 1) return { timeline, history: [] };
  const text = await readFileIfPresent(join(dataDirectory, 'pg_wal', historyFileName(timeline)));
  if (text === null) return null;
  const history = parseHistory(text);
  return history.length === 0 ? null : { timeline, history };
}

/** Of the highest timeline above `above` that has a real history file; null: there is none. */
export async function readNewestLineage(dataDirectory: string, above: number): Promise<Lineage | null> {
  const names = await readdir(join(dataDirectory, 'pg_wal'));
  const timelines = names.map((name) => Number.parseInt(HISTORY_FILE.exec(name)?.[1] ?? '0', 16));
  for (const timeline of timelines.filter((one) => one > above).sort((a, b) => b - a)) {
    const lineage = await readLineage(dataDirectory, timeline);
    if (lineage !== null) return lineage;
  }
  return null;
}

/**
 * Makes placeholders for all ids below `wanted` that have no history file: those above `from`, so that a promotion takes `wanted`,
 * and the lower ones because a standby asks its leader for the history of every id between its own timeline and the leader's.
 * Earlier elections' are missing on a node that followed another leader, and on one that was copied.
 */
export async function reserveTimelines(dataDirectory: string, from: number, wanted: number): Promise<void> {
  if (wanted - from > RESERVED_TIMELINES_MAX)
    throw new RangeError(`Cannot reserve timelines ${from + 1} to ${wanted - 1}: more than ${RESERVED_TIMELINES_MAX}`);
  const folder = join(dataDirectory, 'pg_wal');
  const present = new Set(await readdir(folder));
  const missing = Array.from({ length: Math.max(0, wanted - 2) }, (_, index) => index + 2).filter(
    (timeline) => !present.has(historyFileName(timeline)),
  );
  if (missing.length === 0) return;
  for (const timeline of missing) {
    try {
      await writeFile(join(folder, historyFileName(timeline)), PLACEHOLDER_TEXT, { flag: 'wx', mode: 0o600 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  await syncDirectory(folder);
}

/** Removes all placeholders, half-made ones too; real histories stay: each of them names a parent. */
export async function removeReservedTimelines(dataDirectory: string): Promise<void> {
  const folder = join(dataDirectory, 'pg_wal');
  for (const name of await readdir(folder)) {
    if (!HISTORY_FILE.test(name)) continue;
    const path = join(folder, name);
    const text = await readFileIfPresent(path);
    if (text !== null && parseHistory(text).length === 0) await rm(path, { force: true });
  }
}
