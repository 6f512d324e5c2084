/**
 * The model of leadership.md over the real decision functions: an initial state, its steps, and what must never be.
 *
 * Always true:
 *   1. A leader that the record names and that is promoted has every acknowledged write.
 *   2. No write is acknowledged by an old leader after the new one has acknowledged its first.
 *   3. One leader a term.   4. No two promotions share a timeline id.
 */
import { createCanonicalizer } from './canonical.ts';
import { createChangeSteps } from './change.ts';
import { createElectionSteps } from './elect.ts';
import type { Model } from './explore.ts';
import * as at from './layout.ts';
import { BUDGET, NODE, RECORD } from './layout.ts';
import { type Bounds, incarnationOf, Machine, nodeName, PROBLEMS } from './machine.ts';
import { createReplicationSteps } from './replicate.ts';
import { type Machinery, real } from './rules.ts';

export function createModel(bounds: Bounds, machinery: Machinery = real): Model {
  const m = new Machine(bounds, machinery);
  const { layout } = m;
  const parts = [createElectionSteps(m), createReplicationSteps(m)];
  if (bounds.changes) parts.push(createChangeSteps(m));
  const rename = createCanonicalizer(layout);
  return {
    stateBytes: layout.bytes,
    initial: () => initialState(m),
    successors(s, emit) {
      for (const part of parts) part.successors(s, emit);
    },
    canonicalize(s) {
      forgetUseless(m, s);
      rename(s);
    },
    violation(s) {
      const problem = s[layout.problem] as number;
      return problem !== 0 ? (PROBLEMS[problem] ?? 'unknown') : missingWrite(m, s);
    },
    describe: (s) => describeState(m, s),
  };
}

/** Node 0 leads term 1 on timeline 1; every other one follows it, empty. */
function initialState(m: Machine): Uint8Array {
  const s = new Uint8Array(m.layout.bytes);
  const lineage = { timeline: 1, history: [] };
  const empty = m.wals.id([]);
  for (let node = 0; node < m.nodes; node++) {
    m.setVoter(s, node, {
      incarnation: incarnationOf(0),
      promisedTerm: 1,
      seen: { term: 1, version: 1 },
      lineage,
      followedTerm: 1,
      rewinding: false,
    });
    m.set(s, node, NODE.wal, empty);
    m.set(s, node, NODE.postgres, node === 0 ? at.PG_PRIMARY : at.PG_STANDBY);
    m.setFlag(s, node, at.FLAG_REPLAYED, true);
    m.setFlag(s, node, at.FLAG_DEFINED, m.bounds.writeQuorum > 1);
    if (node === 0) continue;
    m.set(s, node, NODE.path, 1);
    s[m.layout.sender(0, node, 0)] = at.SENDER_LIVE;
  }
  const mask = m.bounds.members.reduce((bits, node) => bits | (1 << node), 0);
  s.set([1, 0, mask, m.bounds.writeQuorum, 0, 1, 1], m.layout.record);
  m.set(s, 0, NODE.reign, 1);
  m.learnRecord(s, 0, m.voterId(s, 0));
  const setting = m.leaderSetting(m.officeKey(s, 0));
  m.setSetting(s, 0, setting);
  if (m.bounds.changes) for (let node = 1; node < m.nodes; node++) m.loadSender(s, 0, m.layout.sender(0, node, 0));
  s[m.layout.announced + 2] = 1;
  s[m.layout.announced + 3] = m.lineages.id(lineage);
  s[m.layout.budgets + BUDGET.agentCrash] = m.bounds.agentCrashes;
  s[m.layout.budgets + BUDGET.serverCrash] = m.bounds.serverCrashes;
  s[m.layout.budgets + BUDGET.wipe] = m.bounds.wipes;
  return s;
}

