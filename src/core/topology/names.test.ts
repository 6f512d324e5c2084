import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fqdn, serviceNames, slotName } from './names.ts';

describe('names', () => {
  it('make two nodes two slots, also where only a dash tells them apart', () => {
    assert.notEqual(slotName('leo-11'), slotName('leo1-1'));
    assert.equal(slotName('leo-east-1'), 'pgspan_leo_east_1');
  });

  it('follow one rule outside of a cluster, and those of Kubernetes inside', () => {
    assert.equal(fqdn('leo-r', { domain: 'db.example.com', hostSuffix: '-west' }), 'leo-r-west.db.example.com');
    assert.deepEqual(serviceNames('leo', 'shop', 'cluster.local'), [
      'leo',
      'leo.shop',
      'leo.shop.svc',
      'leo.shop.svc.cluster.local',
    ]);
  });
});
