import assert from 'node:assert/strict';
import { test } from 'node:test';
import { postgresGroup } from '../../../test/kit/manifests.ts';
import { withConfigMap } from './config-map.ts';
import { planGlobalCluster } from './plan.ts';

const group = postgresGroup({
  spec: {
    postgresql: {
      parameters: { work_mem: '4MB' },
      pg_hba: ['hostssl all anna 10.0.0.0/8 scram-sha-256'],
      configMapRef: { name: 'tuning' },
    },
  },
});

test('a ConfigMap adds settings and rules, and the manifest wins', () => {
  const merged = withConfigMap(group, {
    'postgresql.conf': "work_mem = 64MB\nrandom_page_cost = '1.1'\n",
    'pg_hba.conf': 'hostssl all bob 10.0.0.0/8 scram-sha-256\n',
  });
  assert.deepEqual(merged.spec.postgresql.parameters, { random_page_cost: '1.1', work_mem: '4MB' });
  assert.deepEqual(
    merged.spec.postgresql.pg_hba.map((line) => line.split(' ')[2]),
    ['anna', 'bob'],
  );
});

test('what it says is judged like the manifest: a setting of ours is refused with the reason', () => {
  const merged = withConfigMap(group, { 'postgresql.conf': 'primary_conninfo = x\n' });
  assert.throws(() => planGlobalCluster([merged]), /primary_conninfo/);
});

test('lines that cannot be read and unknown files are refused, all at once', () => {
  assert.throws(
    () => withConfigMap(group, { 'postgresql.conf': 'work_mem\n', 'postgres.conf': '' }),
    (error: Error) =>
      /\(tuning\) data\["postgresql\.conf"\] line 1: found "work_mem"/.test(error.message) &&
      /data\["postgres\.conf"\]: there is no such file; accepted: postgresql\.conf/.test(error.message),
  );
});
