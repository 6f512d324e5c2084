import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decideEtcdStep } from './decide-etcd-step.ts';
import type { EtcdClusterSight, EtcdMemberSight, EtcdMemory, EtcdSnapshot } from './etcd-snapshot.ts';

const CLUSTER = '77';

function member(name: string, change: Partial<EtcdMemberSight> = {}): EtcdMemberSight {
  return {
    id: String(name.charCodeAt(0)),
    name: `${name}-etcd`,
    peerUrls: [`https://${name}-etcd:2380`],
    isLearner: false,
    silentForMs: 0,
    answer: { leaderId: '108', sizeBytes: 20_480, sizeInUseBytes: 20_480, errors: [] },
    ...change,
  };
}

const silent = (name: string): EtcdMemberSight => member(name, { answer: null });

function cluster(members: readonly EtcdMemberSight[], change: Partial<EtcdClusterSight> = {}): EtcdClusterSight {
  return { clusterId: CLUSTER, leaderId: '108', members, alarms: [], ...change };
}

function memberMemory(name: string): EtcdMemory {
  return {
    phase: 'member',
    clusterId: CLUSTER,
    memberId: String(name.charCodeAt(0)),
    folder: 'member-1',
    volume: 'v1',
  };
}

/** As the operator of group ait sees it: a member among three, and all is well. */
function snapshot(change: Partial<EtcdSnapshot> = {}): EtcdSnapshot {
  return {
    own: { name: 'ait-etcd', peerUrl: 'https://ait-etcd:2380' },
    isFounder: false,
    others: [
      { name: 'leo-etcd', hasMember: true, hasLeft: false },
      { name: 'pit-etcd', hasMember: true, hasLeft: false },
    ],
    memory: memberMemory('ait'),
    pod: { isReady: true, foundNothing: false, isOutdated: false },
    volume: 'v1',
    cluster: cluster([member('leo'), member('ait'), member('pit')]),
    newFolder: 'member-2',
    ...change,
  };
}

const nothing: EtcdMemory = { phase: 'none', clusterId: null };
const nobody = [
  { name: 'leo-etcd', hasMember: false, hasLeft: false },
  { name: 'pit-etcd', hasMember: false, hasLeft: false },
];
const alone = cluster([member('leo')]);

/** What is decided, in two words. */
function outcome(change: Partial<EtcdSnapshot>): string {
  const decision = decideEtcdStep(snapshot(change));
  return decision.kind === 'step' ? `step ${decision.step.kind}` : `${decision.kind} ${decision.reason.code}`;
}

describe('the beginning of a cluster of etcd', () => {
  const first = { memory: nothing, cluster: null, pod: null, volume: null };
  it('is made by the group that makes the database, if nobody has a member', () => {
    const decision = decideEtcdStep(snapshot({ ...first, isFounder: true, others: nobody }));
    assert.deepEqual(decision.kind === 'step' ? decision.step : decision, {
      kind: 'remember',
      memory: { phase: 'founding', folder: 'member-2' },
    });
  });
  it('is made by nobody else', () => assert.equal(outcome({ ...first, others: nobody }), 'wait NoClusterYet'));
  it('is not made where another group tells of a member, though none answers', () =>
    assert.equal(outcome({ ...first, isFounder: true }), 'wait ClusterSilent'));
  it('is not made where a member answers', () =>
    assert.equal(outcome({ ...first, isFounder: true, others: nobody, cluster: alone }), 'step add'));
  it('is not made by a group that was a member once, even if nobody answers', () => {
    const memory: EtcdMemory = { phase: 'none', clusterId: CLUSTER };
    assert.equal(outcome({ ...first, memory, isFounder: true, others: nobody }), 'wait ClusterSilent');
  });
  it('ends when the first member answers', () => {
    const founding: EtcdMemory = { phase: 'founding', folder: 'member-1' };
    const own = { name: 'leo-etcd', peerUrl: 'https://leo-etcd:2380' };
    assert.equal(outcome({ own, memory: founding, cluster: null }), 'wait MemberStarting');
    const decision = decideEtcdStep(snapshot({ own, memory: founding, cluster: alone }));
    assert.deepEqual(decision.kind === 'step' ? decision.step : decision, {
      kind: 'remember',
      memory: { phase: 'member', clusterId: CLUSTER, memberId: '108', folder: 'member-1', volume: 'v1' },
    });
  });
});

