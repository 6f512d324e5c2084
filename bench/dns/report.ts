/** The raw results of the resolver benchmark as a page. */
import { summarize } from '../kit/statistics.ts';
import { NAMES, type Name, PROCESSORS, type Processors } from './contenders.ts';
import { LATENCY_RATE, type Measured, type Memory, WORKLOADS, type Workload } from './measure.ts';

export type RawResult =
  | { readonly type: 'machine'; readonly at: string; readonly facts: Readonly<Record<string, string>> }
  | ({
      readonly type: 'run';
      readonly round: number;
      readonly name: Name;
      readonly processors: Processors;
      readonly workload: Workload;
    } & Measured)
  | ({
      readonly type: 'memory';
      readonly name: Name;
      readonly processors: Processors;
      readonly when: 'idle' | 'after the load';
    } & Memory);

type Run = Extract<RawResult, { type: 'run' }>;

const HEAD = `# The resolver of SplitDNS beside CoreDNS

Made by \`npm run bench dns -- --coredns FILE --fresh --report docs/benchmarks/dns.md\`: dnsperf (Debian) asks both resolvers in one run, in turns. Both have rules for nine
nodes, a cache and one upstream, a CoreDNS that answers every name at once. CoreDNS gets its rules as \`pgspan dns coredns\` prints them.

- *one*: the resolver on one processor, load and upstream on the others. *all*: wherever the kernel puts it.
- *Questions per second*: 200 under way at a time, from 20 ports. *p50, p99*: at ${LATENCY_RATE} questions a second, which is far more than a pod asks.
- *To reach*: half of CoreDNS's questions per second, and less memory.
`;

export function renderReport(results: readonly RawResult[]): string {
  const runs = results.filter((result) => result.type === 'run');
  return [HEAD, machine(results), ...PROCESSORS.map((one) => table(runs, one)), memory(results)]
    .filter((part) => part !== '')
    .join('\n');
}

function machine(results: readonly RawResult[]): string {
  const found = results.findLast((result) => result.type === 'machine');
  if (found === undefined) return '';
  const facts = { date: found.at.slice(0, 10), ...found.facts };
  return `${Object.entries(facts)
    .map(([key, value]) => `- ${key}: ${value}`)
    .join('\n')}\n`;
}

function table(runs: readonly Run[], processors: Processors): string {
  const rows = WORKLOADS.flatMap(({ name: workload }) =>
    NAMES.flatMap((name) => {
      const of = (who: Name) =>
        runs.filter((run) => run.processors === processors && run.workload === workload && run.name === who);
      const mine = of(name);
      if (mine.length === 0) return [];
      const rates = summarize(mine.map(({ perSecond }) => perSecond));
      const median = (pick: (run: Run) => number) => summarize(mine.map(pick)).median;
      // Neighbours in time are compared, round by round.
      const ratios = mine.flatMap(({ round, perSecond }) => {
        const other = of('coredns').find((run) => run.round === round);
        return other === undefined ? [] : [perSecond / other.perSecond];
      });
      const cells = [
        workload,
        name,
        rates.median.toFixed(0),
        `${rates.min.toFixed(0)}–${rates.max.toFixed(0)}`,
        name === 'coredns' ? '' : summarize(ratios).median.toFixed(2),
        median(({ p50Ms }) => p50Ms).toFixed(2),
        median(({ p99Ms }) => p99Ms).toFixed(2),
        mine.reduce((sum, { lost }) => sum + lost, 0),
        rates.count,
      ];
      return [`| ${cells.join(' | ')} |`];
    }),
  );
  if (rows.length === 0) return '';
  return `### ${processors === 'one' ? 'On one processor' : 'On all processors'}

| names | | per second, median | all rounds | of CoreDNS's | p50 ms | p99 ms | lost | rounds |
|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}

${WORKLOADS.map(({ name, says }) => `- ${name}: ${says}`).join('\n')}
`;
}

function memory(results: readonly RawResult[]): string {
  const found = results.filter((result) => result.type === 'memory');
  if (found.length === 0) return '';
  const mib = (kib: number) => (kib / 1024).toFixed(1);
  const rows = found.map(
    ({ name, processors, when, residentKiB, ownKiB, peakKiB }) =>
      `| ${name} | ${processors} | ${when} | ${mib(residentKiB)} | ${mib(ownKiB)} | ${mib(peakKiB)} |`,
  );
  return `### Memory, MiB

Resident memory includes pages of the program's own file, which all processes of that program on a machine share (all agents and resolvers of pgspan are one
program); "own" is what the process alone has written. Idle: half a minute after the start. After the load: half a minute after all of the above.

| | processors | when | resident | own | peak |
|---|---|---|---|---|---|
${rows.join('\n')}
`;
}
