/**
 * The head of PostgreSQL's control file, `global/pg_control`: which database this is, and how it was left. Read directly, since
 * starting pg_controldata would be the longest part of what a switchover does between two servers.
 *
 *   offset  0  uint64  system_identifier        16  uint32  state
 *           8  uint32  pg_control_version       24  int64   time
 *          12  uint32  catalog_version_no       32  uint64  checkPoint (LSN of the last checkpoint record)
 *
 * The same from PostgreSQL 12 to 18, in the byte order and alignment of 64-bit little-endian machines:
 * https://github.com/postgres/postgres/blob/REL_18_STABLE/src/include/catalog/pg_control.h
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lsn } from '../../base/lsn.ts';

export interface ControlData {
  /** Decimal, as pg_controldata prints it. */
  readonly systemIdentifier: string;
  /** The server was shut down cleanly as a primary: its last record is the checkpoint at `checkpointLsn`. */
  readonly isShutDown: boolean;
  readonly checkpointLsn: Lsn;
}

const HEAD_BYTES = 40;
/** DB_SHUTDOWNED of enum DBState. */
const STATE_SHUT_DOWN = 1;
/** pg_control_version is 1201 in PostgreSQL 12 and 1800 in 18; byte-swapped or foreign files are far outside. */
const VERSION_MIN = 1200;
const VERSION_MAX = 2999;

/** `code` is CONTROL_FILE_UNREADABLE. */
export class ControlFileError extends Error {
  override name = 'ControlFileError';
  readonly code = 'CONTROL_FILE_UNREADABLE';
}

export async function readControlData(dataDirectory: string): Promise<ControlData> {
  const path = join(dataDirectory, 'global', 'pg_control');
  const head = Buffer.alloc(HEAD_BYTES);
  try {
    const file = await open(path, 'r');
    try {
      const { bytesRead } = await file.read(head, 0, HEAD_BYTES, 0);
      if (bytesRead < HEAD_BYTES) throw new Error(`it has only ${bytesRead} bytes`);
    } finally {
      await file.close();
    }
    return parseControlHead(head);
  } catch (cause) {
    throw new ControlFileError(
      `Cannot read the control file "${path}": ${(cause as Error).message}; nothing was touched; restore the volume, or empty it to let this node copy the database anew`,
      { cause },
    );
  }
}

/** @throws Error when the version is none that this layout belongs to */
export function parseControlHead(head: Buffer): ControlData {
  const version = head.readUInt32LE(8);
  if (version < VERSION_MIN || version > VERSION_MAX) throw new Error(`its format ${version} is unknown`);
  return {
    systemIdentifier: head.readBigUInt64LE(0).toString(),
    isShutDown: head.readUInt32LE(16) === STATE_SHUT_DOWN,
    checkpointLsn: head.readBigUInt64LE(32),
  };
}
