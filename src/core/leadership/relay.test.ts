import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ClusterRecord, Member } from '../../api/record.ts';
import { decideChange, type MemberView } from './membership.ts';
import {
  decideRelays,
  decideRelayVotes,
  decideUpstream,
  type GroupedView,
  LOST_DETECTIONS,
  type Relay,
  type RelayCandidate,
} from './relay.ts';
import type { VoterState } from './voter.ts';

const DETECTION_MS = 1000;
const NOW_MS = 100_000;
const LSN = 1000n;

const member = (node: string): Member => ({ node, incarnation: '111111111111' });
const candidate = (node: string, given: Partial<RelayCandidate> = {}): RelayCandidate => ({
  node,
  group: 'ait',
  isReached: true,
  isWell: true,
  timeline: 3,
  flushLsn: LSN,
  lostForMs: 0,
  ...given,
});
const gone = (node: string, lostForMs: number): RelayCandidate =>
  candidate(node, { isReached: false, isWell: false, lostForMs });

function relayOf(candidates: readonly RelayCandidate[], given: Partial<Parameters<typeof decideRelays>[0]> = {}) {
  return decideRelays({
    candidates,
    leaderGroup: 'leo',
    members: [],
    current: new Map(),
    nowMs: NOW_MS,
    detectionMs: DETECTION_MS,
    ...given,
  }).get('ait')?.node;
}
const named = (node: string, sinceMs = 0): Map<string, Relay> => new Map([['ait', { node, sinceMs }]]);

describe('the relay of a group', () => {
  test('is the node that is well and holds most: by timeline, then by LSN, then by name', () => {
    assert.equal(relayOf([candidate('ait-2'), candidate('ait-1')]), 'ait-1');
    assert.equal(relayOf([candidate('ait-1'), candidate('ait-2', { flushLsn: LSN + 1n })]), 'ait-2');
    assert.equal(relayOf([candidate('ait-1', { flushLsn: null }), candidate('ait-2')]), 'ait-2');
    assert.equal(relayOf([candidate('ait-1', { timeline: 2, flushLsn: 2n * LSN }), candidate('ait-2')]), 'ait-2');
    assert.equal(relayOf([candidate('ait-1', { isWell: false, flushLsn: 2n * LSN }), candidate('ait-2')]), 'ait-2');
  });

  test('is nobody where no node is well, and nobody in the group that leads', () => {
    assert.equal(relayOf([candidate('ait-1', { isWell: false })]), undefined);
    assert.equal(relayOf([candidate('ait-1')], { leaderGroup: 'ait' }), undefined);
  });

  test('stays, whoever holds more meanwhile', () => {
    const more = candidate('ait-1', { flushLsn: 2n * LSN });
    assert.equal(relayOf([more, candidate('ait-2')], { current: named('ait-2') }), 'ait-2');
  });

  test('is, for a new leader, the node that is a member', () => {
    const members = [member('leo-1'), member('ait-2')];
    assert.equal(relayOf([candidate('ait-1'), candidate('ait-2')], { members }), 'ait-2');
    assert.equal(relayOf([candidate('ait-1'), gone('ait-2', 0)], { members }), 'ait-2');
  });

  test('is replaced when it has not streamed for the detection time and is not reached, or for four where it is', () => {
    const other = candidate('ait-1');
    const current = named('ait-2');
    assert.equal(relayOf([other, gone('ait-2', DETECTION_MS - 1)], { current }), 'ait-2');
    assert.equal(relayOf([other, gone('ait-2', DETECTION_MS)], { current }), 'ait-1');
    const stuck = (lostForMs: number) => candidate('ait-2', { lostForMs });
    assert.equal(relayOf([other, stuck(LOST_DETECTIONS * DETECTION_MS - 1)], { current }), 'ait-2');
    assert.equal(relayOf([other, stuck(LOST_DETECTIONS * DETECTION_MS)], { current }), 'ait-1');
  });

  test('has as long to connect when it was named just now', () => {
    const never = candidate('ait-2', { lostForMs: 60_000 });
    assert.equal(relayOf([candidate('ait-1'), never], { current: named('ait-2', NOW_MS - 100) }), 'ait-2');
  });

  test('stays where nobody could take its place, and is replaced when it has left the manifest', () => {
    assert.equal(relayOf([gone('ait-1', 9000), gone('ait-2', 9000)], { current: named('ait-2') }), 'ait-2');
    assert.equal(relayOf([candidate('ait-1')], { current: named('ait-2') }), 'ait-1');
  });
});

