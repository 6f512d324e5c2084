/** The raw results of the proxy benchmark as a page. */
import { summarize } from '../kit/statistics.ts';
import { type Mode, NAMES, type Name } from './contenders.ts';
import { type Idle, type Measured, type Memory, WORKLOADS } from './measure.ts';

export type RawResult =
  | {
      readonly type: 'machine';
      readonly at: string;
      readonly facts: Readonly<Record<string, string>>;
      readonly versions: Readonly<Record<string, string>>;
    }
  | ({
      readonly type: 'run';
      readonly round: number;
      readonly name: Name;
      readonly mode: Mode;
      readonly workload: string;
      readonly load: number;
    } & Measured)
  | ({ readonly type: 'memory'; readonly name: Name; readonly mode: Mode } & Memory)
  | ({ readonly type: 'idle'; readonly name: Name; readonly mode: Mode } & Idle);

type RunResult = Extract<RawResult, { type: 'run' }>;

interface Goal {
  readonly workloads: readonly string[];
  readonly against: Name;
  readonly least: number;
}

const queries = WORKLOADS.filter((workload) => !workload.reconnects).map((workload) => workload.name);
const connections = WORKLOADS.filter((workload) => workload.reconnects).map((workload) => workload.name);
const GOALS: readonly Goal[] = [
  { workloads: queries, against: 'pgbouncer', least: 1 },
  { workloads: queries, against: 'haproxy', least: 0.9 },
  { workloads: connections, against: 'direct', least: 0.95 },
];

