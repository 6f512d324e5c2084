import assert from 'node:assert/strict';
import { test } from 'node:test';
import { postgresGroup } from '../../../test/kit/manifests.ts';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import { publishedNames, type ServiceWithStatus } from './published-names.ts';

const service = (name: string, ingress?: { ip?: string; hostname?: string }[]): ServiceWithStatus =>
  ingress === undefined ? { metadata: { name } } : { metadata: { name }, status: { loadBalancer: { ingress } } };

test('addresses and host names of load balancers are found by Service', () => {
  assert.deepEqual(
    publishedNames([
      service('leo-1'),
      service('leo-2', []),
      service('leo', [{ ip: '203.0.113.7' }, { hostname: 'LB-1.cloud.example.com.' }, { ip: '2001:db8::7' }]),
    ]),
    { leo: ['2001:db8::7', '203.0.113.7', 'lb-1.cloud.example.com'] },
  );
});

test('what is no address and no host name is left out', () => {
  const odd = [{ ip: 'not an address' }, { hostname: '*.example.com' }, { hostname: 'a b' }, { hostname: '' }];
  assert.deepEqual(publishedNames([service('leo', odd)]), {});
});

test('the certificates of all nodes carry what the proxies of the group got', () => {
  const published = publishedNames([
    service('leo', [{ ip: '203.0.113.7' }]),
    service('leo-2', [{ hostname: 'lb-2.cloud.example.com' }]),
  ]);
  const nodes = planGlobalCluster([postgresGroup()], { published }).groups[0]?.nodes ?? [];
  assert.deepEqual(
    nodes.map(({ certificate }) => certificate.ipAddresses),
    [['203.0.113.7'], ['203.0.113.7'], ['203.0.113.7']],
  );
  const names = nodes.map(({ certificate }) => certificate.dnsNames.includes('lb-2.cloud.example.com'));
  assert.deepEqual(names, [false, true, false]);
});
