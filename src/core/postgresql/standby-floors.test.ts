import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStandbyFloors, raisedForStandby } from './standby-floors.ts';

const PRINTED = `pg_control version number:            1300
wal_level setting:                    replica
max_connections setting:              150
max_worker_processes setting:         8
max_wal_senders setting:              10
max_prepared_xacts setting:           0
max_locks_per_xact setting:           64
track_commit_timestamp setting:       off
`;

test('what the leader had is read from what pg_controldata prints', () => {
  assert.deepEqual(parseStandbyFloors(PRINTED), {
    max_connections: 150,
    max_worker_processes: 8,
    max_wal_senders: 10,
    max_prepared_transactions: 0,
    max_locks_per_transaction: 64,
  });
  assert.deepEqual(parseStandbyFloors('pg_controldata: error'), {});
});

test('only what is lower is raised, against the default where nothing is set', () => {
  const floors = parseStandbyFloors(PRINTED);
  assert.deepEqual(raisedForStandby({ max_connections: '100' }, floors), { max_connections: '150' });
  assert.deepEqual(raisedForStandby({}, floors), { max_connections: '150' });
  assert.deepEqual(raisedForStandby({ max_connections: '150', max_worker_processes: '16' }, floors), {});
  assert.deepEqual(raisedForStandby({ max_connections: '100' }, {}), {});
});
