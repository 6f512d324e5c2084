/**
 * Log sequence numbers: PostgreSQL writes them as two hexadecimal halves, `16/B374D848`; we compute with 64-bit integers.
 * https://www.postgresql.org/docs/current/datatype-pg-lsn.html
 */

/** A byte position in the write-ahead log, 0 to 2^64 - 1. */
export type Lsn = bigint;

const LSN_PATTERN = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;

/** Parses `16/B374D848`; throws a TypeError for anything else. */
export function parseLsn(text: string): Lsn {
  const match = LSN_PATTERN.exec(text);
  if (match === null) throw new TypeError(`Cannot parse "${text.slice(0, 40)}" as an LSN`);
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

/** The form that PostgreSQL prints: upper case, no leading zeros in either half. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}

/** Like parseLsn, for what may be absent. */
export function parseLsnOrNull(text: string | null | undefined): Lsn | null {
  return text === null || text === undefined ? null : parseLsn(text);
}

export function formatLsnOrNull(lsn: Lsn | null): string | null {
  return lsn === null ? null : formatLsn(lsn);
}
