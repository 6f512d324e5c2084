import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFile, writeFile } from 'node:fs/promises';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import * as tls from 'node:tls';
import { createTestPki, type TestPki } from '../../test/kit/certificates.ts';
import { openLink } from '../../test/kit/link.ts';
import { needs } from '../../test/kit/requirement.ts';
import { describeDialError, dialTls } from './dial-tls.ts';
import { createReloadableTls, type DialTarget, peerIdentity, type ReloadableTls, type TlsFiles } from './mutual-tls.ts';
import type { SpiffeIdentity } from './spiffe-identity.ts';

const ADDRESS = '127.61.4.1';
const TIMEOUT_MS = 5000;

/** A server that answers each connection with what it makes of its peer. */
interface TestServer {
  readonly credentials: ReloadableTls;
  readonly target: DialTarget;
  readonly identities: (SpiffeIdentity | null)[];
  /** Codes of the clients that it has refused. */
  readonly refusals: string[];
  close(): Promise<void>;
}

async function serve(files: TlsFiles, host = 'leo-1'): Promise<TestServer> {
  const credentials = await createReloadableTls(files);
  const identities: (SpiffeIdentity | null)[] = [];
  const refusals: string[] = [];
  const sockets = new Set<tls.TLSSocket>();
  const server = tls.createServer(credentials.serverOptions(), (socket) => {
    sockets.add(socket);
    identities.push(peerIdentity(socket));
    socket.on('error', () => {}).write('hello\n');
    socket.on('data', (bytes) => socket.write(bytes));
  });
  credentials.attach(server, ({ code }) => refusals.push(code));
  server.listen(0, ADDRESS);
  await once(server, 'listening');
  return {
    credentials,
    identities,
    refusals,
    target: { host, address: ADDRESS, port: (server.address() as AddressInfo).port },
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      await once(server, 'close');
    },
  };
}

/** The greeting: with TLS 1.3 a client learns only from it that the server has accepted its certificate. */
async function greet(
  client: ReloadableTls,
  target: DialTarget,
  options: { expect?: SpiffeIdentity; sourceAddress?: string } = {},
) {
  const socket = await dialTls(client, target, { ...options, timeoutMs: TIMEOUT_MS });
  try {
    const bytes = await new Promise<Buffer>((resolve, reject) => {
      socket.once('data', resolve);
      socket.once('error', (error) => reject(describeDialError(target, error)));
      socket.once('close', () => reject(new Error('closed without a word')));
    });
    return { greeting: bytes.toString(), from: socket.localAddress, server: peerIdentity(socket) };
  } finally {
    socket.destroy();
  }
}

