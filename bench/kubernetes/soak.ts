/**
 * Churn for some minutes: settings changed, pods killed and deleted, switchovers, the operator replaced; and the memory of
 * everything before and after, each time when the group has been at rest for a while. Nothing may grow with the number of rounds.
 */
import { delay } from '../../src/base/wait-until.ts';
import type { KubernetesCluster } from '../../test/kubernetes/kit/cluster.ts';
import { kubectl } from '../../test/kubernetes/kit/environment.ts';
import { whole } from '../../test/scenarios/runner.ts';
import { memoryOfAll } from './footprint.ts';

const WHOLE_LIMIT_MS = 180_000;
const REST_MS = 15_000;
const SAMPLE_EVERY_ROUNDS = 5;

export async function measureSoak(
  cluster: KubernetesCluster,
  minutes: number,
  say: (line: string) => void,
): Promise<void> {
  const endMs = performance.now() + minutes * 60_000;
  const samples: { round: number; kb: Readonly<Record<string, number>> }[] = [];
  for (let round = 0; ; round++) {
    const status = await whole(cluster, WHOLE_LIMIT_MS);
    const isOver = performance.now() > endMs;
    if (round % SAMPLE_EVERY_ROUNDS === 0 || isOver) {
      await delay(REST_MS);
      samples.push({ round, kb: await memoryOfAll(cluster) });
      process.stderr.write(`soak: round ${round}: ${JSON.stringify(samples.at(-1)?.kb)}\n`);
    }
    if (isOver) break;
    await churn(
      cluster,
      round,
      status.leader as string,
      status.nodes.map(({ name }) => name),
    );
  }
  const names = Object.keys(samples[0]?.kb ?? {});
  say(
    `Soak of ${minutes} min, ${samples.at(-1)?.round} rounds; memory (proportional set, MiB) at rest after so many rounds:\n`,
  );
  say(`| rounds | ${names.join(' | ')} |`);
  say(`|---|${names.map(() => '---|').join('')}`);
  for (const { round, kb } of samples)
    say(`| ${round} | ${names.map((name) => Math.round((kb[name] ?? 0) / 1024)).join(' | ')} |`);
  say('');
}

/** One of them a round, in turn. */
async function churn(
  cluster: KubernetesCluster,
  round: number,
  leader: string,
  nodes: readonly string[],
): Promise<void> {
  const standby = nodes.find((name) => name !== leader) ?? leader;
  switch (round % 5) {
    case 0: {
      const patch = { spec: { postgresql: { parameters: { work_mem: `${4 + (round % 7)}MB` } } } };
      await kubectl([
        '-n',
        cluster.namespace,
        'patch',
        'postgresgroup/leo',
        '--type=merge',
        '-p',
        JSON.stringify(patch),
      ]);
      return;
    }
    case 1:
      return await cluster.switchover(null);
    case 2:
      return await cluster.fault('kill', standby);
    case 3:
      return await cluster.fault('kill', `${leader}/postmaster`);
    default:
      return await cluster.fault('delete', standby);
  }
}
