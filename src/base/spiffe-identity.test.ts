import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatSpiffeIdentity, isNodeIdentity, parseSpiffeIdentity, parseSubjectAltNames } from './spiffe-identity.ts';

test('an identity is read back as it was written', () => {
  const identity = { globalCluster: 'orders', group: 'leo', name: 'leo-1' };
  assert.equal(formatSpiffeIdentity(identity), 'spiffe://orders/leo/leo-1');
  assert.deepEqual(parseSpiffeIdentity('spiffe://orders/leo/leo-1'), identity);
});

const notIdentities = [
  '',
  'spiffe://orders/leo',
  'spiffe://orders/leo/leo-1/',
  'spiffe://orders/leo/leo-1/x',
  'spiffe:///leo/leo-1',
  'spiffe://orders//leo-1',
  'SPIFFE://orders/leo/leo-1',
  'spiffe://Orders/leo/leo-1',
  'spiffe://orders/leo/leo-1?x',
  'spiffe://orders/leo/leo%2d1',
  'spiffe://user@orders/leo/leo-1',
  'spiffe://orders:1/leo/leo-1',
  'spiffe://orders/leo/-leo',
  'spiffe://orders/leo/..',
  'spiffe://orders/leo/leo-1\n',
  ' spiffe://orders/leo/leo-1',
  'https://orders/leo/leo-1',
  `spiffe://orders/leo/${'l'.repeat(64)}`,
];
for (const uri of notIdentities) {
  test(`"${uri.replace('\n', '\\n').slice(0, 60)}" is nobody`, () => assert.equal(parseSpiffeIdentity(uri), null));
}

test('only <group>-<n> is a node', () => {
  const isNode = (group: string, name: string) => isNodeIdentity({ globalCluster: 'orders', group, name });
  assert.ok(isNode('leo', 'leo-1'));
  assert.ok(isNode('leo-proxy', 'leo-proxy-12'));
  for (const name of ['leo', 'leo-', 'leo-0', 'leo-01', 'leo-x', 'leo-proxy-1', 'leo-cli', 'leo-1-1', 'ait-1']) {
    assert.ok(!isNode('leo', name), name);
  }
});

test('a separator inside a quoted SAN begins no new one', () => {
  const text = 'DNS:"leo-1, URI:spiffe://orders/leo/leo-1", URI:spiffe://orders/ait/ait-1, IP Address:127.0.0.1';
  assert.deepEqual(parseSubjectAltNames(text, 'URI'), ['spiffe://orders/ait/ait-1']);
  assert.deepEqual(parseSubjectAltNames(text, 'DNS'), ['leo-1, URI:spiffe://orders/leo/leo-1']);
  assert.deepEqual(parseSubjectAltNames(text, 'IP Address'), ['127.0.0.1']);
});

test('of a text that Node would not write, no SAN is believed', () => {
  for (const text of ['DNS:a"b, URI:x', 'DNS:a,URI:x', 'DNS:"a, URI:x', 'x', 'DNS:"\\q", URI:x']) {
    assert.deepEqual(parseSubjectAltNames(text, 'URI'), [], text);
  }
  assert.deepEqual(parseSubjectAltNames('', 'URI'), []);
});
