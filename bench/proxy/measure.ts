/** One measurement of one contender: throughput and latency, connections a second, memory of idle connections. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import * as net from 'node:net';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { run } from '../kit/processes.ts';
import { encodeSslRequest } from '../../src/wire/postgres-opening.ts';
import type { Contender, Field } from './contenders.ts';

export interface Workload {
  /** Such as `simple, 16 clients`. */
  readonly name: string;
  readonly protocol: 'simple' | 'prepared';
  readonly clients: number;
  /** A new connection for every query. */
  readonly reconnects: boolean;
}

export const WORKLOADS: readonly Workload[] = [
  ...(['simple', 'prepared'] as const).flatMap((protocol) =>
    [16, 64].map((clients) => ({ name: `${protocol}, ${clients} clients`, protocol, clients, reconnects: false })),
  ),
  { name: 'new connections, 16 clients', protocol: 'simple', clients: 16, reconnects: true },
];

export interface Measured {
  /** Transactions, or connections, a second. */
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the contender's own processes. */
  readonly cpuMicrosPerTransaction: number;
  readonly seconds: number;
}

/** Every how manieth transaction is logged: enough for a p99, few enough not to disturb. */
const SAMPLING_RATE = 0.1;

export async function measure(
  field: Field,
  contender: Contender,
  workload: Workload,
  seconds: number,
  folder: string,
): Promise<Measured> {
  const prefix = join(folder, 'latency');
  const words = workload.reconnects ? ['-C', '-f', join(folder, 'one.sql')] : ['-S', '-M', workload.protocol];
  const sampling = workload.reconnects ? [] : [`--sampling-rate=${SAMPLING_RATE}`];
  const command = [
    ...field.forky,
    ...['pgbench', '-n', '-j', '2', '-c', String(workload.clients), '-T', String(seconds), ...words],
    ...['--log', `--log-prefix=${prefix}`, ...sampling],
    field.conninfo(contender),
  ];
  const before = cpuMicros(contender);
  const output = await run(command, { timeoutMs: (seconds + 60) * 1000 });
  const cpu = cpuMicros(contender) - before;
  const rate = Number(/^tps = ([\d.]+)/m.exec(output)?.[1]);
  const count = Number(/actually processed: (\d+)/.exec(output)?.[1]);
  const latencies = takeLatencies(folder);
  const at = (share: number): number => (latencies[Math.ceil(share * latencies.length) - 1] ?? Number.NaN) / 1000;
  return { rate, p50Ms: at(0.5), p99Ms: at(0.99), cpuMicrosPerTransaction: cpu / count, seconds };
}

/** pgbench's logs: `client transaction microseconds ...`; ascending. */
function takeLatencies(folder: string): number[] {
  const files = readdirSync(folder).filter((name) => name.startsWith('latency.'));
  const values = files.flatMap((name) =>
    readFileSync(join(folder, name), 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => Number(line.split(' ')[2])),
  );
  for (const name of files) rmSync(join(folder, name));
  return values.sort((a, b) => a - b);
}

/** Clock ticks are a hundredth of a second on Linux. */
function cpuMicros(contender: Contender): number {
  return sum(
    contender.pids().map((pid) => {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      // Own and waited-for children's time, user and system.
      return sum([11, 12, 13, 14].map((index) => Number(fields[index]))) * 10_000;
    }),
  );
}

export interface Memory {
  readonly connections: number;
  /** Proportional set size of all its processes: pages that they share are counted once. */
  readonly idleKiB: number;
  readonly withConnectionsKiB: number;
}

/** Opens idle sessions, and compares. */
export async function measureMemory(contender: Contender, ca: string): Promise<Memory> {
  const connections = contender.idleMax;
  const idleKiB = pssKiB(contender);
  const open: net.Socket[] = [];
  // A few at a time, as a server's backlog likes it.
  for (let count = 0; count < connections; count += 20) {
    const batch = Array.from({ length: Math.min(20, connections - count) }, () => openSession(contender, ca));
    open.push(...(await Promise.all(batch)));
  }
  const withConnectionsKiB = pssKiB(contender);
  for (const socket of open) socket.destroy();
  return { connections, idleKiB, withConnectionsKiB };
}

const STARTUP = Buffer.from('\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0', 'latin1');

/** A session that has got as far as ReadyForQuery. */
function openSession(contender: Contender, ca: string): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(contender.port, contender.address);
    socket.once('error', reject);
    const login = (secure: net.Socket): void => {
      let received = Buffer.alloc(0);
      secure.once('error', reject);
      secure.on('data', (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        if (received.subarray(-6, -1).equals(Buffer.from([0x5a, 0, 0, 0, 5]))) resolve(secure);
        if (received[0] === 0x45) reject(new Error(`Cannot open a session: ${received.toString('latin1')}`));
      });
      secure.write(STARTUP);
    };
    if (contender.mode === 'plain') return login(socket);
    socket.write(encodeSslRequest());
    socket.once('data', () => {
      const secure = tls.connect({ socket, ca: readFileSync(ca), servername: 'leo' });
      secure.once('secureConnect', () => login(secure)).once('error', reject);
    });
  });
}

function pssKiB(contender: Contender): number {
  return sum(
    contender
      .pids()
      .map((pid) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1])),
  );
}

export interface Idle {
  readonly residentKiB: number;
  /** Share of one core, 0.003 is 0.3 %. */
  readonly cpuShare: number;
  readonly seconds: number;
}

export async function measureIdle(contender: Contender, seconds: number): Promise<Idle> {
  const before = cpuMicros(contender);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const residentKiB = sum(
    contender.pids().map((pid) => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])),
  );
  return { residentKiB, cpuShare: (cpuMicros(contender) - before) / 1e6 / seconds, seconds };
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
