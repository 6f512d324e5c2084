/** Against real servers of the stream. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { startStreamPublisher } from '../../../test/kit/stream-publisher.ts';
import type { Peer } from '../../api/agent-config.ts';
import { createReloadableTls, type ReloadableTls } from '../../base/mutual-tls.ts';
import { delay, waitUntil } from '../../base/wait-until.ts';
import { ChangedEndpoints, withPeer } from './changed-endpoints.ts';

const ADDRESS = '127.62.6.20';
const SOON = { timeoutMs: 10_000 } as const;
const reached = () => true;

let pki: TestPki;
let tls: ReloadableTls;
before(async () => {
  pki = await createTestPki();
  tls = await createReloadableTls(await pki.issue('leo-2'));
});
after(() => pki?.[Symbol.asyncDispose]());

const peer = (change: { host?: string; port?: number; priority?: number } = {}): Peer => {
  const { host = 'leo-1', port = 5480, priority = 1 } = change;
  const at = { host, address: ADDRESS };
  return {
    node: 'leo-1',
    group: 'leo',
    postgres: { ...at, port: 5432 },
    agent: { ...at, port },
    priority,
    votes: true,
  };
};

function watch() {
  const taken: Peer[] = [];
  const failures: string[] = [];
  const endpoints = new ChangedEndpoints({
    globalCluster: 'orders',
    tls,
    sourceAddress: null,
    pauseMs: 20,
    onReached: (one) => taken.push(one),
    onTrial: (_peer, error) => {
      if (error !== null) failures.push(error.message);
    },
  });
  return { endpoints, taken, failures };
}

suite('a peer under a new name', () => {
  test('is dialled by its former one until it has been reached by the new one', async () => {
    const port = 5499;
    const publisher = await startStreamPublisher(pki, { node: 'leo-1', address: ADDRESS, port });
    const { endpoints, taken } = watch();
    const now = peer();
    const wanted = peer({ port, priority: 5 });
    const [settled] = endpoints.settle([wanted], [now], reached);
    assert.deepEqual(settled, { ...wanted, agent: now.agent, postgres: now.postgres });
    await waitUntil('the new one is taken', SOON, async () => taken.length > 0);
    assert.deepEqual(taken, [wanted]);
    assert.deepEqual(withPeer([now], wanted), [wanted]);
    endpoints.close();
    await publisher.close();
  });

  test('stays under its former one while the new one does not resolve, and is told of once', async () => {
    const { endpoints, taken, failures } = watch();
    const wanted: Peer = { ...peer(), agent: { host: 'leo-1.nowhere.invalid', address: null, port: 5480 } };
    endpoints.settle([wanted], [peer()], reached);
    await waitUntil('a trial has failed', SOON, async () => failures.length > 0);
    await delay(200);
    assert.equal(failures.length, 1);
    assert.deepEqual(taken, []);
    endpoints.close();
  });

  test('is taken at once where there is nothing to lose', () => {
    const { endpoints } = watch();
    const wanted = peer({ port: 1 });
    assert.deepEqual(
      endpoints.settle([wanted], [peer()], () => false),
      [wanted],
    );
    assert.deepEqual(endpoints.settle([wanted], [], reached), [wanted]);
    assert.deepEqual(endpoints.settle([peer({ priority: 7 })], [peer()], reached), [peer({ priority: 7 })]);
    endpoints.close();
  });

  test('that is changed back is tried no more', async () => {
    const { endpoints, taken } = watch();
    endpoints.settle([peer({ port: 1 })], [peer()], reached);
    assert.deepEqual(endpoints.settle([peer()], [peer()], reached), [peer()]);
    await delay(100);
    assert.deepEqual(taken, []);
    endpoints.close();
  });
});
