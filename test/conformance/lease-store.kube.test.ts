/** The Lease store on a real API server, with the rights that an agent has and no others. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Endpoint } from '../../src/api/agent-config.ts';
import { openLeaseStore, RECORD_ANNOTATION } from '../../src/coordination/lease-store.ts';
import type { RecordStore, StoredRecord } from '../../src/coordination/store.ts';
import { genRecord } from '../kit/cluster-record.ts';
import { openTestKube, type TestKube } from '../kit/kube-api.ts';
import { openLink } from '../kit/link.ts';
import { needs } from '../kit/requirement.ts';
import { assertKind, describeStore, eventually, swapUntilKnown } from './store.ts';

describeStore('a Lease of Kubernetes', needs('kubernetes'), async () => {
  const site = await openLeaseSite();
  return { open: (name) => site.open(name), stop: () => site[Symbol.asyncDispose]() };
});

describe('a Lease of Kubernetes as a record store, when something fails', needs('kubernetes'), () => {
  let site: LeaseSite;
  before(async () => {
    site = await openLeaseSite();
  });
  after(async () => await site[Symbol.asyncDispose]());

  test('keeps what others wrote into the Lease, and names the leader for people', async () => {
    const store = await site.open('kept');
    await site.change('kept', { metadata: { labels: { team: 'blue' }, annotations: { note: 'ours' } } });
    assertKind(await store.compareAndSwap('', genRecord({ leader: 'leo-2', term: 7 })), 'swapped');
    const { metadata, spec } = await site.lease('kept');
    assert.equal(metadata.labels?.team, 'blue');
    assert.equal(metadata.annotations?.note, 'ours');
    assert.deepEqual(spec, { holderIdentity: 'leo-2', leaseTransitions: 7 });
  });

  test('a swap from a version that only other fields have changed since is lost, and shows the version to try', async () => {
    const [store, other] = [await site.open('labelled'), await site.open('labelled')];
    const first = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored;
    await site.change('labelled', { metadata: { labels: { team: 'red' } } });
    const next = genRecord({ version: 2 });
    const lost = assertKind(await store.compareAndSwap(first.storeVersion, next), 'lost').stored;
    assert.deepEqual(lost.record, first.record);
    assert.deepEqual(assertKind(await store.compareAndSwap(lost.storeVersion, next), 'swapped').stored.record, next);
    assert.deepEqual((await other.read()).record, next);
  });

  test('changes of a Lease without a record do not hinder the first swap', async () => {
    const store = await site.open('busy');
    await store.read();
    await site.change('busy', { metadata: { labels: { team: 'green' } } });
    assertKind(await store.compareAndSwap('', genRecord()), 'swapped');
  });

  test('a Lease that is not there holds no record, and cannot be made by an agent', async () => {
    const store = await site.open('gone');
    const seen: StoredRecord[] = [];
    store.watch((stored) => seen.push(stored));
    const first = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored;
    await eventually(() => seen.at(-1)?.storeVersion === first.storeVersion, 'the record');
    await site.remove('gone');
    await eventually(() => seen.at(-1)?.record === null, 'that it is gone');
    assert.deepEqual(await store.read(), { storeVersion: '', record: null });
    assert.equal(
      assertKind(await store.compareAndSwap(first.storeVersion, genRecord({ version: 2 })), 'lost').stored.record,
      null,
    );
    const { error } = assertKind(await store.compareAndSwap('', genRecord()), 'unknown');
    assert.match(error.message, /there is no .*the operator makes it/);
  });

  test('a renewed token is taken up, a wrong one is said', async () => {
    const store = await site.open('token');
    await site.writeToken('no-such-token');
    await assert.rejects(store.read(), { code: 'STORE_UNAVAILABLE', message: /answered 401/ });
    await site.writeToken();
    assertKind(await store.compareAndSwap('', genRecord()), 'swapped');
  });

  test('what is no record is refused', async () => {
    const store = await site.open('foreign');
    await site.change('foreign', { metadata: { annotations: { [RECORD_ANNOTATION]: '{"format":9}' } } });
    await assert.rejects(store.read(), { code: 'STORE_CONTENT_INVALID' });
    await assert.rejects(store.compareAndSwap('', genRecord()), { code: 'STORE_CONTENT_INVALID' });
  });

  test('an API server that falls silent is given up in time, and the swap under way is settled later', async () => {
    const { host, port } = site.endpoint;
    await using link = await openLink({ listenAddress: '127.0.0.1', to: { address: host, port } });
    const store = await site.open('silent', { ...site.endpoint, address: link.address, port: link.port });
    const first = assertKind(await store.compareAndSwap('', genRecord()), 'swapped').stored;
    link.losesAnswers = true;
    const before = performance.now();
    const next = genRecord({ version: 2 });
    assertKind(await store.compareAndSwap(first.storeVersion, next, { timeoutMs: 400 }), 'unknown');
    await assert.rejects(store.read({ timeoutMs: 400 }), { code: 'STORE_UNAVAILABLE' });
    assert.ok(performance.now() - before < 2000);
    link.losesAnswers = false;
    // What was lost was a part of a TLS stream.
    link.cut();
    link.heal();
    assert.equal((await swapUntilKnown(store, first.storeVersion, next)).kind, 'swapped');
    assert.deepEqual((await store.read()).record, next);
  });
});

interface LeaseSite {
  readonly endpoint: Endpoint;
  /** A client, with a Lease made for it if there is none. */
  open(name: string, endpoint?: Endpoint): Promise<RecordStore>;
  lease(name: string): Promise<{
    metadata: { labels?: Record<string, string>; annotations?: Record<string, string> };
    spec?: unknown;
  }>;
  change(name: string, patch: unknown): Promise<void>;
  remove(name: string): Promise<void>;
  /** Default: the real one. */
  writeToken(token?: string): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A namespace with a service account that may get, watch and update Leases, and its token in a file. */
