/**
 * `pgspan doctor` on Kubernetes: 0 findings on a good group, and the faults that only names and load balancers can have: each is
 * planted, found and named. Those of certificates, ports, passwords and clocks are in test/e2e/doctor.test.ts.
 *
 * While a record is wrong the operator rests: it would put the Service right again.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parse, stringify } from 'yaml';
import type { PostgresGroupStatus } from '../../src/api/postgres-group-status.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import type { DoctorReport } from '../../src/cli/doctor-text.ts';
import { needs } from '../kit/requirement.ts';
import { scaleOperator } from './kit/cluster.ts';
import { context, kubectl } from './kit/environment.ts';
import { smallGroup } from './kit/groups.ts';
import { freshNamespace, inNamespace, installPgspan, pgspan, pgspanResult, removeNamespace } from './kit/install.ts';

const NAMESPACE = 'pgspan-doctor';
const OTHER = 'pgspan-doctor-other';
const DOMAIN = 'doctor.pgspan.test';
const HOSTNAME = 'external-dns.alpha.kubernetes.io/hostname';
const SETTLED = { timeoutMs: 400_000, intervalMs: 1000 } as const;
/** A record's time to live, a mounted file's way into a pod, and a busy machine. */
const SOON = { timeoutMs: 240_000, intervalMs: 2000 } as const;

type Connectivity = Record<string, unknown>;

/** Two nodes and one proxy. */
function manifest(connectivity: Connectivity, domain = DOMAIN): string {
  const group = parse(smallGroup('leo'));
  group.spec.instances = 2;
  group.spec.globalCluster = { name: 'orders' };
  group.spec.connectivity = { dns: { domain }, ...connectivity };
  return stringify(group);
}

const published = (hostname: string) => ({ metadata: { annotations: { [HOSTNAME]: hostname } } });
/** Servers dial each other by names outside, which lead to load balancers. */
const BY_FQDN: Connectivity = {
  internodeTrafficStrategy: 'FQDN',
  loadBalancer: { enabled: true, scope: 'node' },
  nodeServiceTemplate: published(`{node}.${DOMAIN}`),
};

