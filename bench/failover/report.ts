/** The raw results of the failover benchmark as a page: a table per fault, then every value that was measured. */
import { summarize } from '../kit/statistics.ts';
import type { FaultResult, SystemResult } from './series.ts';
import { FAULTS, type Fault } from './system.ts';

export interface MachineResult {
  readonly type: 'machine';
  readonly at: string;
  readonly facts: Readonly<Record<string, string>>;
  readonly versions: Readonly<Record<string, string>>;
}

export type RawResult = MachineResult | SystemResult | FaultResult;

const TITLES: Record<Fault, string> = {
  'postgres-killed': 'PostgreSQL killed (SIGKILL to the postmaster, its agent lives)',
  'node-killed': 'Node killed (SIGKILL to all of its processes)',
  'node-frozen': 'Node frozen (SIGSTOP to all of its processes)',
  'node-cut': 'Node cut off (its packets are dropped in the kernel, both ways)',
  switchover: 'Switchover (planned)',
};

const METHOD = [
  'Made by `node bench/failover/main.ts`, from the raw results of the systems that it ran one after the other.',
  '',
  '- **Outage**: the longest gap between two acknowledgements at a client process that writes a row every 20 ms over one',
  '  session through the proxy, gives up a statement or a connection after 0.5 s, and connects again at once.',
  '- **lost**: acknowledged rows that the leader does not have after the fault is healed and every node is back.',
  '- **errors**: what that client was told or gave up. Every system closes a session whose server is gone.',
  '- **new connections** (switchover): a second client that makes a connection for each row, every 100 ms, and waits up to',
  '  10 s for it, as an application’s pool does.',
  '- p95 is the nearest rank, so with fewer than 20 runs it is the maximum.',
  '- **The same for all**: the PostgreSQL build, TLS with verify-full from the client to PostgreSQL, three nodes, pgbench’s',
  '  load over the same proxy, three etcd members and a proxy that no fault touches, all on this one machine.',
  '  Patroni’s nodes are network namespaces on a bridge, pgspan’s are addresses on the loopback network; a cut drops',
  '  packets in the kernel for both. The faults are the same signals to the same processes.',
  '- A new run begins when every node serves, follows and could take over, and the load runs at half of its rate at least.',
];

interface Target {
  readonly words: string;
  readonly isMet: (runs: readonly FaultResult[]) => boolean;
}

const p95Within2s: Target = { words: 'p95 at most 2.0 s', isMet: (runs) => outages(runs).p95 <= 2000 };
/** What pgspan shall reach with its defaults. */
const TARGETS: Record<Fault, Target> = {
  'postgres-killed': { words: 'median at most 1.0 s', isMet: (runs) => outages(runs).median <= 1000 },
  'node-killed': p95Within2s,
  'node-frozen': p95Within2s,
  'node-cut': p95Within2s,
  switchover: {
    words: 'longest stall 0.5 s, no error at new connections',
    isMet: (runs) => outages(runs).max <= 500 && runs.every(({ connections }) => connections?.errors === 0),
  },
};

const outages = (runs: readonly FaultResult[]) => summarize(runs.map(({ outageMs }) => outageMs));

export function renderReport(results: readonly RawResult[]): string {
  const machine = results.findLast((line) => line.type === 'machine');
  const systems = new Map(results.flatMap((line) => (line.type === 'system' ? [[line.system, line] as const] : [])));
  const runs = results.filter((line) => line.type === 'fault');
  return [
    '# Write outage by kind of fault',
    '',
    ...METHOD,
    '',
    ...(machine === undefined ? [] : [facts({ ...machine.facts, ...machine.versions }), '']),
    ...targetTable(
      runs,
      [...systems.keys()].filter((system) => system.startsWith('pgspan')),
    ),
    ...FAULTS.flatMap((fault) => faultTable(fault, runs, [...systems.keys()])),
    '## Systems',
    '',
    ...[...systems.values()].flatMap((system) => systemSection(system)),
    '## All values',
    '',
    'Outage in ms, in the order of the runs; in parentheses the acknowledged rows that were lost, if any.',
    '',
    ...FAULTS.flatMap((fault) => rawValues(fault, runs, [...systems.keys()])),
  ].join('\n');
}

