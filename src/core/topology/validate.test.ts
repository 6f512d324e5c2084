import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type GroupFields, postgresGroup } from '../../../test/kit/manifests.ts';
import { ManifestError, problemLine } from '../../api/manifest-error.ts';
import { findProblems, validateGroups } from './validate.ts';

function problemsOf(...fields: GroupFields[]): string[] {
  return findProblems(fields.map(postgresGroup)).map(problemLine);
}

const leo = (spec: Record<string, unknown>): string[] => problemsOf({ name: 'leo', spec });
const certManager = { issuerRef: { name: 'ca' } };
const oneNode = { instances: 1 };
const preferring = (preferredLeader: Record<string, unknown>) => ({ globalCluster: { preferredLeader } });

describe('names', () => {
  const collisions: [names: string[], line: RegExp][] = [
    [['leo', 'leo'], /^leo: metadata.name: two groups are called "leo"/],
    [['leo', 'leo-r'], /^leo-r: metadata.name: "leo-r" is also the read service of group "leo"/],
    [['leo-r', 'leo'], /^leo-r: metadata.name: "leo-r" is also the read service of group "leo"/],
    [['leo', 'leo-1'], /^leo-1: metadata.name: "leo-1" is also a node of group "leo"/],
    [['leo', 'leo-17'], /^leo-17: .* a node of group "leo"/],
    [['leo', 'leo-group'], /the discovery service/],
    [['leo', 'leo-pods'], /the headless service/],
    [['leo', 'leo-pooler'], /the pooler/],
    [['leo', 'leo-proxy'], /the proxies/],
    [['leo', 'leo-proxy-2'], /the proxies/],
    [
      ['leo', 'orders-r'],
      /^orders-r: metadata.name: "orders-r" is also the global read service of the global cluster "orders"/,
    ],
    [['leo', 'orders-record'], /the record's server/],
    [['leo', 'orders'], /^orders: spec.globalCluster.name: found "orders", which is the name of this group/],
  ];
  for (const [names, line] of collisions) {
    it(`${names.join(' and ')} collide`, () => {
      assert.match(problemsOf(...names.map((name) => ({ name, spec: oneNode })))[0] ?? '', line);
    });
  }

  it('may share a beginning', () => {
    assert.deepEqual(
      problemsOf(
        { name: 'leo', spec: oneNode },
        { name: 'leo-east', spec: oneNode },
        { name: 'leonard', spec: oneNode },
      ),
      [],
    );
  });

  it('of the global cluster may not be a service of a group', () => {
    const spec = { globalCluster: { name: 'leo-r' } };
    assert.match(leo(spec)[0] ?? '', /^leo: spec.globalCluster.name: "leo-r" is also the read service of group "leo"/);
  });

  it('of one global cluster stand in one load', () => {
    const lines = problemsOf({ name: 'leo' }, { name: 'ait', spec: { globalCluster: { name: 'stock' } } });
    assert.match(lines[0] ?? '', /^ait: spec.globalCluster.name: found "stock", and group "leo" has "orders"/);
  });

  it('must be host names with their suffix', () => {
    const dns = (hostSuffix: string) => leo({ connectivity: { dns: { hostSuffix } } });
    assert.deepEqual(dns('-west'), []);
    assert.deepEqual(dns('.west'), []);
    assert.match(
      dns('..west')[0] ?? '',
      /^leo: spec.connectivity.dns.hostSuffix: the name "leo-3..west.db.example.com" is no host name/,
    );
    assert.match(dns('-'.repeat(50).concat('x'.repeat(12)))[0] ?? '', /is no host name/);
  });
});

describe('what holds for the whole global cluster', () => {
  const shared: [path: string, one: Record<string, unknown>, other: Record<string, unknown>][] = [
    ['coordination.preset', { coordination: { preset: 'lan' } }, { coordination: { preset: 'wan' } }],
    ['coordination.detectionMs', { coordination: { detectionMs: 1000 } }, { coordination: { detectionMs: 2000 } }],
    ['coordination.store', { coordination: { store: 'etcd' } }, { coordination: { store: 'local' } }],
    ['replication.minCopies', { replication: { minCopies: 1 } }, { replication: { minCopies: 2 } }],
    ['replication.memberTimeout', { replication: { memberTimeout: '10s' } }, { replication: { memberTimeout: '20s' } }],
    ['replication.scope', { replication: { scope: 'global' } }, { replication: { scope: 'group' } }],
    ['bootstrap.owner', { bootstrap: { owner: 'a' } }, { bootstrap: { owner: 'b' } }],
    [
      'globalCluster.primaryGroup',
      { globalCluster: { primaryGroup: 'leo' } },
      { globalCluster: { primaryGroup: 'ait' } },
    ],
    ['globalCluster.preferredLeader.name', preferring({ name: 'leo' }), preferring({ name: 'ait-1' })],
    [
      'globalCluster.preferredLeader.switchBack',
      preferring({ name: 'leo', switchBack: 'Never' }),
      preferring({ name: 'leo', switchBack: 'WhenHealthy' }),
    ],
    [
      'globalCluster.preferredLeader.after',
      preferring({ name: 'leo', after: '10m' }),
      preferring({ name: 'leo', after: '5m' }),
    ],
  ];
  for (const [path, one, other] of shared) {
    it(`may not differ: ${path}`, () => {
      const lines = problemsOf({ name: 'leo', spec: one }, { name: 'ait', spec: other });
      assert.match(lines[0] ?? '', new RegExp(`^ait: spec.${path}: found .*, and group "leo" has `));
      assert.deepEqual(problemsOf({ name: 'leo', spec: one }, { name: 'ait' }), []);
    });
  }

  it('needs the same major version of PostgreSQL', () => {
    const lines = problemsOf({ name: 'leo', spec: { imageName: 'postgres:17.2' } }, { name: 'ait' });
    assert.equal(
      lines[0],
      'ait: spec.imageName: found PostgreSQL 18 ("postgres:18"), and group "leo" has 17; streaming replication needs the same major version everywhere',
    );
  });

  it('needs somebody who may lead', () => {
    assert.match(
      problemsOf({ name: 'leo', spec: { instances: 0 } }, { name: 'ait', spec: { role: 'readOnly' } })[0] ?? '',
      /^leo: spec.instances: no node may lead: group "leo" has no nodes, group "ait" is read-only/,
    );
    assert.match(leo({ coordination: { priority: 0 } })[0] ?? '', /no node may lead: group "leo" has priority 0/);
  });

  it('names a primary group that is there and may lead', () => {
    const lines = problemsOf({ name: 'leo', spec: { globalCluster: { primaryGroup: 'aitt' } } }, { name: 'ait' });
    assert.equal(
      lines[0],
      'leo: spec.globalCluster.primaryGroup: found "aitt", and there is no such group; did you mean "ait"?',
    );
    assert.match(
      problemsOf(
        { name: 'leo', spec: { globalCluster: { primaryGroup: 'ait' } } },
        { name: 'ait', spec: { instances: 0 } },
      )[0] ?? '',
      /found "ait", which has no nodes/,
    );
  });

  it('may have its primary group in another cluster that is to be joined', () => {
    assert.deepEqual(leo({ globalCluster: { primaryGroup: 'ait', peers: [{ group: 'ait' }] } }), []);
  });

  it('may have its preferred leader in a node or a group that may lead, and in no other', () => {
    const ait = (spec: Record<string, unknown> = {}) => ({ name: 'ait', spec });
    const found = (name: string, spec: Record<string, unknown> = {}) =>
      problemsOf({ name: 'leo', spec: preferring({ name }) }, ait(spec))[0] ?? '';
    for (const name of ['leo', 'leo-3', 'ait', 'ait-1']) assert.equal(found(name), '');
    const path = 'leo: spec.globalCluster.preferredLeader.name:';
    const other = 'name a node or a group that may lead';
    assert.equal(found('aitt-1'), `${path} found "aitt-1", and there is no such node or group; did you mean "ait-1"?`);
    assert.equal(
      found('ait-4'),
      `${path} found "ait-4", and group "ait" has 3 nodes; accepted: "ait-1" to "ait-3", or the group`,
    );
    assert.equal(found('ait', { instances: 0 }), `${path} found "ait", which has no nodes; ${other}`);
    assert.equal(found('ait-1', { instances: 0 }), `${path} found "ait-1", and group "ait" has 0 nodes; ${other}`);
    assert.equal(
      found('ait-1', { role: 'readOnly' }),
      `${path} found "ait-1", a node of group "ait", which is read-only; ${other}`,
    );
    assert.equal(
      found('ait', { coordination: { priority: 0 } }),
      `${path} found "ait", which has priority 0; ${other}`,
    );
  });

  it('may have its preferred leader in another cluster that is not known yet', () => {
    const globalCluster = { preferredLeader: { name: 'ait-1' }, primaryGroup: 'leo', peers: [{ group: 'ait' }] };
    assert.deepEqual(leo({ globalCluster }), []);
  });

  it('has relays with commits over all groups only', () => {
    const relay = { replication: { relay: true } };
    assert.deepEqual(problemsOf({ name: 'leo' }, { name: 'ait', spec: relay }), []);
    assert.match(
      problemsOf({ name: 'leo', spec: { replication: { scope: 'group' } } }, { name: 'ait', spec: relay })[0] ?? '',
      /^ait: spec.replication.relay: found true, and spec.replication.scope is "group"; accepted: with scope "global"/,
    );
    assert.match(
      problemsOf({ name: 'leo', spec: { replication: { relay: true, minCopies: 2 } } })[0] ?? '',
      /found 2, and the global cluster has 1 voting node;/,
    );
  });

  it('asks for no more copies than there are voting nodes', () => {
    assert.match(
      leo({ replication: { minCopies: 4 } })[0] ?? '',
      /^leo: spec.replication.minCopies: found 4, and the global cluster has 3 voting nodes; accepted: at most 3/,
    );
    const spec = { instances: 1, replication: { minCopies: 2, scope: 'group' } };
    assert.match(
      problemsOf({ name: 'leo', spec }, { name: 'ait', spec })[0] ?? '',
      /the smallest group has 1 voting node;/,
    );
  });

  it('holds at most 32 nodes', () => {
    assert.match(
      problemsOf({ name: 'leo', spec: { instances: 20 } }, { name: 'ait', spec: { instances: 13 } })[0] ?? '',
      /all groups together have 33 nodes; accepted: at most 32/,
    );
  });

  it('fences later than it detects', () => {
    assert.match(
      leo({ coordination: { detectionMs: 3000 } })[0] ?? '',
      /^leo: spec.coordination.fenceMs: the fence is 3000 ms and the detection 3000 ms/,
    );
  });
});

describe('contradictions in one manifest', () => {
  const table: Record<string, [spec: Record<string, unknown>, line: RegExp]> = {
    'rules for a resolver that is not there': [
      { connectivity: { splitDNS: { extraRules: [{ host: 'a', result: '10.0.0.1' }] } } },
      /spec.connectivity.splitDNS.extraRules: found 1, and the servers use ServiceName/,
    ],
    'a rule that is no expression': [
      {
        connectivity: {
          internodeTrafficStrategy: 'SplitDNS',
          splitDNS: { extraRules: [{ host: '(', result: '10.0.0.1', regex: true }] },
        },
      },
      /extraRules\[0\].host: found "\("; accepted: a regular expression/,
    ],
    'an expression that is not marked as one': [
      {
        connectivity: {
          internodeTrafficStrategy: 'SplitDNS',
          splitDNS: { extraRules: [{ host: 'a-[0-9]+', result: '10.0.0.1' }] },
        },
      },
      /extraRules\[0\].host: .*set regex: true/,
    ],
    'a rule that uses a group that it lacks': [
      {
        connectivity: {
          internodeTrafficStrategy: 'SplitDNS',
          splitDNS: { extraRules: [{ host: 'a-([0-9])', result: 'b-${2}', regex: true }] },
        },
      },
      /extraRules\[0\].result: found \$\{2\}, and the expression has 1 groups/,
    ],
    'limits of a load balancer that is not there': [
      { connectivity: { loadBalancer: { allowedIPs: ['10.0.0.0/8'] } } },
      /loadBalancer.allowedIPs: found 1, and load balancers are not enabled/,
    ],
    'two sources of one certificate': [
      {
        connectivity: {
          tls: {
            clientCert: {
              certManager,
              preProvisioned: { streamingReplica: { secretRef: { name: 'x' } } },
              caCertSecret: 'ca',
            },
          },
        },
      },
      /tls.clientCert: found both/,
    ],
    'a foreign client certificate that nobody trusts': [
      { connectivity: { tls: { clientCert: { preProvisioned: { streamingReplica: { secretRef: { name: 'x' } } } } } } },
      /tls.clientCert.caCertSecret: it is missing/,
    ],
    'a CA without certificates': [
      { connectivity: { tls: { serverCert: { caCertSecret: 'ca' } } } },
      /tls.serverCert.caCertSecret: found "ca" without certManager/,
    ],
    'names of Services under a public CA': [
      { connectivity: { tls: { serverCert: { certManager: { ...certManager, names: 'public' } } } } },
      /certManager.names: found "public", and spec.connectivity.internodeTrafficStrategy is "ServiceName"; .*SplitDNS/,
    ],
    'an entry certificate from nowhere': [
      { connectivity: { tls: { entryCert: {} } } },
      /tls.entryCert: found neither of certManager and secretRef/,
    ],
    'a database that PostgreSQL makes': [
      { bootstrap: { database: 'template1' } },
      /spec.bootstrap.database: found "template1"/,
    ],
    'an owner that is reserved': [
      { bootstrap: { owner: 'streaming_replica' } },
      /spec.bootstrap.owner: found "streaming_replica", which is reserved/,
    ],
    'a role that is reserved': [
      { roles: [{ name: 'pg_monitor' }] },
      /spec.roles\[0\].name: found "pg_monitor", which is reserved/,
    ],
    'a role twice': [{ roles: [{ name: 'a' }, { name: 'a' }] }, /spec.roles\[1\].name: "a" is there twice/],
    'a role for the owner': [{ roles: [{ name: 'app' }] }, /found "app", which is the owner of the database/],
    'opposite attributes': [
      { roles: [{ name: 'a', attributes: ['login', 'nologin'] }] },
      /spec.roles\[0\].attributes: found both LOGIN and NOLOGIN/,
    ],
    'a superuser who may not log in': [
      { roles: [{ name: 'a', attributes: ['SUPERUSER'] }] },
      /set spec.enableSuperuserAccess: true/,
    ],
    'two ways to join': [
      { globalCluster: { peers: [{ group: 'ait' }], discovery: ['ait.example.com'] } },
      /spec.globalCluster: found peers and discovery/,
    ],
    'itself as a peer': [
      { globalCluster: { peers: [{ group: 'leo' }] } },
      /spec.globalCluster.peers: found "leo", which is this group/,
    ],
    'etcd endpoints for another store': [
      { coordination: { etcd: { endpoints: ['https://a:2379'] } } },
      /spec.coordination.etcd: found endpoints, and the store is "platform"/,
    ],
    'a lag that cannot be': [
      { replication: { maximumLag: '1Mi' } },
      /spec.replication.maximumLag: found 1Mi, and the scope is "global"/,
    ],
    'more requested than allowed': [
      { resources: { requests: { memory: '2Gi' }, limits: { memory: '1Gi' } } },
      /spec.resources.requests.memory: found 2Gi, and the limit is 1Gi/,
    ],
    'a volume that holds nothing': [
      { storage: { size: '100Mi' } },
      /spec.storage.size: found 100Mi; accepted: at least 256Mi/,
    ],
    'a pooler on a service that is off': [
      { pooler: { type: 'pgpool', pgpool: { backends: 'services' } } },
      /spec.pooler.pgpool.backends: found "services", and there is no read service/,
    ],
    'a setting of ours': [
      { postgresql: { parameters: { fsync: false } } },
      /spec.postgresql.parameters.fsync: this setting belongs to pgspan/,
    ],
    'a broken access rule': [
      { postgresql: { pg_hba: ['host all all all trust'] } },
      /spec.postgresql.pg_hba\[0\]: "host" would let in connections without TLS/,
    ],
    'a template that selects other pods': [
      { connectivity: { proxyServiceTemplate: { spec: { selector: { app: 'x' } } } } },
      /spec.connectivity.proxyServiceTemplate.spec.selector: found \{"app":"x"\}/,
    ],
    'a template with a wrong placeholder': [
      { connectivity: { proxyServiceTemplate: { metadata: { annotations: { a: '{fqnd}' } } } } },
      /proxyServiceTemplate.metadata.annotations\["a"\]: found the placeholder "\{fqnd\}".*did you mean "\{fqdn\}"\?/,
    ],
  };
  for (const [name, [spec, line]] of Object.entries(table)) {
    it(name, () => {
      const lines = leo(spec);
      assert.match(lines[0] ?? 'accepted', line);
      assert.match(lines[0] ?? '', /^leo: spec\./);
    });
  }

  it('a witness that should do more than witness', () => {
    const lines = problemsOf(
      { name: 'leo' },
      { name: 'pit', spec: { instances: 0, role: 'readOnly', roles: [{ name: 'a' }] } },
    );
    assert.deepEqual(
      lines.map((line) => line.split(': ')[1]),
      ['spec.role', 'spec.roles'],
    );
  });
});

describe('validateGroups', () => {
  it('throws all problems as one error that says what to do', () => {
    const groups = [postgresGroup({ spec: { storage: { size: '1Mi' }, bootstrap: { owner: 'postgres' } } })];
    assert.throws(
      () => validateGroups(groups, { source: 'leo.yaml' }),
      (error) => {
        assert(error instanceof ManifestError);
        assert.equal(error.code, 'MANIFEST_INVALID');
        assert.equal(error.kind, 'usage');
        assert.equal(error.problems.length, 2);
        assert.match(error.message, /^Cannot accept "leo.yaml": 2 problems\n {2}- leo: spec.storage.size: /);
        return true;
      },
    );
  });

  it('says nothing of a good set-up', () => {
    validateGroups([postgresGroup()]);
  });
});
