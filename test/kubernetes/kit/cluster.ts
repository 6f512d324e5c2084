/**
 * A group on Kubernetes as scenarios see it (test/scenarios/runner.ts). Clients write from this machine through the
 * load balancer of the proxies; the open session on the leader comes through a port-forward, which enters the pod's
 * network from inside, so that no cut of the pod's network ends it.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitUntil } from '../../../src/base/wait-until.ts';
import { selectConnection } from '../../../src/core/connection/select.ts';
import type { ClusterStatus } from '../../../src/core/status/cluster-status.ts';
import {
  isKubernetesAccess,
  type KubernetesAccess,
  openKubernetesSource,
} from '../../../src/platform/kubernetes/access.ts';
import { type ForwardedPort, forwardPort } from '../../../src/platform/kubernetes/pod-forward.ts';
import { startWriter, type WriterTarget } from '../../../src/platform/local/writer-process.ts';
import { observeCluster } from '../../../src/platform/observe-cluster.ts';
import type { ClusterSource } from '../../../src/platform/ports.ts';
import {
  OPEN_SESSION_FIRST_KEY,
  type OpenSession,
  type ScenarioCluster,
  WRITE_INTERVAL_MS,
} from '../../scenarios/runner.ts';
import { context, kubectl } from './environment.ts';
import { podFault, programFault } from './faults.ts';
import { inNamespace, pgspan } from './install.ts';
import { type PodPart, signalPart } from './part-signals.ts';

const BALANCER_TIMEOUT_MS = 60_000;
const SESSION_STATEMENT_TIMEOUT_MS = 600_000;

/** To none: until it has ended, so that it takes nothing back that a test changes afterwards. */
export async function scaleOperator(replicas: number): Promise<void> {
  await kubectl(['-n', 'pgspan-system', 'scale', 'deployment', 'pgspan-operator', `--replicas=${replicas}`]);
  const none = ['-n', 'pgspan-system', 'wait', '--for=delete', 'pod', '-l', 'app.kubernetes.io/name=pgspan-operator'];
  if (replicas === 0) await kubectl([...none, '--timeout=60s']);
  else await kubectl(['-n', 'pgspan-system', 'rollout', 'status', 'deployment', '--timeout=60s']);
}

async function isServing(): Promise<boolean> {
  return await kubectl(['get', '--raw', '/readyz']).then(
    () => true,
    () => false,
  );
}

export class KubernetesCluster implements ScenarioCluster {
  readonly namespace: string;
  readonly #folder = mkdtempSync(join(tmpdir(), 'pgspan-kube-'));
  readonly #undo = new Map<string, () => Promise<void>>();
  readonly #forwards: ForwardedPort[] = [];
  #source: ClusterSource | null = null;

  constructor(namespace: string) {
    this.namespace = namespace;
  }

  async apply(manifest: string): Promise<void> {
    await kubectl(['-n', this.namespace, 'apply', '-f', '-'], manifest);
  }

  async access(): Promise<KubernetesAccess> {
    this.#source ??= await openKubernetesSource({ context: context(), namespace: this.namespace });
    const access = await this.#source.open();
    if (!isKubernetesAccess(access)) throw new TypeError('not on Kubernetes');
    return access;
  }

  /** What nodes answer themselves: what the operator wrote may be of before the fault. */
  async status(): Promise<ClusterStatus> {
    return await observeCluster({ ...(await this.access()), stored: [] });
  }

  /** Pods come back by themselves; what was stopped for good is started. */
  async start(): Promise<void> {
    await this.#undoFault('stop record');
  }

  async switchover(to: string | null): Promise<void> {
    await pgspan(['switchover', ...(to === null ? [] : ['--to', to]), ...inNamespace(this.namespace)]);
  }

  async addressOf(node: string): Promise<string> {
    const pod = (await this.access()).pods.find((one) => one.node === node);
    if (pod?.address == null) throw new Error(`"${node}" has no pod with an address`);
    return pod.address;
  }

  async writeTarget(group: string): Promise<WriterTarget> {
    const access = await waitUntil(
      'the load balancer has an address',
      { timeoutMs: BALANCER_TIMEOUT_MS, intervalMs: 500 },
      async () => {
        const now = await this.access();
        return now.ways.some(({ from }) => from === 'outside') ? now : null;
      },
    );
    const way = access.ways.find(({ from }) => from === 'outside');
    if (way === undefined) throw new Error('no way from outside');
    const selection = selectConnection(way.places, { kind: 'group', group }, false);
    const host = selection.kind === 'found' ? selection.hosts[0] : undefined;
    if (host?.address == null) throw new Error(`Cannot find the write route of "${group}"`);
    return await this.#target(access, host.host, host.address, host.port);
  }