/** States that differ only in what nobody will look at again become one. */
function forgetUseless(m: Machine, s: Uint8Array): void {
  const keepsArmed = m.bounds.changes && !m.machinery.effects.armsBeforePromotion;
  for (let node = 0, o = 0; node < m.nodes; node++, o += at.NODE_BYTES) {
    if (s[o + NODE.postgres] === at.PG_PRIMARY) continue;
    // A setting outlives its server only where it may be restarted in place.
    const hasPromoted =
      s[o + NODE.unwritten] !== 0 || m.voter(s, node).lineage?.timeline === s[o + NODE.officeTimeline];
    const mayRestart = m.bounds.changes && hasPromoted;
    if (!mayRestart) s[o + NODE.syncCount] = s[o + NODE.syncMask] = s[o + NODE.syncLives] = 0;
    if (!keepsArmed) s[o + NODE.flags] = (s[o + NODE.flags] as number) & ~at.FLAG_DEFINED;
    s[o + NODE.flags] = (s[o + NODE.flags] as number) & ~at.FLAG_BARRIER;
  }
}

function missingWrite(m: Machine, s: Uint8Array): string | null {
  const term = s[m.layout.acknowledged] as number;
  const leader = s[m.layout.record + RECORD.leader] as number;
  if (term === 0 || m.get(s, leader, NODE.reign) !== s[m.layout.record + RECORD.timeline]) return null;
  const lsn = s[m.layout.acknowledged + 1] as number;
  if (m.wal(s, leader)[lsn - 1]?.term === term) return null;
  return `${nodeName(leader)} leads and lacks acknowledged entry ${lsn} of term ${term}`;
}

function describeState(m: Machine, s: Uint8Array): string {
  const lines: string[] = [];
  const record = m.presentRecord(s);
  const swaps: string[] = [];
  for (let slot = 0; slot < at.SWAPS_MAX; slot++) {
    const o = m.layout.swaps + slot * at.SWAP_BYTES;
    if (s[o] !== 0) swaps.push(`t${s[o]} n${s[o + 1]} w${s[o + 3]}`);
  }
  lines.push(
    `    record v${record.version} t${record.term} ${record.leader} tl${record.timeline} M=${record.members.map((one) => one.node).join()} w=${record.writeQuorum}` +
      `  on the way: [${swaps.join('; ')}]  acknowledged: ${s[m.layout.acknowledged + 1]} of t${s[m.layout.acknowledged]}`,
  );
  for (let node = 0; node < m.nodes; node++) {
    const voter = m.voter(s, node);
    const get = (field: number): number => m.get(s, node, field);
    const answers = Array.from({ length: m.nodes }, (_, from) => s[m.layout.answer(from, node)]).join(' ');
    const senders: string[] = [];
    for (let standby = 0; standby < m.nodes; standby++)
      for (let c = 0; c < m.bounds.connections; c++) {
        const o = m.layout.sender(node, standby, c);
        if (s[o] !== 0) senders.push(`n${standby}${((s[o] as number) & 3) === at.SENDER_LIVE ? '' : '?'}:${s[o + 1]}`);
      }
    lines.push(
      `    n${node} ${['down', 'standby', 'PRIMARY'][get(NODE.postgres)]} wal=[${m
        .wal(s, node)
        .map((entry) => entry.term)
        .join('')}]` +
        ` promised ${voter.promisedTerm} seen ${voter.seen.term} followed ${voter.followedTerm}` +
        ` lineage ${voter.lineage === null ? '-' : `${voter.lineage.timeline}(${voter.lineage.history.map((end) => `${end.timeline}@${end.endLsn}`).join()})`}` +
        `${voter.rewinding ? ' REWINDING' : ''}${get(NODE.flags) & at.FLAG_REPLAYED ? '' : ' unreplayed'}` +
        ` path ${get(NODE.path) - 1} handler ${get(NODE.handler)} attempt ${get(NODE.attempt)} answers [${answers}]` +
        ` senders [${senders.join(' ')}] any ${get(NODE.syncCount)} of ${get(NODE.syncMask).toString(2)}`,
    );
  }
  return lines.join('\n');
}
