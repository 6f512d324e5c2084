/**
 * What stands between clients and PostgreSQL, and what it costs: pgspan's proxy, HAProxy, PgBouncer and Pgpool-II beside a
 * direct connection, interleaved in one run on one machine.
 *
 *   node bench/proxy/main.ts [--quick] [--rounds 7] [--seconds 5] [--only NAME,...] [--workloads TEXT] [--modes tls,plain]
 *                            [--out FILE] [--report FILE]
 *
 * `--quick`: two short rounds. `--workloads` takes those whose name contains the text. Raw results are appended to `--out`
 * (default bench/results/proxy.jsonl, quick: proxy-quick.jsonl; `--fresh` empties it first). Needs root.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { createTestPki } from '../../test/kit/certificates.ts';
import { prepareForky } from '../kit/forky.ts';
import { describeMachine } from '../kit/machine.ts';
import { CLONE } from '../kit/processes.ts';
import { appendResult, readResults } from '../kit/results.ts';
import { type Contender, type Field, NAMES, type Name, startField } from './contenders.ts';
import { measure, measureIdle, measureMemory, WORKLOADS } from './measure.ts';
import { type RawResult, renderReport } from './report.ts';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      fresh: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      only: { type: 'string' },
      workloads: { type: 'string', default: '' },
      modes: { type: 'string', default: 'tls,plain' },
      out: { type: 'string' },
      report: { type: 'string' },
      footprint: { type: 'boolean', default: true },
      work: { type: 'string', default: '/var/tmp/pgspan-bench-proxy' },
    },
    allowNegative: true,
  });
  if (process.getuid?.() !== 0)
    throw new Error('Cannot run the benchmark: the peers run in a root folder of their own, which needs root');
  const rounds = Number(values.rounds ?? (values.quick ? 2 : 7));
  const seconds = Number(values.seconds ?? (values.quick ? 2 : 5));
  const out = values.out ?? join(CLONE, 'bench/results', values.quick ? 'proxy-quick.jsonl' : 'proxy.jsonl');
  const report = values.report ?? out.replace(/\.jsonl$/, '.md');
  const wanted = (values.only?.split(',') ?? NAMES) as readonly Name[];
  const progress = (text: string): void =>
    void process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
  const keep = (result: RawResult): void => appendResult(out, result);

  if (values.fresh) rmSync(out, { force: true });
  rmSync(values.work, { recursive: true, force: true });
  mkdirSync(values.work, { recursive: true });
  const versions = await prepareForky();
  keep({ type: 'machine', at: new Date().toISOString(), facts: await describeMachine(values.work), versions });
  await using pki = await createTestPki();
  progress('starting the server and the contenders');
  const field = await startField(values.work, pki, wanted, values.quick ? 5 : 20);
  const modes = values.modes.split(',');
  const contenders = field.contenders.filter(({ mode }) => modes.includes(mode));
  try {
    writeFileSync(join(values.work, 'one.sql'), 'select 1;\n');
    if (values.footprint) await measureIdleOf(contenders, values.quick ? 5 : 60, keep, progress);
    const workloads = WORKLOADS.filter(({ name }) => name.includes(values.workloads));
    await measureRounds({ field, contenders, workloads, rounds, seconds, folder: values.work, keep, progress });
    if (values.footprint) await measureMemories(contenders, values.work, keep, progress);
  } finally {
    await field.stop();
  }
  const page = renderReport(readResults<RawResult>(out));
  mkdirSync(dirname(report), { recursive: true });
  writeFileSync(report, page);
  process.stdout.write(page);
}

interface Rounds {
  readonly field: Field;
  readonly contenders: readonly Contender[];
  readonly workloads: readonly (typeof WORKLOADS)[number][];
  readonly rounds: number;
  readonly seconds: number;
  readonly folder: string;
  readonly keep: (result: RawResult) => void;
  readonly progress: (text: string) => void;
}

async function measureRounds({
  field,
  contenders,
  workloads,
  rounds,
  seconds,
  folder,
  keep,
  progress,
}: Rounds): Promise<void> {
  for (let round = 1; round <= rounds; round += 1) {
    // Each round begins with another one, so that nobody always runs beside the same neighbour.
    const order = contenders.map((_, index) => contenders[(index + round) % contenders.length] as Contender);
    for (const workload of workloads) {
      for (const contender of order) {
        const load = loadavg()[0] ?? 0;
        const measured = await measure(field, contender, workload, seconds, folder);
        keep({
          type: 'run',
          round,
          name: contender.name,
          mode: contender.mode,
          workload: workload.name,
          load,
          ...measured,
        });
        progress(
          `round ${round}, ${workload.name}, ${contender.name} ${contender.mode}: ${measured.rate.toFixed(0)}/s, ${measured.cpuMicrosPerTransaction.toFixed(1)} µs`,
        );
      }
    }
  }
}

async function measureIdleOf(
  contenders: readonly Contender[],
  seconds: number,
  keep: Rounds['keep'],
  progress: Rounds['progress'],
): Promise<void> {
  const own = contenders.filter(({ name }) => name !== 'direct');
  const idles = await Promise.all(own.map((contender) => measureIdle(contender, seconds)));
  for (const [index, idle] of idles.entries()) {
    const { name, mode } = own[index] as Contender;
    keep({ type: 'idle', name, mode, ...idle });
    progress(
      `idle ${name} ${mode}: ${(idle.residentKiB / 1024).toFixed(1)} MiB, ${(idle.cpuShare * 100).toFixed(2)} %`,
    );
  }
}

async function measureMemories(
  contenders: readonly Contender[],
  folder: string,
  keep: Rounds['keep'],
  progress: Rounds['progress'],
): Promise<void> {
  for (const contender of contenders) {
    if (contender.name === 'direct') continue;
    const memory = await measureMemory(contender, join(folder, 'ca.crt'));
    keep({ type: 'memory', name: contender.name, mode: contender.mode, ...memory });
    progress(`memory ${contender.name} ${contender.mode}: ${memory.idleKiB} -> ${memory.withConnectionsKiB} KiB`);
  }
}

await main();