async function openLeaseSite(): Promise<LeaseSite> {
  const kube: TestKube = await openTestKube();
  const core = `/api/v1/namespaces/${kube.namespace}`;
  const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${kube.namespace}`;
  const leases = `/apis/coordination.k8s.io/v1/namespaces/${kube.namespace}/leases`;
  await kube.call('POST', `${core}/serviceaccounts`, { metadata: { name: 'agent' } });
  await kube.call('POST', `${rbac}/roles`, {
    metadata: { name: 'agent' },
    rules: [{ apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'watch', 'update'] }],
  });
  await kube.call('POST', `${rbac}/rolebindings`, {
    metadata: { name: 'agent' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'agent' },
    subjects: [{ kind: 'ServiceAccount', name: 'agent', namespace: kube.namespace }],
  });
  const answer = (await kube.call('POST', `${core}/serviceaccounts/agent/token`, {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {},
  })) as { status: { token: string } };
  const folder = await mkdtemp(join(tmpdir(), 'pgspan-lease-'));
  const [tokenFile, caFile] = [join(folder, 'token'), join(folder, 'ca.crt')];
  await writeFile(caFile, kube.dial.tls.ca as string | Buffer);
  await writeFile(tokenFile, answer.status.token, { mode: 0o600 });
  const { hostname, port } = kube.dial.server;
  const endpoint = { host: hostname, address: null, port: Number(port === '' ? 443 : port) };
  const opened: RecordStore[] = [];
  return {
    endpoint,
    async open(name, target = endpoint) {
      await kube.call('POST', leases, { metadata: { name } }).catch((error: Error) => {
        if (!error.message.includes(' 409 ')) throw error;
      });
      const store = openLeaseStore({ target, namespace: kube.namespace, name, tokenFile, caFile });
      opened.push(store);
      return store;
    },
    lease: async (name) => (await kube.call('GET', `${leases}/${name}`)) as Awaited<ReturnType<LeaseSite['lease']>>,
    change: async (name, patch) => void (await kube.call('PATCH', `${leases}/${name}`, patch)),
    remove: async (name) => void (await kube.call('DELETE', `${leases}/${name}`)),
    writeToken: async (token = answer.status.token) => await writeFile(tokenFile, token),
    async [Symbol.asyncDispose]() {
      for (const store of opened) await store.close();
      await rm(folder, { recursive: true, force: true });
      await kube[Symbol.asyncDispose]();
    },
  };
}
