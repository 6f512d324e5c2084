/**
 * `pgspan doctor` on a real site: nothing is found where all is well, and each fault that a person plants is named, as the only
 * one. Faults of names and load balancers need Kubernetes: test/kubernetes/doctor.kube.test.ts.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { waitUntil } from '../../src/base/wait-until.ts';
import type { DoctorReport } from '../../src/cli/doctor-text.ts';
import { identityUri } from '../../src/core/topology/names.ts';
import { type BuiltInCa, createBuiltInCa, loadBuiltInCa } from '../../src/platform/certificates/built-in-ca.ts';
import {
  appPasswordFile,
  authorityFolder,
  nodeFolder,
  openSite,
  processesOf,
  tlsFilesIn,
} from '../../src/platform/local/site.ts';
import { needs } from '../kit/requirement.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const MANIFEST = join(ROOT, 'examples/three-groups-local.yaml');
const run = promisify(execFile);
/** Three nodes, six edges between them twice, three to the record, three proxies; and what clients dial. */
const EDGES = 54;
const DAY_MS = 86_400_000;

describe('doctor on a local site', needs('postgres', 'loopback'), () => {
  const base = mkdtempSync('/tmp/pgspan-doctor-');
  const folder = join(base, 'state');
  chmodSync(base, 0o711);
  mkdirSync(folder, { mode: 0o700 });
  const inSite = async (...words: string[]): Promise<string> => {
    const args = [join(ROOT, 'src/cli/main.ts'), ...words, '--state', folder];
    return (await run(process.execPath, args, { timeout: 240_000, cwd: '/', maxBuffer: 16 * 1024 * 1024 })).stdout;
  };
  /** Exit code 1 is an answer. */
  const doctor = async (): Promise<DoctorReport> => {
    const text = await inSite('doctor', '-o', 'json').catch((error: { stdout: string }) => error.stdout);
    return JSON.parse(text) as DoctorReport;
  };
  const site = () => openSite(folder);
  const codesOf = ({ findings }: DoctorReport) => findings.map(({ code, subject }) => `${code} ${subject}`);

  /** Asks until this alone is found: agents take changed files when they see them. */
  const findsOnly = async (...expected: string[]): Promise<DoctorReport> => {
    const deadlineMs = performance.now() + 30_000;
    for (;;) {
      const report = await doctor();
      const codes = codesOf(report);
      if (JSON.stringify(codes) === JSON.stringify(expected)) return report;
      if (performance.now() > deadlineMs) assert.deepEqual(codes, expected, JSON.stringify(report.findings, null, 1));
    }
  };

  const authority = async (group: string): Promise<BuiltInCa> => {
    const at = authorityFolder(site(), group);
    const [certPem, keyPem] = ['ca.crt', 'ca.key'].map((file) => readFileSync(join(at, file), 'utf8'));
    return await loadBuiltInCa({ certPem: certPem as string, keyPem: keyPem as string });
  };
  /** Another certificate for `ait-1`, as its issuer would sign it but for the fault. */
  const plantCertificate = async (ca: BuiltInCa, fault: { dnsNames?: string[]; issuedAt?: Date }): Promise<void> => {
    const { certPem, keyPem } = await ca.issue(
      {
        commonName: 'ait-1',
        dnsNames: fault.dnsNames ?? ['ait-1', 'ait-1.db.example.com', 'ait.db.example.com', 'orders.db.example.com'],
        ipAddresses: [],
        uris: [identityUri('orders', 'ait', 'ait-1')],
        usages: ['server', 'client'],
        lifetimeMs: DAY_MS,
      },
      fault.issuedAt ?? new Date(),
    );
    const { certFile, keyFile } = tlsFilesIn(nodeFolder(site(), 'ait-1'));
    writeFileSync(keyFile, keyPem);
    writeFileSync(certFile, certPem);
    reload('ait-1');
  };
  /** Files as they are now, put back by the function that is returned; owners and modes stay. */
  const kept = (...files: string[]): (() => void) => {
    const texts = files.map((file) => readFileSync(file));
    return () => {
      files.forEach((file, index) => writeFileSync(file, texts[index] as Buffer));
      reload('ait-1');
      reload('pit-1');
    };
  };
  /** As the platform does after a renewal. */
  const reload = (node: string): void => {
    const agent = processesOf(site()).find(({ part }) => part === `${node}/agent`);
    process.kill(agent?.pid as number, 'SIGHUP');
  };
  const certificateFiles = (): string[] => {
    const { certFile, keyFile } = tlsFilesIn(nodeFolder(site(), 'ait-1'));
    return [keyFile, certFile];
  };

  before(async () => {
    await inSite('local', 'up', '--addresses', '127.79', '--timeout', '180', '-f', MANIFEST);
  });
  after(async () => {
    await inSite('local', 'down');
    rmSync(base, { recursive: true, force: true });
  });

  test('finds nothing on a good site, and tries every edge that the plan has', async () => {
    const report = await findsOnly();
    assert.equal(report.ok, true);
    assert.equal(report.plannedEdges, EDGES);
    assert.equal(report.triedEdges, EDGES);
    const key = ({ from, to, purpose, name }: DoctorReport['edges'][number]) => [from, purpose, to, name].join(' ');
    assert.equal(new Set(report.edges.map(key)).size, EDGES, 'no edge twice');
    for (const edge of report.edges) {
      assert.ok(edge.ok && edge.roundTripMs !== null, JSON.stringify(edge));
      assert.ok(edge.certificate?.isTrusted && edge.certificate.isCovering, JSON.stringify(edge));
    }
    const purposes = (from: string) => report.edges.filter((edge) => edge.from === from).map(({ purpose }) => purpose);
    assert.deepEqual(purposes('leo-1').sort(), ['agent', 'agent', 'record', 'replication', 'replication']);
    assert.deepEqual(purposes('pit-proxy-1').sort(), ['agent', 'agent', 'agent', 'relay', 'relay', 'relay']);
    assert.match(await inSite('doctor'), /0 findings: all 54 edges of the plan were tried/);
  });

  test('a blocked port', async () => {
    await inSite('local', 'cut', 'ait-1/postgres');
    try {
      const report = await doctor();
      const blocked = report.findings.find(({ subject }) => subject === 'ait-1:5432');
      assert.equal(blocked?.code, 'PortBlocked', JSON.stringify(report.findings));
      // Both other nodes, three proxies, and a client; the fault cuts the other way too.
      assert.equal(blocked?.edges.length, 6);
      assert.deepEqual([...new Set(report.findings.map(({ code }) => code))], ['PortBlocked']);
      assert.equal(report.ok, false);
    } finally {
      await inSite('local', 'heal');
    }
    await findsOnly();
  });

  test('a certificate that lacks a name', async () => {
    const restore = kept(...certificateFiles());
    try {
      // One name alone is left out: agent and PostgreSQL take the file one after the other, so that some edges meet the former one.
      const { certFile } = tlsFilesIn(nodeFolder(site(), 'ait-1'));
      const names = new X509Certificate(readFileSync(certFile)).subjectAltName?.matchAll(/DNS:([^,]+)/g) ?? [];
      const dnsNames = [...names].map(([, name]) => name as string).filter((name) => name !== 'ait-1');
      await plantCertificate(await authority('ait'), { dnsNames });
      const report = await findsOnly('NameNotInCertificate ait-1');
      assert.match(report.findings[0]?.message ?? '', /does not carry "ait-1"/);
    } finally {
      restore();
    }
    await findsOnly();
  });

  test('a certificate of a CA that nobody trusts', async () => {
    const restore = kept(...certificateFiles());
    try {
      await plantCertificate(await createBuiltInCa({ globalCluster: 'orders', group: 'ait', now: new Date() }), {});
      await findsOnly('CertificateForeign ait-1');
    } finally {
      restore();
    }
    await findsOnly();
  });

  test('a certificate that has ended', async () => {
    const restore = kept(...certificateFiles());
    try {
      await plantCertificate(await authority('ait'), { issuedAt: new Date(Date.now() - 2 * DAY_MS) });
      const report = await findsOnly('CertificateExpired ait-1');
      assert.match(report.findings[0]?.message ?? '', /ended at 20/);
    } finally {
      restore();
    }
    await findsOnly();
  });

  test('a trust bundle that lacks the CA of another group', async () => {
    const { caFile } = tlsFilesIn(nodeFolder(site(), 'pit-1'));
    const restore = kept(caFile);
    try {
      const authorities = await Promise.all([authority('leo'), authority('pit')]);
      writeFileSync(caFile, authorities.map(({ authorityPem }) => authorityPem).join(''));
      reload('pit-1');
      const report = await findsOnly('BundleStale pit-1');
      assert.match(report.findings[0]?.message ?? '', /CN=orders\/ait CA/);
    } finally {
      restore();
    }
    await findsOnly();
  });

  test('a wrong password', async () => {
    const file = appPasswordFile(site());
    const restore = kept(file);
    try {
      writeFileSync(file, 'not the one');
      const report = await findsOnly('PasswordWrong the application');
      assert.equal(report.findings[0]?.edges.length, 15, 'all that clients dial');
    } finally {
      restore();
    }
    await findsOnly();
  });

  test('a clock that is off', async () => {
    const clock = join(base, 'clock.mjs');
    // Dates alone: what the machine's clock is to a program, without another machine.
    writeFileSync(clock, 'const now = Date.now; Date.now = () => now() + 300_000;\n');
    await restartAgent('ait-1', `--import=${clock}`);
    try {
      const report = await findsOnly('ClockOff ait-1');
      assert.match(report.findings[0]?.message ?? '', /(299|300) s ahead/);
      assert.equal(report.triedEdges, EDGES);
    } finally {
      await restartAgent('ait-1', '');
    }
    await findsOnly();
  });

  /** The agent alone, as its platform started it but for Node's options; PostgreSQL goes on. */
  async function restartAgent(node: string, nodeOptions: string): Promise<void> {
    const agent = processesOf(site()).find(({ part }) => part === `${node}/agent`);
    assert.ok(agent);
    const { pid } = agent;
    const words = (file: string) => readFileSync(`/proc/${pid}/${file}`, 'utf8').split('\0').filter(Boolean);
    const [program = '', ...args] = words('cmdline');
    const given = words('environ').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);
    const { uid, gid } = statSync(`/proc/${pid}`);
    const cwd = '/';
    process.kill(pid, 'SIGUSR2');
    const isGone = () => !processesOf(site()).some((one) => one.pid === pid);
    await waitUntil(`agent ${pid} has ended`, { timeoutMs: 20_000, intervalMs: 50 }, isGone);
    const env = { ...Object.fromEntries(given), NODE_OPTIONS: nodeOptions };
    spawn(program, args, { env, uid, gid, cwd, detached: true, stdio: 'ignore' }).unref();
  }
});