describe('a member that joins', () => {
  const joining: EtcdMemory = {
    phase: 'joining',
    clusterId: CLUSTER,
    memberId: '97',
    folder: 'member-1',
    initialCluster: 'x',
  };
  it('is added as a learner', () => assert.equal(outcome({ memory: nothing, cluster: alone }), 'step add'));
  it('waits for another that joins', () => {
    const others = cluster([member('leo'), member('pit', { isLearner: true })]);
    assert.equal(outcome({ memory: nothing, cluster: others }), 'wait AnotherLearner');
  });
  it('waits while etcd has no leader', () =>
    assert.equal(outcome({ memory: nothing, cluster: { ...alone, leaderId: null } }), 'wait NoQuorum'));
  it('is not added twice: what an operator before has added is taken up, with the list of members', () => {
    const added = cluster([member('leo'), member('ait', { name: '', isLearner: true, answer: null })]);
    const decision = decideEtcdStep(snapshot({ memory: nothing, cluster: added }));
    assert.deepEqual(decision.kind === 'step' ? decision.step : decision, {
      kind: 'remember',
      memory: {
        ...joining,
        folder: 'member-2',
        initialCluster: 'leo-etcd=https://leo-etcd:2380,ait-etcd=https://ait-etcd:2380',
      },
    });
  });
  it('takes the place of one that nobody remembers: that one is taken out first', () =>
    assert.equal(outcome({ memory: nothing }), 'step remove'));
  it('is a member from its first start on', () => {
    const started = cluster([member('leo'), member('ait', { isLearner: true })]);
    assert.equal(outcome({ memory: joining, cluster: started }), 'step remember');
  });
  it('gets its vote when it answers', () => {
    const started = cluster([member('leo'), member('ait', { isLearner: true })]);
    assert.equal(outcome({ cluster: started }), 'step promote');
    const mute = cluster([member('leo'), member('ait', { isLearner: true, answer: null })]);
    assert.equal(outcome({ cluster: mute }), 'wait PromotionWaits');
  });
  it('gets no vote while with it too few would answer', () => {
    const members = [member('leo'), silent('pit'), silent('xyz'), member('ait', { isLearner: true })];
    assert.equal(outcome({ cluster: cluster(members) }), 'wait PromotionWaits');
  });
  it('begins anew if it was taken out before it started', () => {
    const decision = decideEtcdStep(snapshot({ memory: joining, cluster: alone }));
    assert.deepEqual(decision.kind === 'step' ? decision.step : decision, {
      kind: 'remember',
      memory: { phase: 'none', clusterId: CLUSTER },
    });
  });
});

describe('a member that has lost its volume', () => {
  it('is taken out by the others', () => assert.equal(outcome({ volume: 'v2' }), 'step remove'));
  it('is taken out when it says itself that it found nothing', () =>
    assert.equal(outcome({ pod: { isReady: false, foundNothing: true, isOutdated: false } }), 'step remove'));
  it('begins anew when it is out', () =>
    assert.equal(outcome({ volume: 'v2', cluster: cluster([member('leo'), member('pit')]) }), 'step remember'));
  it('stays in while too few others would answer', () => {
    const members = [member('leo'), silent('ait'), silent('pit')];
    assert.equal(outcome({ volume: 'v2', cluster: cluster(members, { leaderId: null }) }), 'wait NoQuorum');
    const five = [member('leo'), member('xyz'), silent('ait'), silent('pit'), silent('qed')];
    assert.equal(outcome({ volume: 'v2', cluster: cluster(five) }), 'wait RemovalWaits');
  });
  it('was the only one: only a person can help', () =>
    assert.equal(outcome({ volume: 'v2', cluster: null, others: nobody }), 'blocked RecordLost'));
  it('waits for the others as long as they are silent', () =>
    assert.equal(outcome({ volume: 'v2', cluster: null }), 'wait VolumeLost'));
});

