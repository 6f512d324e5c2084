/** The record server's data file: read once at the start, replaced whole with each change. */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { recordFileSchema } from '../api/record-server-config.ts';
import { writeFileDurably } from '../base/durable-file.ts';
import { type CellState, EMPTY_CELL } from './record-cell.ts';
import { StoreContentError } from './store.ts';

/** Empty if there is no file. Throws StoreContentError for anything but a whole file of ours. */
export async function readRecordFile(path: string): Promise<CellState> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return EMPTY_CELL;
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new StoreContentError(`Cannot read the record file "${path}": it is no JSON`, { cause: error });
  }
  const parsed = recordFileSchema.safeParse(value);
  if (!parsed.success) {
    throw new StoreContentError(
      `Cannot read the record file "${path}": ${z.prettifyError(parsed.error).slice(0, 500)}`,
    );
  }
  const { counter, record, lease } = parsed.data;
  return { counter, record, lease };
}

export async function writeRecordFile(path: string, state: CellState): Promise<void> {
  await writeFileDurably(
    path,
    `${JSON.stringify({ format: 1, ...state } satisfies z.infer<typeof recordFileSchema>)}\n`,
  );
}
