/**
 * Load balancers for a group and for each node: their addresses and host names come into the status and into certificates while
 * the group serves, and let in whom they should (requirements B6, C6). And the way from inside without one: rules for the cluster's
 * own CoreDNS, as `pgspan dns coredns` prints them (C5).
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { PostgresGroupStatus } from '../../src/api/postgres-group-status.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { needs } from '../kit/requirement.ts';
import { KubernetesCluster } from './kit/cluster.ts';
import { withCoreDnsRules } from './kit/cluster-dns.ts';
import { BALANCER_HOSTNAME, kubectl, POSTGRES_IMAGE } from './kit/environment.ts';
import { threeNodes } from './kit/groups.ts';
import { freshNamespace, inNamespace, installPgspan, pgspan, removeNamespace, ROOT } from './kit/install.ts';
import { resolveInPod } from './kit/names-in-pod.ts';

const NAMESPACE = 'pgspan-balancers';
const DOMAIN = 'balancers.pgspan.test';
const NODES = ['leo-1', 'leo-2', 'leo-3'];
const SETTLED = { timeoutMs: 300_000, intervalMs: 500 } as const;
const SOON = { timeoutMs: 120_000, intervalMs: 500 } as const;
/** No provider acts on it, so a test can say what a load balancer has got. */
const NOBODYS_CLASS = 'pgspan.test/nobody';

interface Balancer {
  readonly enabled?: boolean;
  readonly scope?: 'group' | 'node';
  readonly allowedIPs?: string[];
  readonly loadBalancerClass?: string;
}

const inside = (...words: string[]) => kubectl(['-n', NAMESPACE, ...words]);
const fqdn = (name: string) => `${name}.${DOMAIN}`;
const CLIENT = { namespace: NAMESPACE, pod: 'client', container: 'client' };

