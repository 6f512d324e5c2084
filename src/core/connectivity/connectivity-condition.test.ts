import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { NodeStatus } from '../../api/node-status.ts';
import type { NodeObservation } from '../status/cluster-status.ts';
import { decideConnectivity } from './connectivity-condition.ts';

const LONG = 'x'.repeat(5000);

function node(name: string, unreached: readonly string[] | null, lastError = 'refused'): NodeObservation {
  const peers = (unreached ?? []).map((peer) => ({ node: peer, isConnected: false, lastError, heardAgeMs: null }));
  // Only what is looked at.
  const status = { node: name, unreached, peers } as unknown as NodeStatus;
  const answer =
    unreached === null ? { kind: 'silent' as const, why: 'no answer' } : { kind: 'answered' as const, status };
  return { name, group: name.split('-')[0] as string, faults: [], answer };
}

suite('the condition Connectivity', () => {
  test('is true while everybody is reached, whatever other groups say of each other', () => {
    const verdict = decideConnectivity('leo', [node('leo-1', []), node('leo-2', []), node('ait-1', ['pit-1'])]);
    assert.deepEqual([verdict.status, verdict.reason], ['True', 'PeersReached']);
  });

  test('names each broken edge with its error', () => {
    const { status, reason, message } = decideConnectivity('leo', [
      node('leo-1', ['ait-1'], 'its certificate'),
      node('leo-2', []),
    ]);
    assert.deepEqual([status, reason], ['False', 'PeerUnreached']);
    assert.equal(message, '"leo-1" does not reach "ait-1": its certificate');
  });

  test('a node of the group that is down is no broken edge; one that only some reach is', () => {
    assert.equal(decideConnectivity('leo', [node('leo-1', ['leo-2']), node('leo-2', null)]).status, 'True');
    const some = [node('leo-1', ['leo-2']), node('leo-2', null), node('leo-3', [])];
    assert.equal(decideConnectivity('leo', some).status, 'False');
    assert.equal(decideConnectivity('leo', [node('leo-1', ['leo-2']), node('leo-2', [])]).status, 'False');
  });

  test('is unknown when nobody answers', () => {
    assert.equal(decideConnectivity('leo', [node('leo-1', null)]).status, 'Unknown');
  });

  test('stays short, however much is broken', () => {
    const others = Array.from({ length: 63 }, (_, index) => `ait-${index + 1}`);
    const { message } = decideConnectivity('leo', [node('leo-1', others, LONG)]);
    assert.ok(message.length < 8 * 400 + 100, String(message.length));
    assert.match(message, /and 55 more edges$/);
  });
});
