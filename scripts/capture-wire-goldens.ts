/**
 * Captures the opening bytes that real programs send, for the tests of src/wire: writes test/golden/wire.json.
 *
 *   node scripts/capture-wire-goldens.ts        needs root, PostgreSQL of this machine, and test/kit/forky-root.sh
 *
 * Each case runs a real client against a recorder that stands between it and a real server: what the client and the
 * server sent first is kept as hexadecimal text, with the versions of the programs.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import * as net from 'node:net';
import { join } from 'node:path';
import { AS_POSTGRES, inForky, prepareForky } from '../bench/kit/forky.ts';
import { CLONE, run, start, stop } from '../bench/kit/processes.ts';
import { waitUntil } from '../src/base/wait-until.ts';
import { createTestPki } from '../test/kit/certificates.ts';
import { createTlsPostgresKit } from '../test/kit/tls-postgres.ts';

const ADDRESS = '127.62.8.1';
const PORT_15 = 5415;
const PORT_18 = 5418;
const RECORDER_PORT = 5400;

interface Golden {
  readonly from: string;
  /** Chunks in order, as [sender, hex]. */
  readonly bytes: readonly (readonly ['client' | 'server', string])[];
}

const goldens: Record<string, Golden> = {};

async function main(): Promise<void> {
  const versions = await prepareForky();
  await using pki = await createTestPki();
  const kit = createTlsPostgresKit(pki, '/usr/lib/postgresql/15/bin');
  const forky = inForky(kit.folder);
  const start18 = await startForkyServer(kit.folder, forky);
  try {
    await kit.start({ name: 'leo-1', address: ADDRESS, port: PORT_15, dnsNames: ['leo'] });
    const psql15 = 'psql and server, PostgreSQL 15';
    const psql18 = `psql and server, PostgreSQL ${versions['postgresql-18']}`;
    const here = ['psql'];
    const there = [...forky, '/usr/lib/postgresql/18/bin/psql'];
    await capture('ssl-request-15', psql15, PORT_15, here, 'sslmode=require');
    await capture('ssl-request-18', psql18, PORT_15, there, 'sslmode=require');
    await capture('direct-tls-18', psql18, PORT_18, there, 'sslmode=require sslnegotiation=direct');
    await capture('startup-plain-15', psql15, PORT_15, here, 'sslmode=disable application_name=golden');
    await capture('startup-plain-18', psql18, PORT_18, there, 'sslmode=disable max_protocol_version=latest');
    await capture('startup-replication-15', psql15, PORT_15, here, 'sslmode=disable replication=database');
    await captureCancel('cancel-15', psql15, PORT_18, here, 'sslmode=disable user=clear');
    await captureCancel('cancel-18', psql18, PORT_18, there, 'sslmode=disable user=clear max_protocol_version=latest');
    await captureProxyHeader('proxy-v2-haproxy', `HAProxy ${versions.haproxy}`, forky, kit.folder);
  } finally {
    await start18();
    kit.close();
  }
  writeFileSync(join(CLONE, 'test/golden/wire.json'), `${JSON.stringify(goldens, null, 1)}\n`);
}

/** PostgreSQL 18 in the forky root, that lets user `clear` in without TLS. Returns how to stop it. */
async function startForkyServer(folder: string, forky: readonly string[]): Promise<() => Promise<void>> {
  const bin = '/usr/lib/postgresql/18/bin';
  const data = join(folder, 'data18');
  await run([...forky, ...AS_POSTGRES, `${bin}/initdb`, '-N', '-U', 'postgres', '--auth=trust', '-D', data]);
  writeFileSync(
    join(data, 'pg_hba.conf'),
    'local all all trust\nhost all clear all trust\nhostssl all all all trust\n',
  );
  await run([
    ...AS_POSTGRES,
    ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', '/CN=leo', '-keyout', join(data, 'server.key'), '-out', join(data, 'server.crt')],
  ]);
  const settings = [`listen_addresses=${ADDRESS}`, `port=${PORT_18}`, `unix_socket_directories=${folder}`, 'ssl=on'];
  const words = settings.flatMap((setting) => ['-c', setting]);
  const server = start(
    [...forky, ...AS_POSTGRES, `${bin}/postgres`, '-D', data, ...words],
    join(folder, 'server18.log'),
  );
  const create = ['psql', '-h', folder, '-p', String(PORT_18), '-U', 'postgres', '-c', 'create role clear login'];
  await waitUntil('PostgreSQL 18 takes a statement', { timeoutMs: 30_000, intervalMs: 200 }, () =>
    run(create).then(
      () => true,
      () => false,
    ),
  );
  return () => stop(server, 'SIGINT');
}

