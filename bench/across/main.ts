/**
 * `npm run bench:across`: how long writes stop when the whole Kubernetes cluster that leads is lost, and at a switchover between
 * clusters, on the three clusters of KUBECONFIG: examples/three-clusters, preset `wan`, the record in pgspan's own members of etcd.
 *
 *   npm run bench:across -- [--runs 10] [--faults cut,killed,frozen,switchover] [--out FILE]
 *
 * Needs what the tests on three clusters need (test/kubernetes/kit/environment.ts), PGSPAN_FAULTS among it. The client writes a row
 * every 50 ms by the global name, whose address it takes from every group's proxies as DNS gives them; it waits 0.5 s for a
 * connection and for a statement, and then tries the next address. A second one makes a connection for each row and waits 10 s.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import { findMissingWrites, startWriter, type WriterTarget } from '../../src/platform/local/writer-process.ts';
import { clusterFault, podFault } from '../../test/kubernetes/kit/faults.ts';
import { type GroupName, GROUPS, ThreeClusters, withPeers } from '../../test/kubernetes/kit/three-clusters.ts';
import { longestWaitMs, startProber } from '../kit/prober.ts';
import { summarize } from '../kit/statistics.ts';
import { loadText, seconds } from '../kit/words.ts';

const NAMESPACE = 'pgspan-across';
const GLOBAL_NAME = 'orders.three.example.com';
const WRITE_INTERVAL_MS = 50;
const LIMIT_MS = 240_000;
/** After the new leader's first write, until the fault is taken away. */
const AFTER_MS = 2000;
const QUIET_MS = 3000;

interface Fault {
  readonly name: string;
  readonly goal: string;
  make(clusters: ThreeClusters, group: GroupName, leader: string): Promise<void>;
  heal(clusters: ThreeClusters, group: GroupName): Promise<void>;
}

async function onPods(clusters: ThreeClusters, group: GroupName, fault: 'kill' | 'freeze' | 'thaw'): Promise<void> {
  const pods = (await clusters.kubectl(group, ['get', 'pods', '-o', 'name'])).trim().split('\n');
  await Promise.all(
    pods.map((pod) => podFault(fault, pod.replace('pod/', ''), clusters.namespace, clusters.contextOf(group))),
  );
}

const FAULTS: Readonly<Record<string, Fault>> = {
  cut: {
    name: 'cluster cut off the network',
    goal: 'median 4 s, p95 6 s',
    make: (clusters, group) => clusterFault('cut', clusters.contextOf(group)),
    heal: (clusters, group) => clusterFault('heal', clusters.contextOf(group)),
  },
  killed: {
    name: 'all pods of the cluster killed',
    goal: 'median 4 s, p95 6 s',
    make: (clusters, group) => onPods(clusters, group, 'kill'),
    heal: async () => {}, // they come back by themselves
  },
  frozen: {
    name: 'all pods of the cluster frozen',
    goal: 'median 4 s, p95 6 s',
    make: (clusters, group) => onPods(clusters, group, 'freeze'),
    heal: (clusters, group) => onPods(clusters, group, 'thaw'),
  },
  switchover: {
    name: 'switchover to another cluster',
    goal: 'longest 1 s, no error',
    make: async (clusters, group, leader) => {
      const to = GROUPS.filter((one) => one !== group).map((one) => `${one}-1`)[Math.floor(Math.random() * 2)];
      if (to === undefined || to === leader) throw new Error('there is no other cluster');
      await clusters.pgspan(group, ['switchover', '--to', to]);
    },
    heal: async () => {},
  },
};

