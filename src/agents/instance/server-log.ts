/** The last thing that PostgreSQL said before it ended, for the reason that people see: its log is the only one who knows. */
import { open } from 'node:fs/promises';

/** A fatal message and its detail are within the last lines. */
const TAIL_BYTES = 8192;
const MESSAGE_CHARS_MAX = 300;

/** The newest FATAL or PANIC line without its prefix; null if there is none or the log is elsewhere. */
export async function lastFatalMessage(logFile: string | null): Promise<string | null> {
  if (logFile === null) return null;
  try {
    const file = await open(logFile, 'r');
    try {
      const { size } = await file.stat();
      const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
      await file.read(tail, 0, tail.length, size - tail.length);
      return findFatalMessage(tail.toString('utf8'));
    } finally {
      await file.close();
    }
  } catch {
    return null;
  }
}

export function findFatalMessage(text: string): string | null {
  const lines = text.split('\n').filter((line) => /\b(FATAL|PANIC): /.test(line));
  const last = lines.at(-1);
  if (last === undefined) return null;
  return last.slice(last.search(/\b(FATAL|PANIC): /)).slice(0, MESSAGE_CHARS_MAX);
}
