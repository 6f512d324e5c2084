import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { groupManifest } from '../../test/kit/manifests.ts';
import { problemLine } from './manifest-error.ts';
import { parsePostgresGroup } from './parse-manifest.ts';

/** Lines of what is refused; none if it is accepted. */
function refusal(manifest: unknown): string[] {
  const parsed = parsePostgresGroup(manifest, 'document 1');
  return parsed.kind === 'accepted' ? [] : parsed.problems.map(problemLine);
}

const refusalOf = (spec: Record<string, unknown>) => refusal(groupManifest({ spec }));

describe('a manifest', () => {
  it('needs a domain only', () => {
    const parsed = parsePostgresGroup({
      apiVersion: 'pgspan.io/v1alpha1',
      kind: 'PostgresGroup',
      metadata: { name: 'leo' },
      spec: { connectivity: { dns: { domain: 'db.example.com' } } },
    });
    assert.equal(parsed.kind, 'accepted');
    assert.equal(parsed.group.spec.instances, 3);
    assert.equal(parsed.group.spec.storage.size, '10Gi');
    assert.equal(parsed.group.spec.connectivity.tls.mode, 'verify-full');
    assert.equal(parsed.group.spec.connectivity.internodeTrafficStrategy, 'ServiceName');
    assert.equal(parsed.group.spec.connectivity.clientTrafficStrategy, 'FQDN');
    assert.equal(parsed.group.spec.proxySettings.enableReadNodeRouting, false);
    assert.equal(parsed.group.spec.enableSuperuserAccess, false);
  });

  it('may be what kubectl printed', () => {
    const manifest = groupManifest();
    const stored = {
      ...manifest,
      metadata: {
        name: 'leo',
        uid: '1',
        resourceVersion: '7',
        generation: 1,
        creationTimestamp: '2026-01-01T00:00:00Z',
        managedFields: [],
      },
      status: { conditions: [] },
    };
    assert.deepEqual(refusal(stored), []);
  });

  it('accepts "required" as the TLS mode, and means "require"', () => {
    const parsed = parsePostgresGroup(groupManifest({ spec: { connectivity: { tls: { mode: 'required' } } } }));
    assert.equal(parsed.kind === 'accepted' && parsed.group.spec.connectivity.tls.mode, 'require');
  });

  it('takes numbers, words and texts as values of settings', () => {
    const parsed = parsePostgresGroup(
      groupManifest({ spec: { postgresql: { parameters: { jit: false, work_mem: '8MB', max_connections: 50 } } } }),
    );
    assert.deepEqual(parsed.kind === 'accepted' && parsed.group.spec.postgresql.parameters, {
      jit: 'off',
      work_mem: '8MB',
      max_connections: '50',
    });
  });
});