describe('a member among others', () => {
  it('is settled', () => assert.equal(outcome({}), 'settled MembersHealthy'));
  it('touches no cluster that is another than its own', () =>
    assert.equal(outcome({ cluster: cluster([member('leo')], { clusterId: '78' }) }), 'blocked ForeignCluster'));
  it('tells its new name', () =>
    assert.equal(outcome({ own: { name: 'ait-etcd', peerUrl: 'https://ait-etcd.example.com:2380' } }), 'step rename'));
  it('takes out the member of a group that has left, if enough remain', () => {
    const others = [
      { name: 'leo-etcd', hasMember: true, hasLeft: false },
      { name: 'pit-etcd', hasMember: false, hasLeft: true },
    ];
    assert.equal(outcome({ others }), 'step remove');
    assert.equal(
      outcome({ others, cluster: cluster([silent('leo'), member('ait'), member('pit')]) }),
      'wait RemovalWaits',
    );
  });
  it('restarts for new settings only if enough others answer', () => {
    const pod = { isReady: true, foundNothing: false, isOutdated: true };
    assert.equal(outcome({ pod }), 'step restart');
    assert.equal(
      outcome({ pod, cluster: cluster([silent('leo'), member('ait'), member('pit')]) }),
      'wait RestartWaits',
    );
    assert.equal(outcome({ pod, cluster: cluster([member('ait')]) }), 'step restart');
  });
  it('takes out one that is silent for long, if it holds up a restart', () => {
    const pod = { isReady: true, foundNothing: false, isOutdated: true };
    const gone = member('leo', { answer: null, silentForMs: 120_000 });
    assert.equal(outcome({ pod, cluster: cluster([gone, member('ait'), member('pit')]) }), 'step remove');
    assert.equal(outcome({ cluster: cluster([gone, member('ait'), member('pit')]) }), 'wait MembersSilent');
    assert.equal(outcome({ pod, cluster: cluster([gone, member('ait'), silent('pit')]) }), 'wait RestartWaits');
  });
  it('is defragmented when half of a large file is free, the leader last', () => {
    const full = (leaderId: string) => ({ leaderId, sizeBytes: 100e6, sizeInUseBytes: 1e6, errors: [] });
    const both = [member('leo'), member('ait', { answer: full('97') }), member('pit', { answer: full('97') })];
    assert.equal(outcome({ cluster: cluster(both, { leaderId: '108' }) }), 'step defragment');
    assert.equal(outcome({ cluster: cluster(both, { leaderId: '97' }) }), 'wait DefragmentationWaits');
  });
  it('says when the space is used up, and takes its own alarm back when it has space again', () => {
    const alarm = (memberId: string) => ({ alarms: [{ memberId, kind: 'NOSPACE' as const }] });
    const members = [member('leo'), member('ait'), member('pit')];
    assert.equal(outcome({ cluster: cluster(members, alarm('108')) }), 'blocked SpaceUsedUp');
    assert.equal(outcome({ cluster: cluster(members, alarm('97')) }), 'step disarm');
  });
  it('says what a silent member means', () => {
    const { reason } = decideEtcdStep(snapshot({ cluster: cluster([member('leo'), member('ait'), silent('pit')]) }));
    assert.match(reason.message, /2 of 3 voting members of etcd answer, "pit-etcd" does not: .* one more lost member/);
    const minority = cluster([silent('leo'), member('ait', { answer: null }), silent('pit')], { leaderId: null });
    assert.match(decideEtcdStep(snapshot({ cluster: minority })).reason.message, /too few to change the record/);
  });
});
