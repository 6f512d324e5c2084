import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  JOIN_REFUSALS,
  type Invitation,
  type StoredInvitation,
  type WithdrawnInvitation,
} from '../../api/invitation.ts';
import { cardGenerationMin, decideInvitation, decideOffer, invitationState } from './decide-invitation.ts';
import {
  decideJoining,
  FINAL_JOIN_REASONS,
  isPassing,
  type JoiningFacts,
  joinRetryMs,
  welcomeProblem,
} from './decide-joining.ts';
import { encodeToken } from './token.ts';

const NOW_MS = Date.parse('2026-11-21T12:00:00Z');
const ID = '0011223344556677';
const stored: StoredInvitation = { id: ID, key: '00'.repeat(32), expiresAt: '2026-11-21T13:00:00.000Z' };
const withdrawn: WithdrawnInvitation = {
  id: ID,
  expiresAt: stored.expiresAt,
  withdrawnAt: '2026-11-21T11:59:00.000Z',
};
const invitation: Invitation = {
  id: ID,
  secret: Buffer.alloc(32, 7).toString('base64url'),
  globalCluster: 'orders',
  group: 'leo',
  endpoint: { host: 'leo-group.example.com', port: 5480 },
  caFingerprints: ['ab'.repeat(32)],
  expiresAt: NOW_MS / 1000 + 3600,
};

function told(decision: ReturnType<typeof decideInvitation>): string {
  return decision.kind === 'refuse' ? decision.refusal.code : decision.kind;
}

describe('the inviting side', () => {
  test('takes an invitation that is there until its end, and no longer', () => {
    const at = (nowMs: number, found: StoredInvitation | WithdrawnInvitation | null = stored) =>
      told(decideInvitation(found, { invitation: ID, group: 'leo', nowMs }));
    assert.equal(at(NOW_MS), 'go-on');
    assert.equal(at(Date.parse(stored.expiresAt) - 1), 'go-on');
    assert.equal(at(Date.parse(stored.expiresAt)), 'INVITATION_EXPIRED');
    assert.equal(at(NOW_MS, null), 'INVITATION_UNKNOWN');
    assert.equal(at(NOW_MS, { ...stored, id: '0011223344556678' }), 'INVITATION_UNKNOWN');
    assert.equal(at(NOW_MS, withdrawn), 'INVITATION_WITHDRAWN');
    assert.equal(at(Date.parse(stored.expiresAt), withdrawn), 'INVITATION_WITHDRAWN');
  });

  test('says of each invitation that it noted whether it is open', () => {
    const { expiresAt } = stored;
    const endMs = Date.parse(expiresAt);
    const at = (nowMs: number, found: StoredInvitation | WithdrawnInvitation | null) =>
      invitationState(found, { expiresAt, nowMs });
    assert.deepEqual([at(NOW_MS, stored), at(endMs, stored)], ['open', 'expired']);
    assert.deepEqual([at(NOW_MS, withdrawn), at(endMs, withdrawn)], ['withdrawn', 'withdrawn']);
    assert.deepEqual([at(NOW_MS, null), at(endMs, null)], ['used', 'expired']);
  });

  test('refuses another global cluster, a name that is taken, and what contradicts; a name whose group left is free', () => {
    const offer = { globalCluster: 'orders', group: 'pit', caBundle: 'x', card: {} };
    const leo = { group: 'leo', caBundle: 'a', hasLeft: false, generation: 4 };
    const pit = { group: 'pit', caBundle: 'b', hasLeft: true, generation: 9 };
    const facts = { globalCluster: 'orders', groups: [leo, pit], problems: [] };
    assert.equal(told(decideOffer(offer, facts)), 'go-on');
    assert.equal(told(decideOffer({ ...offer, globalCluster: 'billing' }, facts)), 'JOIN_OTHER_CLUSTER');
    assert.equal(told(decideOffer({ ...offer, group: 'leo' }, facts)), 'JOIN_NAME_TAKEN');
    // Its own first join, whose answer got lost.
    assert.equal(told(decideOffer({ ...offer, group: 'leo', caBundle: 'a' }, facts)), 'go-on');
    assert.equal(told(decideOffer(offer, { ...facts, problems: ['two primary groups'] })), 'JOIN_CONTRADICTS');
    assert.equal(cardGenerationMin('pit', [leo, pit]), 10);
    assert.equal(cardGenerationMin('mia', [leo, pit]), 1);
  });
});