interface Run {
  readonly outageMs: number;
  readonly errors: number;
  readonly connectWaitMs: number;
  readonly connectErrors: number;
  readonly missing: number;
  readonly wholeAfterMs: number;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '10' },
      faults: { type: 'string', default: Object.keys(FAULTS).join(',') },
      out: { type: 'string' },
    },
  });
  const lines: string[] = [`${new Date().toISOString()}, ${cpus().length} cores, load ${loadText()}`, ''];
  const say = (line: string): void => {
    lines.push(line);
    process.stdout.write(`${line}\n`);
    if (values.out !== undefined) writeFileSync(values.out, `${lines.join('\n')}\n`);
  };
  const clusters = await ThreeClusters.prepare(NAMESPACE);
  try {
    const startedMs = performance.now();
    await bringUp(clusters);
    say(
      `Three groups applied and introduced to each other, until one database: ${seconds(performance.now() - startedMs)}\n`,
    );
    const raw: string[] = [];
    say(
      '| the leading cluster | runs | outage median | p95 | max | goal | errors, most | new connection waited, most | refused | lost rows | whole again, median |',
    );
    say('|---|---|---|---|---|---|---|---|---|---|---|');
    for (const name of values.faults.split(',')) {
      const fault = FAULTS[name];
      if (fault === undefined)
        throw new Error(`--faults: there is no "${name}"; there are ${Object.keys(FAULTS).join(', ')}`);
      const runs: Run[] = [];
      for (let run = 1; run <= Number(values.runs); run++) {
        runs.push(await measure(clusters, fault));
        process.stderr.write(`${name} ${run}: ${JSON.stringify(runs.at(-1))} load ${loadText()}\n`);
      }
      const { median, p95, max } = summarize(runs.map(({ outageMs }) => outageMs));
      const most = (pick: (run: Run) => number) => Math.max(...runs.map(pick));
      say(
        `| ${fault.name} | ${runs.length} | ${seconds(median)} | ${seconds(p95)} | ${seconds(max)} | ${fault.goal} | ${most(({ errors }) => errors)} | ${seconds(most(({ connectWaitMs }) => connectWaitMs))} | ${most(({ connectErrors }) => connectErrors)} | ${runs.reduce((sum, { missing }) => sum + missing, 0)} | ${seconds(summarize(runs.map(({ wholeAfterMs }) => wholeAfterMs)).median)} |`,
      );
      raw.push(`| ${fault.name} | ${runs.map(({ outageMs }) => outageMs).join(', ')} |`);
    }
    say('\nAll values in ms, in the order of the runs:\n\n| the leading cluster | outage |\n|---|---|');
    for (const line of raw) say(line);
  } finally {
    await clusters.close();
  }
}

async function bringUp(clusters: ThreeClusters): Promise<void> {
  for (const group of GROUPS) await clusters.apply(group, clusters.example(group));
  const told = new Map(
    await Promise.all(GROUPS.map(async (group) => [group, await clusters.introduction(group)] as const)),
  );
  for (const group of GROUPS) await clusters.apply(group, withPeers(clusters.example(group), told));
  await clusters.whole();
}

async function globalTarget(clusters: ThreeClusters): Promise<WriterTarget> {
  const targets = await Promise.all(GROUPS.map((group) => clusters.writeTarget(group)));
  return {
    ...(targets[0] as WriterTarget),
    host: GLOBAL_NAME,
    hostaddr: targets.map(({ hostaddr }) => hostaddr).join(','),
  };
}

async function measure(clusters: ThreeClusters, fault: Fault): Promise<Run> {
  const before = (await clusters.whole())[0]?.leader ?? '';
  const group = before.replace(/-\d+$/, '') as GroupName;
  await delay(QUIET_MS);
  const target = await globalTarget(clusters);
  const session = startWriter(target, WRITE_INTERVAL_MS);
  await waitUntil('the client writes', { timeoutMs: 30_000 }, () => session.events.some(({ type }) => type === 'ack'));
  const prober = startProber(target);
  let isBroken = false;
  try {
    const address = serverOf(session.events);
    await waitUntil('the prober writes', { timeoutMs: 30_000 }, () => serverOf(prober.events) !== null);
    await Promise.all([session.beginWindow(), prober.beginWindow()]);
    const startedMs = performance.now();
    isBroken = true;
    await fault.make(clusters, group, before);
    await waitUntil('another cluster acknowledges writes', { timeoutMs: LIMIT_MS }, () => {
      const server = serverOf(session.events);
      return server !== null && server !== address;
    });
    await delay(AFTER_MS);
    const [written, probed] = await Promise.all([session.summary(), prober.summary()]);
    await fault.heal(clusters, group);
    isBroken = false;
    await clusters.whole();
    const wholeAfterMs = performance.now() - startedMs;
    const { acknowledgedRanges } = await session.stop();
    const { missing } = await findMissingWrites(
      { ...target, hostaddr: target.hostaddr.split(',')[0] as string },
      acknowledgedRanges,
    );
    return {
      outageMs: Math.round(written.longestGapMs),
      errors: written.errors,
      connectWaitMs: longestWaitMs(probed),
      connectErrors: probed.errors,
      missing,
      wholeAfterMs: Math.round(wholeAfterMs),
    };
  } finally {
    session.kill();
    prober.kill();
    if (isBroken) await fault.heal(clusters, group).catch(() => {});
  }
}

/** Address of the server that acknowledged last; null: none yet. */
function serverOf(events: ReturnType<typeof startWriter>['events']): string | null {
  const last = events.findLast(({ type }) => type === 'ack');
  return last?.type === 'ack' ? last.server : null;
}

await main();
process.exit(process.exitCode ?? 0);
