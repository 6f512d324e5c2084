import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseControlHead } from './control-file.ts';

function head(values: { version?: number; state?: number; checkpoint?: bigint } = {}): Buffer {
  const buffer = Buffer.alloc(40);
  buffer.writeBigUInt64LE(7_500_000_000_000_000_001n, 0);
  buffer.writeUInt32LE(values.version ?? 1300, 8);
  buffer.writeUInt32LE(values.state ?? 1, 16);
  buffer.writeBigUInt64LE(values.checkpoint ?? 0x1_0000_0028n, 32);
  return buffer;
}

test('reads identifier, state and checkpoint of the control file', () => {
  assert.deepEqual(parseControlHead(head()), {
    systemIdentifier: '7500000000000000001',
    isShutDown: true,
    checkpointLsn: 0x1_0000_0028n,
  });
});

test('takes no other state for a clean shutdown of a primary', () => {
  // DB_STARTUP, DB_SHUTDOWNED_IN_RECOVERY, DB_SHUTDOWNING, DB_IN_CRASH_RECOVERY, DB_IN_ARCHIVE_RECOVERY, DB_IN_PRODUCTION
  for (const state of [0, 2, 3, 4, 5, 6])
    assert.equal(parseControlHead(head({ state })).isShutDown, false, String(state));
});

test('refuses a file of another layout instead of reading nonsense', () => {
  for (const version of [0, 942, 0x14050000, 4294967295])
    assert.throws(() => parseControlHead(head({ version })), /its format .* is unknown/);
});
