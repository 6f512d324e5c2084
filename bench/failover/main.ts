/**
 * How long writes stop when the leader is lost: pgspan and Patroni with etcd and HAProxy, one after the other on one machine.
 *
 *   node bench/failover/main.ts [--quick] [--runs 20] [--peer-runs 5] [--rate 200] [--only NAME[,NAME]]
 *                               [--faults KIND[,KIND]] [--out FILE] [--report FILE]
 *
 * `--rate`: pgbench's transactions a second. `--quick`: one run of each fault at a small scale. `--only` takes the beginnings of systems' names.
 * Raw results are appended to `--out` (default bench/results/failover.jsonl, quick: failover-quick.jsonl); what stands there
 * already is not measured again, so the same command goes on where it was interrupted. Needs root.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { prepareForky } from '../kit/forky.ts';
import { describeMachine } from '../kit/machine.ts';
import { CLONE } from '../kit/processes.ts';
import { appendResult, readResults } from '../kit/results.ts';
import { createPatroni, PATRONI_VARIANTS } from './patroni.ts';
import { createPgspan, PGSPAN_VARIANTS } from './pgspan.ts';
import { type RawResult, renderReport } from './report.ts';
import { runSeries } from './series.ts';
import { FAULTS, type Fault, type Sizes, type System } from './system.ts';

const FULL: Sizes = { scale: 100, rate: 200, clients: 4 };
const QUICK: Sizes = { scale: 5, rate: 50, clients: 2 };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      runs: { type: 'string' },
      'peer-runs': { type: 'string' },
      rate: { type: 'string' },
      only: { type: 'string' },
      faults: { type: 'string' },
      out: { type: 'string' },
      report: { type: 'string' },
      work: { type: 'string', default: '/var/tmp/pgspan-bench' },
    },
  });
  if (process.getuid?.() !== 0)
    throw new Error('Cannot run the benchmark: it makes network namespaces, which needs root');
  const preset = values.quick ? QUICK : FULL;
  const sizes = { ...preset, rate: Number(values.rate ?? preset.rate) };
  const out = values.out ?? join(CLONE, 'bench/results', values.quick ? 'failover-quick.jsonl' : 'failover.jsonl');
  const report = values.report ?? out.replace(/\.jsonl$/, '.md');
  const faults = (values.faults?.split(',') ?? FAULTS) as readonly Fault[];
  const wanted = values.only?.split(',');
  mkdirSync(values.work, { recursive: true });

  const progress = (text: string) => process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
  const systems = listSystems(values.work).filter(
    ({ name }) => wanted?.some((start) => name.startsWith(start)) ?? true,
  );
  const versions = await prepareForky();
  appendResult(out, {
    type: 'machine',
    at: new Date().toISOString(),
    facts: await describeMachine(values.work),
    versions,
  });
  for (const system of systems) {
    const isPeer = !system.name.startsWith('pgspan');
    const runs = Number(
      (isPeer ? values['peer-runs'] : undefined) ?? values.runs ?? (values.quick ? 1 : isPeer ? 5 : 20),
    );
    const done = new Set(
      readResults<RawResult>(out).flatMap((line) =>
        line.type === 'fault' && line.system === system.name ? [`${line.fault} ${line.run}`] : [],
      ),
    );
    const rounds = Array.from({ length: runs }, (_, index) => index + 1);
    const todo = rounds.flatMap((run) => faults.map((fault) => ({ fault, run })));
    await runSeries(system, {
      sizes,
      todo: todo.filter(({ fault, run }) => !done.has(`${fault} ${run}`)),
      workFolder: values.work,
      onResult: (result) => appendResult(out, result),
      progress,
    });
  }
  mkdirSync(dirname(report), { recursive: true });
  writeFileSync(report, renderReport(readResults<RawResult>(out)));
  progress(`report: ${report}`);
}

function listSystems(workFolder: string): System[] {
  return [
    ...PGSPAN_VARIANTS.map((variant) => createPgspan(variant, workFolder)),
    ...PATRONI_VARIANTS.map((variant) => createPatroni(variant, workFolder)),
  ];
}

await main();
