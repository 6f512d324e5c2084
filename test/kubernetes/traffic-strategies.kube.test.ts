/**
 * How servers dial each other, and changes of it while a client writes: ServiceName, FQDN, SplitDNS and back (requirements C1, C3).
 *
 * Names outside are real: each node's Service gets a load balancer and an annotation for external-dns, so FQDN dials through
 * the load balancers, and SplitDNS finds the pods under the same names.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import type { PostgresGroupStatus } from '../../src/api/postgres-group-status.ts';
import { findMissingWrites, startWriter, type WriterProcess } from '../../src/platform/local/writer-process.ts';
import { needs } from '../kit/requirement.ts';
import { KubernetesCluster } from './kit/cluster.ts';
import { kubectl } from './kit/environment.ts';
import { threeNodes } from './kit/groups.ts';
import { freshNamespace, installPgspan, removeNamespace } from './kit/install.ts';
import { resolveInPod } from './kit/names-in-pod.ts';

const NAMESPACE = 'pgspan-traffic';
const DOMAIN = 'traffic.pgspan.test';
const NODES = ['leo-1', 'leo-2', 'leo-3'];
/** Three clones, or three restarts of pods with two switchovers, on a busy machine. */
const SETTLED = { timeoutMs: 400_000, intervalMs: 500 } as const;
const SOON = { timeoutMs: 90_000, intervalMs: 500 } as const;
/** Far below what a failover or a lost quorum costs, and more than a switchover does on an idle machine. */
const STALL_MS_MIN = 3000;
/** On a busy machine a switchover takes what it takes: measured first, and taken for a measure. */
const STALL_FACTOR = 4;

type Strategy = 'ServiceName' | 'FQDN' | 'SplitDNS';
type Rule = { host: string; result: string; regex?: boolean };

const inside = (...words: string[]) => kubectl(['-n', NAMESPACE, ...words]);
const onNode = (node: string) => ({ namespace: NAMESPACE, pod: `${node}-0`, container: 'postgres' });
const fqdn = (name: string) => `${name}.${DOMAIN}`;

type Dns = { domain: string; additional?: { domain: string }[] };

function manifest(strategy: Strategy, extraRules: Rule[] = [], dns: Dns = { domain: DOMAIN }): string {
  const published = { metadata: { annotations: { 'external-dns.alpha.kubernetes.io/hostname': '{fqdn}' } } };
  return threeNodes({
    connectivity: {
      dns,
      internodeTrafficStrategy: strategy,
      ...(strategy === 'SplitDNS' ? { splitDNS: { extraRules } } : {}),
      loadBalancer: { enabled: true, scope: 'node' },
      nodeServiceTemplate: published,
      proxyServiceTemplate: published,
    },
  });
}

