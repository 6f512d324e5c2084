import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { postgresGroup } from '../../../test/kit/manifests.ts';
import { planGlobalCluster } from '../topology/plan.ts';
import { nodeRules } from './node-rules.ts';

function hostsOf(coordination: Record<string, unknown>): Record<string, string> {
  const connectivity = { internodeTrafficStrategy: 'SplitDNS' };
  const plan = planGlobalCluster([
    postgresGroup({ namespace: 'shop', spec: { instances: 1, connectivity, coordination } }),
  ]);
  const group = plan.groups[0] ?? assert.fail('there is a group');
  const extraRules = [{ host: 'x.corp', result: '10.0.0.1', regex: false }];
  const rules = nodeRules(group, { clusterDomain: 'cluster.local', podOf: (node) => `${node}-0`, extraRules });
  return Object.fromEntries(rules.map(({ host, result }) => [host, result]));
}

const OF_NODES = {
  'leo-1.db.example.com': 'leo-1-0.leo-pods.shop.svc.cluster.local',
  'x.corp': '10.0.0.1',
};

suite('rules of the resolver beside a server', () => {
  test('are for nodes, not for what clients dial', () => {
    assert.deepEqual(hostsOf({}), OF_NODES);
  });

  test("lead to the Service of the group's own member of etcd", () => {
    assert.deepEqual(hostsOf({ store: 'etcd' }), {
      ...OF_NODES,
      'leo-etcd.db.example.com': 'leo-etcd.shop.svc.cluster.local',
    });
  });
});