  /** Through a port-forward, which lives as long as the cluster object. */
  async nodeTarget(node: string): Promise<WriterTarget> {
    const access = await this.access();
    const pod = access.pods.find((one) => one.node === node);
    if (pod === undefined) throw new Error(`"${node}" has no pod`);
    const target = { namespace: pod.namespace, pod: pod.name, port: pod.ports.postgres ?? 5432 };
    const forwarded = await forwardPort(
      access.dial,
      async () => target,
      () => {}, // the client sees its connection closed
    );
    this.#forwards.push(forwarded);
    return await this.#target(access, node, forwarded.address, forwarded.port);
  }

  async #target(access: KubernetesAccess, host: string, hostaddr: string, port: number): Promise<WriterTarget> {
    const passwordFile = join(this.#folder, 'password');
    const sslRootCert = join(this.#folder, 'ca.crt');
    writeFileSync(passwordFile, await access.applicationPassword(), { mode: 0o600 });
    writeFileSync(sslRootCert, await access.trustBundle());
    const { database, owner } = access.application;
    return { host, hostaddr, port, database, user: owner, passwordFile, sslRootCert };
  }

  async openSession(node: string): Promise<OpenSession> {
    const target = await this.nodeTarget(node);
    const writer = startWriter(target, WRITE_INTERVAL_MS, {
      statementTimeoutMs: SESSION_STATEMENT_TIMEOUT_MS,
      firstKey: OPEN_SESSION_FIRST_KEY + Date.now(),
    });
    return {
      get acks() {
        // The first session only: a second one would be a new connection.
        const second = writer.events.filter(({ type }) => type === 'connected')[1]?.atMs ?? Number.POSITIVE_INFINITY;
        return writer.events.flatMap((event) => (event.type === 'ack' && event.atMs < second ? [event] : []));
      },
      end: () => writer.kill(),
    };
  }

  async fault(verb: string, target: string): Promise<void> {
    if (target === 'record' || target === 'kubelet' || target === 'operator' || target === 'etcd')
      return await this.#programFault(verb, target);
    const [node = '', part] = target.split('/', 2);
    const pod = `${node}-0`;
    if (part !== undefined) return await this.#partFault(verb, pod, part as PodPart);
    switch (verb) {
      case 'kill':
        return await podFault('kill', pod, this.namespace);
      case 'freeze':
        await podFault('freeze', pod, this.namespace);
        this.#undo.set(`freeze ${pod}`, () => podFault('thaw', pod, this.namespace));
        return;
      case 'cut':
        await podFault('cut', pod, this.namespace);
        this.#undo.set(`cut ${pod}`, () => podFault('heal', pod, this.namespace));
        return;
      case 'thaw':
        return await this.#undoFault(`freeze ${pod}`);
      case 'heal':
        return await this.#undoFault(`cut ${pod}`);
      case 'delete':
        await kubectl(['-n', this.namespace, 'delete', 'pod', pod, '--wait=false']);
        return;
      case 'delete-now':
        await kubectl(['-n', this.namespace, 'delete', 'pod', pod, '--wait=false', '--grace-period=0', '--force']);
        return;
    }
    throw new Error(`no fault "${verb}" of a pod`);
  }

  async #programFault(verb: string, target: 'record' | 'kubelet' | 'operator' | 'etcd'): Promise<void> {
    const key = `stop ${target}`;
    if (verb === 'thaw' || verb === 'heal' || verb === 'start') return await this.#undoFault(key);
    if (target === 'operator') {
      await scaleOperator(0);
      this.#undo.set(key, () => scaleOperator(1));
      return;
    }
    // The record is in a Lease, so its store is the API server.
    const program = target === 'record' ? 'kube-apiserver' : target;
    await programFault('stop', program);
    this.#undo.set(key, async () => {
      await programFault('start', program);
      if (target !== 'kubelet')
        await waitUntil('the API server answers', { timeoutMs: 60_000, intervalMs: 500 }, isServing);
    });
  }

  async #partFault(verb: string, pod: string, part: PodPart): Promise<void> {
    switch (verb) {
      case 'kill':
        // A kill -9 of PostgreSQL is one of its postmaster: the others end by themselves.
        await signalPart(pod, this.namespace, part, 'KILL');
        return;
      case 'freeze':
        await signalPart(pod, this.namespace, part, 'STOP');
        this.#undo.set(`freeze ${pod}/${part}`, async () => {
          await signalPart(pod, this.namespace, part, 'CONT').catch(() => {}); // ended meanwhile
        });
        return;
      case 'thaw':
        return await this.#undoFault(`freeze ${pod}/${part}`);
    }
    throw new Error(`no fault "${verb}" of a part of a pod`);
  }

  async #undoFault(key: string): Promise<void> {
    const undo = this.#undo.get(key);
    this.#undo.delete(key);
    await undo?.();
  }

  async healAll(): Promise<void> {
    for (const key of [...this.#undo.keys()].reverse()) await this.#undoFault(key);
  }

  async close(): Promise<void> {
    await this.healAll().catch(() => {});
    for (const forwarded of this.#forwards) await forwarded.close();
    await this.#source?.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
