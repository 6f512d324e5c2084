/**
 * Steps of a change of M and w (leadership.md "Changing M and w") with what PostgreSQL really does: a reload is not the moment.
 * Each sender keeps its own copy of the list until it reloads or ends, and from '' to a list commits return unprotected until
 * the checkpointer has armed the wait.
 */
import type { ChangeProgress, MemberView } from '../../src/core/leadership/membership.ts';
import type { Emit } from './explore.ts';
import * as at from './layout.ts';
import { NODE, RECORD, SENDER } from './layout.ts';
import { incarnationOf, type Machine, maskOf, nodeName, parseSetting, type SyncSetting } from './machine.ts';
import { memoize } from './tables.ts';

export interface ChangeSteps {
  successors(s: Uint8Array, emit: Emit): void;
}

/** In what the leader sees of a node: neither heard nor streaming for long. */
const ALL_LOST = 8;

export function createChangeSteps(m: Machine): ChangeSteps {
  const { layout, machinery } = m;
  const { rules, effects } = machinery;
  const policy = { minCopies: m.bounds.minCopies, siteMembersMax: 0 };

  /** What the leader sees of a node in one byte: bits 0-1 its life, 2 streaming, 3 lost, 4-7 flushed. */
  const viewOf = (node: number, code: number): MemberView => ({
    member: { node: nodeName(node), incarnation: incarnationOf(code & 3) },
    isStreaming: (code & 4) !== 0,
    flushLsn: (code & 4) !== 0 ? BigInt(code >> 4) : null,
    lostForMs: (code & 8) !== 0 ? 1e9 : 0,
    votes: true,
  });
  const viewsOf = (self: number, codes: number): MemberView[] => {
    const views: MemberView[] = [];
    for (let node = 0, rest = codes; node < m.nodes; node++, rest = Math.floor(rest / 256))
      if (node !== self) views.push(viewOf(node, rest % 256));
    return views;
  };
  /** A byte a node, node 0 lowest. */
  const observe = (s: Uint8Array, self: number, lost = 0): number => {
    let codes = 0;
    for (let node = m.nodes - 1; node >= 0; node--)
      codes = codes * 256 + (node === self ? 0 : codeOf(s, self, node) | lost);
    return codes;
  };
  const codeOf = (s: Uint8Array, leader: number, node: number): number => {
    const life = m.life(s, node);
    for (let c = 0; c < m.bounds.connections; c++) {
      const o = layout.sender(leader, node, c);
      const state = s[o] as number;
      if ((state & 3) === at.SENDER_NONE || state >> at.SENDER_LIFE_SHIFT !== life) continue;
      return life | 4 | ((s[o + SENDER.acked] as number) << 4);
    }
    return life;
  };

  /** Targets of a change that may begin now, one for each belief about who is lost for long. */
  const targets = memoize((officeKey) =>
    memoize((key) => {
      const self = key % 4;
      const length = Math.floor(key / 4) % 16;
      const record = m.record(officeKey);
      const own = record.members.find((member) => member.node === nodeName(self));
      const views = viewsOf(self, Math.floor(key / 64));
      const found = new Map<string, { readonly mask: number; readonly lives: number; readonly quorum: number }>();
      if (own === undefined) return [...found.values()];
      for (let lost = 0; lost < 1 << views.length; lost++) {
        const decision = rules.decideChange({
          record,
          self: own,
          views: views.map((view, index) => (lost & (1 << index) ? { ...view, lostForMs: 1e9 } : view)),
          policy,
          memberTimeoutMs: 1000,
          leaderFlushLsn: BigInt(length),
        });
        if (decision.kind !== 'change') continue;
        const bits = maskOf(decision.to);
        found.set(`${bits.mask} ${bits.lives} ${decision.to.writeQuorum}`, {
          ...bits,
          quorum: decision.to.writeQuorum,
        });
      }
      return [...found.values()];
    }),
  );

  function begin(s: Uint8Array, leader: number, emit: Emit): void {
    if (m.get(s, leader, NODE.change) !== 0 || m.hasFlag(s, leader, at.FLAG_BARRIER)) return;
    const key = observe(s, leader) * 64 + m.length(s, leader) * 4 + leader;
    for (const to of targets(m.officeKey(s, leader))(key)) {
      const n = m.begin(s);
      m.set(n, leader, NODE.changeMask, to.mask);
      m.set(n, leader, NODE.changeQuorum, to.quorum);
      m.set(n, leader, NODE.changeLives, to.lives);
      m.set(n, leader, NODE.change, at.CHANGE_BEGUN);
      emit(n, 'change-begin', leader, to.mask);
    }
  }

  function requireBoth(s: Uint8Array, leader: number, emit: Emit): void {
    if (m.get(s, leader, NODE.change) !== at.CHANGE_BEGUN) return;
    const step = decideStep(s, leader, 'not-tried');
    if (step.kind !== 'require-both') throw new Error(`Cannot begin a change with "${step.kind}"`);
    const n = m.begin(s);
    if (effects.requiresBoth) load(n, leader, step.setting);
    m.set(n, leader, NODE.change, at.CHANGE_LOADED);
    emit(n, 'change-load', leader, -1);
  }

  /** Writes and loads: the postmaster gives it to new processes from now on. */
  function load(n: Uint8Array, leader: number, setting: SyncSetting): void {
    const isArming = m.get(n, leader, NODE.syncCount) === 0 && setting.count > 0;
    m.setSetting(n, leader, setting);
    if (setting.count === 0 || isArming) m.setFlag(n, leader, at.FLAG_DEFINED, false);
  }

  function arm(s: Uint8Array, leader: number, emit: Emit): void {
    if (m.get(s, leader, NODE.change) !== at.CHANGE_LOADED) return;
    const n = m.begin(s);
    if (effects.checkpointsAfterArming && m.get(n, leader, NODE.syncCount) > 0)
      m.setFlag(n, leader, at.FLAG_DEFINED, true);
    if (effects.endsOldSenders)
      forEachSender(n, leader, (o) => {
        if (!isUpToDate(n, leader, o)) n.fill(0, o, o + at.SENDER_BYTES);
      });
    m.set(n, leader, NODE.change, at.CHANGE_ARMED);
    m.set(n, leader, NODE.armed, m.length(n, leader));
    emit(n, 'change-arm', leader, m.length(n, leader));
  }

  const progressSteps = memoize((officeKey) =>
    memoize((key) => {
      const self = key % 4;
      const swap = (['not-tried', 'unknown', 'swapped', 'lost'] as const)[Math.floor(key / 4) % 4] ?? 'lost';
      const armed = Math.floor(key / 16) % 32;
      const mask = Math.floor(key / 512) % 16;
      const quorum = Math.floor(key / 8192) % 8;
      const lives = Math.floor(key / 65536) % 256;
      const views = viewsOf(self, Math.floor(key / 2 ** 24));
      const record = m.record(officeKey);
      const to = m.record((mask << 5) | (quorum << 9) | (lives << 12));
      const progress: ChangeProgress = {
        from: { members: record.members, writeQuorum: record.writeQuorum },
        to: { members: to.members, writeQuorum: to.writeQuorum },
        armedLsn: armed === 0 ? null : BigInt(armed - 1),
        swap,
      };
      const own = record.members.find((member) => member.node === nodeName(self)) ?? {
        node: nodeName(self),
        incarnation: '',
      };
      const step = rules.decideChangeStep(progress, record, own, views);
      if (step.kind === 'require-both' || step.kind === 'relax')
        return { kind: step.kind, setting: parseSetting(step.setting), next: null } as const;
      return {
        kind: step.kind,
        setting: { count: 0, mask: 0, lives: 0 },
        next: step.kind === 'swap' ? step.next : null,
      } as const;
    }),
  );
  const SWAP_CODES = { 'not-tried': 0, unknown: 1, swapped: 2, lost: 3 } as const;
  /** @param lost bits to set in each node's code: who does not stream has been away for long */
  function decideStep(s: Uint8Array, leader: number, swap: keyof typeof SWAP_CODES, lost = 0) {
    const isArmed = m.get(s, leader, NODE.change) >= at.CHANGE_ARMED;
    const low =
      leader +
      4 * SWAP_CODES[swap] +
      16 * (isArmed ? m.get(s, leader, NODE.armed) + 1 : 0) +
      512 * m.get(s, leader, NODE.changeMask) +
      8192 * m.get(s, leader, NODE.changeQuorum) +
      65536 * m.get(s, leader, NODE.changeLives);
    return progressSteps(m.officeKey(s, leader))(low + 2 ** 24 * observe(s, leader, lost));
  }

  /** Step (c), once (b) is done. It goes on whatever the record is by now: compare-and-swap decides. */
  function send(s: Uint8Array, leader: number, emit: Emit): void {
    if (m.get(s, leader, NODE.change) !== at.CHANGE_ARMED || !isRecordKnown(s, leader)) return;
    const step = decideStep(s, leader, 'not-tried');
    if (step.next === null) return;
    const n = m.begin(s);
    m.set(n, leader, NODE.change, at.CHANGE_SENT);
    if (m.send(n, step.next)) emit(n, 'change-swap', leader, m.get(s, leader, NODE.changeMask));
  }
  /** A change whose new members have been away for long is given up before its swap. */
  function abandon(s: Uint8Array, leader: number, emit: Emit): void {
    if (m.get(s, leader, NODE.change) !== at.CHANGE_ARMED) return;
    const step = decideStep(s, leader, 'not-tried', ALL_LOST);
    if (step.kind !== 'relax') return;
    const n = m.begin(s);
    load(n, leader, step.setting);
    m.forgetChange(n, leader);
    emit(n, 'change-abandon', leader, -1);
  }
  const isRecordKnown = (s: Uint8Array, leader: number): boolean =>
    m.officeKey(s, leader) === (m.recordKey(s) & 0x7fffff);

  /** Step (d): the outcome is known when no swap of this change can land any more. */
  function relax(s: Uint8Array, leader: number, emit: Emit): void {
    if (m.get(s, leader, NODE.change) !== at.CHANGE_SENT || !isRecordKnown(s, leader) || isOnItsWay(s, leader)) return;
    const { record } = layout;
    const isSwapped =
      s[record + RECORD.mask] === m.get(s, leader, NODE.changeMask) &&
      s[record + RECORD.lives] === m.get(s, leader, NODE.changeLives);
    const step = decideStep(s, leader, isSwapped ? 'swapped' : 'lost');
    const n = m.begin(s);
    load(n, leader, step.setting);
    m.forgetChange(n, leader);
    emit(n, 'change-relax', leader, isSwapped ? 1 : 0);
  }
  function isOnItsWay(s: Uint8Array, leader: number): boolean {
    for (let slot = 0; slot < at.SWAPS_MAX; slot++) {
      const o = layout.swaps + slot * at.SWAP_BYTES;
      if (s[o] === 0) return false;
      if (s[o + RECORD.leader] === leader && s[o + RECORD.mask] === m.get(s, leader, NODE.changeMask)) return true;
    }
    return false;
  }

  /** A swap that changes nothing: none of an older life of this agent can land after it. Then the setting is the record's. */
  function barrier(s: Uint8Array, leader: number, emit: Emit): void {
    if (!m.hasFlag(s, leader, at.FLAG_BARRIER) || !isRecordKnown(s, leader)) return;
    const version = s[layout.record + RECORD.version] as number;
    const n = m.begin(s);
    if (effects.swapsBarrier) {
      if (version >= m.bounds.versionMax) return;
      n[layout.record + RECORD.version] = version + 1;
      n.fill(0, layout.swaps, layout.swaps + at.SWAPS_MAX * at.SWAP_BYTES);
      for (let node = 0; node < m.nodes; node++) m.endAttempt(n, node);
    }
    m.setFlag(n, leader, at.FLAG_BARRIER, false);
    load(n, leader, m.leaderSetting(leader * 2 ** 27 + m.officeKey(n, leader)));
    emit(n, 'barrier', leader, -1);
  }

  function reload(s: Uint8Array, leader: number, emit: Emit): void {
    forEachSender(s, leader, (o) => {
      if (isUpToDate(s, leader, o)) return;
      const n = m.begin(s);
      m.loadSender(n, leader, o);
      emit(n, 'sender-reloads', leader, -1);
    });
    if (m.get(s, leader, NODE.syncCount) > 0 && !m.hasFlag(s, leader, at.FLAG_DEFINED)) {
      const n = m.begin(s);
      m.setFlag(n, leader, at.FLAG_DEFINED, true);
      emit(n, 'checkpointer-arms', leader, -1);
    }
  }
  function forEachSender(s: Uint8Array, leader: number, visit: (offset: number) => void): void {
    for (let node = 0; node < m.nodes; node++)
      for (let c = 0; c < m.bounds.connections; c++) {
        const o = layout.sender(leader, node, c);
        if (s[o] !== 0) visit(o);
      }
  }
  const isUpToDate = (s: Uint8Array, leader: number, o: number): boolean =>
    s[o + SENDER.count] === m.get(s, leader, NODE.syncCount) &&
    s[o + SENDER.mask] === m.get(s, leader, NODE.syncMask) &&
    s[o + SENDER.lives] === m.get(s, leader, NODE.syncLives);

  /** A standby takes the setting of a record that it hears of, so that it waits for others from its promotion on. */
  function armStandby(s: Uint8Array, node: number, emit: Emit): void {
    if (effects.armsBeforePromotion || m.get(s, node, NODE.postgres) !== at.PG_STANDBY) return;
    const waits = (s[layout.record + RECORD.quorum] as number) > 1;
    if (m.hasFlag(s, node, at.FLAG_DEFINED) === waits) return;
    const n = m.begin(s);
    m.setFlag(n, node, at.FLAG_DEFINED, waits);
    emit(n, 'standby-loads', node, waits ? 1 : 0);
  }

  return {
    successors(s, emit) {
      for (let node = 0; node < m.nodes; node++) {
        if (m.get(s, node, NODE.postgres) !== at.PG_PRIMARY) {
          armStandby(s, node, emit);
          continue;
        }
        reload(s, node, emit);
        // A leader that has learned that it no longer is one changes nothing any more.
        if (m.get(s, node, NODE.office) === 0 || m.get(s, node, NODE.unwritten) !== 0) continue;
        if (m.get(s, node, NODE.handler) !== at.HANDLER_IDLE) continue;
        begin(s, node, emit);
        requireBoth(s, node, emit);
        arm(s, node, emit);
        send(s, node, emit);
        abandon(s, node, emit);
        relax(s, node, emit);
        barrier(s, node, emit);
      }
    },
  };
}
