import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createReloadableTls } from '../../src/base/mutual-tls.ts';
import { loadStoreTls, openRecordStore } from '../../src/coordination/open-store.ts';
import type { StoredRecord } from '../../src/coordination/store.ts';
import { createTestPki } from '../kit/certificates.ts';
import { genRecord } from '../kit/cluster-record.ts';
import { startEtcd } from '../kit/etcd.ts';
import { needs } from '../kit/requirement.ts';
import { assertKind, describeStore, eventually } from './store.ts';

describeStore('etcd, one member over TLS', needs('etcd', 'loopback'), async () => {
  const pki = await createTestPki();
  const etcd = await startEtcd({ addresses: ['127.61.2.1'], pki });
  const tls = await createReloadableTls(await pki.issue('leo-1'));
  return {
    open: async (name) =>
      openRecordStore(
        { kind: 'etcd', endpoints: etcd.endpoints, key: `/pgspan/${name}`, tls: null, secure: true },
        tls,
        {
          sourceAddress: '127.61.2.9',
        },
      ),
    async stop() {
      await etcd[Symbol.asyncDispose]();
      await pki[Symbol.asyncDispose]();
    },
  };
});

test('etcd without TLS serves as well, from the source address asked for', needs('etcd', 'loopback'), async () => {
  await using etcd = await startEtcd({ addresses: ['127.61.2.2'] });
  await using pki = await createTestPki();
  const config = { kind: 'etcd', endpoints: etcd.endpoints, key: '/pgspan/plain', tls: null, secure: false } as const;
  const store = openRecordStore(config, await createReloadableTls(await pki.issue('leo-1')), {
    sourceAddress: '127.61.2.9',
  });
  const seen: StoredRecord[] = [];
  store.watch((stored) => seen.push(stored));
  const { stored } = assertKind(await store.compareAndSwap('', genRecord()), 'swapped');
  await eventually(() => seen.at(-1)?.storeVersion === stored.storeVersion, 'the record');
  await store.close();
});

test('an etcd with a CA of its own is dialled with its own certificates', needs('etcd', 'loopback'), async () => {
  await using etcdPki = await createTestPki({ group: 'etcd' });
  await using pki = await createTestPki();
  await using etcd = await startEtcd({ addresses: ['127.61.2.3'], pki: etcdPki });
  const own = await createReloadableTls(await pki.issue('leo-1'));
  const base = { kind: 'etcd', endpoints: etcd.endpoints, key: '/pgspan/own', secure: true } as const;
  const config = { ...base, tls: await etcdPki.issue('pgspan-client') };
  const store = openRecordStore(config, await loadStoreTls(config, own), { sourceAddress: null });
  assertKind(await store.compareAndSwap('', genRecord()), 'swapped');
  await store.close();
  const wrong = openRecordStore({ ...base, tls: null }, await loadStoreTls({ ...base, tls: null }, own), {
    sourceAddress: null,
  });
  await assert.rejects(wrong.read(), { code: 'STORE_UNAVAILABLE' });
  await wrong.close();
});