export function renderReport(results: readonly RawResult[]): string {
  const runs = results.filter((result) => result.type === 'run');
  return [
    HEAD,
    renderMachine(results),
    ...WORKLOADS.flatMap(({ name }) => (['tls', 'plain'] as const).map((mode) => renderWorkload(runs, name, mode))),
    renderGoals(runs),
    renderFootprint(results),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

const HEAD = `# What stands between clients and PostgreSQL, and what it costs

Made by \`npm run bench proxy -- --fresh --report docs/benchmarks/proxy.md\` (root; about 25 minutes). What bounds the figures is in
[decisions/proxy-data-path.md](../decisions/proxy-data-path.md).

- *Load*: pgbench's \`-S\` (one SELECT by primary key, scale 20, all in shared buffers), simple and prepared, 2 pgbench threads; and \`-C\` with
  \`select 1\`, a new connection for each query. pgbench, server and contender share the processors. Logins by \`trust\`: a password's hashing would hide what a
  proxy costs.
- *TLS from client to server*: verify-full at the client, ECDSA P-256, TLS 1.3. Through pgspan and HAProxy it is one TLS connection from end to end; PgBouncer
  and Pgpool-II end it and make another one to the server. *No TLS*: for those that can.
- *PgBouncer* in session mode. It keeps its connections to the server when a client leaves, so its "new connections" cost the server nothing: that is pooling, not proxying.
- *Interleaved*: each round measures everybody once, in a rotated order. Latencies from a tenth of the transactions. CPU is the contender's own processes.
- *Ratios* are taken within each round and compared over rounds: the median, and as interval the second smallest to the second largest, which covers the true median
  with 87.5 % of 7 rounds. A goal is met if the upper end reaches it ("within the interval" where the lower end does not).
`;

function renderMachine(results: readonly RawResult[]): string {
  const machine = results.findLast((result) => result.type === 'machine');
  if (machine === undefined) return '';
  const facts = { date: machine.at.slice(0, 10), ...machine.facts, ...machine.versions };
  return `${Object.entries(facts)
    .map(([key, value]) => `- ${key}: ${value}`)
    .join('\n')}\n`;
}

function renderWorkload(runs: readonly RunResult[], workload: string, mode: Mode): string {
  const rows = NAMES.flatMap((name) => {
    const mine = runs.filter((run) => run.name === name && run.mode === mode && run.workload === workload);
    if (mine.length === 0) return [];
    const median = (pick: (run: RunResult) => number): number => summarize(mine.map(pick)).median;
    const rates = summarize(mine.map((run) => run.rate));
    return [
      `| ${name} | ${rates.median.toFixed(0)} | ${rates.min.toFixed(0)}–${rates.max.toFixed(0)} | ${median((run) => run.p50Ms).toFixed(2)} | ${median((run) => run.p99Ms).toFixed(2)} | ${name === 'direct' ? '' : median((run) => run.cpuMicrosPerTransaction).toFixed(1)} | ${mine.length} |`,
    ];
  });
  if (rows.length === 0) return '';
  return `### ${workload}, ${mode === 'tls' ? 'TLS from client to server' : 'no TLS'}

| | per second, median | all rounds | p50 ms | p99 ms | CPU µs each | rounds |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`;
}

/**
 * Ratio in each round, of two runs a minute apart: what slows the machine for minutes slows both. The interval is from
 * the second smallest to the second largest ratio: of 7 rounds it covers the true median with 87.5 %.
 */
export function ratioInterval(ratios: readonly number[]): { low: number; median: number; high: number } {
  const sorted = [...ratios].sort((a, b) => a - b);
  const cut = sorted.length >= 5 ? 1 : 0;
  return {
    low: sorted[cut] ?? Number.NaN,
    median: summarize(sorted).median,
    high: sorted[sorted.length - 1 - cut] ?? Number.NaN,
  };
}

function renderGoals(runs: readonly RunResult[]): string {
  const rows = GOALS.flatMap(({ workloads, against, least }) =>
    workloads.flatMap((workload) => {
      const of = (name: Name): Map<number, number> =>
        new Map(
          runs
            .filter((run) => run.name === name && run.mode === 'tls' && run.workload === workload)
            .map((run) => [run.round, run.rate]),
        );
      const theirs = of(against);
      const ratios = [...of('pgspan')].flatMap(([round, rate]) => {
        const other = theirs.get(round);
        return other === undefined ? [] : [rate / other];
      });
      if (ratios.length === 0) return [];
      const { low, median, high } = ratioInterval(ratios);
      const met = high >= least ? (low >= least ? 'yes' : 'within the interval') : 'no';
      return [
        `| ${workload} | pgspan / ${against} | ${least} | ${median.toFixed(3)} | ${low.toFixed(3)}–${high.toFixed(3)} | ${met} |`,
      ];
    }),
  );
  if (rows.length === 0) return '';
  return `### Goals, TLS from client to server

| | ratio | at least | median | interval | met |
|---|---|---|---|---|---|
${rows.join('\n')}
`;
}

function renderFootprint(results: readonly RawResult[]): string {
  const mib = (kib: number): string => (kib / 1024).toFixed(1);
  const memory = results.flatMap((result) => {
    if (result.type !== 'memory' || result.name === 'direct') return [];
    const more = result.withConnectionsKiB - result.idleKiB;
    return [
      `| ${result.name} | ${result.mode} | ${mib(result.idleKiB)} | ${result.connections} | ${mib(more)} | ${(more / result.connections).toFixed(1)} |`,
    ];
  });
  const idle = results.flatMap((result) =>
    result.type === 'idle'
      ? [
          `| ${result.name} | ${mib(result.residentKiB)} | ${(result.cpuShare * 100).toFixed(2)} % | ${result.seconds} |`,
        ]
      : [],
  );
  const tables: string[] = [];
  if (memory.length > 0)
    tables.push(`### Memory of idle connections (PSS of all its processes)

| | mode | before, MiB | connections | more, MiB | KiB each |
|---|---|---|---|---|---|
${memory.join('\n')}
`);
  if (idle.length > 0)
    tables.push(`### Idle, before any client

| | resident, MiB | of one core | seconds |
|---|---|---|---|
${idle.join('\n')}
`);
  return tables.join('\n');
}
