/**
 * What pgspan itself takes while nothing happens: resident memory and CPU of the operator, of each agent with its watchdog, and
 * of each proxy, and the requests that reach the API server. PostgreSQL's own share is left out: it is the database's.
 */
import { delay } from '../../src/base/wait-until.ts';
import type { KubernetesCluster } from '../../test/kubernetes/kit/cluster.ts';
import { kubectl } from '../../test/kubernetes/kit/environment.ts';
import { smallGroup } from '../../test/kubernetes/kit/groups.ts';

const WINDOW_MS = 60_000;
/** Of Linux: USER_HZ. */
const TICKS_PER_S = 100;
const MIB_KB = 1024;

/** Lines `<comm> <proportional set, KiB> <ticks>` of every process of a container; a shell of ours is not counted. */
const SCRIPT = `for folder in /proc/[0-9]*; do
  pid=\${folder#/proc/}; [ "$pid" = $$ ] && continue
  line=$(tr '\\0' ' ' <"$folder/cmdline" 2>/dev/null) || continue
  case $line in *pgspan.mjs*|*pgspan-instance*|*pgspan-watchdog*) ;; *) continue ;; esac
  case $line in *' vantage '*) continue ;; esac
  memory=$(sed -n 's/^Pss: *\\([0-9]*\\).*/\\1/p' "$folder/smaps_rollup" 2>/dev/null)
  set -- $(cut -d')' -f2- "$folder/stat")
  echo "\${memory:-0} $((\${12} + \${13}))"
done`;

interface Taken {
  readonly kb: number;
  readonly ticks: number;
}

async function taken(namespace: string, pod: string): Promise<Taken> {
  const text = await kubectl(['-n', namespace, 'exec', pod, '--', 'sh', '-c', SCRIPT]);
  const rows = text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split(' ').map(Number));
  return {
    kb: rows.reduce((sum, [kb = 0]) => sum + kb, 0),
    ticks: rows.reduce((sum, [, ticks = 0]) => sum + ticks, 0),
  };
}

/** Requests that the API server counted, by resource and verb; those of this measurement among them are few. */
async function requests(): Promise<Map<string, number>> {
  const text = await kubectl(['get', '--raw', '/metrics']);
  const counts = new Map<string, number>();
  for (const line of text.split('\n')) {
    const match = /^apiserver_request_total\{(.*)\} (\S+)$/.exec(line);
    if (match === null) continue;
    const label = (name: string) => new RegExp(`${name}="([^"]*)"`).exec(match[1] ?? '')?.[1] ?? '';
    const key = `${label('verb')} ${label('resource')}${label('subresource') === '' ? '' : `/${label('subresource')}`}`;
    counts.set(key, (counts.get(key) ?? 0) + Number(match[2]));
  }
  return counts;
}

interface MeasuredPod {
  readonly what: 'operator' | 'agent' | 'proxy';
  readonly namespace: string;
  readonly pod: string;
}

async function podsOf(cluster: KubernetesCluster): Promise<MeasuredPod[]> {
  const operators = (await kubectl(['-n', 'pgspan-system', 'get', 'pods', '-o', 'name'])).trim().split('\n');
  const access = await cluster.access();
  return [
    ...operators.map(
      (name): MeasuredPod => ({
        what: 'operator',
        namespace: 'pgspan-system',
        pod: name.replace('pod/', ''),
      }),
    ),
    ...access.pods.map(
      ({ workload, name, namespace }): MeasuredPod => ({
        what: workload === 'postgres' ? 'agent' : 'proxy',
        namespace,
        pod: name,
      }),
    ),
  ];
}

/** KiB now, by kind of program. */
export async function memoryOfAll(cluster: KubernetesCluster): Promise<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const { what, namespace, pod } of await podsOf(cluster))
    sums[what] = (sums[what] ?? 0) + (await taken(namespace, pod)).kb;
  return sums;
}

export async function measureFootprint(cluster: KubernetesCluster, say: (line: string) => void): Promise<void> {
  const pods = await podsOf(cluster);
  const measure = () => Promise.all(pods.map(async (one) => ({ ...one, ...(await taken(one.namespace, one.pod)) })));
  await delay(15_000);
  const [before, requestsBefore] = [await measure(), await requests()];
  await delay(WINDOW_MS);
  const [after, requestsAfter] = [await measure(), await requests()];
  say('| program | memory (proportional set) | CPU of a core |');
  say('|---|---|---|');
  const total = new Map<string, { kb: number; cpu: number; count: number }>();
  for (const [index, one] of after.entries()) {
    const cpu = (one.ticks - (before[index]?.ticks ?? 0)) / TICKS_PER_S / (WINDOW_MS / 1000);
    const sum = total.get(one.what) ?? { kb: 0, cpu: 0, count: 0 };
    total.set(one.what, { kb: sum.kb + one.kb, cpu: sum.cpu + cpu, count: sum.count + 1 });
  }
  for (const [what, { kb, cpu, count }] of total)
    say(`| ${what} × ${count} | ${Math.round(kb / MIB_KB)} MiB | ${(cpu * 100).toFixed(2)} % |`);
  say('');
  say(
    `Requests to the API server in ${WINDOW_MS / 1000} s, Kubernetes' own included: ${grownText(requestsBefore, requestsAfter)}`,
  );
}

function grownText(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string {
  return [...after]
    .map(([key, count]) => [key, count - (before.get(key) ?? 0)] as const)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([key, count]) => `${key} ${count}`)
    .join(', ');
}

const READY_LIMIT = '600s';

/** What the operator takes with many groups of one node each, their agents' streams included. */
export async function measureManyGroups(namespace: string, count: number, say: (line: string) => void): Promise<void> {
  const names = Array.from({ length: count }, (_, index) => `many${index + 1}`);
  for (const name of names) await kubectl(['-n', namespace, 'apply', '-f', '-'], smallGroup(name));
  try {
    const groups = names.map((name) => `postgresgroup/${name}`);
    await kubectl(['-n', namespace, 'wait', '--for=condition=Ready', ...groups, `--timeout=${READY_LIMIT}`]);
    await delay(15_000);
    const operators = (await kubectl(['-n', 'pgspan-system', 'get', 'pods', '-o', 'name'])).trim().split('\n');
    const before = await requests();
    await delay(WINDOW_MS);
    const after = await requests();
    for (const name of operators) {
      const { kb } = await taken('pgspan-system', name.replace('pod/', ''));
      say(`Operator with ${count} more groups of one node: ${Math.round(kb / MIB_KB)} MiB (goal 110 MiB with 20)`);
    }
    say(`Requests to the API server in ${WINDOW_MS / 1000} s with them: ${grownText(before, after)}\n`);
  } finally {
    await kubectl(['-n', namespace, 'delete', 'postgresgroup', ...names, '--wait=false']);
  }
}
