import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { createReloadableTls } from '../../base/mutual-tls.ts';
import { parseSubjectAltNames } from '../../base/spiffe-identity.ts';
import type { WantedCertificate } from '../../core/certificates/decide-certificates.ts';
import { type CertificateFolder, maintainCertificateFolder } from './certificate-folder.ts';

const DAY_MS = 86_400_000;
const NOW = new Date();

let pki: TestPki;
let other: TestPki;
before(async () => {
  [pki, other] = [await createTestPki(), await createTestPki({ group: 'ait' })];
});
after(async () => {
  await pki[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

const tlsOf = (dnsNames: string[]): WantedCertificate => ({
  name: 'tls',
  request: {
    commonName: 'leo-1',
    dnsNames,
    ipAddresses: ['127.0.0.1', '::1'],
    uris: ['spiffe://orders/leo/leo-1'],
    usages: ['server', 'client'],
    lifetimeMs: 90 * DAY_MS,
  },
});
const replication: WantedCertificate = {
  name: 'replication',
  request: {
    commonName: 'streaming_replica',
    dnsNames: [],
    ipAddresses: [],
    uris: [],
    usages: ['client'],
    lifetimeMs: 90 * DAY_MS,
  },
};

function genOptions(folder: string, overrides: Partial<CertificateFolder> = {}): CertificateFolder {
  return {
    folder: join(pki.folder, folder),
    wanted: [tlsOf(['leo-1']), replication],
    source: pki.ca,
    bundle: [pki.ca.authorityPem, other.ca.authorityPem],
    ...overrides,
  };
}

const codesOf = (result: Awaited<ReturnType<typeof maintainCertificateFolder>>): string[] =>
  result.decisions.map(({ name, reason }) => `${name} ${reason.code}`);

test('makes what is missing, then keeps it; programs can load it', async () => {
  const options = genOptions('fresh');
  const first = await maintainCertificateFolder(options, NOW);
  assert.deepEqual(codesOf(first), ['tls Missing', 'replication Missing']);
  assert.equal(first.changed, true);
  const second = await maintainCertificateFolder(options, NOW);
  assert.deepEqual(codesOf(second), ['tls Current', 'replication Current']);
  assert.equal(second.changed, false);
  const tls = await createReloadableTls({
    certFile: join(options.folder, 'tls.crt'),
    keyFile: join(options.folder, 'tls.key'),
    caFile: join(options.folder, 'ca.crt'),
  });
  assert.equal(tls.loaded.identity?.name, 'leo-1');
  assert.equal(tls.loaded.caFingerprints.length, 2);

  await maintainCertificateFolder({ ...options, wanted: [tlsOf(['leo-1', 'orders']), replication] }, NOW);
  assert.equal(await tls.reload(), true);
});

test('renews only what is due, and replaces its key with it', async () => {
  const options = genOptions('renewal');
  await maintainCertificateFolder(options, NOW);
  const read = (name: string) => readFile(join(options.folder, name), 'utf8');
  const before = { tls: await read('tls.key'), replication: await read('replication.key') };
  const renamed = await maintainCertificateFolder({ ...options, wanted: [tlsOf(['leo-1', 'new']), replication] }, NOW);
  assert.deepEqual(codesOf(renamed), ['tls NamesDiffer', 'replication Current']);
  assert.notEqual(await read('tls.key'), before.tls);
  assert.equal(await read('replication.key'), before.replication);

  const wanted = [tlsOf(['leo-1', 'new']), replication];
  const later = await maintainCertificateFolder({ ...options, wanted }, new Date(NOW.getTime() + 61 * DAY_MS));
  assert.deepEqual(codesOf(later), ['tls ExpiresSoon', 'replication ExpiresSoon']);
});

test('a new CA reissues every leaf; a new bundle alone reissues none', async () => {
  const options = genOptions('authority');
  await maintainCertificateFolder(options, NOW);
  const bundled = await maintainCertificateFolder({ ...options, bundle: [pki.ca.authorityPem] }, NOW);
  assert.deepEqual(codesOf(bundled), ['tls Current', 'replication Current']);
  assert.equal(bundled.changed, true);
  const resigned = await maintainCertificateFolder({ ...options, source: other.ca }, NOW);
  assert.deepEqual(codesOf(resigned), ['tls SignedByOldAuthority', 'replication SignedByOldAuthority']);
});

test('damaged files and a key of another certificate are replaced', async () => {
  const options = genOptions('damaged');
  await maintainCertificateFolder(options, NOW);
  await writeFile(join(options.folder, 'tls.crt'), 'garbage');
  await writeFile(join(options.folder, 'replication.key'), await readFile(join(options.folder, 'tls.key')));
  const result = await maintainCertificateFolder(options, NOW);
  assert.deepEqual(codesOf(result), ['tls Unreadable', 'replication KeyMismatch']);
  assert.deepEqual(codesOf(await maintainCertificateFolder(options, NOW)), ['tls Current', 'replication Current']);
});

test('keys are for their owner alone', needs('root'), async () => {
  const options = genOptions('owned', { owner: { uid: 65534, gid: 65534 } });
  await maintainCertificateFolder(options, NOW);
  for (const name of ['tls.key', 'tls.crt', 'ca.crt', 'replication.key']) {
    const { uid, mode } = await stat(join(options.folder, name));
    assert.equal(uid, 65534, name);
    assert.equal(mode & 0o777, 0o600, name);
  }
});

test('keeps names of a former domain for a week, as its certificates themselves say', async () => {
  const ofDomain = (domain: string) => [tlsOf(['leo-1', 'leo-1.db.svc', `leo-1.${domain}`, `orders.${domain}`])];
  const options = genOptions('former', { wanted: ofDomain('old.example.com') });
  await maintainCertificateFolder(options, NOW);
  const changed = { ...options, wanted: ofDomain('new.example.com') };
  const namesAt = async (days: number): Promise<[names: string[], code: string | undefined]> => {
    const { decisions } = await maintainCertificateFolder(changed, new Date(NOW.getTime() + days * DAY_MS));
    const { subjectAltName } = new X509Certificate(await readFile(join(options.folder, 'tls.crt')));
    return [parseSubjectAltNames(subjectAltName ?? '', 'DNS'), decisions[0]?.reason.code];
  };
  const wanted = ['leo-1', 'leo-1.db.svc', 'leo-1.new.example.com', 'orders.new.example.com'];
  // 'orders' is no name of this certificate, so nobody can know that it was a service of ours.
  const both = ['leo-1.old.example.com', ...wanted];
  assert.deepEqual(await namesAt(20), [both, 'NamesDiffer']);
  assert.deepEqual(await namesAt(26), [both, 'Current']);
  assert.deepEqual(await namesAt(28), [wanted, 'NamesDiffer']);
  assert.deepEqual(await namesAt(29), [wanted, 'Current']);
});
