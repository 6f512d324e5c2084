import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ClusterRecord, Member } from '../../api/record.ts';
import {
  ABANDON_AFTER_MS,
  type ChangeProgress,
  type ChangeStep,
  decideChange,
  decideChangeStep,
  JOIN_LAG_BYTES_MAX,
  type MemberView,
} from './membership.ts';
import { applicationName, configurationOf, type QuorumPolicy } from './quorum.ts';

const a: Member = { node: 'a-1', incarnation: '111111111111' };
const b: Member = { node: 'b-1', incarnation: '222222222222' };
const c: Member = { node: 'c-1', incarnation: '333333333333' };
const d: Member = { node: 'd-1', incarnation: '444444444444' };
const laterB: Member = { node: 'b-1', incarnation: 'bbbbbbbbbbbb' };

const TIMEOUT_MS = 10_000;
const LSN = 1000n;
const three: QuorumPolicy = { minCopies: 2, siteMembersMax: 0 };

function aRecord(members: readonly Member[], given: Partial<ClusterRecord> = {}): ClusterRecord {
  return {
    format: 1,
    globalCluster: 'shop',
    systemIdentifier: '7300000000000000001',
    version: 7,
    term: 3,
    leader: 'a-1',
    timeline: 3,
    members: [...members],
    writeQuorum: 2,
    switchover: null,
    paused: false,
    ...given,
  };
}

const streaming = (member: Member, given: Partial<MemberView> = {}): MemberView => ({
  member,
  isStreaming: true,
  flushLsn: LSN,
  lostForMs: 0,
  votes: true,
  ...given,
});
const lost = (member: Member, lostForMs = TIMEOUT_MS): MemberView =>
  streaming(member, { isStreaming: false, flushLsn: null, lostForMs });

function decide(
  members: readonly Member[],
  views: readonly MemberView[],
  given: Partial<Parameters<typeof decideChange>[0]> = {},
) {
  return decideChange({
    record: aRecord(members),
    self: a,
    views,
    policy: three,
    memberTimeoutMs: TIMEOUT_MS,
    leaderFlushLsn: LSN,
    ...given,
  });
}

function names(decision: ReturnType<typeof decideChange>): string {
  if (decision.kind !== 'change') return `${decision.kind} ${decision.reason.code}`;
  return `${decision.to.members.map((member) => member.node).join(' ')}, w ${decision.to.writeQuorum}`;
}

