import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { withoutBalancer } from './balancer-class.ts';

const service = (spec: Record<string, unknown>) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'leo', namespace: 'shop' },
  spec,
});

suite('a Service that gets another class of load balancer', () => {
  const wanted = service({ type: 'LoadBalancer', loadBalancerClass: 'b', loadBalancerSourceRanges: ['10.0.0.0/8'] });

  test('is without one for a moment', () => {
    for (const before of [{ type: 'LoadBalancer' }, { type: 'LoadBalancer', loadBalancerClass: 'a' }])
      assert.deepEqual(withoutBalancer(service(before), wanted), service({ type: 'ClusterIP' }));
  });

  test('is applied as it is where there was none, or the same', () => {
    assert.equal(withoutBalancer(undefined, wanted), null);
    assert.equal(withoutBalancer(service({ type: 'ClusterIP' }), wanted), null);
    assert.equal(withoutBalancer(service({ type: 'LoadBalancer', loadBalancerClass: 'b' }), wanted), null);
  });

  test('keeps one that only the cluster has given it', () => {
    const live = service({ type: 'LoadBalancer', loadBalancerClass: 'cloud.example/nlb' });
    assert.equal(withoutBalancer(live, service({ type: 'LoadBalancer' })), null);
  });
});