describe('doctor on Kubernetes', { ...needs('kubernetes', 'kubectl', 'external-dns'), timeout: 2_400_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-kube-doctor-'));
  const inGroup = (...words: string[]) => kubectl(['-n', NAMESPACE, ...words]);
  const doctor = async (): Promise<DoctorReport> => {
    const words = ['doctor', '-o', 'json', ...inNamespace(NAMESPACE)];
    return JSON.parse(await pgspan(words).catch((error: { stdout: string }) => error.stdout)) as DoctorReport;
  };
  /** This machine need not know the names of the cluster's load balancers: what it cannot resolve is a warning of its own. */
  const codesOf = ({ findings }: DoctorReport) =>
    findings
      .filter(({ severity, edges }) => severity === 'error' || edges.some(({ from }) => from !== 'here'))
      .map(({ code, subject }) => `${code} ${subject}`);
  const finds = async (...expected: string[]): Promise<DoctorReport> => {
    let last: DoctorReport | null = null;
    const found = await waitUntil(`doctor finds ${expected.join(', ') || 'nothing'}`, SOON, async () => {
      last = await doctor();
      return JSON.stringify(codesOf(last)) === JSON.stringify(expected) ? last : null;
    }).catch((error: Error) => {
      throw new Error(`${error.message}; found ${JSON.stringify(last?.findings, null, 1)}`, { cause: error });
    });
    return found;
  };
  const statusOf = async (): Promise<PostgresGroupStatus> =>
    (JSON.parse(await inGroup('get', 'pgg', 'leo', '-o', 'json')) as { status?: PostgresGroupStatus }).status ?? {};
  const connectivity = async () => (await statusOf()).conditions?.find(({ type }) => type === 'Connectivity');
  /** Applied and taken by every node. */
  const apply = async (connectivityFields: Connectivity, domain = DOMAIN): Promise<void> => {
    await kubectl(['-n', NAMESPACE, 'apply', '-f', '-'], manifest(connectivityFields, domain));
    const strategy = connectivityFields.internodeTrafficStrategy ?? 'ServiceName';
    const host = strategy === 'ServiceName' ? 'leo-1' : `leo-1.${domain}`;
    await waitUntil(`nodes dial "${host}"`, SETTLED, async () => {
      const path = 'jsonpath={.data.instance\\.json}';
      const text = await inGroup('get', 'cm', 'leo-2-config', '-o', path).catch(() => '{}');
      const { peers = [], generation } = JSON.parse(text);
      const { nodes = [] } = await statusOf();
      const isTaken = nodes.length === 2 && nodes.every((node) => (node.configurationGeneration ?? 0) >= generation);
      return peers[0]?.agent.host === host && isTaken;
    });
  };
  const healthy = async (): Promise<void> => {
    await waitUntil('the group is healthy', SETTLED, async () => (await statusOf()).reason === 'Healthy');
  };
  const balancerOf = async (service: string, namespace = NAMESPACE): Promise<string> => {
    const path = 'jsonpath={.status.loadBalancer.ingress[0].ip}';
    const ask = () => kubectl(['-n', namespace, 'get', 'service', service, '-o', path]);
    return await waitUntil(`"${service}" has an address`, SETTLED, async () => (await ask()) || null);
  };
  const annotate = (service: string, hostname: string | null, namespace = NAMESPACE) => {
    const change = hostname === null ? `${HOSTNAME}-` : `${HOSTNAME}=${hostname}`;
    return kubectl(['-n', namespace, 'annotate', '--overwrite', 'service', service, change]);
  };

  before(async () => {
    await installPgspan();
    await freshNamespace(NAMESPACE);
    await freshNamespace(OTHER);
    const other = parse(smallGroup('ait'));
    other.spec.globalCluster = { name: 'billing' };
    other.spec.connectivity = { dns: { domain: DOMAIN }, loadBalancer: { enabled: true, scope: 'node' } };
    await kubectl(['-n', OTHER, 'apply', '-f', '-'], stringify(other));
    await apply({});
    await healthy();
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await scaleOperator(1).catch(() => {});
    await removeNamespace(NAMESPACE);
    await removeNamespace(OTHER);
  });

  test('finds nothing in a good group, and tries every edge that the plan has', async () => {
    const report = await finds();
    assert.deepEqual(report.findings, []);
    assert.equal(report.ok, true);
    assert.equal(report.triedEdges, report.plannedEdges);
    // Two nodes: PostgreSQL and agent of the other, and the Kubernetes API for the record.
    assert.equal(report.edges.filter(({ from }) => from === 'leo-1').length, 3);
    const record = report.edges.find(({ purpose, from }) => purpose === 'record' && from === 'leo-1');
    assert.match(record?.result ?? '', /read the record of term/);
    const dialled = report.edges.find(({ purpose, from }) => purpose === 'replication' && from === 'leo-1');
    assert.equal(dialled?.name, 'leo-2');
    assert.ok((dialled?.resolvers.length ?? 0) > 0 && (dialled?.resolved?.length ?? 0) > 0, JSON.stringify(dialled));
    assert.equal((await connectivity())?.status, 'True');
  });

  test('a context that does not answer is named, and hides nothing of the others', async () => {
    const file = join(folder, 'config');
    const config = parse(await kubectl(['config', 'view', '--raw', '--flatten', '--minify']));
    config.clusters.push({ name: 'gone', cluster: { server: 'https://127.0.0.1:1' } });
    config.contexts.push({ name: 'gone', context: { cluster: 'gone', user: config.users[0].name } });
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    const flags = ['--kubeconfig', file, '-n', NAMESPACE];
    for (const which of [['--all-contexts'], ['--context', `gone,${context()}`]]) {
      const { stdout, stderr } = await pgspanResult(['status', ...which, ...flags]);
      assert.match(stdout, /^orders: leader leo-\d/);
      assert.match(stderr, /^context "gone" does not answer: /);
    }
    assert.match(await pgspan(['doctor', '--all-contexts', ...flags]), /0 findings: all \d+ edges/);
    const gone = await pgspan(['status', '--context', 'gone,nowhere', ...flags]).catch((error: Error) => error.message);
    assert.match(gone, /CONTEXTS_UNANSWERED/);
  });

  test('`status` shows what the operator wrote, and how old it is, to whom exec is refused', async () => {
    const viewer = `
apiVersion: v1
kind: ServiceAccount
metadata: { name: viewer }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: viewer }
rules:
  - { apiGroups: [""], resources: [pods, services, configmaps], verbs: [get, list] }
  - { apiGroups: [pgspan.io], resources: [postgresgroups], verbs: [get, list] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: viewer }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: viewer }
subjects: [{ kind: ServiceAccount, name: viewer, namespace: ${NAMESPACE} }]
`;
    await kubectl(['-n', NAMESPACE, 'apply', '-f', '-'], viewer);
    const token = (await inGroup('create', 'token', 'viewer')).trim();
    const config = parse(await kubectl(['config', 'view', '--raw', '--flatten', '--minify']));
    config.users[0].user = { token };
    const file = join(folder, 'viewer');
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    const text = await pgspan(['status', '--kubeconfig', file, '-n', NAMESPACE]);
    assert.match(text, /^orders: leader leo-\d/);
    assert.match(text, /^leo-2\s+leo\s+(following|leading) .* as of \d+ (s|min) ago/m);
    assert.match(text, /No node of "leo" could be asked: /);
  });

  test('a load balancer without an address', async () => {
    await apply({ loadBalancer: { enabled: true, scope: 'group', loadBalancerClass: 'nobody.example/none' } });
    try {
      await finds(...['leo', 'leo-group', 'orders'].map((service) => `BalancerWithoutAddress ${service}`));
    } finally {
      // A class cannot be changed; without a load balancer it goes.
      await apply({});
    }
    await finds();
  });

  test('a hairpin: servers dial each other through the load balancers of their own cluster', async () => {
    await apply(BY_FQDN);
    const addresses = [await balancerOf('leo-1'), await balancerOf('leo-2')];
    const report = await finds('Hairpin group leo');
    const hairpin = report.findings.find(({ code }) => code === 'Hairpin');
    assert.equal(hairpin?.severity, 'warning');
    assert.equal(report.ok, true);
    assert.ok(
      addresses.some((address) => hairpin?.message.includes(address)),
      hairpin?.message,
    );
    assert.match(hairpin?.todo ?? '', /SplitDNS/);
  });

  test('a missing DNS record', async () => {
    await scaleOperator(0);
    try {
      await annotate('leo-2', null);
      const report = await finds(`NameUnresolved leo-2.${DOMAIN}`, 'Hairpin group leo');
      const [missing] = report.findings;
      assert.match(missing?.message ?? '', /seen from "leo-1", asked \d+\./);
      assert.ok(missing?.edges.some(({ from }) => from.startsWith('leo-proxy')));
    } finally {
      await annotate('leo-2', `leo-2.${DOMAIN}`);
      await scaleOperator(1);
    }
    await finds('Hairpin group leo');
  });

  test('a record of another cluster', async () => {
    await balancerOf('ait-1', OTHER);
    await scaleOperator(0);
    try {
      await annotate('leo-2', null);
      await annotate('ait-1', `leo-2.${DOMAIN}`, OTHER);
      const report = await finds(`NameOfAnother leo-2.${DOMAIN}`, 'Hairpin group leo');
      assert.match(report.findings[0]?.message ?? '', /spiffe:\/\/billing\/ait\/ait-1/);
    } finally {
      await annotate('ait-1', null, OTHER);
      await annotate('leo-2', `leo-2.${DOMAIN}`);
      await scaleOperator(1);
    }
    await finds('Hairpin group leo');
  });

  /** Last: the group is broken after it. Servers that still dial the former names are found beside, until they take the new ones. */
  test('a wrong domain', async () => {
    await apply(BY_FQDN, 'nowhere.pgspan.test');
    await waitUntil('doctor finds the wrong domain', SOON, async () => {
      const { ok, findings } = await doctor();
      const wrong = findings.find(({ code, severity }) => code === 'DomainWrong' && severity === 'error');
      return !ok && wrong?.subject === 'nowhere.pgspan.test' && wrong.edges.some(({ from }) => from !== 'here');
    });
  });
});
