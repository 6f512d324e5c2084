/**
 * What pgspan adds to a node while nothing happens: resident memory, processor time and wake-ups of each agent with its watchdog
 * and of each proxy, on a local site of three groups of one node each (examples/three-groups-local.yaml) that has no clients.
 *
 *   node bench/footprint/main.ts [--quick] [--settle 120] [--seconds 60] [--rounds 5] [--addresses 127.67] [--out FILE]
 *
 * `--settle`: seconds between the end of `local up` and the first round; starting up, cloning and the first collections leave
 * by then. `--quick`: one short round. Raw results are appended to `--out` (default bench/results/footprint.jsonl), and the report
 * of this run is printed.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, chmodSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openSite, processesOf } from '../../src/platform/local/site.ts';
import { describeMachine } from '../kit/machine.ts';
import { CLONE, run } from '../kit/processes.ts';
import { appendResult } from '../kit/results.ts';
import { renderFootprint, type Round } from './report.ts';

const PGSPAN = join(CLONE, 'pgspan');
/** USER_HZ: the unit of times in /proc/PID/stat, the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      settle: { type: 'string' },
      seconds: { type: 'string' },
      rounds: { type: 'string' },
      addresses: { type: 'string', default: '127.67' },
      out: { type: 'string', default: join(CLONE, 'bench/results/footprint.jsonl') },
    },
  });
  const settle = Number(values.settle ?? (values.quick ? 5 : 120));
  const seconds = Number(values.seconds ?? (values.quick ? 10 : 60));
  const count = Number(values.rounds ?? (values.quick ? 1 : 5));
  const base = mkdtempSync('/tmp/pgspan-footprint-');
  chmodSync(base, 0o711);
  const state = join(base, 'state');
  const machine = await describeMachine(base);
  appendResult(values.out, { type: 'machine', at: new Date().toISOString(), facts: machine });
  const rounds: Round[] = [];
  try {
    const manifest = join(CLONE, 'examples/three-groups-local.yaml');
    await run([PGSPAN, 'local', 'up', '-f', manifest, '--state', state, '--addresses', values.addresses], {
      timeoutMs: 600_000,
    });
    await sleep(settle * 1000);
    for (let number = 1; number <= count; number += 1) {
      const round = await measureRound(state, seconds);
      rounds.push(...round);
      for (const one of round) appendResult(values.out, { type: 'idle', round: number, ...one });
    }
  } finally {
    await run([PGSPAN, 'local', 'down', '--state', state], { timeoutMs: 120_000 });
    rmSync(base, { recursive: true, force: true });
  }
  process.stdout.write(renderFootprint(machine, rounds));
}

async function measureRound(folder: string, seconds: number): Promise<Round[]> {
  const { leader } = JSON.parse(await run([PGSPAN, 'status', '--state', folder, '-o', 'json'])) as { leader: string };
  const programs = programsOf(folder);
  // The status has just woken all of them up.
  await sleep(3000);
  const before = new Map([...programs].map(([name, pids]) => [name, usedBy(pids)]));
  await sleep(seconds * 1000);
  return [...programs].map(([name, pids]) => {
    const used = usedBy(pids);
    const { cpuSeconds, wakeUps } = before.get(name) ?? used;
    return {
      name: name === leader ? `${name}, leads` : name,
      processes: pids.length,
      residentKiB: pids.map(residentKiB).reduce((a, b) => a + b, 0),
      cpuShare: (used.cpuSeconds - cpuSeconds) / seconds,
      wakeUpsPerSecond: (used.wakeUps - wakeUps) / seconds,
      seconds,
      load: loadavg()[0] ?? 0,
    };
  });
}

/** By node: its agent and watchdog; by proxy: itself. */
function programsOf(folder: string): Map<string, number[]> {
  const site = openSite(folder);
  const programs = new Map<string, number[]>();
  for (const { part, pid } of processesOf(site)) {
    const [name = '', program] = part.split('/');
    const isProxy = site.state.proxies.some((proxy) => proxy.name === part);
    if (isProxy || program === 'agent' || program === 'watchdog')
      programs.set(name, [...(programs.get(name) ?? []), pid]);
  }
  return new Map([...programs].sort(([a], [b]) => a.localeCompare(b)));
}

function usedBy(pids: readonly number[]): { cpuSeconds: number; wakeUps: number } {
  let ticks = 0;
  let wakeUps = 0;
  for (const pid of pids) {
    // From the third field on, since the second is a name that may hold anything; utime, stime, cutime, cstime.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    ticks += [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0);
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8');
      wakeUps += Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1]);
    }
  }
  return { cpuSeconds: ticks / TICKS_PER_SECOND, wakeUps };
}

function residentKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

await main();