describe('who votes in groups with a relay', () => {
  const view = (node: string, given: Partial<MemberView> = {}): GroupedView => ({
    view: { member: member(node), isStreaming: true, flushLsn: LSN, lostForMs: 0, votes: true, ...given },
    group: node.slice(0, 3),
    isRelayed: node.startsWith('ait'),
  });
  const lost = { isStreaming: false, flushLsn: null, lostForMs: LOST_DETECTIONS * DETECTION_MS };
  const votes = (views: readonly GroupedView[], members: readonly string[], leaderGroup = 'leo', relay = 'ait-1') =>
    decideRelayVotes({
      views,
      relays: leaderGroup === 'ait' ? new Map() : named(relay),
      members: members.map(member),
      leaderGroup,
      detectionMs: DETECTION_MS,
    })
      .filter((one) => one.votes)
      .map((one) => one.member.node);
  const AIT = [view('ait-1'), view('ait-2'), view('ait-3')];

  test('is the relay alone, beside all of the groups without one', () => {
    assert.deepEqual(votes([...AIT, view('pit-1')], ['leo-1', 'ait-1']), ['ait-1', 'pit-1']);
  });

  test('is the former relay as long as the new one is no member', () => {
    assert.deepEqual(votes(AIT, ['leo-1', 'ait-2']), ['ait-1', 'ait-2']);
    assert.deepEqual(votes(AIT, ['leo-1', 'ait-1', 'ait-2']), ['ait-1']);
  });

  test('is nobody where the plan says that the group never votes', () => {
    assert.deepEqual(votes([view('ait-1', { votes: false })], ['leo-1']), []);
  });

  test('is none beside the leader in its own group, unless no other group has streamed for a while', () => {
    const own = [view('ait-2'), view('ait-3')];
    assert.deepEqual(votes([...own, view('leo-1')], ['ait-1'], 'ait'), ['leo-1']);
    assert.deepEqual(votes([...own, view('leo-1', lost)], ['ait-1'], 'ait'), ['ait-2', 'ait-3', 'leo-1']);
    assert.deepEqual(votes([...own, view('leo-1', { ...lost, lostForMs: 10 })], ['ait-1'], 'ait'), ['leo-1']);
  });

  test('a new relay is taken in before the lost one is taken out', () => {
    const views = [view('ait-1'), view('ait-2', lost)];
    const record = aRecord([member('leo-1'), member('ait-2')]);
    const change = (members: readonly Member[]) =>
      decideChange({
        record: { ...record, members: [...members] },
        self: member('leo-1'),
        views: decideRelayVotes({
          views,
          relays: named('ait-1'),
          members,
          leaderGroup: 'leo',
          detectionMs: DETECTION_MS,
        }),
        policy: { minCopies: 1, siteMembersMax: 1 },
        memberTimeoutMs: 30_000,
        leaderFlushLsn: LSN,
      });
    const first = change(record.members);
    assert.equal(first.reason.code, 'MemberCaughtUp');
    const second = change([...record.members, member('ait-1')]);
    assert.equal(second.reason.code, 'MemberLost');
    assert.deepEqual(second.kind === 'change' && second.to.members.map(({ node }) => node), ['leo-1', 'ait-1']);
  });
});

function aRecord(members: readonly Member[]): ClusterRecord {
  return {
    format: 1,
    globalCluster: 'shop',
    systemIdentifier: '7300000000000000001',
    version: 7,
    term: 3,
    leader: 'leo-1',
    timeline: 3,
    members: [...members],
    writeQuorum: 2,
    switchover: null,
    paused: false,
  };
}

describe('a follower', () => {
  const lineage = { timeline: 3, history: [{ timeline: 1, endLsn: 500n }] };
  const voter: VoterState = {
    incarnation: '111111111111',
    promisedTerm: 3,
    seen: { term: 3, version: 7 },
    lineage,
    followedTerm: 3,
    rewinding: false,
  };
  const upstream = (given: Partial<Parameters<typeof decideUpstream>[0]> = {}) =>
    decideUpstream({
      self: 'ait-2',
      leader: { node: 'leo-1', lineage },
      relay: 'ait-1',
      record: aRecord([member('leo-1'), member('ait-1')]),
      voter,
      flushLsn: LSN,
      isRelayStalled: false,
      ...given,
    });

  test('that is no member streams from the relay of its group', () => assert.equal(upstream(), 'ait-1'));

  test('streams from the leader where no relay is named, it is the relay itself, or the relay passes nothing on', () => {
    assert.equal(upstream({ relay: null }), 'leo-1');
    assert.equal(upstream({ self: 'ait-1' }), 'leo-1');
    assert.equal(upstream({ isRelayStalled: true }), 'leo-1');
  });

  test('streams from the leader as long as it is a member, in this life', () => {
    const record = aRecord([member('leo-1'), member('ait-1'), member('ait-2')]);
    assert.equal(upstream({ record }), 'leo-1');
    assert.equal(upstream({ record, voter: { ...voter, incarnation: '222222222222' } }), 'ait-1');
  });

  test('reaches a timeline by the stream of the leader alone', () => {
    assert.equal(upstream({ voter: { ...voter, lineage: { timeline: 1, history: [] } } }), 'leo-1');
    assert.equal(upstream({ flushLsn: 500n }), 'leo-1');
    assert.equal(upstream({ flushLsn: null }), 'leo-1');
    assert.equal(upstream({ voter: { ...voter, rewound: true } }), 'leo-1');
    assert.equal(upstream({ voter: { ...voter, rewinding: true } }), 'leo-1');
  });
});
