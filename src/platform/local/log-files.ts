/** A log file as the verb `logs` reads it: its last lines, and what is written from now on. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const FOLLOW_EVERY_MS = 200;
/** The end of a log that is looked through for the last lines. */
const TAIL_BYTES_MAX = 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;

/** A program that has not started yet has no log: nothing then, until it has. */
export async function* readLogFile(
  path: string,
  { lines, follow, signal }: { readonly lines: number; readonly follow: boolean; readonly signal: AbortSignal },
): AsyncGenerator<string> {
  const tail = readTail(path, lines);
  yield* tail.lines;
  const file = { path, offset: tail.size, rest: '' };
  while (follow && !signal.aborted) {
    await delay(FOLLOW_EVERY_MS, undefined, { signal }).catch(() => {});
    yield* readNewLines(file);
  }
}

function readTail(path: string, count: number): { lines: string[]; size: number } {
  return withFile(path, { lines: [], size: 0 }, (fd) => {
    const { size } = fstatSync(fd);
    const text = readRange(fd, Math.max(0, size - TAIL_BYTES_MAX), size);
    const lines = text.split('\n').slice(0, -1);
    return {
      lines: count === 0 ? [] : lines.slice(-count),
      size: size - Buffer.byteLength(text.slice(text.lastIndexOf('\n') + 1)),
    };
  });
}

/** A log that was put aside and begun anew is read from its beginning. */
function readNewLines(file: { readonly path: string; offset: number; rest: string }): string[] {
  return withFile(file.path, [], (fd) => {
    const { size } = fstatSync(fd);
    if (size < file.offset) file.offset = 0;
    const end = Math.min(size, file.offset + CHUNK_BYTES);
    const lines = (file.rest + readRange(fd, file.offset, end)).split('\n');
    file.offset = end;
    file.rest = lines.pop() ?? '';
    return lines;
  });
}

function readRange(fd: number, from: number, to: number): string {
  const bytes = Buffer.alloc(to - from);
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, from));
}

function withFile<T>(path: string, none: T, work: (fd: number) => T): T {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return none;
    throw error;
  }
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}