describe('which members a leader goes to', () => {
  test('stays as it is while all stream', () => {
    assert.equal(names(decide([a, b, c], [streaming(b), streaming(c)])), 'none Converged');
  });

  test('takes in a node that streams and has caught up', () => {
    assert.equal(names(decide([a, b], [streaming(b), streaming(c)])), 'a-1 b-1 c-1, w 2');
  });

  test('leaves out a node that is far behind, or does not vote by the plan', () => {
    const behind = streaming(c, { flushLsn: LSN });
    const leaderFlushLsn = LSN + JOIN_LAG_BYTES_MAX + 1n;
    assert.equal(names(decide([a, b], [streaming(b), behind], { leaderFlushLsn })), 'none Converged');
    assert.equal(names(decide([a, b], [streaming(b), streaming(c, { votes: false })])), 'none Converged');
  });

  test('takes out a member that is lost for as long as memberTimeout, and not before', () => {
    assert.equal(names(decide([a, b, c], [streaming(b), lost(c, TIMEOUT_MS - 1)])), 'none Converged');
    assert.equal(names(decide([a, b, c], [streaming(b), lost(c)])), 'a-1 b-1, w 2');
  });

  test('takes out a member whose disk is another one now, at once', () => {
    assert.equal(names(decide([a, b, c], [streaming(laterB), streaming(c)])), 'a-1 c-1, w 2');
  });

  test('takes out a member that votes no more by the plan, or is not in the plan', () => {
    assert.equal(names(decide([a, b, c], [streaming(b, { votes: false }), streaming(c)])), 'a-1 c-1, w 2');
    assert.equal(names(decide([a, b, c], [streaming(c)])), 'a-1 c-1, w 2');
  });

  test('keeps a lost member where fewer would be left than copies are asked for', () => {
    assert.equal(names(decide([a, b], [lost(b)])), 'wait MinCopies');
    assert.equal(names(decide([a, b], [lost(b)], { policy: { minCopies: 1, siteMembersMax: 0 } })), 'a-1, w 1');
  });

  test('goes on with those that stream when a whole site is lost, which were too few for w', () => {
    // Three in the site that is lost, one in each other: w 4 of 5, and two are left.
    const [l1, l2, l3] = ['1', '2', '3'].map((id) => ({ node: `l-${id}`, incarnation: id.repeat(12) })) as [
      Member,
      Member,
      Member,
    ];
    const policy: QuorumPolicy = { minCopies: 2, siteMembersMax: 3 };
    const left = (members: readonly Member[], writeQuorum: number) =>
      decide(members, [streaming(b), ...[l1, l2, l3].map((one) => lost(one))], {
        record: aRecord(members, { writeQuorum }),
        policy,
      });
    assert.equal(names(left([a, b, l1, l2, l3], 4)), 'a-1 b-1 l-2 l-3, w 2');
    assert.equal(names(left([a, b, l2, l3], 2)), 'a-1 b-1 l-3, w 2');
    assert.equal(names(left([a, b, l3], 2)), 'a-1 b-1, w 2');
    assert.equal(names(left([a, b], 2)), 'none Converged');
  });

  test('brings w back to the policy when enough stream again, and not before', () => {
    const record = aRecord([a, b, c, d], { writeQuorum: 2 });
    assert.equal(
      names(decide([a, b, c, d], [streaming(b), lost(c, 0), lost(d, 0)], { record })),
      'none Converged',
      'they may be back the next moment',
    );
    assert.equal(
      names(decide([a, b, c, d], [streaming(b), streaming(c), lost(d, 0)], { record })),
      'a-1 b-1 c-1 d-1, w 3',
    );
  });

  test('takes a node in with as many copies as there are, while others are away', () => {
    const policy: QuorumPolicy = { minCopies: 2, siteMembersMax: 3 };
    const record = aRecord([a, b, c], { writeQuorum: 3 });
    const views = [lost(b, 0), lost(c, 0), streaming(d)];
    assert.equal(names(decide([a, b, c], views, { record, policy })), 'a-1 b-1 c-1 d-1, w 2');
  });

  test('takes a new life of a node in before the old one goes, where every copy is needed', () => {
    const all: QuorumPolicy = { minCopies: 3, siteMembersMax: 0 };
    const record = aRecord([a, b, c], { writeQuorum: 3 });
    const views = [streaming(laterB), streaming(c)];
    const decision = decide([a, b, c], views, { record, policy: all });
    assert.equal(names(decision), 'a-1 b-1 c-1 b-1, w 3');
  });

  test('changes w alone when the policy asks for another', () => {
    const decision = decide([a, b, c], [streaming(b), streaming(c)], { policy: { minCopies: 3, siteMembersMax: 0 } });
    assert.equal(names(decision), 'a-1 b-1 c-1, w 3');
  });

  test('never takes itself out, and changes nothing while paused', () => {
    assert.equal(names(decide([a, b, c], [lost(b), lost(c)])), 'wait MinCopies');
    const record = aRecord([a, b, c], { paused: true });
    assert.equal(names(decide([a, b, c], [streaming(b), lost(c)], { record })), 'none Paused');
  });
});

const quoted = (...members: readonly Member[]): string =>
  members.map((member) => `"${applicationName(member)}"`).join(', ');

