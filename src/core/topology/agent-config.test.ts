import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { groupsOf, postgresGroup } from '../../../test/kit/manifests.ts';
import { instanceConfigSchema, proxyConfigSchema, storeConfigSchema } from '../../api/agent-config.ts';
import {
  type InstancePlacement,
  type ProxyPlacement,
  renderEtcdStore,
  renderInstanceConfig,
  renderProxyConfig,
} from './agent-config.ts';
import { planGlobalCluster, planNodesOf } from './plan.ts';
import type { GlobalPlan } from './plan-types.ts';

const tls = { certFile: '/c/tls.crt', keyFile: '/c/tls.key', caFile: '/c/ca.crt' };

function nodesOf(plan: GlobalPlan): InstancePlacement['nodes'] {
  const places = planNodesOf(plan).map(({ name }, index) => [
    name,
    { address: `127.0.${index + 1}.1`, postgresPort: 5432, agentPort: 5480 },
  ]);
  return Object.fromEntries(places);
}

function instancePlacement(plan: GlobalPlan): InstancePlacement {
  return {
    generation: 7,
    nodes: nodesOf(plan),
    listen: { address: '127.0.1.1', postgresPort: 5432, agentPort: 5480, pathPort: 5481 },
    paths: {
      postgresBin: '/bin',
      dataDirectory: '/d/data',
      stateDirectory: '/d/state',
      runtimeDirectory: '/run/leo-1',
      postgresLog: null,
    },
    tls: { ...tls, replicationCertFile: '/c/r.crt', replicationKeyFile: '/c/r.key' },
    store: { kind: 'local', endpoint: { host: 'orders-record', address: '127.0.9.1', port: 5490 } },
    osUser: 'pg',
    ownerPasswordFile: '/s/app',
    rolePasswordFolder: '/etc/pgspan/roles',
    superuserPasswordFile: '/s/superuser',
  };
}

function proxyPlacement(plan: GlobalPlan): ProxyPlacement {
  const listen = (address: string, port: number) => ({ address, port });
  return {
    generation: 7,
    nodes: nodesOf(plan),
    listen: { write: listen('127.0.1.9', 5432), read: listen('127.0.1.10', 5432), health: listen('127.0.1.9', 5480) },
    sourceAddress: '127.0.1.9',
    tls,
  };
}

