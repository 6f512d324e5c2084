import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findFatalMessage } from './server-log.ts';

test('finds the newest fatal line and drops its prefix', () => {
  const log = [
    '2026-11-21 10:00:00.000 UTC [10] LOG:  starting PostgreSQL 15',
    '2026-11-21 10:00:00.100 UTC [11] FATAL:  could not read block 0',
    '2026-11-21 10:00:01.100 UTC [12] PANIC:  could not locate a valid checkpoint record',
    '2026-11-21 10:00:01.200 UTC [10] LOG:  startup process (PID 12) was terminated by signal 6: Aborted',
  ].join('\n');
  assert.equal(findFatalMessage(log), 'PANIC:  could not locate a valid checkpoint record');
});

test('finds nothing where nothing was fatal', () => {
  assert.equal(findFatalMessage('2026-11-21 10:00:00.000 UTC [10] LOG:  ready\n'), null);
});
