/** The client against a real PostgreSQL with TLS, stopped and frozen under it. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { findMissingKeys, startWriteClient, type WriteEvent, type WriteTarget } from './write-client.ts';

const ADDRESS = '127.64.9.1';
const PORT = 5432;
const folder = mkdtempSync('/tmp/pgspan-wc-');
const dataDirectory = join(folder, 'data');
const caFile = join(folder, 'ca.crt');
const bin = `/usr/lib/postgresql/${Math.max(...readdirSync('/usr/lib/postgresql').map(Number))}/bin`;
/** PostgreSQL refuses to be root. */
const owner =
  process.getuid?.() === 0
    ? { uid: Number(execFileSync('id', ['-u', 'postgres'])), gid: Number(execFileSync('id', ['-g', 'postgres'])) }
    : {};
const target: WriteTarget = {
  host: 'leo.pgspan.test',
  hostaddr: ADDRESS,
  port: PORT,
  database: 'postgres',
  user: 'app',
  password: 'right',
  sslrootcert: caFile,
};
let server: ChildProcess | null = null;

before(async () => {
  if (owner.uid !== undefined) chownSync(folder, owner.uid, owner.gid);
  makeCertificates();
  execFileSync(`${bin}/initdb`, ['-N', '-U', 'postgres', '--auth=trust', '-D', dataDirectory], { ...owner });
  writeFileSync(join(dataDirectory, 'pg_hba.conf'), 'local all all trust\nhostssl all app 127.0.0.0/8 scram-sha-256\n');
  await startServer();
  sql(`create role app login password 'right'; grant create on schema public to app`);
});

after(async () => {
  await stopServer();
  rmSync(folder, { recursive: true });
});

test('writes through a stop and a start of the server, and every acknowledged key is there', async () => {
  const writer = start('session');
  await writer.until((event) => event.type === 'ack', 'the first row');
  await stopServer();
  await writer.until((event) => event.type === 'error', 'the loss of the server');
  await startServer();
  const restartedAt = writer.events.length;
  await writer.until((event, index) => event.type === 'ack' && index >= restartedAt, 'a row after the restart');
  const summary = await writer.client.stop();

  assert.ok(summary.errors > 0);
  assert.ok(summary.reconnects >= 2);
  const keys = writer.events.flatMap((event) => (event.type === 'ack' ? [event.key] : []));
  assert.equal(new Set(keys).size, keys.length);
  assert.deepEqual(await findMissingKeys(target, summary.acknowledgedRanges), {
    checked: keys.length,
    missing: 0,
    keys: [],
  });
});

test('names the acknowledged keys that a node does not have', async () => {
  const writer = start('session');
  await writer.until(() => writer.client.summary().acknowledged >= 5, 'five rows');
  const { acknowledgedRanges } = await writer.client.stop();
  const first = acknowledgedRanges[0]?.[0] ?? 0;
  sql(`delete from pgspan_writes where key in (${first + 1}, ${first + 3})`);
  const { missing, keys } = await findMissingKeys(target, acknowledgedRanges);
  assert.deepEqual({ missing, keys }, { missing: 2, keys: [first + 1, first + 3] });
});

test('gives up a frozen session after the statement timeout, does not count its row, and goes on with a new one', async () => {
  const writer = start('session');
  await writer.until((event) => event.type === 'ack', 'the first row');
  const pid = Number(sql(`select pid from pg_stat_activity where application_name = 'pgspan-write-client'`));
  process.kill(pid, 'SIGSTOP');
  try {
    const error = await writer.until((event) => event.type === 'error', 'the timeout');
    assert.equal(error.type === 'error' && error.code, 'CLIENT_TIMEOUT');
    const failedAt = writer.events.indexOf(error);
    await writer.until((event, index) => event.type === 'ack' && index > failedAt, 'a row on a new session');
    const { longestGapMs, acknowledgedRanges } = await writer.client.stop();
    assert.ok(longestGapMs >= 200 && longestGapMs < 2000, `gap of ${longestGapMs} ms`);
    const key = error.type === 'error' ? error.key : null;
    assert.ok(!acknowledgedRanges.some(([low, high]) => key !== null && low <= key && key <= high));
  } finally {
    process.kill(pid, 'SIGCONT');
  }
});

