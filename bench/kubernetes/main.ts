/**
 * `npm run bench:kubernetes`: what a group on Kubernetes costs and how long its clients wait, on the cluster of KUBECONFIG.
 *
 *   npm run bench:kubernetes -- [--runs 5] [--only ready,outage,scale,rolling,footprint,soak,many] [--soak-minutes 10]
 *                                  [--out FILE]
 *
 * Needs what the tests on Kubernetes need (test/kubernetes/kit/environment.ts), PGSPAN_FAULTS among it. A client on this machine
 * writes a row every 20 ms through the load balancer of the proxies, as CloudNativePG's was measured (0.5 s client timeout, 10 ms
 * before the next try); another one opens a new connection every 200 ms. Outage: last acknowledgement before to first one after.
 * Before each fault the group is whole: every standby streams and is a member.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import { findMissingWrites, startWriter } from '../../src/platform/local/writer-process.ts';
import { KubernetesCluster } from '../../test/kubernetes/kit/cluster.ts';
import { kubectl } from '../../test/kubernetes/kit/environment.ts';
import { threeNodes } from '../../test/kubernetes/kit/groups.ts';
import { freshNamespace, installPgspan, removeNamespace } from '../../test/kubernetes/kit/install.ts';
import { whole } from '../../test/scenarios/runner.ts';
import { longestWaitMs, startProber } from '../kit/prober.ts';
import { summarize } from '../kit/statistics.ts';
import { loadText, seconds } from '../kit/words.ts';
import { measureFootprint, measureManyGroups } from './footprint.ts';
import { measureRollingRestart } from './rolling.ts';
import { measureSoak } from './soak.ts';

const NAMESPACE = 'pgspan-bench';
const WRITE_INTERVAL_MS = 20;
const WHOLE_LIMIT_MS = 180_000;
/** After the new leader's first write, until the fault is taken away. */
const AFTER_FAILOVER_MS = 1500;
/** Between runs: members are counted again, and checkpoints written. */
const QUIET_MS = 3000;

interface Fault {
  readonly name: string;
  /** To be reached, in milliseconds (issue's figures), and CloudNativePG's median on a machine of this kind. */
  readonly goalMs: number;
  readonly cloudNativePg: string;
  make(cluster: KubernetesCluster, leader: string): Promise<void>;
}

const FAULTS: readonly Fault[] = [
  {
    name: 'postmaster killed',
    goalMs: 1500,
    cloudNativePg: '10.75',
    make: (c, l) => c.fault('kill', `${l}/postmaster`),
  },
  { name: 'pod killed (kill -9 of all in it)', goalMs: 2500, cloudNativePg: '–', make: (c, l) => c.fault('kill', l) },
  { name: 'pod deleted by force', goalMs: 2500, cloudNativePg: '17.22', make: (c, l) => c.fault('delete-now', l) },
  { name: 'pod frozen', goalMs: 2500, cloudNativePg: '79.47', make: (c, l) => c.fault('freeze', l) },
  { name: 'pod cut off', goalMs: 2500, cloudNativePg: '86.40', make: (c, l) => c.fault('cut', l) },
  {
    name: 'pod deleted gracefully',
    goalMs: 700,
    cloudNativePg: '1.7, new connections 184',
    make: (c, l) => c.fault('delete', l),
  },
  { name: 'switchover', goalMs: 700, cloudNativePg: '4.44', make: (c) => c.switchover(null) },
];

interface Run {
  readonly outageMs: number;
  readonly errors: number;
  /** Longest gap between two new connections that wrote, less the interval. */
  readonly connectGapMs: number;
  readonly connectErrors: number;
  readonly missing: number;
  readonly wholeAfterMs: number;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string', default: '5' },
      only: { type: 'string', default: 'ready,outage,scale,rolling,footprint,soak,many' },
      faults: { type: 'string', default: '' },
      'soak-minutes': { type: 'string', default: '10' },
      out: { type: 'string' },
    },
  });
  const only = values.only.split(',');
  const lines: string[] = [`${new Date().toISOString()}, ${cpus().length} cores, load ${loadText()}`, ''];
  const say = (line: string): void => {
    lines.push(line);
    process.stdout.write(`${line}\n`);
  };
  await installPgspan();
  await freshNamespace(NAMESPACE);
  const cluster = new KubernetesCluster(NAMESPACE);
  try {
    const readyMs = await bringUp(cluster);
    if (only.includes('ready'))
      say(`kubectl apply → Ready: ${seconds(readyMs)}, load ${loadText()} (goal 30 s, CloudNativePG 50 s)\n`);
    const chosen = FAULTS.filter(({ name }) => name.includes(values.faults));
    if (only.includes('outage')) await measureOutages(cluster, chosen, Number(values.runs), say);
    if (only.includes('scale')) await measureScale(cluster, say);
    if (only.includes('rolling')) await measureRolling(cluster, Number(values.runs), say);
    if (only.includes('footprint')) await measureFootprint(cluster, say);
    if (only.includes('soak')) await measureSoak(cluster, Number(values['soak-minutes']), say);
    if (only.includes('many')) await measureManyGroups(NAMESPACE, 20, say);
  } finally {
    await cluster.close();
    await removeNamespace(NAMESPACE);
  }
  if (values.out !== undefined) writeFileSync(values.out, `${lines.join('\n')}\n`);
}

async function bringUp(cluster: KubernetesCluster): Promise<number> {
  const startedMs = performance.now();
  await cluster.apply(threeNodes());
  await kubectl(['-n', NAMESPACE, 'wait', '--for=condition=Ready', 'postgresgroup/leo', '--timeout=180s']);
  const tookMs = performance.now() - startedMs;
  await whole(cluster, WHOLE_LIMIT_MS);
  return tookMs;
}

