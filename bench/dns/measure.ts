/** What is asked, and what is measured of the answers: questions per second, latency at a modest rate, memory. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../kit/processes.ts';
import { AWAY, type Contender, nodeNames, serverOf } from './contenders.ts';

export const WORKLOADS = [
  { name: 'kept', says: '200 names that an upstream knows, asked again and again' },
  { name: 'rules', says: 'the names of nine nodes, which rules lead to pods' },
  { name: 'fresh', says: 'each name once: every question goes upstream, every answer is kept' },
] as const;
export type Workload = (typeof WORKLOADS)[number]['name'];

/** Questions under way at a time; clients, each with a port of its own. */
const OPEN_MAX = 200;
const CLIENTS = 20;
/** Far more than a node's pod asks, and less than either can answer. */
export const LATENCY_RATE = 1000;
/** More than anybody answers in a round. */
const FRESH_NAMES = 600_000;

export interface Measured {
  readonly perSecond: number;
  readonly lost: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export function writeQuestions(folder: string): void {
  const kept = Array.from({ length: 200 }, (_, n) => `name-${n}.example.org`);
  writeFileSync(fileOf(folder, 'kept'), lines(kept));
  writeFileSync(fileOf(folder, 'rules'), lines(nodeNames));
}

/** Names that nobody has asked for, so a file of its own for each use. */
function writeFresh(folder: string, label: string): void {
  const names = Array.from({ length: FRESH_NAMES }, (_, n) => `${label}-${n}.example.net`);
  writeFileSync(fileOf(folder, 'fresh'), lines(names));
}

export async function measure(
  contender: Contender,
  workload: Workload,
  { folder, seconds, label }: { readonly folder: string; readonly seconds: number; readonly label: string },
): Promise<Measured> {
  const ask = async (...words: string[]): Promise<string> =>
    await run([...AWAY, 'dnsperf', ...serverOf(contender), '-d', fileOf(folder, workload), ...words], {
      timeoutMs: (seconds + 30) * 1000,
    });
  const flood = ['-c', String(CLIENTS), '-q', String(OPEN_MAX)];
  if (workload === 'fresh') writeFresh(folder, `${label}-flood`);
  else await ask(...flood, '-l', '1');
  const flooded = await ask(...flood, '-l', String(seconds));
  if (workload === 'fresh') writeFresh(folder, `${label}-calm`);
  const calm = await ask('-c', '4', '-Q', String(LATENCY_RATE), '-l', String(seconds), '-v');
  // `> NOERROR name A 0.000123`
  const latencies = [...calm.matchAll(/^> NOERROR \S+ A (\d+\.\d+)$/gm)]
    .map(([, text]) => Number(text) * 1000)
    .sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.ceil(share * latencies.length) - 1] ?? Number.NaN;
  return {
    perSecond: Number(/Queries per second:\s+([\d.]+)/.exec(flooded)?.[1]),
    lost: Number(/Queries lost:\s+(\d+)/.exec(flooded)?.[1]),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
  };
}

function fileOf(folder: string, workload: Workload): string {
  return join(folder, `${workload}.txt`);
}

function lines(names: readonly string[]): string {
  return `${names.map((name) => `${name} A`).join('\n')}\n`;
}

export interface Memory {
  /** VmRSS: all that is resident, pages of the program's file among it, which processes of one program share. */
  readonly residentKiB: number;
  /** RssAnon: what this process alone has written. */
  readonly ownKiB: number;
  /** VmHWM: the most that was ever resident. */
  readonly peakKiB: number;
}

export function memoryOf({ pid }: Contender): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return { residentKiB: field('VmRSS'), ownKiB: field('RssAnon'), peakKiB: field('VmHWM') };
}
