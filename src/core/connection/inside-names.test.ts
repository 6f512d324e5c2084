import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePostgresGroup } from '../../api/parse-manifest.ts';
import { planGlobalCluster } from '../topology/plan.ts';
import { withInsideNames } from './inside-names.ts';

test('inside of the Kubernetes cluster every connection has the name of a Service, whatever clients are told', () => {
  for (const clientTrafficStrategy of ['FQDN', 'ServiceName']) {
    const parsed = parsePostgresGroup({
      apiVersion: 'pgspan.io/v1alpha1',
      kind: 'PostgresGroup',
      metadata: { name: 'leo', namespace: 'shop' },
      spec: {
        instances: 2,
        globalCluster: { name: 'orders' },
        connectivity: { dns: { domain: 'db.example.com', hostSuffix: '-eu' }, clientTrafficStrategy },
        proxySettings: { enableReadNodeRouting: true },
      },
    });
    assert.ok(parsed.kind === 'accepted');
    const { connections, groups } = withInsideNames(planGlobalCluster([parsed.group]));
    const hosts = connections.map(({ purpose, hosts: names }) => [purpose, ...names]);
    assert.deepEqual(hosts, [
      ['write', 'orders.shop.svc'],
      ['read', 'orders-r.shop.svc'],
      ['failover', 'leo-1.shop.svc', 'leo-2.shop.svc'],
    ]);
    assert.deepEqual(
      groups[0]?.connections.flatMap(({ hosts: names }) => names),
      ['leo.shop.svc', 'leo-r.shop.svc'],
    );
    assert.equal(groups[0]?.nodes[1]?.addresses.FQDN, 'leo-2.shop.svc');
  }
});