describe('the joining side', () => {
  const facts: JoiningFacts = {
    group: 'pit',
    globalCluster: 'orders',
    isAsked: true,
    membership: null,
    hasNodes: false,
    token: encodeToken(invitation),
    tokenPlace: 'Secret "pit-join", key "token"',
    nowMs: NOW_MS,
  };
  const reason = (change: Partial<JoiningFacts>) => {
    const decision = decideJoining({ ...facts, ...change });
    return decision.kind === 'wait' ? decision.reason : decision.kind;
  };

  test('joins when it is asked to, and has neither joined nor made a database', () => {
    assert.equal(reason({}), 'join');
    assert.equal(reason({ isAsked: false }), 'done');
    assert.equal(reason({ membership: { globalCluster: 'orders' } }), 'done');
    assert.equal(reason({ membership: { globalCluster: 'orders' }, token: null, hasNodes: true }), 'done');
    assert.equal(reason({ hasNodes: true }), 'JoinHoldsDatabase');
  });

  test('says what is wrong with its token, and does not repeat it', () => {
    assert.equal(reason({ token: null }), 'JoinTokenMissing');
    assert.equal(reason({ token: `${facts.token?.slice(0, -3)}` }), 'JoinTokenDamaged');
    assert.equal(reason({ token: 'hello' }), 'JoinTokenUnknown');
    assert.equal(reason({ globalCluster: 'pit-global' }), 'JoinOtherCluster');
    assert.equal(reason({ group: 'leo' }), 'JoinNameTaken');
    // Clocks may differ by five minutes: the inviting side decides then.
    assert.equal(reason({ nowMs: invitation.expiresAt * 1000 + 299_000 }), 'join');
    assert.equal(reason({ nowMs: invitation.expiresAt * 1000 + 300_000 }), 'JoinTokenExpired');
    for (const change of [{ globalCluster: 'x' }, { token: `${facts.token}x` }, { nowMs: NOW_MS + 9e9 }]) {
      const decision = decideJoining({ ...facts, ...change });
      assert.ok(decision.kind === 'wait' && !decision.message.includes(invitation.secret.slice(0, 12)));
    }
  });

  test('believes no answer that contradicts the token', () => {
    const welcome = {
      globalCluster: 'orders',
      primaryGroup: 'leo',
      caBundle: 'x',
      cards: [{}],
      login: { username: 'app', password: 'x', generation: 1 },
      cardGenerationMin: 1,
    };
    const given = { invitation, group: 'pit', cardGroups: ['leo', 'ait'] };
    assert.equal(welcomeProblem(welcome, given), null);
    assert.match(welcomeProblem({ ...welcome, globalCluster: 'billing' }, given) ?? '', /billing/);
    assert.match(welcomeProblem({ ...welcome, primaryGroup: 'pit' }, given) ?? '', /primary/);
    assert.match(welcomeProblem(welcome, { ...given, cardGroups: ['ait', 'leo'] }) ?? '', /first card/);
    assert.match(welcomeProblem(welcome, { ...given, cardGroups: [] }) ?? '', /nobody/);
  });

  test('tries again after what may pass, in growing steps', () => {
    assert.deepEqual(JOIN_REFUSALS.filter(isPassing), ['JOIN_RESTARTED', 'JOIN_BUSY', 'JOIN_UNHEARD']);
    // `pgspan join` ends at these, and waits at all others.
    assert.ok(FINAL_JOIN_REASONS.has('InvitationWithdrawn') && FINAL_JOIN_REASONS.has('JoinNameTaken'));
    assert.ok(!FINAL_JOIN_REASONS.has('JoinBusy') && !FINAL_JOIN_REASONS.has('JoinRestarted'));
    assert.deepEqual([1, 2, 3, 4, 5, 99].map(joinRetryMs), [2000, 4000, 8000, 16_000, 30_000, 30_000]);
  });
});