function aProgress(
  from: readonly Member[],
  to: readonly Member[],
  given: Partial<ChangeProgress> = {},
): ChangeProgress {
  return {
    from: { members: from, writeQuorum: 2 },
    to: { members: to, writeQuorum: 2 },
    armedLsn: null,
    swap: 'not-tried',
    ...given,
  };
}

function show(step: ChangeStep): string {
  if (step.kind === 'require-both' || step.kind === 'relax') return `${step.kind} ${step.setting}`;
  if (step.kind === 'swap') return `swap to ${step.next.members.length} in version ${step.next.version}`;
  return `${step.kind} ${step.lsn}`;
}

describe('the steps of a change', () => {
  const adding = aProgress([a, b], [a, b, c]);
  const removing = aProgress([a, b, c], [a, b]);
  const record = aRecord([a, b]);

  test('(a) PostgreSQL requires both the old and the new members', () => {
    assert.equal(show(decideChangeStep(adding, record, a, [])), `require-both ANY 1 (${quoted(b)})`);
    assert.equal(show(decideChangeStep(removing, aRecord([a, b, c]), a, [])), `require-both ANY 1 (${quoted(b)})`);
  });

  test('(b) what was acknowledged before must be on a write quorum of the new members', () => {
    const armed = { ...removing, armedLsn: LSN };
    const behind = streaming(b, { flushLsn: LSN - 1n });
    assert.equal(show(decideChangeStep(armed, aRecord([a, b, c]), a, [behind, streaming(c)])), `wait-covered ${LSN}`);
  });

  test('(c) then the record is swapped', () => {
    const armed = { ...removing, armedLsn: LSN };
    assert.equal(show(decideChangeStep(armed, aRecord([a, b, c]), a, [streaming(b)])), 'swap to 2 in version 8');
  });

  test('(c) a swap of unknown outcome is sent again, whoever streams by now', () => {
    const sent = { ...removing, armedLsn: LSN, swap: 'unknown' } as const;
    assert.equal(show(decideChangeStep(sent, aRecord([a, b, c]), a, [])), 'swap to 2 in version 8');
  });

  test('(d) only the members of the record are required once the outcome is known', () => {
    const swapped = { ...removing, armedLsn: LSN, swap: 'swapped' } as const;
    assert.equal(show(decideChangeStep(swapped, aRecord([a, b]), a, [])), `relax ANY 1 (${quoted(b)})`);
    const beaten = { ...removing, armedLsn: LSN, swap: 'lost' } as const;
    assert.equal(show(decideChangeStep(beaten, aRecord([a, b, c]), a, [])), `relax ANY 1 (${quoted(b, c)})`);
  });

  test('gives up a change whose new members can no longer commit, as long as nothing was sent', () => {
    const armed = { ...removing, armedLsn: LSN };
    const present = aRecord([a, b, c]);
    const back = `relax ANY 1 (${quoted(b, c)})`;
    assert.equal(show(decideChangeStep(armed, present, a, [streaming(laterB), streaming(c)])), back, 'b lost its disk');
    assert.equal(
      show(decideChangeStep(armed, present, a, [lost(b, ABANDON_AFTER_MS), streaming(c)])),
      back,
      'b is gone',
    );
    const briefly = lost(b, ABANDON_AFTER_MS - 1);
    assert.equal(
      show(decideChangeStep(armed, present, a, [briefly, streaming(c)])),
      `wait-covered ${LSN}`,
      'senders just ended',
    );
  });

  test('counts a member only under its own incarnation, and the leader always', () => {
    const armed = { ...adding, armedLsn: LSN, to: { members: [a, laterB], writeQuorum: 2 } };
    assert.equal(show(decideChangeStep(armed, record, a, [streaming(b)])).split(' ')[0], 'relax');
    assert.equal(show(decideChangeStep(armed, record, a, [streaming(laterB)])), 'swap to 2 in version 8');
    assert.deepEqual(configurationOf(record).members, [a, b]);
  });
});
