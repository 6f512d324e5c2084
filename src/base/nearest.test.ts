import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { editDistance, nearest } from './nearest.ts';

describe('nearest', () => {
  it('finds what was meant', () => {
    const words = ['instances', 'imageName', 'storage', 'allowedIPs'];
    assert.equal(nearest('instnces', words), 'instances');
    assert.equal(nearest('INSTANCES', words), 'instances');
    assert.equal(nearest('sotrage', words), 'storage');
    assert.equal(nearest('allowedIps', words), 'allowedIPs');
  });

  it('says nothing when nothing is near', () => {
    assert.equal(nearest('replicas', ['instances', 'storage']), undefined);
    assert.equal(nearest('shared_bufers', ['shared_buffers'], 0), undefined);
    assert.equal(nearest('x', []), undefined);
  });

  it('measures a distance: zero for the same, the same both ways, one for a swap', () => {
    const word = fc.string({ maxLength: 12 });
    fc.assert(
      fc.property(
        word,
        word,
        (a, b) => editDistance(a, b) === editDistance(b, a) && (editDistance(a, b) === 0) === (a === b),
      ),
    );
    assert.equal(editDistance('ab', 'ba'), 1);
  });
});
