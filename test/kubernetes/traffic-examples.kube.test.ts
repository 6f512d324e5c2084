/**
 * The five common set-ups (requirement C7, examples/traffic-*.yaml), as far as one cluster can show them: group `leo` of each, alone,
 * smaller, with the cluster's own Lease for a record and the built-in CA. What stays as it is in the example is what it is about: how
 * servers and clients find each other, load balancers, rules.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseAllDocuments, stringify } from 'yaml';
import type { PostgresGroupManifest } from '../../src/api/postgres-group.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { needs } from '../kit/requirement.ts';
import { kubectl, POSTGRES_IMAGE } from './kit/environment.ts';
import { freshNamespace, installPgspan, removeNamespace, ROOT } from './kit/install.ts';
import { resolveInPod } from './kit/names-in-pod.ts';

const DOMAIN = 'examples.pgspan.test';
const SETTLED = { timeoutMs: 300_000, intervalMs: 500 } as const;
const SOON = { timeoutMs: 120_000, intervalMs: 500 } as const;
const fqdn = (name: string) => `${name}.${DOMAIN}`;

/** One at a time: they publish the same names. */
const EXAMPLES = [
  { name: 'one-cluster', dialled: 'leo-1', client: 'service', balancers: [] },
  { name: 'anywhere', dialled: fqdn('leo-1'), client: 'fqdn', balancers: ['leo', 'leo-1', 'leo-group', 'leo-r'] },
  { name: 'peered-by-service-name', dialled: 'leo-1', client: 'service', balancers: [] },
  { name: 'peered-by-fqdn', dialled: fqdn('leo-1'), client: 'fqdn', balancers: [] },
  { name: 'public-entry', dialled: 'leo-1', client: 'fqdn', balancers: ['leo', 'leo-group', 'leo-r'] },
] as const;

function manifestOf(example: string): string {
  const text = readFileSync(join(ROOT, `examples/traffic-${example}.yaml`), 'utf8').replaceAll(
    'db.example.com',
    DOMAIN,
  );
  const groups = parseAllDocuments(text).map((document) => document.toJS() as PostgresGroupManifest);
  const leo = groups.find(({ metadata }) => metadata.name === 'leo') ?? assert.fail('there is a group "leo"');
  const { tls: _, ...connectivity } = leo.spec.connectivity;
  const { coordination: _record, ...spec } = leo.spec;
  return stringify({
    ...leo,
    metadata: { name: 'leo' },
    spec: {
      ...spec,
      connectivity,
      instances: 1,
      imageName: POSTGRES_IMAGE,
      resources: { requests: { cpu: '50m', memory: '192Mi' }, limits: { memory: '1Gi' } },
      storage: { size: '1Gi' },
    },
  });
}

