import assert from 'node:assert/strict';
import { test } from 'node:test';
import { projectOnto } from './applied-objects.ts';

test('of a stored object only what was sent is compared', () => {
  const sent = { metadata: { name: 'leo' }, spec: { ports: [{ port: 5432 }], type: 'ClusterIP' } };
  const stored = {
    metadata: { name: 'leo', uid: '1' },
    spec: { ports: [{ port: 5432, protocol: 'TCP' }], type: 'ClusterIP', clusterIP: '10.0.0.1' },
    status: {},
  };
  assert.deepEqual(projectOnto(stored, sent), sent);
});

test('a list that became longer or shorter is seen', () => {
  const sent = { ports: [{ port: 5432 }] };
  assert.notDeepEqual(projectOnto({ ports: [{ port: 5432 }, { port: 1 }] }, sent), projectOnto(sent, sent));
  assert.notDeepEqual(projectOnto({ ports: [] }, sent), projectOnto(sent, sent));
});

test('what is no longer there is seen', () => {
  assert.deepEqual(projectOnto({ a: 1 }, { a: 1, b: { c: 2 } }), { a: 1, b: undefined });
});
