/**
 * The resolver of SplitDNS beside CoreDNS, with dnsperf.
 *
 *   node bench/dns/main.ts --coredns FILE [--quick] [--rounds 5] [--seconds 5] [--out FILE] [--report FILE]
 *
 * CoreDNS is in no package of Debian: FILE is its program (https://github.com/coredns/coredns/releases). dnsperf is Debian's. Raw
 * results are appended to `--out` (default bench/results/dns.jsonl, quick: dns-quick.jsonl; `--fresh` empties it first).
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { describeMachine } from '../kit/machine.ts';
import { CLONE, run } from '../kit/processes.ts';
import { appendResult, readResults } from '../kit/results.ts';
import { startField } from './contenders.ts';
import { measure, memoryOf, WORKLOADS, writeQuestions } from './measure.ts';
import { type RawResult, renderReport } from './report.ts';

/** Ours gives memory back 20 s after its start, and once a minute while it is idle. */
const IDLE_MS = 30_000;
const CALM_MS = 75_000;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      coredns: { type: 'string', default: 'coredns' },
      quick: { type: 'boolean', default: false },
      fresh: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      out: { type: 'string' },
      report: { type: 'string' },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 5));
  const seconds = Number(values.seconds ?? (values.quick ? 2 : 5));
  const out = values.out ?? join(CLONE, 'bench/results', values.quick ? 'dns-quick.jsonl' : 'dns.jsonl');
  const report = values.report ?? out.replace(/\.jsonl$/, '.md');
  const progress = (text: string): void =>
    void process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
  const keep = (result: RawResult): void => appendResult(out, result);

  if (values.fresh) rmSync(out, { force: true });
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-bench-dns-'));
  keep({
    type: 'machine',
    at: new Date().toISOString(),
    facts: { ...(await describeMachine(folder)), ...(await versions(values.coredns)) },
  });
  writeQuestions(folder);
  const field = await startField(folder, values.coredns);
  const keepMemory = (when: 'idle' | 'after the load'): void => {
    for (const contender of field.contenders)
      keep({ type: 'memory', name: contender.name, processors: contender.processors, when, ...memoryOf(contender) });
  };
  try {
    await sleep(values.quick ? 2000 : IDLE_MS);
    keepMemory('idle');
    for (let round = 1; round <= rounds; round += 1) {
      for (const { name: workload } of WORKLOADS) {
        // Each round begins with another one, so that nobody always runs beside the same neighbour.
        const { contenders } = field;
        for (const index of contenders.keys()) {
          const contender = contenders[(index + round) % contenders.length] as (typeof contenders)[number];
          const { name, processors } = contender;
          const label = `r${round}-${name}-${processors}`;
          const measured = await measure(contender, workload, { folder, seconds, label });
          keep({ type: 'run', round, name, processors, workload, ...measured });
          progress(
            `round ${round}, ${workload}, ${name} on ${processors}: ${measured.perSecond.toFixed(0)}/s, p99 ${measured.p99Ms.toFixed(2)} ms`,
          );
        }
      }
    }
    await sleep(values.quick ? 2000 : CALM_MS);
    keepMemory('after the load');
  } finally {
    await field.stop();
    rmSync(folder, { recursive: true, force: true });
  }
  const page = renderReport(readResults<RawResult>(out));
  mkdirSync(dirname(report), { recursive: true });
  writeFileSync(report, page);
  process.stdout.write(page);
}

async function versions(coredns: string): Promise<Record<string, string>> {
  const said = await run([coredns, '-version']);
  const dnsperf = await run(['dpkg-query', '-W', '-f', '${Version}', 'dnsperf']);
  return { coredns: said.split('\n', 1)[0]?.replace('CoreDNS-', '') ?? 'unknown', dnsperf };
}

await main();
