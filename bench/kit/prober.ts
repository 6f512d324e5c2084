/** A client that makes a connection for each row, and waits for it as an application's pool does: the proxy may hold it meanwhile. */
import { startWriter, type WriterProcess, type WriterTarget } from '../../src/platform/local/writer-process.ts';
import type { WriteSummary } from '../../src/platform/local/write-ledger.ts';

const INTERVAL_MS = 200;
const PATIENT_MS = 10_000;

/** Its keys begin where no other client's are. */
export function startProber(target: WriterTarget): WriterProcess {
  return startWriter(target, INTERVAL_MS, {
    mode: 'connect',
    firstKey: 2_000_000_000_000 + Date.now(),
    statementTimeoutMs: PATIENT_MS,
    connectTimeoutMs: PATIENT_MS,
  });
}

/** Longest that a new connection waited until it had written, in whole milliseconds. */
export function longestWaitMs({ longestGapMs }: WriteSummary): number {
  return Math.max(0, Math.round(longestGapMs) - INTERVAL_MS);
}
