import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { groupsOf, postgresGroup } from '../../../test/kit/manifests.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { isNodeIdentity, parseSpiffeIdentity } from '../../base/spiffe-identity.ts';
import { dialHost, planGlobalCluster, planNodesOf } from './plan.ts';
import { findProblems } from './validate.ts';

const label = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}[a-z0-9]$/);
const groupFields = fc.record({
  name: label,
  namespace: fc.constantFrom('default', 'shop'),
  spec: fc.record({
    instances: fc.integer({ min: 0, max: 4 }),
    proxySettings: fc.record({ instances: fc.integer({ min: 0, max: 3 }), enableReadNodeRouting: fc.boolean() }),
    connectivity: fc.record({
      dns: fc.record({
        domain: fc.constantFrom('db.example.com', 'leo.example.com'),
        hostSuffix: fc.constantFrom('', '-west', '.west'),
        additional: fc.array(fc.record({ domain: fc.constantFrom('a.example.net', 'b.example.net') }), {
          maxLength: 2,
        }),
      }),
      internodeTrafficStrategy: fc.constantFrom('ServiceName', 'FQDN', 'SplitDNS'),
      clientTrafficStrategy: fc.constantFrom('ServiceName', 'FQDN'),
    }),
  }),
});

/** Any global cluster that is not refused. */
const anyGroups: fc.Arbitrary<PostgresGroup[]> = fc
  .array(groupFields, { minLength: 1, maxLength: 4 })
  .map((fields) => fields.map(postgresGroup))
  .filter((groups) => findProblems(groups).length === 0);