describe('the file of an instance agent', () => {
  const plan = planGlobalCluster(groupsOf([1, 1, 1]), { postgresMajor: 15 });

  it('is of the agreed form for every node', () => {
    for (const { name } of planNodesOf(plan))
      instanceConfigSchema.parse(renderInstanceConfig(plan, name, instancePlacement(plan)));
  });

  it('says who makes the database, and who the peers are', () => {
    const configs = planNodesOf(plan).map(({ name }) => renderInstanceConfig(plan, name, instancePlacement(plan)));
    assert.deepEqual(
      configs.map(({ bootstraps }) => bootstraps),
      [true, false, false],
    );
    assert.deepEqual(
      configs[1]?.peers.map(({ node, postgres }) => `${node} ${postgres.host} ${postgres.address}`),
      ['leo-1 leo-1 127.0.1.1', 'ait-1 ait-1 127.0.2.1', 'pit-1 pit-1 127.0.3.1'],
    );
    assert.deepEqual(configs[1]?.replication, {
      minCopies: 2,
      siteMembersMax: 1,
      scope: 'global',
      maximumLagBytes: 16 * 1024 * 1024,
    });
  });

  it('dials by the strategy of its own group', () => {
    const groups = [
      postgresGroup({ spec: { instances: 1, connectivity: { internodeTrafficStrategy: 'FQDN' } } }),
      postgresGroup({ name: 'ait', spec: { instances: 1 } }),
    ];
    const mixed = planGlobalCluster(groups);
    const hosts = (node: string) =>
      renderInstanceConfig(mixed, node, instancePlacement(mixed)).peers.map(({ agent }) => agent.host);
    assert.deepEqual(hosts('leo-1'), ['leo-1.db.example.com', 'ait-1.db.example.com']);
    assert.deepEqual(hosts('ait-1'), ['leo-1', 'ait-1']);
  });

  it('names the Service beside the name that leads to a pod, for nodes of the own group', () => {
    const groups = [
      postgresGroup({ spec: { instances: 1, connectivity: { internodeTrafficStrategy: 'SplitDNS' } } }),
      postgresGroup({ name: 'ait', spec: { instances: 1 } }),
    ];
    const split = planGlobalCluster(groups);
    const placement = instancePlacement(split);
    const nodes = Object.fromEntries(
      Object.entries(placement.nodes).map(([name, where]) => [name, { ...where, address: null }]),
    );
    const others = (node: string) =>
      renderInstanceConfig(split, node, { ...placement, nodes }).peers.map(({ agent }) => agent.otherwise);
    assert.deepEqual(others('leo-1'), ['leo-1', undefined]);
    assert.deepEqual(others('ait-1'), [undefined, undefined]);
  });

  it('has the settings of the plan and those that are places, and none that the agent writes', () => {
    const { parameters, ident } = renderInstanceConfig(plan, 'leo-1', instancePlacement(plan)).postgresql;
    assert.equal(parameters.listen_addresses, '127.0.1.1');
    assert.equal(parameters.unix_socket_directories, '/run/leo-1');
    assert.equal(parameters.cluster_name, 'leo-1');
    assert.equal(parameters.ssl_ca_file, '/c/ca.crt');
    assert.equal(parameters.fsync, 'on');
    for (const name of ['synchronous_standby_names', 'primary_conninfo', 'primary_slot_name', 'hba_file'])
      assert.equal(name in parameters, false, name);
    assert.deepEqual(ident, ['pgspan pg postgres']);
  });

  it('has the password of the superuser only if that is asked for', () => {
    const file = (enableSuperuserAccess: boolean) => {
      const own = planGlobalCluster([postgresGroup({ spec: { enableSuperuserAccess } })]);
      return renderInstanceConfig(own, 'leo-1', instancePlacement(own)).bootstrap.superuserPasswordFile;
    };
    assert.equal(file(false), null);
    assert.equal(file(true), '/s/superuser');
  });

  it('is not made for a node that is not in the plan', () => {
    assert.throws(
      () => renderInstanceConfig(plan, 'leo-2', instancePlacement(plan)),
      /Cannot find node "leo-2" in the plan/,
    );
    assert.throws(
      () => renderInstanceConfig(plan, 'leo-1', { ...instancePlacement(plan), nodes: {} }),
      /in the placement/,
    );
  });
});

describe('the file of a proxy', () => {
  it('is of the agreed form, with the limits of the manifest in milliseconds', () => {
    const plan = planGlobalCluster([
      postgresGroup({
        spec: { proxySettings: { holdTimeout: '5s', connectionsMax: 100, enableReadNodeRouting: true } },
      }),
    ]);
    const config = proxyConfigSchema.parse(renderProxyConfig(plan, 'leo-proxy-2', proxyPlacement(plan)));
    assert.equal(config.limits.holdMs, 5000);
    assert.equal(config.limits.connectionsMax, 100);
    assert.deepEqual(config.listen.read, { address: '127.0.1.10', port: 5432 });
    assert.equal(config.peers.length, 3);
  });

  it('has no read route unless it is asked for', () => {
    const plan = planGlobalCluster([postgresGroup()]);
    assert.equal(renderProxyConfig(plan, 'leo-proxy-1', proxyPlacement(plan)).listen.read, null);
    assert.throws(
      () => renderProxyConfig(plan, 'leo-proxy-3', proxyPlacement(plan)),
      /Cannot find proxy "leo-proxy-3"/,
    );
  });
});

describe("the record's store in an etcd of the user", () => {
  it('has the endpoints of the manifest and a key of the global cluster', () => {
    const endpoints = ['https://etcd-1.example.com:2379', 'https://[2001:db8::2]', 'https://10.0.0.3:443'];
    const plan = planGlobalCluster([postgresGroup({ spec: { coordination: { store: 'etcd', etcd: { endpoints } } } })]);
    assert.deepEqual(storeConfigSchema.parse(renderEtcdStore(plan, null)), {
      kind: 'etcd',
      endpoints: [
        { host: 'etcd-1.example.com', address: null, port: 2379 },
        { host: '2001:db8::2', address: null, port: 2379 },
        { host: '10.0.0.3', address: null, port: 443 },
      ],
      key: '/pgspan/orders/record',
      tls: null,
      secure: true,
    });
  });
});
