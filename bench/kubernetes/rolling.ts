/**
 * A setting that needs a restart of every PostgreSQL is changed under load: how long until all run with it and are members again,
 * how long an open session and new connections waited meanwhile. Standbys go first, then the leader hands over.
 */
import { waitUntil } from '../../src/base/wait-until.ts';
import { findMissingWrites, startWriter } from '../../src/platform/local/writer-process.ts';
import type { KubernetesCluster } from '../../test/kubernetes/kit/cluster.ts';
import { kubectl } from '../../test/kubernetes/kit/environment.ts';
import { whole } from '../../test/scenarios/runner.ts';
import { longestWaitMs, startProber } from '../kit/prober.ts';

const WRITE_INTERVAL_MS = 20;
const LIMIT_MS = 300_000;

export interface RollingResult {
  readonly tookMs: number;
  /** Longest gap between two rows of an open session, which connects again after each error. */
  readonly stallMs: number;
  readonly errors: number;
  /** Longest that a new connection waited until it wrote. */
  readonly connectWaitMs: number;
  readonly refused: number;
  readonly missing: number;
}

/** @param maxConnections a value other than the present one. */
export async function measureRollingRestart(
  cluster: KubernetesCluster,
  maxConnections: number,
): Promise<RollingResult> {
  await whole(cluster, LIMIT_MS);
  const target = await cluster.writeTarget('leo');
  const session = startWriter(target, WRITE_INTERVAL_MS);
  const prober = startProber(target);
  try {
    await waitUntil('both clients write', { timeoutMs: 30_000 }, () =>
      [session, prober].every(({ events }) => events.filter(({ type }) => type === 'ack').length > 3),
    );
    await Promise.all([session.beginWindow(), prober.beginWindow()]);
    const startedMs = performance.now();
    const patch = { spec: { postgresql: { parameters: { max_connections: String(maxConnections) } } } };
    await kubectl(['-n', cluster.namespace, 'patch', 'postgresgroup/leo', '--type=merge', '-p', JSON.stringify(patch)]);
    const generation = (
      await kubectl(['-n', cluster.namespace, 'get', 'postgresgroup/leo', '-o', 'jsonpath={.metadata.generation}'])
    ).trim();
    await waitUntil('all run with it', { timeoutMs: LIMIT_MS, intervalMs: 250 }, async () => {
      const reported = await kubectl([
        '-n',
        cluster.namespace,
        'get',
        'postgresgroup/leo',
        '-o',
        'jsonpath={.status.observedGeneration} {.status.reason}',
      ]);
      return reported.trim() === `${generation} Healthy`;
    });
    const status = await whole(cluster, LIMIT_MS);
    const tookMs = performance.now() - startedMs;
    const pending = (await cluster.status()).nodes.flatMap(({ pendingRestart }) => pendingRestart);
    if (pending.length > 0) throw new Error(`still waiting for a restart: ${pending.join(', ')}`);
    const [written, probed] = await Promise.all([session.stop(), prober.stop()]);
    const { missing } = await findMissingWrites(
      await cluster.nodeTarget(status.leader as string),
      written.acknowledgedRanges,
    );
    return {
      tookMs: Math.round(tookMs),
      stallMs: Math.round(written.longestGapMs),
      errors: written.errors,
      connectWaitMs: longestWaitMs(probed),
      refused: probed.errors,
      missing,
    };
  } finally {
    session.kill();
    prober.kill();
  }
}