describe('mutual TLS', needs('loopback'), () => {
  let pki: TestPki;
  let server: TestServer;
  let client: ReloadableTls;
  before(async () => {
    pki = await createTestPki();
    server = await serve(await pki.issue('leo-1'));
    client = await createReloadableTls(await pki.issue('leo-2'));
  });
  after(async () => {
    await server.close();
    await pki[Symbol.asyncDispose]();
  });

  test('both sides learn who the other is', async () => {
    const { greeting, server: identity } = await greet(client, server.target);
    assert.equal(greeting, 'hello\n');
    assert.deepEqual(identity, { globalCluster: 'orders', group: 'leo', name: 'leo-1' });
    assert.deepEqual(server.identities.at(-1), { globalCluster: 'orders', group: 'leo', name: 'leo-2' });
    assert.deepEqual(client.loaded.identity, { globalCluster: 'orders', group: 'leo', name: 'leo-2' });
  });

  test('a connection comes from the source address that was asked for', async () => {
    assert.equal((await greet(client, server.target, { sourceAddress: '127.61.4.9' })).from, '127.61.4.9');
  });

  test('the name that is verified is the host, not the address that is dialled', async () => {
    await assert.rejects(greet(client, { ...server.target, host: 'leo-9' }), {
      code: 'PEER_CERTIFICATE_NAME',
      message: /^Cannot connect to "leo-9" \(127\.61\.4\.1, port \d+\): .*leo-9/,
    });
  });

  test('an address as host is verified against the address SANs', async () => {
    const byAddress = await serve(await pki.issue('leo-3', { ipAddresses: [ADDRESS] }));
    try {
      await greet(client, { ...byAddress.target, host: ADDRESS, address: null });
      await assert.rejects(greet(client, { ...byAddress.target, host: '127.61.4.2' }), {
        code: 'PEER_CERTIFICATE_NAME',
      });
    } finally {
      await byAddress.close();
    }
  });

  test('a server with the right name and another identity than expected is refused', async () => {
    const expect = { globalCluster: 'orders', group: 'leo', name: 'leo-1' };
    await greet(client, server.target, { expect });
    await assert.rejects(greet(client, server.target, { expect: { ...expect, name: 'leo-7' } }), {
      code: 'PEER_IDENTITY_MISMATCH',
      message: /is "spiffe:\/\/orders\/leo\/leo-1", not "spiffe:\/\/orders\/leo\/leo-7"/,
    });
  });

  test('two URI SANs are nobody', async () => {
    const files = await pki.issue('leo-4', { uris: ['spiffe://orders/leo/leo-4', 'spiffe://orders/leo/leo-1'] });
    const double = await createReloadableTls(files);
    await greet(double, server.target);
    assert.equal(server.identities.at(-1), null);
    assert.equal(double.loaded.identity, null);
  });

  test('an expired server certificate is refused, and the error says so', async () => {
    const past = new Date(Date.now() - 7_200_000);
    // The CA was made now, so the leaf's own end is what is in the past.
    const old = await createTestPki({ now: new Date(Date.now() - 86_400_000) });
    const expired = await serve(await old.issue('leo-1', { now: past, lifetimeMs: 60_000 }));
    const trusting = await createReloadableTls(await pki.issue('leo-5', { caFile: old.caFile }));
    try {
      await assert.rejects(greet(trusting, expired.target), {
        code: 'PEER_CERTIFICATE_EXPIRED',
        message: /has expired/,
      });
    } finally {
      await expired.close();
      await old[Symbol.asyncDispose]();
    }
  });

  test('an expired or foreign client certificate, and none at all, are refused by the server', async () => {
    const aDayAgo = new Date(Date.now() - 86_400_000);
    await using old = await createTestPki({ now: aDayAgo });
    const bundle = `${pki.folder}/both.crt`;
    await writeFile(bundle, pki.ca.authorityPem + old.ca.authorityPem);
    const strict = await serve(await pki.issue('leo-1', { caFile: bundle }));
    try {
      const expired = await createReloadableTls(
        await old.issue('leo-2', { now: aDayAgo, lifetimeMs: 60_000, caFile: bundle }),
      );
      await using foreign = await createTestPki();
      const stranger = await createReloadableTls(await foreign.issue('leo-2', { caFile: bundle }));
      const bare = tls.connect({ ...strict.target, host: ADDRESS, servername: 'leo-1', ca: pki.ca.authorityPem });
      const refused = await new Promise<Error>((resolve) => bare.resume().once('error', resolve));
      assert.equal(describeDialError(strict.target, refused).code, 'PEER_REFUSED_CERTIFICATE');
      await assert.rejects(greet(expired, strict.target), /closed/);
      await assert.rejects(greet(stranger, strict.target), /closed/);
      assert.deepEqual(strict.refusals, [
        'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE',
        'CERT_HAS_EXPIRED',
        'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      ]);
      assert.equal(strict.identities.length, 0);
    } finally {
      await strict.close();
    }
  });

  test('a certificate that is only for servers does not pass as a client, nor the other way round', async () => {
    const serverOnly = await createReloadableTls(await pki.issue('leo-6', { usages: ['server'] }));
    await assert.rejects(greet(serverOnly, server.target), /closed/);
    assert.equal(server.refusals.at(-1), 'INVALID_PURPOSE');
    const wrong = await serve(await pki.issue('leo-1', { usages: ['client'] }));
    try {
      await assert.rejects(greet(client, wrong.target), { code: 'PEER_CERTIFICATE_UNTRUSTED' });
    } finally {
      await wrong.close();
    }
  });

  test('a dial ends in its time when the handshake hangs, and when it is aborted', async () => {
    await using link = await openLink({
      listenAddress: '127.61.4.2',
      to: { address: ADDRESS, port: server.target.port },
    });
    link.losesAnswers = true;
    const target = { host: 'leo-1', address: link.address, port: link.port };
    const startedAt = performance.now();
    await assert.rejects(dialTls(client, target, { timeoutMs: 200 }), { code: 'DIAL_TIMEOUT' });
    assert.ok(performance.now() - startedAt < 1500);
    const aborter = new AbortController();
    const dial = dialTls(client, target, { timeoutMs: TIMEOUT_MS, signal: aborter.signal });
    aborter.abort(new Error('enough'));
    await assert.rejects(dial, { message: 'enough' });
    const closed = { ...target, port: 1 };
    await assert.rejects(dialTls(client, closed, { timeoutMs: TIMEOUT_MS }), {
      code: 'DIAL_FAILED',
      message: /ECONNREFUSED/,
    });
  });

  test('no session is resumed, so that each connection is judged anew', async () => {
    const first = await dialTls(client, server.target, { timeoutMs: TIMEOUT_MS });
    const sessions: Buffer[] = [];
    first.on('session', (session: Buffer) => sessions.push(session));
    await once(first, 'data');
    first.write('more\n');
    await once(first, 'data');
    first.destroy();
    for (const session of sessions) {
      const again = tls.connect({ ...client.connectOptions(server.target), session });
      await once(again, 'secureConnect');
      assert.equal(again.isSessionReused(), false);
      again.destroy();
    }
  });
});

describe('reload', needs('loopback'), () => {
  test('takes new files for new connections and leaves open ones alone; what does not fit is refused', async () => {
    await using pki = await createTestPki();
    const files = await pki.issue('leo-1');
    const server = await serve(files);
    const client = await createReloadableTls(await pki.issue('leo-2'));
    try {
      const open = await dialTls(client, server.target, { timeoutMs: TIMEOUT_MS });
      await once(open, 'data');
      const before = server.credentials.loaded.certFingerprint;
      assert.equal(await server.credentials.reload(), false, 'nothing has changed');

      const renewed = await pki.issue('renewed', { dnsNames: ['leo-1'] });
      await copyFile(renewed.certFile, files.certFile);
      await assert.rejects(server.credentials.reload(), {
        code: 'TLS_KEY_MISMATCH',
        message: /^Cannot load the certificate ".*leo-1.crt": its key is not the one in ".*leo-1.key"$/,
      });
      assert.equal(server.credentials.loaded.certFingerprint, before);
      await greet(client, server.target);

      await copyFile(renewed.keyFile, files.keyFile);
      assert.equal(await server.credentials.reload(), true);
      assert.notEqual(server.credentials.loaded.certFingerprint, before);
      const { server: identity } = await greet(client, server.target);
      assert.equal(identity?.name, 'renewed');

      open.write('still there\n');
      const [echo] = (await once(open, 'data')) as [Buffer];
      assert.equal(echo.toString(), 'still there\n');
      open.destroy();
    } finally {
      await server.close();
    }
  });

  test('a CA that was taken out of the bundle is no longer trusted, on both sides', async () => {
    await using own = await createTestPki();
    await using other = await createTestPki({ group: 'ait' });
    const bundle = `${own.folder}/bundle.crt`;
    await writeFile(bundle, own.ca.authorityPem + other.ca.authorityPem);
    const server = await serve(await own.issue('leo-1', { caFile: bundle }));
    const client = await createReloadableTls(await other.issue('ait-1', { caFile: bundle }));
    try {
      await greet(client, server.target);
      assert.equal(client.loaded.caFingerprints.length, 2);
      await writeFile(bundle, other.ca.authorityPem);
      assert.equal(await client.reload(), true);
      await assert.rejects(greet(client, server.target), { code: 'PEER_CERTIFICATE_UNTRUSTED' });
      await writeFile(bundle, own.ca.authorityPem);
      await Promise.all([client.reload(), server.credentials.reload()]);
      await assert.rejects(greet(client, server.target), /closed/);
    } finally {
      await server.close();
    }
  });

  test('an HTTPS server takes renewed files, too', async () => {
    await using pki = await createTestPki();
    const files = await pki.issue('leo-1');
    const credentials = await createReloadableTls(files);
    const server = https.createServer(credentials.serverOptions(), (_request, response) => response.end('ok'));
    credentials.attach(server);
    server.listen(0, ADDRESS);
    await once(server, 'listening');
    try {
      const target = { host: 'leo-1', address: ADDRESS, port: (server.address() as AddressInfo).port };
      const renewed = await pki.issue('renewed', { dnsNames: ['leo-1'] });
      await copyFile(renewed.certFile, files.certFile);
      await copyFile(renewed.keyFile, files.keyFile);
      await credentials.reload();
      const socket = await dialTls(credentials, target, { timeoutMs: TIMEOUT_MS });
      assert.equal(peerIdentity(socket)?.name, 'renewed');
      socket.destroy();
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test('files that are missing, damaged or huge are refused by name', async () => {
    await using pki = await createTestPki();
    const files = await pki.issue('leo-1');
    const damaged = `${pki.folder}/damaged`;
    await assert.rejects(createReloadableTls({ ...files, certFile: `${pki.folder}/none` }), {
      code: 'TLS_FILE_UNREADABLE',
      message: /^Cannot read ".*\/none": ENOENT/,
    });
    for (const [content, field, code] of [
      ['', 'certFile', 'TLS_FILE_INVALID'],
      ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', 'caFile', 'TLS_FILE_INVALID'],
      ['-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', 'keyFile', 'TLS_FILE_INVALID'],
      ['x'.repeat(1024 * 1024 + 1), 'caFile', 'TLS_FILE_UNREADABLE'],
    ] as const) {
      await writeFile(damaged, content);
      await assert.rejects(createReloadableTls({ ...files, [field]: damaged }), { name: 'TlsFilesError', code });
    }
  });
});
