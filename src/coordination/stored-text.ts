/** The record as the text that stores hold: one JSON value, checked on the way in and out. */
import * as z from 'zod';
import { type ClusterRecord, clusterRecordSchema } from '../api/record.ts';
import { StoreContentError } from './store.ts';

/** 32 members of at most 100 bytes, and as much again for all else; more is not ours. */
export const RECORD_BYTES_MAX = 16 * 1024;

/** @param where names the place in errors: `"https://leo-record:7432/v1/record"`. Throws StoreContentError. */
export function parseRecordText(text: string, where: string): ClusterRecord {
  if (text.length > RECORD_BYTES_MAX) {
    throw new StoreContentError(
      `Cannot read the record at "${where}": it has ${text.length} bytes, at most ${RECORD_BYTES_MAX} are read`,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new StoreContentError(`Cannot read the record at "${where}": it is no JSON`, { cause: error });
  }
  return parseRecordValue(value, where);
}

export function parseRecordValue(value: unknown, where: string): ClusterRecord {
  const parsed = clusterRecordSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new StoreContentError(`Cannot read the record at "${where}": ${z.prettifyError(parsed.error).slice(0, 500)}`);
}

export function encodeRecord(record: ClusterRecord): string {
  return JSON.stringify(record);
}