describe('the plan', () => {
  it('has a certificate for every name under which a node is dialled, by servers and by clients', () => {
    fc.assert(
      fc.property(anyGroups, (groups) => {
        const plan = planGlobalCluster(groups);
        const nodes = planNodesOf(plan);
        for (const node of nodes) {
          for (const group of plan.groups) assert(node.certificate.dnsNames.includes(dialHost(group, node)), node.name);
        }
        // Through a proxy, every name may end at every node: TLS is end to end.
        const routed = [...plan.connections, ...plan.groups.flatMap((group) => group.connections)].filter(
          ({ purpose }) => purpose !== 'failover',
        );
        for (const { hosts } of routed) {
          for (const host of hosts)
            for (const node of nodes) assert(node.certificate.dnsNames.includes(host), `${node.name}: ${host}`);
        }
        for (const host of plan.connections.find(({ purpose }) => purpose === 'failover')?.hosts ?? []) {
          assert(
            nodes.some((node) => node.certificate.dnsNames.includes(host)),
            host,
          );
        }
      }),
    );
  });

  it('has a certificate for every name that a Service publishes', () => {
    fc.assert(
      fc.property(anyGroups, (groups) => {
        const plan = planGlobalCluster(groups);
        for (const group of plan.groups) {
          for (const service of group.services.filter(({ kind }) => kind !== 'headless' && kind !== 'pooler')) {
            const holders =
              service.kind === 'node' ? group.nodes.filter(({ name }) => name === service.name) : group.nodes;
            for (const name of [service.name, ...service.fqdns]) {
              for (const node of holders) assert(node.certificate.dnsNames.includes(name), `${node.name}: ${name}`);
            }
          }
        }
      }),
    );
  });

  it('gives everything a name of its own', () => {
    fc.assert(
      fc.property(anyGroups, (groups) => {
        const plan = planGlobalCluster(groups);
        const services = plan.groups.flatMap((group) =>
          group.services.filter(({ kind }) => !kind.startsWith('global-')).map(({ name }) => name),
        );
        const proxies = plan.groups.flatMap((group) => group.proxies.map(({ name }) => name));
        const names = [...services, ...proxies, plan.globalCluster, `${plan.globalCluster}-r`];
        assert.equal(new Set(names).size, names.length, names.join(' '));
        const holders = plan.groups.flatMap((group) => [...group.nodes, ...group.proxies]);
        const uris = holders.flatMap(({ certificate }) => certificate.uris);
        assert.equal(new Set(uris).size, holders.length);
        for (const uri of uris) assert.notEqual(parseSpiffeIdentity(uri), null, uri);
        for (const node of planNodesOf(plan))
          assert(isNodeIdentity(parseSpiffeIdentity(node.certificate.uris[0] ?? '') ?? assert.fail()));
      }),
    );
  });

  it('gives every node a slot that every other node keeps for it', () => {
    fc.assert(
      fc.property(anyGroups, (groups) => {
        const nodes = planNodesOf(planGlobalCluster(groups));
        assert.equal(new Set(nodes.map(({ slot }) => slot)).size, nodes.length);
        for (const node of nodes) {
          assert.match(node.slot, /^[a-z0-9_]{1,63}$/);
          assert.deepEqual(
            node.slotsKept.toSorted(),
            nodes
              .filter((other) => other !== node)
              .map(({ slot }) => slot)
              .toSorted(),
          );
        }
      }),
    );
  });

  it('lets exactly one node make the database', () => {
    fc.assert(
      fc.property(anyGroups, (groups) => {
        const plan = planGlobalCluster(groups);
        assert.deepEqual(
          planNodesOf(plan)
            .filter(({ bootstraps }) => bootstraps)
            .map(({ name }) => name),
          [plan.bootstrapNode],
        );
      }),
    );
  });

  it('is plain JSON, and the same for the same manifests', () => {
    fc.assert(
      fc.property(anyGroups, (groups) => {
        const plan = planGlobalCluster(groups);
        assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
        assert.deepEqual(planGlobalCluster(structuredClone(groups)), plan);
      }),
    );
  });

  it('puts what the platform published into the certificates of all to whom it leads', () => {
    const published = {
      'leo-1': ['127.0.1.1'],
      'leo-proxy-1': ['127.0.1.9', '2001:db8::9'],
      'ait-1': ['127.0.2.1'],
      orders: ['lb-1.cloud.example.net', '203.0.113.5'],
    };
    const plan = planGlobalCluster(groupsOf([1, 1]), { published });
    const [leo, ait] = planNodesOf(plan);
    assert.deepEqual(leo?.certificate.ipAddresses, ['127.0.1.1', '203.0.113.5', '127.0.1.9', '2001:db8::9']);
    assert.deepEqual(ait?.certificate.ipAddresses, ['127.0.2.1', '203.0.113.5', '127.0.1.9', '2001:db8::9']);
    assert(ait?.certificate.dnsNames.includes('lb-1.cloud.example.net'));
    assert.deepEqual(plan.groups[0]?.proxies[0]?.certificate.ipAddresses, ['127.0.1.9', '2001:db8::9']);
  });

  it('starts at the primary group, else at the highest priority, else at the first', () => {
    const start = (...specs: Record<string, unknown>[]) =>
      planGlobalCluster(specs.map((spec, index) => postgresGroup({ name: ['leo', 'ait', 'pit'][index] ?? '', spec })))
        .bootstrapNode;
    assert.equal(start({}, {}, {}), 'leo-1');
    assert.equal(start({}, { coordination: { priority: 200 } }, {}), 'ait-1');
    assert.equal(start({}, { coordination: { priority: 200 } }, { globalCluster: { primaryGroup: 'pit' } }), 'pit-1');
    assert.equal(start({ instances: 0 }, { role: 'readOnly' }, {}), 'pit-1');
  });

  it('takes numbers from the preset, and each number from its field', () => {
    const timing = (spec: Record<string, unknown>) => planGlobalCluster([postgresGroup({ spec })]).timing;
    assert.deepEqual(timing({}), { preset: 'lan', detectionMs: 1000, fenceMs: 3000, memberTimeoutMs: 30_000 });
    assert.deepEqual(timing({ coordination: { preset: 'wan' } }), {
      preset: 'wan',
      detectionMs: 3000,
      fenceMs: 9000,
      memberTimeoutMs: 30_000,
    });
    assert.deepEqual(
      timing({ coordination: { preset: 'wan', detectionMs: 2000 }, replication: { memberTimeout: 5 } }),
      { preset: 'wan', detectionMs: 2000, fenceMs: 9000, memberTimeoutMs: 5000 },
    );
  });

  it('gives nodes of a read-only group no vote and no lead', () => {
    const plan = planGlobalCluster([
      ...groupsOf([1]),
      postgresGroup({ name: 'far', spec: { role: 'readOnly', instances: 1 } }),
    ]);
    const far = planNodesOf(plan).find(({ group }) => group === 'far');
    assert.deepEqual([far?.votes, far?.priority], [false, 0]);
  });

  it('marks what is not built yet', () => {
    const plan = planGlobalCluster([
      postgresGroup({ spec: { pooler: { type: 'pgpool' }, connectivity: { internodeTrafficStrategy: 'SplitDNS' } } }),
    ]);
    assert.deepEqual(
      plan.notBuilt.map(({ group, path }) => `${group} ${path}`),
      ['leo spec.connectivity.internodeTrafficStrategy', 'leo spec.pooler'],
    );
    assert.deepEqual(planGlobalCluster([postgresGroup()]).notBuilt, []);
  });

  it('warns of what may surprise', () => {
    const spec = {
      imageName: 'registry.example.com:5000/postgres@sha256:0123',
      connectivity: { tls: { mode: 'require' } },
      postgresql: {
        parameters: { statement_timeout: '1min', something_new: 'x' },
        pg_hba: ['hostssl app guest 10.0.0.0/8 trust'],
      },
    };
    assert.deepEqual(
      planGlobalCluster([postgresGroup({ spec })]).warnings.map(({ path }) => path),
      [
        'spec.imageName',
        'spec.connectivity.tls.mode',
        'spec.postgresql.parameters.statement_timeout',
        'spec.postgresql.parameters.something_new',
        'spec.postgresql.pg_hba[0]',
      ],
    );
  });

  it('reads the version of PostgreSQL from the image, unless the platform knows better', () => {
    const major = (imageName: string, postgresMajor?: number) =>
      planGlobalCluster([postgresGroup({ spec: { imageName } })], postgresMajor === undefined ? {} : { postgresMajor })
        .postgresMajor;
    assert.equal(major('postgres:17.2-bookworm'), 17);
    assert.equal(major('registry.example.com:5000/pg:v16@sha256:01'), 16);
    assert.equal(major('registry.example.com:5000/postgres'), 18);
    assert.equal(major('postgres:17', 15), 15);
  });
});