describe('a refusal names the path, what was found and what would be accepted', () => {
  const cases: Record<string, [Record<string, unknown>, string]> = {
    'a mistyped field': [{ instnces: 3 }, 'leo: spec.instnces: there is no such field; did you mean "instances"?'],
    'a mistyped field deep inside': [
      { connectivity: { loadBalancer: { allowedIps: [] } } },
      'leo: spec.connectivity.loadBalancer.allowedIps: there is no such field; did you mean "allowedIPs"?',
    ],
    'a field of another section': [
      { storage: { memory: '1Gi' } },
      'leo: spec.storage.memory: there is no such field; accepted here: size, storageClass, retain',
    ],
    'a mistyped field in a list': [
      { roles: [{ name: 'a', attribute: [] }] },
      'leo: spec.roles[0].attribute: there is no such field; did you mean "attributes"?',
    ],
    'a wrong word': [
      { connectivity: { internodeTrafficStrategy: 'SplitDns' } },
      'leo: spec.connectivity.internodeTrafficStrategy: found "SplitDns"; accepted: "ServiceName", "FQDN", "SplitDNS"; did you mean "SplitDNS"?',
    ],
    'a text where a number belongs': [{ instances: 'three' }, 'leo: spec.instances: found "three"; accepted: a number'],
    'a broken number': [{ instances: 1.5 }, 'leo: spec.instances: found 1.5; accepted: a whole number'],
    'too few': [{ instances: -1 }, 'leo: spec.instances: found -1; accepted: at least 0'],
    'too many': [{ instances: 33 }, 'leo: spec.instances: found 33; accepted: at most 32'],
    'a list where a mapping belongs': [{ storage: [] }, 'leo: spec.storage: found a list of 0; accepted: a mapping'],
    'an empty section': [{ storage: null }, 'leo: spec.storage: found nothing (null); accepted: a mapping'],
    'an amount without a unit that we know': [
      { storage: { size: '10 GB' } },
      'leo: spec.storage.size: found "10 GB"; accepted: an amount of bytes such as "512Mi" or "10Gi"',
    ],
    'a length of time without a unit': [
      { replication: { memberTimeout: 'soon' } },
      'leo: spec.replication.memberTimeout: found "soon"; accepted: a length of time such as "30s", "1m30s" or "500ms", or a whole number of seconds',
    ],
    'a URL for a domain': [
      { connectivity: { dns: { domain: 'https://example.com' } } },
      'leo: spec.connectivity.dns.domain: found "https://example.com"; accepted: a domain such as "db.example.com": lower case, no final dot, no wildcard',
    ],
    'an unknown attribute of a role': [
      { roles: [{ name: 'a', attributes: ['CREATEDBS'] }] },
      'leo: spec.roles[0].attributes[0]: found "CREATEDBS"; accepted: "LOGIN", "NOLOGIN", "CREATEDB", "NOCREATEDB", "CREATEROLE", "NOCREATEROLE", "INHERIT", "NOINHERIT", "REPLICATION", "NOREPLICATION", "BYPASSRLS", "NOBYPASSRLS", "SUPERUSER", "NOSUPERUSER"; did you mean "CREATEDB"?',
    ],
    'a name that SQL would have to quote': [
      { bootstrap: { database: 'My App' } },
      'leo: spec.bootstrap.database: found "My App"; accepted: a PostgreSQL name of lower-case letters, digits and "_", not beginning with a digit',
    ],
    'an address that is none': [
      { connectivity: { loadBalancer: { allowedIPs: ['10.0.0.0/33'] } } },
      'leo: spec.connectivity.loadBalancer.allowedIPs[0]: found "10.0.0.0/33"; accepted: an address or a range such as "203.0.113.0/24"',
    ],
    'a URL with a path': [
      { coordination: { etcd: { endpoints: ['https://etcd-1.example.com:2379/v3'] } } },
      'leo: spec.coordination.etcd.endpoints[0]: found "https://etcd-1.example.com:2379/v3"; accepted: a URL such as "https://etcd-1.example.com:2379", without a path',
    ],
    'an impossible name of a setting': [
      { postgresql: { parameters: { 'work mem': '1MB' } } },
      'leo: spec.postgresql.parameters["work mem"]: found "1MB"; accepted: the name of a setting such as "work_mem"',
    ],
  };
  for (const [name, [spec, line]] of Object.entries(cases)) {
    it(name, () => assert.deepEqual(refusalOf(spec), [line]));
  }

  it('a missing domain', () => {
    const manifest = {
      apiVersion: 'pgspan.io/v1alpha1',
      kind: 'PostgresGroup',
      metadata: { name: 'leo' },
      spec: { connectivity: { dns: {} } },
    };
    assert.deepEqual(refusal(manifest), [
      'leo: spec.connectivity.dns.domain: it is missing; accepted: a text (Domain of the names of this group: the FQDN of a service is `<service><hostSuffix>.<domain>`)',
    ]);
  });

  it('another kind', () => {
    assert.deepEqual(refusal({ ...groupManifest(), kind: 'Postgres' }), [
      'leo: kind: found "Postgres"; accepted: "PostgresGroup"',
    ]);
  });

  it('a name that no Service may have', () => {
    assert.deepEqual(refusal(groupManifest({ name: 'Leo_1' })), [
      'Leo_1: metadata.name: found "Leo_1"; accepted: lower-case letters, digits and "-", beginning with a letter (it becomes part of DNS names)',
    ]);
    const long = 'x'.repeat(41);
    assert.deepEqual(refusal(groupManifest({ name: long })), [
      `${long}: metadata.name: found "${long}"; accepted: a name of at most 40 characters`,
    ]);
  });

  it('everything that is no manifest at all', () => {
    for (const value of [null, 1, 'text', [], true])
      assert.equal(refusal(value)[0]?.startsWith('document 1: manifest: found'), true, String(value));
  });

  it('all problems at once', () => {
    assert.equal(refusalOf({ instances: 'x', storage: { size: 'y' }, role: 'z' }).length, 3);
  });
});
