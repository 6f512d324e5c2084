import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type NodeObservation, summarizeStatus } from './cluster-status.ts';
import { withStoredStatus } from './stored-status.ts';

const silent = (name: string, group: string): NodeObservation => ({
  name,
  group,
  faults: [],
  answer: { kind: 'silent', why: 'exec is refused' },
});
const cluster = summarizeStatus({
  globalCluster: 'orders',
  nodes: [silent('leo-1', 'leo'), silent('ait-1', 'ait')],
  proxies: [],
  scope: 'global',
  minCopies: 2,
  memberTimeoutMs: 10_000,
});
const node = {
  name: 'leo-1',
  role: 'leader',
  activity: 'leading',
  ready: true,
  member: true,
  streaming: true,
} as const;
const stored = {
  group: 'leo',
  writtenAtMs: 1_000_000,
  status: { leader: 'leo-1', phase: 'published', term: 4, nodes: [node] },
} as const;

suite('the status that the operator wrote', () => {
  test('stands in for a group that nobody could ask, with its age', () => {
    const status = withStoredStatus(cluster, [{ ...stored, status: { ...stored.status, nodes: [node] } }], 1_300_000);
    assert.deepEqual([status.leader, status.term, status.phase], ['leo-1', 4, 'published']);
    const [leo, ait] = status.nodes;
    assert.deepEqual([leo?.activity, leo?.role, leo?.reachable], ['leading', 'leader', false]);
    assert.match(leo?.faults[0] ?? '', /as of 5 min ago/);
    assert.match(status.storedNote ?? '', /No node of "leo" could be asked: exec is refused\./);
    assert.equal(ait?.activity, 'unreachable');
  });

  test('is not looked at where a node of the group answered', () => {
    const answered = { ...cluster, nodes: cluster.nodes.map((one) => ({ ...one, reachable: true })) };
    assert.equal(withStoredStatus(answered, [{ ...stored, status: { ...stored.status, nodes: [node] } }], 0), answered);
  });
});