function targetTable(runs: readonly FaultResult[], systems: readonly string[]): string[] {
  if (systems.length === 0) return [];
  const rows = FAULTS.map((fault) => {
    const verdicts = systems.map((system) => {
      const own = runs.filter((line) => line.system === system && line.fault === fault);
      if (own.length === 0) return 'not measured';
      return `${TARGETS[fault].isMet(own) && newlyLost(system, runs, own) === 0 ? 'met' : '**missed**'} (${own.length} runs)`;
    });
    return row([TITLES[fault], TARGETS[fault].words, ...verdicts]);
  });
  const head = ['fault', 'target; no acknowledged write lost', ...systems];
  return ['## Targets of pgspan', '', row(head), row(head.map(() => '---')), ...rows, ''];
}

function faultTable(fault: Fault, runs: readonly FaultResult[], systems: readonly string[]): string[] {
  const rows = systems.flatMap((system) => {
    const own = runs.filter((line) => line.system === system && line.fault === fault);
    if (own.length === 0) return [];
    const { count, min, median, p95, max } = summarize(own.map(({ outageMs }) => outageMs));
    const lost = newlyLost(system, runs, own);
    const errors = summarize(own.map((line) => line.errors)).median;
    const connections = own.flatMap((line) => (line.connections === null ? [] : [line.connections]));
    const ofConnections =
      connections.length === 0
        ? []
        : [
            ms(summarize(connections.map(({ outageMs }) => outageMs)).max),
            String(connections.reduce((sum, line) => sum + line.errors, 0)),
          ];
    const repaired = own.filter((line) => line.repaired !== null).length;
    return [[system, count, ms(min), ms(median), ms(p95), ms(max), lost, errors, repaired, ...ofConnections]];
  });
  if (rows.length === 0) return [];
  const head = ['system', 'runs', 'min', 'median', 'p95', 'max', 'lost', 'errors (median)', 'repaired by hand'];
  if (fault === 'switchover') head.push('new connections: longest stall', 'new connections: errors');
  return [`## ${TITLES[fault]}`, '', row(head), row(head.map(() => '---')), ...rows.map(row), ''];
}

/** `lost` of a result counts everything since the system came up; here only what these runs added to it. */
function newlyLost(system: string, runs: readonly FaultResult[], own: readonly FaultResult[]): number {
  let before = 0;
  let sum = 0;
  let acknowledged = 0;
  for (const line of runs.filter((candidate) => candidate.system === system)) {
    if (line.acknowledged < acknowledged) before = 0; // a new series, with a fresh database
    acknowledged = line.acknowledged;
    if (own.includes(line)) sum += Math.max(0, line.lost - before);
    before = line.lost;
  }
  return sum;
}

function rawValues(fault: Fault, runs: readonly FaultResult[], systems: readonly string[]): string[] {
  const lines = systems.flatMap((system) => {
    const own = runs.filter((line) => line.system === system && line.fault === fault);
    if (own.length === 0) return [];
    const values = own.map((line) => {
      const lost = newlyLost(system, runs, [line]);
      return lost === 0 ? String(line.outageMs) : `${line.outageMs} (${lost})`;
    });
    return [`- ${system}: ${values.join(', ')}`];
  });
  return lines.length === 0 ? [] : [`**${TITLES[fault]}**`, '', ...lines, ''];
}

function systemSection({ system, description, facts: found, sizes }: SystemResult): string[] {
  const load = `pgbench scale ${sizes.scale}, ${sizes.rate} transactions a second over ${sizes.clients} connections`;
  return [`### ${system}`, '', `${description}. Load: ${load}.`, '', facts(found), ''];
}

function facts(values: Readonly<Record<string, string>>): string {
  return [row(['', '']), row(['---', '---']), ...Object.entries(values).map(row)].join('\n');
}

const ms = (value: number) => `${value.toFixed(0)} ms`;
const row = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