async function measureOutages(
  cluster: KubernetesCluster,
  faults: readonly Fault[],
  runs: number,
  say: (line: string) => void,
): Promise<void> {
  say(
    '| fault of the leader | runs | outage median | max | goal | CloudNativePG | errors, most | new connection waited, most | refused | lost rows | whole again, median |',
  );
  say('|---|---|---|---|---|---|---|---|---|---|---|');
  for (const fault of faults) {
    const results: Run[] = [];
    for (let run = 1; run <= runs; run++) {
      const result = await measureOne(cluster, fault);
      results.push(result);
      process.stderr.write(`${fault.name} ${run}: ${JSON.stringify(result)} load ${loadText()}\n`);
    }
    const outages = results.map(({ outageMs }) => outageMs);
    const most = (pick: (run: Run) => number) => Math.max(...results.map(pick));
    say(
      `| ${fault.name} | ${runs} | ${seconds(summarize(outages).median)} | ${seconds(Math.max(...outages))} | ${seconds(fault.goalMs)} | ${fault.cloudNativePg} s | ${most(({ errors }) => errors)} | ${seconds(most(({ connectGapMs }) => connectGapMs))} | ${most(({ connectErrors }) => connectErrors)} | ${results.reduce((sum, { missing }) => sum + missing, 0)} | ${seconds(summarize(results.map(({ wholeAfterMs }) => wholeAfterMs)).median)} |`,
    );
  }
  say('');
}

async function measureOne(cluster: KubernetesCluster, fault: Fault): Promise<Run> {
  const before = await whole(cluster, WHOLE_LIMIT_MS);
  const leader = before.leader as string;
  const address = await cluster.addressOf(leader);
  await delay(QUIET_MS);
  const target = await cluster.writeTarget('leo');
  const session = startWriter(target, WRITE_INTERVAL_MS);
  // Keys of its own, and a table that is there.
  await waitUntil('the client writes', { timeoutMs: 20_000 }, () => session.events.some(({ type }) => type === 'ack'));
  const prober = startProber(target);
  try {
    await waitUntil(
      'the prober writes',
      { timeoutMs: 20_000 },
      () => prober.events.filter(({ type }) => type === 'ack').length > 3,
    );
    await Promise.all([session.beginWindow(), prober.beginWindow()]);
    const startedMs = performance.now();
    await fault.make(cluster, leader);
    await waitUntil('another node acknowledges writes', { timeoutMs: 120_000 }, () =>
      session.events.some((event) => event.type === 'ack' && event.server !== null && event.server !== address),
    );
    await delay(AFTER_FAILOVER_MS);
    await cluster.healAll();
    const after = await whole(cluster, WHOLE_LIMIT_MS);
    const wholeAfterMs = performance.now() - startedMs;
    const [written, probed] = await Promise.all([session.stop(), prober.stop()]);
    const { missing } = await findMissingWrites(
      await cluster.nodeTarget(after.leader as string),
      written.acknowledgedRanges,
    );
    return {
      outageMs: Math.round(written.longestGapMs),
      errors: written.errors,
      connectGapMs: longestWaitMs(probed),
      connectErrors: probed.errors,
      missing,
      wholeAfterMs: Math.round(wholeAfterMs),
    };
  } finally {
    session.kill();
    prober.kill();
  }
}

/** From `kubectl scale` to the new node streaming as a member; then back. */
async function measureScale(cluster: KubernetesCluster, say: (line: string) => void): Promise<void> {
  await whole(cluster, WHOLE_LIMIT_MS);
  const startedMs = performance.now();
  await kubectl(['-n', NAMESPACE, 'scale', 'postgresgroup/leo', '--replicas=4']);
  await waitUntil('four nodes are members', { timeoutMs: 180_000, intervalMs: 200 }, async () => {
    const status = await cluster.status().catch(() => null);
    return status !== null && status.nodes.length === 4 && status.members.length === 4;
  });
  say(
    `Scale 3 → 4, until the fourth streams and votes: ${seconds(performance.now() - startedMs)}, load ${loadText()} (goal 15 s, CloudNativePG 22 s)`,
  );
  const downMs = performance.now();
  await kubectl(['-n', NAMESPACE, 'scale', 'postgresgroup/leo', '--replicas=3']);
  await waitUntil('three nodes are members', { timeoutMs: 180_000, intervalMs: 200 }, async () => {
    const status = await cluster.status().catch(() => null);
    return status !== null && status.nodes.length === 3 && status.members.length === 3;
  });
  say(`Scale 4 → 3: ${seconds(performance.now() - downMs)}\n`);
}

async function measureRolling(cluster: KubernetesCluster, runs: number, say: (line: string) => void): Promise<void> {
  say(
    '| rolling restart of three nodes under load, run | took | longest stall of an open session | its errors | new connection waited, most | refused | lost rows |',
  );
  say('|---|---|---|---|---|---|---|');
  for (let run = 1; run <= runs; run++) {
    const result = await measureRollingRestart(cluster, run % 2 === 0 ? 130 : 120);
    say(
      `| ${run} | ${seconds(result.tookMs)} | ${seconds(result.stallMs)} | ${result.errors} | ${seconds(result.connectWaitMs)} | ${result.refused} | ${result.missing} |`,
    );
  }
  say('Goal: 60 s, stall 0.7 s, none refused; CloudNativePG 212 s.\n');
}

await main();
process.exit(process.exitCode ?? 0);