test('makes a new connection for each row in mode connect', async () => {
  const writer = start('connect');
  await writer.until(() => writer.client.summary().acknowledged >= 5, 'five rows');
  const summary = await writer.client.stop();
  assert.equal(summary.reconnects, summary.acknowledged);
  assert.equal(summary.errors, 0);
});

test('refuses a server whose certificate does not carry the name', async () => {
  const writer = start('session', { host: 'ait.pgspan.test' });
  const error = await writer.until((event) => event.type === 'error', 'the refusal');
  assert.equal(error.type === 'error' && error.code, 'ERR_TLS_CERT_ALTNAME_INVALID');
  await writer.client.stop();
});

test('verifies an address against the addresses in the certificate', async () => {
  const writer = start('session', { host: ADDRESS, hostaddr: undefined });
  await writer.until((event) => event.type === 'ack', 'a row');
  assert.equal((await writer.client.stop()).errors, 0);
});

test('as a program it answers on stdout and ends with a summary', async () => {
  const program = join(import.meta.dirname, 'write-client.ts');
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, 'right\n', { mode: 0o600 });
  const connection = ['--host', target.host, '--hostaddr', ADDRESS, '--database', 'postgres', '--sslrootcert', caFile];
  const child = spawn(process.execPath, [program, 'write', ...connection, '--password-file', passwordFile], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const types: string[] = [];
  let last: { type: string; acknowledgedRanges?: unknown } = { type: '' };
  for await (const line of createInterface({ input: child.stdout })) {
    last = JSON.parse(line) as typeof last;
    if (types.at(-1) !== last.type) types.push(last.type);
    if (types.length === 2 && last.type === 'ack') child.stdin.write('mark\n');
    if (last.type === 'marked') child.stdin.write('stop\n');
  }
  assert.deepEqual(
    types.filter((type, index) => type !== 'ack' || index === 1),
    ['connected', 'ack', 'marked', 'summary'],
  );
  const check = execFileSync(process.execPath, [program, 'check', ...connection, '--password-file', passwordFile], {
    input: JSON.stringify(last.acknowledgedRanges),
  });
  assert.equal((JSON.parse(check.toString()) as { missing: number }).missing, 0);
});

function start(mode: 'session' | 'connect', change: Partial<WriteTarget> = {}) {
  const events: WriteEvent[] = [];
  const client = startWriteClient(
    { target: { ...target, ...change }, mode, intervalMs: 5, statementTimeoutMs: 200, connectTimeoutMs: 500 },
    (event) => events.push(event),
  );
  return {
    client,
    events,
    async until(condition: (event: WriteEvent, index: number) => boolean, what: string): Promise<WriteEvent> {
      const deadline = Date.now() + 10_000;
      for (;;) {
        const found = events.find(condition);
        if (found !== undefined) return found;
        assert.ok(
          Date.now() < deadline,
          `waited 10 s for ${what}; the last events: ${JSON.stringify(events.slice(-3))}`,
        );
        await sleep(5);
      }
    },
  };
}

function sql(statement: string): string {
  return execFileSync('psql', ['-h', folder, '-U', 'postgres', '-XAtqc', statement]).toString().trim();
}

async function startServer(): Promise<void> {
  const settings = {
    listen_addresses: ADDRESS,
    port: PORT,
    unix_socket_directories: folder,
    ssl: 'on',
    ssl_cert_file: join(folder, 'server.crt'),
    ssl_key_file: join(folder, 'server.key'),
    fsync: 'off',
  };
  const child = spawn(
    `${bin}/postgres`,
    ['-D', dataDirectory, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    { ...owner, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  server = child;
  let log = '';
  for await (const chunk of child.stderr) {
    log += String(chunk);
    if (log.includes('ready to accept connections')) break;
  }
  assert.match(log, /ready to accept connections/);
}

async function stopServer(): Promise<void> {
  const child = server;
  server = null;
  if (child === null || child.exitCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGQUIT');
  await exited;
}

function makeCertificates(): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-subj', '/CN=ca', '-days', '2');
  const names = `subjectAltName=DNS:${target.host},IP:${ADDRESS}`;
  const issuer = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-days', '2', '-addext', names];
  openssl('req', '-x509', ...key, '-keyout', 'server.key', '-out', 'server.crt', '-subj', '/CN=server', ...issuer);
  chmodSync(join(folder, 'server.key'), 0o600);
  if (owner.uid !== undefined)
    for (const file of ['server.key', 'server.crt']) chownSync(join(folder, file), owner.uid, owner.gid);
}