describe('examples of traffic', { ...needs('kubernetes', 'kubectl', 'external-dns'), timeout: 2_400_000 }, () => {
  before(async () => {
    await installPgspan();
  });

  for (const { name, dialled, client, balancers } of EXAMPLES) {
    describe(name, () => {
      const namespace = `pgspan-traffic-${name}`;
      const inside = (...words: string[]) => kubectl(['-n', namespace, ...words]);
      const server = { namespace, pod: 'leo-1-0', container: 'postgres' };

      before(async () => {
        await freshNamespace(namespace);
      });
      after(async () => {
        await removeNamespace(namespace);
      });

      test('is ready, and servers dial each other as it says', async () => {
        await kubectl(['-n', namespace, 'apply', '-f', '-'], manifestOf(name));
        await waitUntil('the group is healthy', SETTLED, async () => {
          const { status } = JSON.parse(await inside('get', 'pgg', 'leo', '-o', 'json'));
          return status?.reason === 'Healthy';
        });
        const config = JSON.parse(await inside('get', 'cm', 'leo-1-config', '-o', 'jsonpath={.data.instance\\.json}'));
        assert.equal(config.peers[0].postgres.host, dialled);
      });

      test('an application connects with what its Secret says, with verify-full', async () => {
        const host = Buffer.from(await inside('get', 'secret', 'leo-app', '-o', 'jsonpath={.data.host}'), 'base64');
        assert.equal(host.toString(), client === 'fqdn' ? fqdn('orders') : `orders.${namespace}.svc`);
        const pod = readFileSync(join(ROOT, 'test/kubernetes/client-pod.yaml'), 'utf8');
        await kubectl(['-n', namespace, 'apply', '-f', '-'], pod.replaceAll('postgres:18', POSTGRES_IMAGE));
        await inside('wait', '--for=condition=Ready', 'pod/client', '--timeout=120s');
        // Where nothing is published, the name outside is for the zone of the user: the Service stands for what it leads to.
        const isPublished = client === 'service' || name === 'anywhere';
        const address = isPublished ? '' : await inside('get', 'service', 'orders', '-o', 'jsonpath={.spec.clusterIP}');
        const password = await inside('get', 'secret', 'leo-app', '-o', 'jsonpath={.data.password}');
        const hostaddr = address === '' ? '' : `hostaddr=${address}`;
        const conninfo = `host=${host} ${hostaddr} user=app dbname=app sslmode=verify-full sslrootcert=/etc/pgspan/app/ca.crt`;
        const environment = `PGPASSWORD=${Buffer.from(password, 'base64')}`;
        const query = ['exec', 'client', '--', 'env', environment, 'psql', '-XAtc', 'select 1', conninfo];
        await waitUntil('the application is answered', SOON, async () => (await inside(...query)).trim() === '1');
      });

      test(`publishes ${balancers.length === 0 ? 'nothing' : balancers.join(', ')}`, async () => {
        const services = JSON.parse(await inside('get', 'services', '-o', 'json')).items as {
          metadata: { name: string };
          spec: { type: string };
        }[];
        const found = services.filter(({ spec }) => spec.type === 'LoadBalancer').map(({ metadata }) => metadata.name);
        const global = balancers.length === 0 ? [] : ['orders', 'orders-r'];
        assert.deepEqual(found.toSorted(), [...balancers, ...global].toSorted());
      });

      if (name === 'anywhere')
        test('names of nodes lead to pods for servers, and to load balancers for everybody else', async () => {
          const podAddress = await inside('get', 'pod', 'leo-1-0', '-o', 'jsonpath={.status.podIP}');
          const balancer = 'jsonpath={.status.loadBalancer.ingress[0].ip}';
          const address = await inside('get', 'service', 'leo-1', '-o', balancer);
          assert.deepEqual(await resolveInPod(server, [fqdn('leo-1')]), { [fqdn('leo-1')]: [podAddress] });
          await waitUntil('the zone outside has the name', SOON, async () => {
            const found = await resolveInPod({ namespace, pod: 'client', container: 'client' }, [fqdn('leo-1')]);
            return found[fqdn('leo-1')]?.[0] === address;
          });
        });

      if (name === 'peered-by-fqdn')
        test('names of the other clusters lead to their peered addresses', async () => {
          const found = await resolveInPod(server, [fqdn('ait-1'), fqdn('pit-1')]);
          assert.deepEqual(found, { [fqdn('ait-1')]: ['10.2.0.11'], [fqdn('pit-1')]: ['10.3.0.11'] });
        });

      if (name === 'public-entry')
        test('lets in the allowed addresses only', async () => {
          const path = 'jsonpath={.status.loadBalancer.ingress[0].ip}';
          const address = await inside('get', 'service', 'leo', '-o', path);
          assert.notEqual(address, '');
          assert.equal(await connects(address), false);
          await inside(
            ...['patch', 'pgg', 'leo', '--type=merge', '-p'],
            JSON.stringify({ spec: { connectivity: { loadBalancer: { allowedIPs: ['0.0.0.0/0'] } } } }),
          );
          await waitUntil('this machine is let in', SOON, async () => await connects(address));
        });
    });
  }
});

function connects(address: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ host: address, port: 5432, timeout: 2000 });
  socket.on('connect', () => resolve(true));
  socket.on('error', () => resolve(false));
  socket.on('timeout', () => resolve(false));
  return promise.finally(() => socket.destroy());
}
