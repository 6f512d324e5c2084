import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { groupsOf } from '../../../test/kit/manifests.ts';
import { UserError } from '../../base/user-error.ts';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import { placeServers, type SitePlacement, storeConfig } from './placement.ts';

const NOTHING: SitePlacement = { nodes: [], proxies: [], recordAddress: null, etcd: [] };
const options = { volume: 'folder', etcdUid: null } as const;
const planOf = (spec: Record<string, unknown>) => planGlobalCluster(groupsOf([1, 1, 1], spec));
const place = (spec: Record<string, unknown>, former = NOTHING) =>
  placeServers(planOf(spec), '127.9.9', former, options);

describe('where the record of a site is', () => {
  const ofYours = { coordination: { store: 'etcd', etcd: { endpoints: ['http://10.0.0.1:2379', 'http://etcd-2'] } } };
  const own = { coordination: { store: 'etcd' } };

  it('is a process of its own by default', () => {
    const placement = place({});
    const store = storeConfig(planOf({}), placement);
    assert.equal(store.kind === 'local' && store.endpoint.address, placement.recordAddress);
    assert.deepEqual(placement.etcd, []);
  });

  it('is one member of etcd in each group, dialled by name and address', () => {
    const placement = place(own);
    assert.equal(placement.recordAddress, null);
    const store = storeConfig(planOf(own), placement);
    assert.ok(store.kind === 'etcd' && store.secure);
    assert.deepEqual(
      store.endpoints.map(({ host, address, port }) => [host, address, port]),
      placement.etcd.map(({ name, address }) => [name, address, 2379]),
    );
    assert.deepEqual(
      placement.etcd.map(({ name }) => name),
      ['leo-etcd', 'ait-etcd', 'pit-etcd'],
    );
  });

  it("is the user's etcd where the manifest names its endpoints", () => {
    const placement = place(ofYours);
    assert.deepEqual([placement.recordAddress, placement.etcd], [null, []]);
    assert.deepEqual(storeConfig(planOf(ofYours), placement), {
      kind: 'etcd',
      endpoints: [
        { host: '10.0.0.1', address: null, port: 2379 },
        { host: 'etcd-2', address: null, port: 2379 },
      ],
      key: planOf(ofYours).coordination.key,
      tls: null,
      secure: false,
    });
  });

  it('does not move: without it the nodes of a site with data refuse to start', () => {
    for (const [from, to] of [
      [{}, own],
      [own, {}],
      [own, ofYours],
      [ofYours, {}],
    ] as const) {
      assert.throws(
        () => place(to, place(from)),
        (error) => error instanceof UserError && error.code === 'SITE_OTHER_STORE',
      );
    }
    assert.deepEqual(place(own, place(own)), place(own));
  });
});
