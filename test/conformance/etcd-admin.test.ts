/** Keeping the members of a real etcd: what they say of themselves, and every change that an operator makes. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { createReloadableTls } from '../../src/base/mutual-tls.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { createEtcdAdmin, type EtcdAdmin, EtcdRefusedError } from '../../src/coordination/etcd-admin.ts';
import { EtcdClients } from '../../src/operator/etcd/etcd-clients.ts';
import { readWitnessCards, writeWitnessCard } from '../../src/operator/etcd/witness-cards.ts';
import { cardOf } from '../kit/cards.ts';
import { createTestPki, type TestPki } from '../kit/certificates.ts';
import { startEtcd, type TestEtcd } from '../kit/etcd.ts';
import { needs } from '../kit/requirement.ts';

describe('the members of a real etcd', { ...needs('etcd'), timeout: 120_000 }, () => {
  let pki: TestPki;
  let etcd: TestEtcd;
  let admin: EtcdAdmin;
  before(async () => {
    pki = await createTestPki();
    etcd = await startEtcd({ addresses: ['127.62.7.1', '127.62.7.2', '127.62.7.3'], pki });
    const [first] = etcd.endpoints;
    assert.ok(first !== undefined);
    admin = createEtcdAdmin(first, await createReloadableTls(await pki.issue('keeper')));
  });
  after(async () => {
    admin?.close();
    await etcd?.[Symbol.asyncDispose]();
    await pki?.[Symbol.asyncDispose]();
  });

  test('say who belongs to them, and how each is', async () => {
    const { clusterId, members } = await admin.members();
    assert.deepEqual(
      members.map(({ name, isLearner }) => [name, isLearner]).toSorted(),
      ['etcd-1', 'etcd-2', 'etcd-3'].map((name) => [name, false]),
    );
    const status = await admin.status();
    assert.equal(status.clusterId, clusterId);
    assert.ok(members.some(({ id }) => id === status.memberId));
    assert.ok(members.some(({ id }) => id === status.leaderId));
    assert.deepEqual([status.isLearner, status.errors, await admin.alarms()], [false, [], []]);
    assert.ok(status.sizeBytes > 0);
  });

  test('take in a learner, refuse to promote one that never started, and let it go', async () => {
    // For its first five seconds etcd refuses changes: it has not seen its members for long enough.
    const { memberId, members } = await waitUntil('etcd takes in a learner', { timeoutMs: 30_000 }, () =>
      admin.addLearner('https://127.62.7.9:2380').catch(() => null),
    );
    const added = members.find(({ id }) => id === memberId);
    assert.deepEqual([added?.name, added?.isLearner, added?.peerUrls], ['', true, ['https://127.62.7.9:2380']]);
    await assert.rejects(admin.promote(memberId), (error) => error instanceof EtcdRefusedError);
    await admin.updatePeerUrl(memberId, 'https://127.62.7.10:2380');
    const renamed = (await admin.members()).members.find(({ id }) => id === memberId);
    assert.deepEqual(renamed?.peerUrls, ['https://127.62.7.10:2380']);
    await admin.remove(memberId);
    assert.equal((await admin.members()).members.length, 3);
  });

  test('are defragmented one at a time', () => admin.defragment());

  test('keep cards of witnesses', async () => {
    const card = cardOf('pit');
    await writeWitnessCard(admin, '/pgspan/orders/record', card);
    assert.deepEqual(await readWitnessCards(admin, '/pgspan/orders/record'), [card]);
    assert.deepEqual(await readWitnessCards(admin, '/pgspan/other/record'), []);
  });

  test('are seen together: one that is frozen is silent, and too few have no leader', async () => {
    const files = await pki.issue('watcher');
    const texts = {
      cert: readFileSync(files.certFile, 'utf8'),
      key: readFileSync(files.keyFile, 'utf8'),
      ca: readFileSync(files.caFile, 'utf8'),
    };
    const clients = new EtcdClients();
    try {
      const places = etcd.endpoints.map((target, index) => ({ name: `etcd-${index + 1}`, target }));
      await clients.follow(places, texts);
      const whole = await clients.observe(null);
      assert.ok(whole.teller !== null && whole.cluster?.leaderId != null);
      assert.ok(whole.cluster.members.every(({ answer }) => answer !== null));
      etcd.members[2]?.freeze();
      const less = (await clients.observe(whole.cluster.clusterId)).cluster;
      assert.deepEqual(
        less?.members.filter(({ answer }) => answer === null).map(({ name }) => name),
        ['etcd-3'],
      );
    } finally {
      etcd.members[2]?.thaw();
      clients.close();
    }
  });
});