describe('load balancers', { ...needs('kubernetes', 'kubectl', 'external-dns'), timeout: 1_800_000 }, () => {
  let cluster: KubernetesCluster;
  let uids = '';

  before(async () => {
    await installPgspan();
    await freshNamespace(NAMESPACE);
    cluster = new KubernetesCluster(NAMESPACE);
  });
  after(async () => {
    await cluster?.close();
    await removeNamespace(NAMESPACE);
  });

  async function status(): Promise<PostgresGroupStatus> {
    return JSON.parse(await inside('get', 'pgg', 'leo', '-o', 'json')).status ?? {};
  }

  async function change(balancer: Balancer, annotations: Record<string, string> = {}): Promise<void> {
    const template = {
      metadata: { annotations: { 'external-dns.alpha.kubernetes.io/hostname': '{fqdn}', ...annotations } },
    };
    await cluster.apply(
      threeNodes({
        connectivity: {
          dns: { domain: DOMAIN },
          loadBalancer: balancer,
          nodeServiceTemplate: template,
          proxyServiceTemplate: template,
        },
      }),
    );
    await waitUntil('the change is carried out', SETTLED, async () => {
      const { metadata, status: now } = JSON.parse(await inside('get', 'pgg', 'leo', '-o', 'json'));
      return now?.observedGeneration === metadata.generation && now.reason === 'Healthy';
    });
  }

  const podUids = async () =>
    await inside('get', 'pods', '-l', 'pgspan.io/node', '-o', 'jsonpath={.items[*].metadata.uid}');

  /** As the operator has issued it; that nodes have loaded it, the status says. */
  async function certificateNames(node: string): Promise<string> {
    const pem = Buffer.from(await inside('get', 'secret', `${node}-tls`, '-o', 'jsonpath={.data.tls\\.crt}'), 'base64');
    return new X509Certificate(pem).subjectAltName ?? '';
  }

  async function hostsOf(services: readonly string[]): Promise<Record<string, string>> {
    return await waitUntil(`${services.join(', ')} have load balancers`, SOON, async () => {
      const { addresses = [] } = await status();
      const found = services.map((name) => addresses.find(({ service }) => service === name)?.hosts[0]);
      if (found.some((host) => host === undefined)) return null;
      return Object.fromEntries(services.map((name, index) => [name, found[index] as string]));
    });
  }

  /** Every node carries the names, and has loaded the certificate with them. */
  async function areLoaded(names: Readonly<Record<string, readonly string[]>>): Promise<void> {
    await waitUntil('certificates carry what load balancers have got, and nodes have loaded them', SOON, async () => {
      for (const [node, wanted] of Object.entries(names)) {
        const text = await certificateNames(node);
        if (!wanted.every((name) => text.includes(name))) return false;
      }
      const { conditions = [] } = await status();
      return conditions.some(
        ({ type, status: is, reason }) => type === 'CertificatesReady' && is === 'True' && reason === 'Loaded',
      );
    });
  }

  /** verify-full of exactly this name, at this address. */
  async function ask(host: string, hostaddr: string): Promise<string> {
    const password = await inside('get', 'secret', 'leo-app', '-o', 'jsonpath={.data.password}');
    const conninfo = `host=${host} hostaddr=${hostaddr} port=5432 user=app dbname=app sslmode=verify-full sslrootcert=/etc/pgspan/app/ca.crt connect_timeout=10`;
    const environment = `PGPASSWORD=${Buffer.from(password, 'base64').toString()}`;
    return (await inside('exec', 'client', '--', 'env', environment, 'psql', '-XAtc', 'select 1', conninfo)).trim();
  }

  test('of scope group: the proxies have one, nodes none', async () => {
    await change({ enabled: true, scope: 'group' });
    const pod = readFileSync(join(ROOT, 'test/kubernetes/client-pod.yaml'), 'utf8').replaceAll(
      'postgres:18',
      POSTGRES_IMAGE,
    );
    await kubectl(['-n', NAMESPACE, 'apply', '-f', '-'], pod);
    const hosts = await hostsOf(['leo', 'orders', 'leo-group']);
    const types = JSON.parse(await inside('get', 'services', '-l', 'pgspan.io/node', '-o', 'json')).items.map(
      ({ spec }: { spec: { type: string } }) => spec.type,
    );
    assert.deepEqual(types, ['ClusterIP', 'ClusterIP', 'ClusterIP']);
    await areLoaded(Object.fromEntries(NODES.map((node) => [node, [hosts.leo as string, hosts.orders as string]])));
    await inside('wait', '--for=condition=Ready', 'pod/client', '--timeout=120s');
    assert.equal(await ask(hosts.leo as string, hosts.leo as string), '1');
    assert.equal(await ask(hosts.orders as string, hosts.orders as string), '1');
    uids = await podUids();
  });

  test('of scope node: each node has one as well, and its address in its certificate, without a restart', async () => {
    await change({ enabled: true, scope: 'node' });
    const hosts = await hostsOf([...NODES, 'leo']);
    await areLoaded(Object.fromEntries(NODES.map((node) => [node, [hosts[node] as string]])));
    for (const node of NODES) {
      assert.equal(await ask(hosts[node] as string, hosts[node] as string), '1', node);
      assert.equal(await ask(fqdn(node), hosts[node] as string), '1', node);
    }
    assert.equal(await podUids(), uids);
  });

  test('let in the allowed addresses only', async () => {
    const { leo } = await hostsOf(['leo']);
    const own = await connectFrom(leo as string);
    assert.notEqual(own, null);
    await change({ enabled: true, scope: 'node', allowedIPs: ['203.0.113.0/24'] });
    await waitUntil('this machine is kept out', SOON, async () => (await connectFrom(leo as string)) === null);
    await change({ enabled: true, scope: 'node', allowedIPs: ['203.0.113.0/24', own as string] });
    await waitUntil('this machine is let in', SOON, async () => (await connectFrom(leo as string)) !== null);
    const ranges = await inside('get', 'service', 'leo-1', '-o', 'jsonpath={.spec.loadBalancerSourceRanges}');
    assert.deepEqual(JSON.parse(ranges), ['203.0.113.0/24', `${own}/32`]);
    await change({ enabled: true, scope: 'node' });
  });

  test('pasted rules lead the pods of a cluster to its Services, under the names outside', async (t) => {
    const names = ['leo', 'orders', 'leo-1', 'leo-2', 'leo-3'];
    const balancers = await hostsOf(names);
    const clusterIp = (name: string) => inside('get', 'service', name, '-o', 'jsonpath={.spec.clusterIP}');
    const services = Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await clusterIp(name)] as const)),
    );
    const resolved = async () => await resolveInPod(CLIENT, names.map(fqdn));
    const leads = async (where: Record<string, string>) => {
      const found = await resolved();
      return names.every((name) => found[fqdn(name)]?.length === 1 && found[fqdn(name)]?.[0] === where[name]);
    };
    await waitUntil('names lead to load balancers', SOON, async () => await leads(balancers));
    const before = await roundTrip(fqdn('leo'));
    const rules = await pgspan(['dns', 'coredns', ...inNamespace(NAMESPACE)]);
    const aside = await withCoreDnsRules(rules, async () => {
      await waitUntil('names lead to Services', SOON, async () => await leads(services));
      // The C library takes no answer under another name than the one that it asked for, so the answer is rewritten as well.
      assert.equal(await ask(fqdn('leo'), services.leo as string), '1');
      return await roundTrip(fqdn('leo'));
    });
    await waitUntil('names lead outside again', SOON, async () => await leads(balancers));
    t.diagnostic(
      `connection and query, ms: by the load balancer ${before.join(', ')}; by the Service ${aside.join(', ')}`,
    );
  });

  /** Of whole connections from a pod, ms: name, TCP, TLS, login, query. */
  async function roundTrip(host: string): Promise<number[]> {
    const password = await inside('get', 'secret', 'leo-app', '-o', 'jsonpath={.data.password}');
    const script = `for i in 1 2 3 4 5 6 7; do
      from=$(date +%s%N); psql -XAtqc 'select 1' "host=${host} user=app dbname=app sslmode=verify-full sslrootcert=/etc/pgspan/app/ca.crt" >/dev/null
      echo $((($(date +%s%N) - from) / 1000)); done`;
    const environment = `PGPASSWORD=${Buffer.from(password, 'base64').toString()}`;
    const output = await inside('exec', 'client', '--', 'env', environment, 'sh', '-c', script);
    return output
      .trim()
      .split('\n')
      .map((micros) => Math.round(Number(micros) / 100) / 10);
  }

  test('with a class of its own: the host name that its provider says comes into the certificates', async () => {
    await change({ enabled: true, scope: 'node', loadBalancerClass: NOBODYS_CLASS });
    await waitUntil('the load balancers of the other class are gone', SOON, async () => {
      const { addresses = [] } = await status();
      return addresses.every(({ hosts }) => hosts.length === 0);
    });
    const hostname = 'lb-1.provider.example';
    const got = { status: { loadBalancer: { ingress: [{ hostname }] } } };
    await inside('patch', 'service', 'leo-1', '--subresource=status', '--type=merge', '-p', JSON.stringify(got));
    await areLoaded({ 'leo-1': [`DNS:${hostname}`] });
    assert.deepEqual(await hostsOf(['leo-1']), { 'leo-1': hostname });
    assert.equal(await ask(hostname, await inside('get', 'service', 'leo-1', '-o', 'jsonpath={.spec.clusterIP}')), '1');
    assert.equal((await certificateNames('leo-2')).includes(hostname), false);
  });

  test('that have host names: clients connect by them', { ...needs('balancer-hostnames') }, async () => {
    const [key = '', value = ''] = (BALANCER_HOSTNAME ?? '').split('=');
    await change({ enabled: false });
    await change({ enabled: true, scope: 'node' }, { [key]: value });
    const hosts = await waitUntil('load balancers have host names', SOON, async () => {
      const found = await hostsOf([...NODES, 'leo']);
      return Object.values(found).every((host) => /[a-z]/.test(host)) ? found : null;
    });
    await areLoaded(Object.fromEntries(NODES.map((node) => [node, [`DNS:${hosts[node]}`, `DNS:${hosts.leo}`]])));
    const found = await resolveInPod(CLIENT, Object.values(hosts));
    for (const host of Object.values(hosts)) assert.equal(await ask(host, found[host]?.[0] ?? ''), '1', host);
    assert.equal(await podUids(), uids);
  });
});

/** Our address as the load balancer sees it; null: it does not answer. */
function connectFrom(address: string): Promise<string | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const socket = connect({ host: address, port: 5432, timeout: 2000 });
  socket.on('connect', () => resolve(socket.localAddress ?? null));
  socket.on('error', () => resolve(null));
  socket.on('timeout', () => resolve(null));
  return promise.finally(() => socket.destroy());
}