interface StoredPod {
  readonly metadata: {
    readonly name: string;
    readonly labels: Record<string, string>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: { readonly dnsPolicy: string };
  readonly status: {
    readonly podIP?: string;
    readonly conditions?: { readonly type: string; readonly status: string }[];
  };
}

describe('traffic strategies', { ...needs('kubernetes', 'kubectl', 'external-dns'), timeout: 2_400_000 }, () => {
  let cluster: KubernetesCluster;
  let writer: WriterProcess | null = null;
  let switchoverMs = 0;
  /** What resolved in a pod under ServiceName, before any change. */
  let namesBefore: string[] = [];

  before(async () => {
    await installPgspan();
    await freshNamespace(NAMESPACE);
    cluster = new KubernetesCluster(NAMESPACE);
  });
  after(async () => {
    writer?.kill();
    await cluster?.close();
    await removeNamespace(NAMESPACE);
  });

  async function pods(): Promise<StoredPod[]> {
    const { items } = JSON.parse(await inside('get', 'pods', '-l', 'pgspan.io/group=leo', '-o', 'json'));
    return (items as StoredPod[]).filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  }

  async function podAddresses(): Promise<Record<string, string>> {
    const all = await pods();
    return Object.fromEntries(
      all.map(({ metadata, status }) => [metadata.name.replace(/-0$/, ''), status.podIP ?? '']),
    );
  }

  async function balancerAddress(service: string): Promise<string> {
    const path = 'jsonpath={.status.loadBalancer.ingress[0].ip}';
    return await waitUntil(`the load balancer of "${service}" has an address`, SOON, async () => {
      const address = await inside('get', 'service', service, '-o', path);
      return address === '' ? null : address;
    });
  }

  /** Applied, and everything is as it asks for: pods with their way to resolve, agents with the names to dial. */
  async function change(strategy: Strategy, rules: Rule[] = []): Promise<void> {
    await cluster.apply(manifest(strategy, rules));
    const policy = strategy === 'SplitDNS' ? 'None' : 'ClusterFirst';
    const host = strategy === 'ServiceName' ? 'leo-1' : fqdn('leo-1');
    await waitUntil(`${strategy} is carried out`, SETTLED, async () => {
      const { metadata, status } = JSON.parse(await inside('get', 'pgg', 'leo', '-o', 'json')) as {
        metadata: { generation: number };
        status?: PostgresGroupStatus;
      };
      if (status?.observedGeneration !== metadata.generation || status.reason !== 'Healthy') return false;
      const config = JSON.parse(await inside('get', 'cm', 'leo-1-config', '-o', 'jsonpath={.data.instance\\.json}'));
      const dialled = config.peers[0].agent.host;
      const isTaken = status.nodes?.find(({ name }) => name === 'leo-1')?.configurationGeneration === config.generation;
      return dialled === host && isTaken && (await pods()).every(({ spec }) => spec.dnsPolicy === policy);
    });
  }

  function isNoOutage(stallMs: number): void {
    const limitMs = Math.max(STALL_MS_MIN, STALL_FACTOR * switchoverMs);
    assert.ok(stallMs <= limitMs, `writes stalled for ${stallMs} ms, and a switchover for ${switchoverMs} ms`);
  }

  /** A connection for each write: what a change does to those that come, and to those that are there. Throws if a write is lost. */
  async function underWrites(
    change: () => Promise<void>,
  ): Promise<{ stallMs: number; errors: number; writes: number }> {
    const target = await cluster.writeTarget('leo');
    const client = startWriter(target, 20, { statementTimeoutMs: 10_000, connectTimeoutMs: 10_000, mode: 'connect' });
    writer = client;
    await waitUntil('the client writes', SOON, async () => client.events.some(({ type }) => type === 'ack'));
    await client.beginWindow();
    await change();
    await delay(2000);
    const { acknowledged, longestGapMs, errors, acknowledgedRanges } = await client.stop();
    const checked = await findMissingWrites(target, acknowledgedRanges);
    assert.equal(checked.missing, 0, `lost: ${checked.keys.join(', ')}`);
    return { stallMs: Math.round(longestGapMs), errors, writes: acknowledged };
  }

  test('ServiceName: servers dial Services', async () => {
    await change('ServiceName');
    const inPod = [
      ...NODES.flatMap((node) => [node, `${node}.${NAMESPACE}`, `${node}-0.leo-pods`, fqdn(node)]),
      ...['leo', 'orders', 'leo-group'].flatMap((name) => [name, `${name}.${NAMESPACE}.svc.cluster.local`]),
      fqdn('leo'),
      'kubernetes.default',
      'localhost',
    ];
    const resolved = await waitUntil('the zone outside has the names', SOON, async () => {
      const found = await resolveInPod(onNode('leo-1'), inPod);
      return inPod.every((name) => (found[name]?.length ?? 0) > 0) ? found : null;
    });
    namesBefore = inPod;
    assert.deepEqual(resolved[fqdn('leo-2')], [await balancerAddress('leo-2')]);
  });

  test('a switchover stalls writes for so long, today and here', async (t) => {
    const result = await underWrites(() => cluster.switchover(null));
    switchoverMs = result.stallMs;
    t.diagnostic(JSON.stringify(result));
  });

  test('ServiceName to FQDN, under writes: no pod is replaced, and servers dial through the load balancers', async (t) => {
    const uids = async () => await inside('get', 'pods', '-o', 'jsonpath={.items[*].metadata.uid}');
    const before = await uids();
    const result = await underWrites(() => change('FQDN'));
    t.diagnostic(JSON.stringify(result));
    isNoOutage(result.stallMs);
    assert.equal(await uids(), before);
  });

  test('FQDN of a domain that nobody publishes, under writes: servers keep the names by which they reach each other', async (t) => {
    const result = await underWrites(async () => {
      await cluster.apply(manifest('FQDN', [], { domain: 'nowhere.invalid', additional: [{ domain: DOMAIN }] }));
      const generation = async () =>
        JSON.parse(await inside('get', 'cm', 'leo-1-config', '-o', 'jsonpath={.data.instance\\.json}'));
      await waitUntil('agents have the new names', SOON, async () => {
        const config = await generation();
        const { nodes = [] } = JSON.parse(await inside('get', 'pgg', 'leo', '-o', 'json'))
          .status as PostgresGroupStatus;
        const isTaken = nodes.find(({ name }) => name === 'leo-1')?.configurationGeneration === config.generation;
        return isTaken && config.peers[0].agent.host === 'leo-1.nowhere.invalid';
      });
      // Longer than the fence: a leader that nobody reaches would have stopped.
      await delay(6000);
      assert.deepEqual((await cluster.status()).members.length, 3);
    });
    t.diagnostic(JSON.stringify(result));
    isNoOutage(result.stallMs);
    await change('FQDN');
  });

  test('FQDN to SplitDNS, under writes: pods are replaced one by one', async (t) => {
    const result = await underWrites(() => change('SplitDNS'));
    t.diagnostic(JSON.stringify(result));
    isNoOutage(result.stallMs);
  });

  test('in a pod of SplitDNS, names of nodes lead to pods, and every name that resolved before still does', async () => {
    const addresses = await podAddresses();
    const found = await resolveInPod(onNode('leo-1'), namesBefore);
    for (const node of NODES) assert.deepEqual(found[fqdn(node)], [addresses[node]], node);
    assert.deepEqual(
      namesBefore.filter((name) => found[name]?.length === 0),
      [],
    );
    // Not a node: it leads outside, as everywhere.
    assert.deepEqual(found[fqdn('leo')], [await balancerAddress('leo')]);
    assert.deepEqual(await resolveInPod(onNode('leo-1'), ['nowhere.invalid']), { 'nowhere.invalid': [] });
  });

  test('the resolver runs without privileges, and says how it is', async () => {
    const words = ['exec', 'leo-1-0', '-c', 'dns', '--'];
    const status = await inside(...words, 'cat', '/proc/1/status');
    assert.match(status, /^Uid:\s+999\s/m);
    assert.match(status, /^CapEff:\s+0000000000000000$/m);
    const port = '/api/v1/namespaces/%/pods/https:leo-1-0:5482/proxy/metrics'.replace('%', NAMESPACE);
    const metrics = await kubectl(['get', '--raw', port]);
    assert.match(metrics, /^pgspan_dns_answers_total\{source="rule",rcode="noerror"\} \d/m);
  });

  test('no name is lost while the resolver restarts', async () => {
    // A question every few milliseconds for as long as the container takes to come back.
    const script = `end=$(($(date +%s) + 12)); n=0; lost=0
      while [ "$(date +%s)" -lt $end ]; do n=$((n + 1)); getent hosts ${fqdn('leo-2')} >/dev/null || lost=$((lost + 1)); done
      echo "$n $lost"`;
    const asking = inside('exec', 'leo-1-0', '-c', 'postgres', '--', 'sh', '-c', script);
    await delay(1000);
    await inside('exec', 'leo-1-0', '-c', 'dns', '--', 'sh', '-c', 'kill -9 1; kill -TERM 1').catch(() => {});
    const [asked = 0, lost] = (await asking).trim().split(' ').map(Number);
    assert.ok(asked > 20, `only ${asked} questions`);
    assert.equal(lost, 0);
    const restarts = "jsonpath={.status.initContainerStatuses[?(@.name=='dns')].restartCount}";
    assert.equal(await inside('get', 'pod', 'leo-1-0', '-o', restarts), '1');
  });

  test('a changed rule counts without a restart', async () => {
    const uids = async () => await inside('get', 'pods', '-o', 'jsonpath={.items[*].metadata.uid}');
    const before = await uids();
    const rules = [
      { host: 'vpc.corp', result: '10.99.0.1' },
      { host: '([a-z]+)\\.peer\\.corp', result: `\${1}.${NAMESPACE}.svc.cluster.local`, regex: true },
    ];
    await cluster.apply(manifest('SplitDNS', rules));
    const service = (await resolveInPod(onNode('leo-1'), ['orders'])).orders;
    await waitUntil('the rules count', SOON, async () => {
      const found = await resolveInPod(onNode('leo-1'), ['vpc.corp', 'orders.peer.corp']);
      return found['vpc.corp']?.[0] === '10.99.0.1' && found['orders.peer.corp']?.[0] === service?.[0];
    });
    assert.equal(await uids(), before);
  });

  test('a node that came back is found under its name, at its new address', async () => {
    const status = await cluster.status();
    const follower = NODES.find((node) => node !== status.leader) as string;
    const { [follower]: addressBefore } = await podAddresses();
    await inside('delete', 'pod', `${follower}-0`, '--wait=true');
    const address = await waitUntil('the pod is back', SOON, async () => {
      const { [follower]: now } = await podAddresses();
      return now === undefined || now === '' || now === addressBefore ? null : now;
    });
    await waitUntil('its name leads to it', SOON, async () => {
      const found = await resolveInPod(onNode(status.leader as string), [fqdn(follower)]);
      return found[fqdn(follower)]?.[0] === address;
    });
    await change('SplitDNS');
  });

  test('SplitDNS to ServiceName, under writes', async (t) => {
    const result = await underWrites(() => change('ServiceName'));
    t.diagnostic(JSON.stringify(result));
    isNoOutage(result.stallMs);
    assert.equal(await inside('get', 'cm', 'leo-dns-config', '--ignore-not-found', '-o', 'name'), '');
  });
});
