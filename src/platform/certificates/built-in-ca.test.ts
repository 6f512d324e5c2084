/** What other programs make of our certificates: OpenSSL's strict check, and PostgreSQL with verify-full on both sides. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { createTlsPostgresKit, type TlsPostgresKit } from '../../../test/kit/tls-postgres.ts';
import { CLOCK_SKEW_MS, type CertificateRequest } from '../../core/certificates/certificate-request.ts';
import { createBuiltInCa, loadBuiltInCa } from './built-in-ca.ts';
import { observeCertificate } from './observe-certificate.ts';

const HOUR_MS = 3_600_000;

function genRequest(overrides: Partial<CertificateRequest> = {}): CertificateRequest {
  return {
    commonName: 'leo-1',
    dnsNames: ['leo-1', 'leo-1.leo.example'],
    ipAddresses: [],
    uris: ['spiffe://orders/leo/leo-1'],
    usages: ['server', 'client'],
    lifetimeMs: HOUR_MS,
    ...overrides,
  };
}

describe('the built-in CA', () => {
  let pki: TestPki;
  before(async () => {
    pki = await createTestPki();
  });
  after(() => pki[Symbol.asyncDispose]());

  const openssl = (...words: string[]): string => execFileSync('openssl', words, { encoding: 'utf8' });

  test('leaf and CA pass the strict check of OpenSSL for both purposes', needs('openssl'), async () => {
    const { certFile, keyFile } = await pki.issue('strict');
    for (const purpose of ['sslserver', 'sslclient']) {
      assert.match(openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', pki.caFile, certFile), /OK/);
    }
    assert.match(openssl('verify', '-x509_strict', '-CAfile', pki.caFile, pki.caFile), /OK/);
    assert.match(openssl('pkey', '-in', keyFile, '-noout', '-text'), /P-256/);
    const text = openssl('x509', '-in', certFile, '-noout', '-text');
    assert.match(text, /CA:FALSE/);
    assert.match(text, /Digital Signature\n/);
    assert.match(
      openssl('x509', '-in', pki.caFile, '-noout', '-text'),
      /CA:TRUE, pathlen:0[^]*Certificate Sign, CRL Sign/,
    );
  });

  test('every name comes back as it was asked for, two hundred of them and IPv6 among them', async () => {
    const request = genRequest({
      dnsNames: Array.from({ length: 200 }, (_, index) => `node-${index}.${'long-label'.repeat(5)}.leo.example`),
      ipAddresses: ['127.0.0.1', '::1', 'fd00::12:1', '2001:db8::ff00:42:8329'],
    });
    const certificate = new X509Certificate((await pki.ca.issue(request, new Date())).certPem);
    for (const name of request.dnsNames) assert.ok(certificate.checkHost(name), name);
    for (const address of request.ipAddresses) assert.ok(certificate.checkIP(address), address);
    assert.ok(!certificate.checkHost('leo-1'), 'with SANs the common name counts no more');
    assert.ok(!certificate.checkIP('127.0.0.2'));
  });

  test('serial numbers are positive, random and of full length', async () => {
    const serials = new Set<string>();
    for (let count = 0; count < 20; count++) {
      const { serialNumber } = new X509Certificate((await pki.ca.issue(genRequest(), new Date())).certPem);
      assert.match(serialNumber, /^[4-7][0-9A-F]{31}$/);
      serials.add(serialNumber);
    }
    assert.equal(serials.size, 20);
  });

  test('a leaf is valid from a little before its making, and no longer than its CA', async () => {
    const now = new Date(Math.floor(Date.now() / 1000) * 1000);
    const ca = await createBuiltInCa({ globalCluster: 'orders', group: 'leo', now, lifetimeMs: 10 * HOUR_MS });
    const authority = new X509Certificate(ca.authorityPem);
    const early = new X509Certificate((await ca.issue(genRequest(), now)).certPem);
    assert.equal(early.validFromDate.getTime(), now.getTime() - CLOCK_SKEW_MS);
    assert.equal(early.validToDate.getTime(), now.getTime() + HOUR_MS);
    const late = new X509Certificate((await ca.issue(genRequest({ lifetimeMs: 99 * HOUR_MS }), now)).certPem);
    assert.equal(late.validToDate.getTime(), authority.validToDate.getTime());
    await assert.rejects(ca.issue(genRequest(), new Date(now.getTime() + 11 * HOUR_MS)), {
      code: 'CA_EXPIRED',
      message: /^Cannot issue a certificate for "leo-1": the CA ".*orders\/leo CA.*" expired at /,
    });
  });

  test('a CA comes back from its files, and only with its own key', async () => {
    const again = await loadBuiltInCa({ certPem: pki.ca.authorityPem, keyPem: pki.ca.keyPem });
    const leaf = new X509Certificate((await again.issue(genRequest(), new Date())).certPem);
    assert.ok(leaf.verify(new X509Certificate(pki.ca.authorityPem).publicKey));
    const other = await createBuiltInCa({ globalCluster: 'orders', group: 'leo', now: new Date() });
    const cases: [certPem: string, keyPem: string, message: RegExp][] = [
      [pki.ca.authorityPem, other.keyPem, /its key and its certificate differ/],
      [(await again.issue(genRequest(), new Date())).certPem, pki.ca.keyPem, /is not that of a CA/],
      ['nothing', pki.ca.keyPem, /^Cannot load the CA: /],
    ];
    for (const [certPem, keyPem, message] of cases) {
      await assert.rejects(loadBuiltInCa({ certPem, keyPem }), { code: 'CA_INVALID', message });
    }
  });

  test('a CA with a long name of its cluster and group is still within the limit, and distinct', async () => {
    const names = await Promise.all(
      ['x', 'y'].map(async (last) => {
        const ca = await createBuiltInCa({
          globalCluster: 'o'.repeat(63),
          group: `${'g'.repeat(62)}${last}`,
          now: new Date(),
        });
        return new X509Certificate(ca.authorityPem).subject.split('CN=')[1] as string;
      }),
    );
    assert.ok(
      names.every((name) => Buffer.byteLength(name) <= 64),
      names.join(' '),
    );
    assert.notEqual(names[0], names[1]);
  });

  const refused: [title: string, request: Partial<CertificateRequest>, message: RegExp][] = [
    [
      'a common name of 65 bytes',
      { commonName: 'é'.repeat(32) + 'x' },
      /its common name has 65 bytes, 1 to 64 are allowed/,
    ],
    ['an empty common name', { commonName: '' }, /has 0 bytes/],
    ['no usage', { usages: [] }, /has no usage/],
    ['no lifetime', { lifetimeMs: 0 }, /its lifetime is 0 ms/],
    ['a space in a DNS name', { dnsNames: ['leo 1'] }, /"leo 1" is no DNS name/],
    ['an address as a DNS name', { dnsNames: ['10.0.0.1'] }, /"10.0.0.1" is no DNS name/],
    ['a name as an address', { ipAddresses: ['leo-1'] }, /"leo-1" is no IP address/],
    ['a URI with a line feed', { uris: ['spiffe://orders/leo/leo-1\n'] }, /is no URI/],
  ];
  for (const [title, request, message] of refused) {
    test(`refuses ${title}`, async () => {
      await assert.rejects(pki.ca.issue(genRequest(request), new Date()), {
        code: 'CERTIFICATE_REQUEST_INVALID',
        message,
      });
    });
  }

  test('of two CAs with the same name, the one that signed is found', async () => {
    await using twin = await createTestPki();
    const files = await twin.issue('leo-1');
    const found = await observeCertificate(files, [pki.ca.authorityPem, twin.ca.authorityPem]);
    assert.ok(found.kind === 'present' && found.authority === new X509Certificate(twin.ca.authorityPem).fingerprint256);
    const none = await observeCertificate(files, [pki.ca.authorityPem]);
    assert.ok(none.kind === 'present' && none.authority === null);
  });
});

describe('PostgreSQL with certificates of the built-in CA', needs('postgres', 'psql', 'loopback'), () => {
  const ADDRESS = '127.61.5.1';
  let pki: TestPki;
  let twin: TestPki;
  let kit: TlsPostgresKit;
  let bundle: string;
  before(async () => {
    // Two CAs of one name, both in the bundle, the wrong one first.
    [twin, pki] = [await createTestPki(), await createTestPki()];
    bundle = join(pki.folder, 'bundle.crt');
    await writeFile(bundle, twin.ca.authorityPem + pki.ca.authorityPem);
    kit = createTlsPostgresKit(pki);
    execFileSync('chmod', ['755', pki.folder]);
    const server = await kit.start({
      name: 'leo-1',
      address: ADDRESS,
      dnsNames: ['orders'],
      settings: { ssl_ca_file: bundle },
    });
    server.stop('fast');
    await writeFile(
      join(kit.folder, 'leo-1/pg_hba.conf'),
      'local all postgres trust\nhostssl all streaming_replica all cert\nhostssl all all all scram-sha-256 clientcert=verify-full\n',
    );
    await server.start();
    asSuperuser('create role streaming_replica login replication');
  });
  after(async () => {
    kit?.close();
    await twin[Symbol.asyncDispose]();
    await pki[Symbol.asyncDispose]();
  });

  const asSuperuser = (sql: string): void => {
    const words = ['-h', join(kit.folder, 'leo-1'), '-U', 'postgres', '-d', 'postgres', '-c', sql];
    execFileSync('psql', words, { stdio: ['ignore', 'ignore', 'inherit'] });
  };
  const run = promisify(execFile);
  const connect = async (options: { host?: string; files: { certFile: string; keyFile: string }; root?: string }) => {
    const conninfo = `host=${options.host ?? 'orders'} hostaddr=${ADDRESS} dbname=postgres user=streaming_replica sslmode=verify-full sslrootcert=${options.root ?? bundle} sslcert=${options.files.certFile} sslkey=${options.files.keyFile}`;
    const { stdout } = await run('psql', [
      '-XAtw',
      conninfo,
      '-c',
      'select ssl and client_dn is not null from pg_stat_ssl where pid = pg_backend_pid()',
    ]);
    return stdout.trim();
  };
  const replication = { dnsNames: [], ipAddresses: [], uris: [], usages: ['client'] as const };

  test('client and server verify each other in full, by name and by address', async () => {
    const files = await pki.issue('streaming_replica', replication);
    assert.equal(await connect({ files }), 't');
    assert.equal(await connect({ files, host: 'leo-1' }), 't');
    assert.equal(await connect({ files, host: ADDRESS }), 't');
  });

  test('a client of another group, whose CA is in the bundle, is let in', async () => {
    const files = await twin.issue('streaming_replica', replication);
    assert.equal(await connect({ files }), 't');
  });

  test('a wrong host name, a foreign CA, another user and an expired certificate are refused', async () => {
    const files = await pki.issue('streaming_replica', replication);
    await assert.rejects(connect({ files, host: 'ait-1' }), /does not match host name "ait-1"/);
    await using foreign = await createTestPki({ group: 'foreign' });
    await assert.rejects(connect({ files, root: foreign.caFile }), /certificate verify failed/);
    await assert.rejects(
      connect({ files: await foreign.issue('streaming_replica', replication) }),
      /unknown ca|certificate/i,
    );
    await assert.rejects(
      connect({ files: await pki.issue('leo-9', { usages: ['client'] }) }),
      /certificate authentication failed/,
    );
    const past = new Date(Date.now() - 86_400_000);
    await using old = await createTestPki({ now: past });
    const everything = join(pki.folder, 'bundle.crt');
    await writeFile(everything, twin.ca.authorityPem + pki.ca.authorityPem + old.ca.authorityPem);
    const expired = await old.issue('streaming_replica', { ...replication, now: past, lifetimeMs: 60_000 });
    asSuperuser('select pg_reload_conf()');
    await assert.rejects(connect({ files: expired }), /expired/);
  });
});
