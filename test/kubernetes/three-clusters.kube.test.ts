/**
 * examples/three-clusters/ on three real clusters: the groups find each other by manifests, hold one database, and survive the loss of
 * the whole cluster that leads. Pod networks are not joined: everything between clusters goes over load balancers.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import {
  findMissingWrites,
  monotonicMs,
  startWriter,
  type WriterProcess,
} from '../../src/platform/local/writer-process.ts';
import { needs } from '../kit/requirement.ts';
import { clusterFault } from './kit/faults.ts';
import { BY_NAME, type GroupName, GROUPS, ThreeClusters, withPeers } from './kit/three-clusters.ts';

const NAMESPACE = 'pgspan-three';
const SOON = { timeoutMs: 120_000, intervalMs: 500 } as const;
const WRITE_INTERVAL_MS = 50;

describe('three Kubernetes clusters', {
  ...needs('three-kubernetes', 'kubernetes-faults', 'kubectl'),
  timeout: 1_400_000,
}, () => {
  let clusters: ThreeClusters;
  const writers = new Map<GroupName, WriterProcess>();
  let cutOff: GroupName | null = null;

  before(async () => {
    clusters = await ThreeClusters.prepare(NAMESPACE);
  });
  after(async () => {
    for (const writer of writers.values()) writer.kill();
    if (cutOff !== null) await clusterFault('heal', clusters.contextOf(cutOff)).catch(() => {});
    await clusters?.close();
  });

  const leaderOf = async (group: GroupName): Promise<string> => (await clusters.status(group)).leader ?? '';
  const groupOf = (node: string): GroupName => node.replace(/-\d+$/, '') as GroupName;

  test('groups that do not know each other yet: the primary one begins, the others wait and make no second database', async () => {
    for (const group of GROUPS) await clusters.apply(group, clusters.example(group));
    for (const group of ['ait', 'pit'] as const) {
      const { message } = await clusters.waitForStatus(group, 'waits', ({ reason }) => reason === 'WaitingForGroups');
      assert.match(message ?? '', /Group "leo", which makes the database, has not told of itself yet/);
    }
    await clusters.waitForStatus('leo', 'is healthy alone', ({ reason }) => reason === 'Healthy');
    for (const group of ['ait', 'pit'] as const) {
      assert.equal(
        await clusters.kubectl(group, ['get', 'statefulsets,pods', '-l', `pgspan.io/group=${group}`, '-o', 'name']),
        '',
      );
      assert.equal((await clusters.bundle(group)).length, 1);
    }
  });

  test('with each others CAs and addresses in the manifests they form one database', async (t) => {
    const startedMs = performance.now();
    const told = new Map(
      await Promise.all(GROUPS.map(async (group) => [group, await clusters.introduction(group)] as const)),
    );
    for (const group of GROUPS) await clusters.apply(group, withPeers(clusters.example(group), told));
    const statuses = await clusters.whole();
    t.diagnostic(`one database after ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
    for (const status of statuses) {
      assert.equal(status.leader, 'leo-1');
      assert.deepEqual(status.members?.toSorted(), ['ait-1', 'leo-1', 'pit-1']);
      assert.equal(status.term, statuses[0]?.term);
    }
    for (const group of GROUPS) {
      assert.equal((await clusters.bundle(group)).length, 3, `the trust bundle of ${group}`);
      for (const other of GROUPS.filter((one) => one !== group)) {
        const service = JSON.parse(await clusters.kubectl(group, ['get', 'service', `${other}-1`, '-o', 'json'])) as {
          spec: { type: string; clusterIP?: string; externalName?: string };
        };
        if (other === BY_NAME) {
          const path = 'jsonpath={.status.loadBalancer.ingress[0].hostname}';
          const host = await clusters.kubectl(other, ['get', 'service', `${other}-1`, '-o', path]);
          assert.deepEqual([service.spec.type, service.spec.externalName], ['ExternalName', host]);
          continue;
        }
        assert.equal(service.spec.clusterIP, 'None');
        const slices = await clusters.kubectl(group, [
          'get',
          'endpointslices',
          '-l',
          `kubernetes.io/service-name=${other}-1`,
          '-o',
          'jsonpath={.items[*].endpoints[*].addresses[*]}',
        ]);
        const address = await clusters.kubectl(other, [
          'get',
          'service',
          `${other}-1`,
          '-o',
          'jsonpath={.status.loadBalancer.ingress[0].ip}',
        ]);
        assert.equal(slices, address);
      }
    }
  });

  test('every group has the same valid login, and its proxies reach the leader in whichever cluster', async () => {
    for (const group of GROUPS) {
      const writer = startWriter(await clusters.writeTarget(group), WRITE_INTERVAL_MS, {
        statementTimeoutMs: 5000,
        connectTimeoutMs: 5000,
        firstKey: (GROUPS.indexOf(group) + 1) * 10_000_000,
      });
      writers.set(group, writer);
      await waitUntil(`a row is written through ${group}`, SOON, () =>
        writer.events.some(({ type }) => type === 'ack'),
      );
    }
  });

  test('the loss of the whole cluster that leads: another takes over, and no acknowledged row is lost', async (t) => {
    const before = await leaderOf('leo');
    const lost = groupOf(before);
    const others = GROUPS.filter((group) => group !== lost);
    const [watching = 'ait'] = others;
    const { term = 0 } = await clusters.status(watching);
    for (const group of others) await writers.get(group)?.beginWindow();
    cutOff = lost;
    await clusterFault('cut', clusters.contextOf(lost));
    for (const group of others) {
      const status = await clusters.waitForStatus(
        group,
        'another leads',
        ({ leader, phase }) => leader !== before && phase === 'published',
      );
      assert.equal(status.term, term + 1);
    }
    const ledAtMs = monotonicMs();
    await delay(3000);
    for (const group of others) {
      const writer = writers.get(group) as WriterProcess;
      await waitUntil(`${group} writes on`, SOON, () =>
        writer.events.some(({ type, atMs }) => type === 'ack' && atMs > ledAtMs),
      );
      const { longestGapMs } = await writer.summary();
      t.diagnostic(`through ${group}: longest stall ${Math.round(longestGapMs)} ms`);
      // The figure is 6 s on an idle machine (bench/kubernetes); here it only must not hang.
      assert.ok(longestGapMs < 60_000, `${longestGapMs} ms`);
    }
    await clusterFault('heal', clusters.contextOf(lost));
    cutOff = null;
    await clusters.whole();
    assert.notEqual(await leaderOf(lost), before);
    await assertNothingLost();
  });

  test('a switchover to a node of another cluster loses nothing', async (t) => {
    const before = await leaderOf('leo');
    const to = GROUPS.map((group) => `${group}-1`).find((node) => node !== before) as string;
    for (const writer of writers.values()) await writer.beginWindow();
    await clusters.pgspan(groupOf(before), ['switchover', '--to', to]);
    for (const group of GROUPS)
      await clusters.waitForStatus(
        group,
        `"${to}" leads`,
        ({ leader, phase }) => leader === to && phase === 'published',
      );
    for (const [group, writer] of writers) {
      const { longestGapMs, errorsByCode } = await writer.summary();
      t.diagnostic(
        `through ${group}: longest stall ${Math.round(longestGapMs)} ms, errors ${JSON.stringify(errorsByCode)}`,
      );
    }
    await assertNothingLost();
    await clusters.whole();
  });

  test('an operator that starts anew plans with the groups that it knew, whoever is away', async () => {
    const before = await clusters.kubectl('ait', ['get', 'configmap', 'ait-1-config', '-o', 'jsonpath={.data}']);
    for (const group of ['leo', 'pit'] as const)
      await clusters.kubectl(group, ['scale', 'deployment', 'pgspan-operator', '--replicas=0']);
    await clusters.kubectl('ait', ['delete', 'pod', '-l', 'app.kubernetes.io/name=pgspan-operator', '--wait=true']);
    await clusters.kubectl('ait', ['rollout', 'status', 'deployment', 'pgspan-operator', '--timeout=120s']);
    await clusters.whole();
    assert.equal(await clusters.kubectl('ait', ['get', 'configmap', 'ait-1-config', '-o', 'jsonpath={.data}']), before);
    for (const group of ['leo', 'pit'] as const)
      await clusters.kubectl(group, ['scale', 'deployment', 'pgspan-operator', '--replicas=1']);
  });

  test('a group that is taken out of the manifests takes its Services and its CA with it', async () => {
    const leader = await leaderOf('leo');
    const gone: GroupName = leader === 'pit-1' ? 'ait' : 'pit';
    const rest = GROUPS.filter((group) => group !== gone);
    const authority = await clusters.ownAuthority(gone);
    writers.get(gone)?.kill();
    writers.delete(gone);
    await clusters.kubectl(gone, ['delete', 'postgresgroup', gone, '--timeout=120s']);
    for (const group of rest) {
      const manifest = clusters.manifests.get(group);
      const peers = (manifest?.spec.globalCluster?.peers ?? []).filter((peer) => peer.group !== gone);
      await clusters.apply(group, {
        ...manifest,
        spec: { ...manifest?.spec, globalCluster: { ...manifest?.spec.globalCluster, peers } },
      } as never);
    }
    for (const group of rest) {
      await clusters.waitForStatus(
        group,
        'has two members',
        ({ members, reason }) => members?.length === 2 && reason === 'Healthy',
      );
      await waitUntil(
        `${group} has withdrawn the CA of ${gone}`,
        SOON,
        async () => !(await clusters.bundle(group)).includes(authority),
      );
      const left = await clusters.kubectl(group, [
        'get',
        'services,endpointslices',
        '-l',
        `pgspan.io/remote-group=${gone}`,
        '-o',
        'name',
      ]);
      assert.equal(left, '');
    }
    await assertNothingLost();
  });

  /** Asked through every group whose writer runs. */
  async function assertNothingLost(): Promise<void> {
    for (const [group, writer] of writers) {
      const { acknowledgedRanges } = await writer.summary().catch(() => ({ acknowledgedRanges: [] }));
      const result = await findMissingWrites(await clusters.writeTarget(group), acknowledgedRanges);
      assert.equal(result.missing, 0, `acknowledged through ${group}, and lost: ${result.keys.join(', ')}`);
    }
  }
});