/** Relays each connection to `port` and keeps its first chunks, up to the first that a golden does not need. */
async function record(
  port: number,
): Promise<{ connections: (readonly ['client' | 'server', string])[][]; close(): void }> {
  const connections: (readonly ['client' | 'server', string])[][] = [];
  const server = net.createServer((client) => {
    const chunks: (readonly ['client' | 'server', string])[] = [];
    connections.push(chunks);
    const backend = net.connect(port, ADDRESS);
    client.on('data', (chunk) => {
      chunks.push(['client', chunk.toString('hex')]);
      backend.write(chunk);
    });
    backend.on('data', (chunk) => {
      chunks.push(['server', chunk.toString('hex')]);
      client.write(chunk);
    });
    client.on('error', () => {}).on('close', () => backend.destroy());
    backend.on('error', () => {}).on('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(RECORDER_PORT, ADDRESS, resolve));
  return { connections, close: () => server.close() };
}

const CHUNKS_KEPT = 3;
const conninfo = (settings: string): string =>
  `host=leo hostaddr=${ADDRESS} port=${RECORDER_PORT} dbname=postgres user=postgres ${settings}`;

async function capture(
  name: string,
  from: string,
  port: number,
  psql: readonly string[],
  settings: string,
): Promise<void> {
  const recorder = await record(port);
  await run([...psql, '-X', '-c', 'select 1', conninfo(settings)]).catch(() => '');
  recorder.close();
  goldens[name] = { from, bytes: (recorder.connections[0] ?? []).slice(0, CHUNKS_KEPT) };
}

/** Interrupts a query: psql then sends its cancel request on a second connection. */
async function captureCancel(
  name: string,
  from: string,
  port: number,
  psql: readonly string[],
  settings: string,
): Promise<void> {
  const recorder = await record(port);
  const [file = '', ...words] = [...psql, '-X', '-c', 'select pg_sleep(60)', conninfo(settings)];
  const client = spawn(file, words, { stdio: 'ignore', detached: true });
  await waitUntil('the query runs', { timeoutMs: 20_000 }, () => (recorder.connections[0]?.length ?? 0) >= 3);
  process.kill(-(client.pid as number), 'SIGINT');
  await waitUntil('the cancel request is sent', { timeoutMs: 20_000 }, () => recorder.connections[1]?.length);
  recorder.close();
  goldens[name] = { from, bytes: (recorder.connections[1] ?? []).slice(0, CHUNKS_KEPT) };
}

async function captureProxyHeader(name: string, from: string, forky: readonly string[], folder: string): Promise<void> {
  const recorder = await record(PORT_15);
  const config = join(folder, 'haproxy.cfg');
  const balancer = 5401;
  writeFileSync(
    config,
    `defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nlisten pg\n bind ${ADDRESS}:${balancer}\n server s ${ADDRESS}:${RECORDER_PORT} send-proxy-v2\n`,
  );
  const haproxy = start([...forky, 'haproxy', '-f', config], join(folder, 'haproxy.log'));
  await waitUntil('HAProxy passes a connection on', { timeoutMs: 20_000, intervalMs: 200 }, async () => {
    const client = net.connect({ port: balancer, host: ADDRESS, localAddress: '127.62.8.77' });
    client.on('error', () => {}).write('hello');
    await new Promise((resolve) => setTimeout(resolve, 100));
    client.destroy();
    return recorder.connections[0]?.length;
  });
  recorder.close();
  await stop(haproxy);
  goldens[name] = { from, bytes: (recorder.connections[0] ?? []).slice(0, 1) };
}

await main();
