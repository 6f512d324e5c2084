/** Histories step by step; rules.ts and mutations.ts say what each is for. Every one must hold with every seed. */
import assert from 'node:assert/strict';
import type { ClusterRecord } from '../../src/api/record.ts';
import type { DirectedHistory } from './directed-run.ts';
import { STORE_PLACE } from './record-store.ts';
import { realRules } from './rules.ts';

const three = { groups: { leo: 1, ait: 1, pit: 1 }, minCopies: 2 };
const two = { groups: { leo: 1, ait: 1 }, minCopies: 1 };

export const directedHistories: readonly DirectedHistory[] = [
  {
    name: 'a member that alone has lost the leader deposes nobody',
    // Else it would defer to the other one, which holds more.
    topology: { ...three, priorities: { 'pit-1': 0 } },
    play: (run) => {
      run.client.resetGap();
      run.cut(['leo-1', 'ait-1']);
      run.pass(6000);
      assert.equal(run.term, 1, 'somebody was elected');
      assert.ok(run.gapMs < 500);
    },
  },
  {
    name: 'where one vote elects, a leader that any path reaches keeps the lead',
    topology: { ...three, minCopies: 3, priorities: { 'pit-1': 0 } },
    play: (run) => {
      run.cut(['leo-1', 'ait-1']);
      run.pass(6000);
      assert.equal(run.term, 1, 'somebody was elected');
    },
  },
  {
    name: 'a node whose PostgreSQL dies is replaced at once, and so is one that is killed',
    topology: three,
    play: (run) => {
      run.client.resetGap();
      run.kill('leo-1/postgres');
      run.pass(1500);
      assert.ok(run.gapMs < 800, `the client waited ${run.gapMs} ms for a dead server`);
      run.whole('after the first failover');
      run.client.resetGap();
      const leader = run.world.writeTarget() as string;
      run.kill(leader);
      run.pass(1500);
      assert.ok(run.gapMs < 800, `the client waited ${run.gapMs} ms for a dead node`);
    },
  },
  {
    name: 'a silent leader is replaced after the detection time, and not before',
    topology: three,
    play: (run) => {
      run.isolate('leo-1');
      run.pass(700);
      assert.equal(run.term, 1, 'it was replaced before');
      run.client.resetGap();
      run.pass(1800);
      assert.ok(run.term > 1, 'it was not replaced');
      assert.ok(run.gapMs < 2200);
    },
  },
  {
    name: 'a PostgreSQL that answers nothing under a living agent is replaced',
    topology: three,
    play: (run) => {
      run.freeze('leo-1/postgres');
      run.until('another leads', 8000, () => run.term > 1 && run.world.writeTarget() !== 'leo-1');
    },
  },
  {
    name: 'a best node that may not lead does not block, and what only it holds is taken from it',
    topology: { ...three, priorities: { 'ait-1': 0 } },
    play: (run) => {
      run.isolate('pit-1');
      run.pass(500);
      run.writes(1000);
      run.kill('leo-1');
      run.rejoin('pit-1');
      run.leads('pit-1', 10_000);
    },
  },
  {
    name: 'a leader that is alone restarts in place when its PostgreSQL dies',
    topology: two,
    timing: { memberTimeoutMs: 2000 },
    play: (run) => {
      run.kill('ait-1');
      run.writes(6000);
      run.until('it is alone', 6000, () => run.world.store.stored.record?.members.length === 1);
      run.kill('leo-1/postgres');
      run.leads('leo-1', 5000);
    },
  },
  {
    name: 'of two nodes the leader goes on alone when it has taken out a lost standby',
    topology: two,
    timing: { memberTimeoutMs: 2000 },
    play: (run) => {
      run.kill('ait-1');
      run.pass(6000);
      run.writes(500);
    },
  },
  {
    name: 'a change whose new member is gone is given up, so that the next one can be made',
    topology: { ...three, minCopies: 1 },
    timing: { memberTimeoutMs: 2000 },
    play: (run) => {
      run.kill('pit-1');
      const members = (): number => run.world.store.stored.record?.members.length ?? 0;
      run.until('it was taken out', 10_000, () => members() === 2);
      run.restart('pit-1');
      run.until('both are required, for it to be taken in', 20_000, () => {
        const progress = run.world.agent('leo-1').leadership?.progress ?? null;
        return progress !== null && progress.armedLsn !== null && progress.to.members.length === 3;
      });
      run.kill('pit-1');
      run.kill('ait-1');
      run.pass(500);
      run.writes(12_000);
    },
  },
  {
    name: 'a term that was promised and not won is a false alarm: the leader goes on in a term above it',
    topology: three,
    play: (run) => {
      const toLeader = [
        ['leo-1', 'ait-1'],
        ['leo-1', 'pit-1'],
      ] as const;
      run.cut(...toLeader);
      const promised = (): string[] =>
        ['ait-1', 'pit-1'].filter((node) => run.world.agent(node).voter.promisedTerm > 1);
      run.until('both have promised', 4000, () => promised().length === 2);
      // The swap is on its way, and so is the candidate's end.
      run.world.store.isAway = true;
      const candidate = ['ait-1', 'pit-1'].find((node) => run.world.agent(node).election.isRunning) as string;
      run.kill(`${candidate}/agent`);
      run.heal(...toLeader);
      run.pass(100);
      run.world.store.comeBack();
      const isWon = run.world.store.stored.record?.leader !== 'leo-1';
      if (isWon) return;
      run.leads('leo-1', 8000);
      assert.ok(run.term > 2, 'the leader has not called it a false alarm');
    },
  },
  {
    name: 'a leader that thaws behind a cut fences at once: what was echoed before proves nothing',
    topology: three,
    wideDelayMs: 60,
    play: (run) => {
      // Between a beat and its echoes, and before anything newer can reach it.
      run.freeze('leo-1');
      run.pass(200);
      run.isolate('leo-1');
      run.until('another leads', 8000, () => run.world.writeTarget() !== null && run.world.writeTarget() !== 'leo-1');
      run.pass(4000);
      run.thaw('leo-1');
      run.pass(1000);
      assert.notEqual(run.world.server('leo-1').role, 'primary', 'it serves old data');
    },
  },
  {
    name: 'without the record the leader goes on while a write quorum hears it',
    topology: three,
    play: (run) => {
      run.client.resetGap();
      run.world.store.isAway = true;
      run.pass(8000);
      assert.equal(run.world.server('leo-1').role, 'primary');
      assert.ok(run.gapMs < 500);
      run.world.store.comeBack();
    },
  },
  {
    name: 'a leader whose agent is replaced while the record is away goes on',
    topology: three,
    play: (run) => {
      run.world.store.isAway = true;
      run.pass(300);
      run.kill('leo-1/agent');
      run.restart('leo-1');
      run.pass(2000);
      run.client.resetGap();
      run.pass(8000);
      assert.ok(run.gapMs < 1000, `the client waited ${run.gapMs} ms`);
      assert.equal(run.term, 1);
      run.world.store.comeBack();
    },
  },
  {
    name: 'without a write quorum the leader goes on serving reads while it confirms the record',
    topology: three,
    play: (run) => {
      run.kill('ait-1');
      run.kill('pit-1');
      run.pass(8000);
      assert.equal(run.world.server('leo-1').role, 'primary');
      assert.equal(run.world.writeTarget(), 'leo-1');
    },
  },
  {
    name: 'a leader that reaches neither members nor record fences',
    topology: three,
    play: (run) => {
      run.isolate('leo-1');
      run.pass(5000);
      assert.notEqual(run.world.server('leo-1').role, 'primary', 'it serves old data');
    },
  },
  {
    name: 'a promise of a switchover holds although the former leader dies before the new one is elected',
    topology: three,
    play: (run) => {
      const { world } = run;
      const { leadership } = world.agent('leo-1');
      assert.ok(leadership !== null);
      world.agent('leo-1').process.spawn(leadership.switchOver('ait-1'));
      run.until('the target has promised itself', 3000, () => world.agent('ait-1').voter.promisedTerm > 1);
      // Its swap is held up.
      run.cut(['ait-1', STORE_PLACE]);
      run.kill('leo-1/agent');
      run.restart('leo-1');
      run.until('the former leader has read the record', 3000, () => world.agent('leo-1').accepted !== null);
      run.cut(['leo-1', STORE_PLACE]);
      run.pass(5000);
      run.heal(['ait-1', STORE_PLACE]);
      run.leads('ait-1', 5000);
      run.heal(['leo-1', STORE_PLACE]);
    },
  },
  {
    name: 'a record older than one that was seen elects nobody',
    topology: { ...three, minCopies: 1 },
    timing: { memberTimeoutMs: 2000 },
    play: (run) => {
      const { store } = run.world;
      const old = store.stored.record as ClusterRecord;
      // The leader goes on alone; the others learn from the record that they are no members any more.
      const members = (): number => store.stored.record?.members.length ?? 0;
      run.freeze('ait-1/postgres');
      run.until('one is taken out', 20_000, () => members() === 2);
      run.freeze('pit-1/postgres');
      run.until('the leader is alone', 20_000, () => members() === 1);
      run.writes(3000);
      run.pass(300);
      const newest = store.stored.record as ClusterRecord;
      run.kill('leo-1');
      store.replace(old);
      for (const node of ['ait-1', 'pit-1']) {
        run.thaw(`${node}/postgres`);
        run.kill(`${node}/agent`);
        run.restart(node);
      }
      run.pass(6000);
      assert.equal(store.stored.record?.term, old.term, 'somebody was elected by the old record');
      store.replace(newest);
    },
  },
  {
    name: 'members are taken out only as far as the copies that were asked for allow',
    topology: three,
    timing: { memberTimeoutMs: 2000 },
    play: (run) => {
      run.kill('pit-1');
      run.until('it was taken out', 10_000, () => run.world.store.stored.record?.members.length === 2);
      run.kill('ait-1');
      const before = run.client.acknowledged;
      run.pass(8000);
      assert.ok(run.client.acknowledged <= before + 1, 'writes were acknowledged with one copy');
      assert.equal(run.world.store.stored.record?.members.length, 2);
    },
  },
  {
    name: 'a superseded leader that reaches only members of its successor fences',
    topology: three,
    play: (run) => {
      run.isolate('leo-1');
      run.until('another leads', 4000, () => (run.world.writeTarget() ?? 'leo-1') !== 'leo-1');
      for (const node of ['ait-1', 'pit-1']) run.heal(['leo-1', node]);
      run.pass(4500);
      assert.notEqual(run.world.server('leo-1').role, 'primary', 'it serves old data');
    },
  },
  {
    name: 'a superseded leader that reaches only a node that has lost its disk fences',
    topology: three,
    play: (run) => {
      run.isolate('leo-1');
      run.until('another leads', 4000, () => (run.world.writeTarget() ?? 'leo-1') !== 'leo-1');
      const other = run.world.writeTarget() === 'ait-1' ? 'pit-1' : 'ait-1';
      run.wipe(other);
      run.restart(other);
      run.heal(['leo-1', other]);
      run.pass(4500);
      assert.notEqual(run.world.server('leo-1').role, 'primary', 'it serves old data');
    },
  },
  {
    name: 'an agent that finds a primary and does not come to lead it stops it',
    topology: three,
    play: (run) => {
      const { world } = run;
      run.kill('leo-1');
      run.until('one is elected', 4000, () => world.store.stored.record?.leader !== 'leo-1');
      const elected = world.store.stored.record?.leader as string;
      // Its agent dies before it has written down the promotion, and the next one reaches nobody.
      run.until('it is promoted', 4000, () => world.agent(elected).step?.kind === 'promote');
      run.kill(`${elected}/agent`);
      run.isolate(elected);
      run.restart(elected);
      run.until('it is a primary', 2000, () => world.server(elected).role === 'primary');
      run.pass(4500);
      assert.notEqual(world.server(elected).role, 'primary', 'nobody guards it');
    },
  },
  {
    name: 'a former leader that has promised, and holds the most, is elected when the candidate dies',
    topology: three,
    play: (run) => {
      run.kill('leo-1/postgres');
      run.until('it has promised', 3000, () => run.world.agent('leo-1').voter.promisedTerm > 1);
      run.world.store.isAway = true;
      const candidate = ['ait-1', 'pit-1'].find((node) => run.world.agent(node).election.isRunning) as string;
      run.kill(candidate);
      run.pass(100);
      run.world.store.comeBack();
      run.writes(10_000);
    },
  },
  {
    name: 'a leader whose only other member must rewind makes its checkpoint before it is published',
    topology: three,
    play: (run) => {
      const { store } = run.world;
      run.isolate('leo-1');
      run.pass(600);
      run.until('another is elected', 4000, () => store.stored.record?.leader !== 'leo-1');
      run.kill(store.stored.record?.leader === 'ait-1' ? 'pit-1' : 'ait-1');
      run.rejoin('leo-1');
      run.writes(12_000);
    },
  },
  {
    name: 'a leader that is not published takes out the lost member that keeps it from that',
    topology: two,
    timing: { memberTimeoutMs: 3000 },
    play: (run) => {
      run.kill('ait-1');
      run.pass(500);
      run.kill('leo-1/postgres');
      run.writes(12_000);
    },
  },
  {
    name: 'two candidates that stand in the way of each other part',
    topology: three,
    wideDelayMs: 20,
    // As if neither had heard that the other is there.
    rules: {
      decideCandidacy: (question) => {
        const decision = realRules.decideCandidacy(question);
        return decision.kind === 'defer' ? { kind: 'stand', reason: decision.reason } : decision;
      },
    },
    play: (run) => {
      run.world.network.isSteady = true;
      run.kill('leo-1');
      run.writes(6000);
    },
  },
];
