/** The reference of PostgresGroup is made from its schema; a change there that is not in docs/reference is found here. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { suite, test } from 'node:test';
import { FINDINGS_PAGE, findingsPage } from '../../scripts/doctor-reference.ts';
import { referenceFiles } from '../../scripts/reference.ts';
import { type JsonSchema, postgresGroupJsonSchema } from '../../src/api/json-schema.ts';

const ROOT = resolve(import.meta.dirname, '../..');

/** Every path that docs/reference must have, whatever else changes: the contract of requirements A to G. */
const CONTRACT = `
instances imageName resources storage.size storage.storageClass storage.retain
globalCluster.name globalCluster.primaryGroup globalCluster.peers globalCluster.join globalCluster.discovery globalCluster.credentialsSecretRef
coordination.store coordination.preset coordination.detectionMs coordination.fenceMs
replication.minCopies replication.memberTimeout replication.scope role
bootstrap.database bootstrap.owner bootstrap.secretRef roles.name roles.attributes roles.secretRef enableSuperuserAccess
connectivity.nodeServiceTemplate.metadata.labels connectivity.nodeServiceTemplate.metadata.annotations
connectivity.nodeServiceTemplate.spec connectivity.nodeServiceTemplate.updateStrategy
connectivity.groupServiceTemplate connectivity.proxyServiceTemplate connectivity.proxyReadServiceTemplate
connectivity.dns.domain connectivity.dns.hostSuffix connectivity.dns.additional.domain connectivity.dns.additional.hostSuffix
connectivity.tls.mode connectivity.tls.serverCert.certManager.issuerRef connectivity.tls.serverCert.certManager.altDnsNames
connectivity.tls.serverCert.caCertSecret connectivity.tls.clientCert.certManager connectivity.tls.clientCert.caCertSecret
connectivity.tls.clientCert.preProvisioned.streamingReplica.secretRef
connectivity.internodeTrafficStrategy connectivity.clientTrafficStrategy
connectivity.splitDNS.extraRules.host connectivity.splitDNS.extraRules.result connectivity.splitDNS.extraRules.regex
connectivity.loadBalancer.enabled connectivity.loadBalancer.scope connectivity.loadBalancer.allowedIPs connectivity.loadBalancer.loadBalancerClass
postgresql.parameters postgresql.pg_hba postgresql.configMapRef
proxySettings.enableReadNodeRouting
pooler.type pooler.pgpool.env pooler.pgpool.configMapRef pooler.pgpool.parameters pooler.pgpool.backends
`
  .trim()
  .split(/\s+/);

suite('the reference of PostgresGroup', () => {
  for (const { path, text } of referenceFiles()) {
    test(`${path} is current (else: node scripts/reference.ts)`, async () => {
      assert.equal(await readFile(join(ROOT, path), 'utf8'), text);
    });
  }

  test(`${FINDINGS_PAGE} is current (else: npm run docs)`, async () => {
    assert.equal(await readFile(join(ROOT, FINDINGS_PAGE), 'utf8'), findingsPage());
  });

  test('has every path of the contract', () => {
    const spec = postgresGroupJsonSchema().properties?.spec ?? {};
    const missing = CONTRACT.filter((path) => fieldAt(spec, path.split('.')) === undefined);
    assert.deepEqual(missing, []);
  });

  test('describes every field', () => {
    const undescribed = fieldsOf(postgresGroupJsonSchema().properties?.spec ?? {}, 'spec').filter(
      ([, { description }]) => (description ?? '') === '',
    );
    assert.deepEqual(
      undescribed.map(([path]) => path),
      [],
    );
  });
});

function fieldAt(schema: JsonSchema, path: readonly string[]): JsonSchema | undefined {
  const [first, ...rest] = path;
  if (first === undefined) return schema;
  const field = (schema.items ?? schema).properties?.[first];
  return field === undefined ? undefined : fieldAt(field, rest);
}

function fieldsOf(schema: JsonSchema, path: string): [string, JsonSchema][] {
  return Object.entries((schema.items ?? schema).properties ?? {}).flatMap(([key, field]) => [
    [`${path}.${key}`, field],
    ...fieldsOf(field, `${path}.${key}`),
  ]);
}
