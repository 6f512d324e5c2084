/**
 * Steps of replication (leadership.md rule 6): write, connect, receive, acknowledge, follow, rewind; and what may break.
 */
import { forkLsnOf } from '../../src/core/leadership/position.ts';
import type { Emit } from './explore.ts';
import * as at from './layout.ts';
import { BUDGET, NODE, SENDER } from './layout.ts';
import { incarnationOf, type Machine, PROBLEM } from './machine.ts';
import { GARBAGE } from './tables.ts';

export interface ReplicationSteps {
  successors(s: Uint8Array, emit: Emit): void;
}

export function createReplicationSteps(m: Machine): ReplicationSteps {
  const { layout, machinery } = m;
  const { effects } = machinery;
  const { connections } = m.bounds;

  function write(s: Uint8Array, leader: number, emit: Emit): void {
    if (m.length(s, leader) >= m.bounds.entriesMax) return;
    const n = m.begin(s);
    const term = m.get(s, leader, NODE.reign);
    m.append(n, leader, { term, timeline: timelineOf(s, leader) });
    const waits = m.get(n, leader, NODE.syncCount) > 0 && m.hasFlag(n, leader, at.FLAG_DEFINED);
    if (!waits) acknowledge(n, leader, m.length(n, leader));
    emit(n, 'write', leader, m.length(n, leader));
  }
  const timelineOf = (s: Uint8Array, leader: number): number => {
    const unwritten = m.get(s, leader, NODE.unwritten);
    const timeline = m.voter(s, leader).lineage?.timeline ?? 0;
    if (unwritten === 0) return timeline;
    return effects.reservesTimelines ? unwritten : timeline + 1;
  };

  /** Clients of `leader` are told that everything up to `lsn` is committed. */
  function acknowledge(n: Uint8Array, leader: number, lsn: number): void {
    if (lsn <= m.get(n, leader, NODE.released)) return;
    m.set(n, leader, NODE.released, lsn);
    const entry = m.wal(n, leader)[lsn - 1];
    if (entry === undefined) throw new Error(`Cannot acknowledge entry ${lsn}: there is none`);
    const isOld = (n[layout.acknowledged] as number) > entry.term;
    // What a dead agent's kernel delivers late is in the new leader's WAL, so nothing is lost; only then is it not a fault.
    if (isOld && n[layout.budgets + BUDGET.agentCrash] === m.bounds.agentCrashes)
      m.fail(n, PROBLEM.lateAcknowledgement);
    for (let other = 0; other < m.nodes; other++)
      if (m.get(n, other, NODE.reign) > entry.term && m.wal(n, other)[lsn - 1]?.term !== entry.term)
        m.fail(n, PROBLEM.missingInNewer);
    if (isOld) return;
    n[layout.acknowledged] = entry.term;
    n[layout.acknowledged + 1] = lsn;
  }

  function connect(s: Uint8Array, standby: number, emit: Emit): void {
    const leader = m.get(s, standby, NODE.path) - 1;
    if (leader < 0 || m.get(s, standby, NODE.postgres) !== at.PG_STANDBY) return;
    if (m.get(s, leader, NODE.postgres) !== at.PG_PRIMARY || !m.canStream(s, standby, leader)) return;
    if (effects.verifiesLeaderOnConnect && !isLeaderOf(s, leader, standby)) return;
    let free = -1;
    for (let c = 0; c < connections; c++) {
      const kind = (s[layout.sender(leader, standby, c)] as number) & 3;
      if (kind === at.SENDER_LIVE) return;
      if (kind === at.SENDER_NONE) free = c;
      else if (effects.keepsOneSender) return;
    }
    if (free < 0) return;
    const n = m.begin(s);
    const o = layout.sender(leader, standby, free);
    n[o] = at.SENDER_LIVE | (m.life(s, standby) << at.SENDER_LIFE_SHIFT);
    if (m.bounds.changes) m.loadSender(n, leader, o);
    emit(n, 'connect', standby, leader);
  }

  /** Whether `leader` writes on the timeline that `standby` has written down as the one it follows. */
  const isLeaderOf = (s: Uint8Array, leader: number, standby: number): boolean =>
    m.get(s, leader, NODE.unwritten) === 0 &&
    m.voter(s, leader).lineage?.timeline === m.voter(s, standby).lineage?.timeline;

  function receive(s: Uint8Array, standby: number, emit: Emit): void {
    const leader = m.get(s, standby, NODE.path) - 1;
    if (leader < 0 || m.get(s, standby, NODE.postgres) !== at.PG_STANDBY) return;
    const role = m.get(s, leader, NODE.postgres);
    const cascades = role === at.PG_STANDBY && !effects.verifiesLeaderOnConnect && m.canStream(s, standby, leader);
    if (!cascades && !(role === at.PG_PRIMARY && isConnected(s, standby, leader))) return;
    const entry = m.wal(s, leader)[m.length(s, standby)];
    if (entry === undefined) return;
    const n = m.begin(s);
    m.append(n, standby, entry);
    emit(n, cascades ? 'receive-cascaded' : 'receive', standby, leader);
  }
  const isConnected = (s: Uint8Array, standby: number, leader: number): boolean => {
    for (let c = 0; c < connections; c++)
      if (((s[layout.sender(leader, standby, c)] as number) & 3) === at.SENDER_LIVE) return true;
    return false;
  };

  function senderSteps(s: Uint8Array, leader: number, emit: Emit): void {
    for (let standby = 0; standby < m.nodes; standby++)
      for (let c = 0; c < connections; c++) {
        const o = layout.sender(leader, standby, c);
        const kind = (s[o] as number) & 3;
        if (kind === at.SENDER_NONE) continue;
        const reported = kind === at.SENDER_LIVE ? m.length(s, standby) : (s[o + SENDER.pending] as number);
        if (reported > (s[o + SENDER.acked] as number)) {
          const n = m.begin(s);
          n[o + SENDER.acked] = reported;
          release(n, leader, standby, c);
          emit(n, 'acknowledge', leader, standby);
        }
        if (kind === at.SENDER_HALF_OPEN) {
          const n = m.begin(s);
          n.fill(0, o, o + at.SENDER_BYTES);
          emit(n, 'sender-ends', leader, standby);
        }
      }
  }

  /** What the sender for `standby` does after a reply, as in syncrep.c: it counts by its own copy of the setting. */
  function release(n: Uint8Array, leader: number, standby: number, connection: number): void {
    if (!isListed(n, leader, standby, connection)) return;
    const own = layout.sender(leader, standby, connection);
    const count = m.bounds.changes ? (n[own + SENDER.count] as number) : m.get(n, leader, NODE.syncCount);
    const acked: number[] = [];
    for (let other = 0; other < m.nodes; other++)
      for (let c = 0; c < connections; c++)
        if (isListed(n, leader, other, c)) acked.push(n[layout.sender(leader, other, c) + SENDER.acked] as number);
    if (count === 0 || acked.length < count) return;
    acked.sort((a, b) => b - a);
    acknowledge(n, leader, acked[count - 1] as number);
  }
  /** Whether a sender takes itself for one that counts, by its own copy. */
  function isListed(s: Uint8Array, leader: number, standby: number, connection: number): boolean {
    const o = layout.sender(leader, standby, connection);
    const state = s[o] as number;
    if ((state & 3) === at.SENDER_NONE) return false;
    const mask = m.bounds.changes ? (s[o + SENDER.mask] as number) : m.get(s, leader, NODE.syncMask);
    const lives = m.bounds.changes ? (s[o + SENDER.lives] as number) : m.get(s, leader, NODE.syncLives);
    return (mask & (1 << standby)) !== 0 && ((lives >> (2 * standby)) & 3) === state >> at.SENDER_LIFE_SHIFT;
  }

  function followLeaders(s: Uint8Array, standby: number, emit: Emit): void {
    if (m.get(s, standby, NODE.handler) !== at.HANDLER_IDLE || m.get(s, standby, NODE.unwritten) !== 0) return;
    for (let term = 1; term <= m.bounds.termMax; term++) {
      const leader = (s[layout.announced + term * 2] as number) - 1;
      if (leader < 0 || leader === standby) continue;
      const lineageId = s[layout.announced + term * 2 + 1] as number;
      const { step, nextId } = m.nodeStep(s, standby, term, lineageId);
      if (step === 'follow') stream(s, standby, leader, nextId, emit);
      if (step === 'rewind') rewind(s, standby, { leader, lineageId, nextId }, emit);
      if (step === 'clone') clone(s, standby, { leader, lineageId, nextId: -1 }, term, emit);
    }
  }

  function stream(s: Uint8Array, standby: number, leader: number, nextId: number, emit: Emit): void {
    const isSamePath = m.get(s, standby, NODE.path) === leader + 1;
    if (isSamePath && m.voterId(s, standby) === nextId) return;
    const n = m.begin(s);
    if (effects.writesLineageBeforeStreaming) m.setVoterId(n, standby, nextId);
    if (!isSamePath) m.endReceiver(n, standby, 'reset');
    m.set(n, standby, NODE.path, leader + 1);
    emit(n, 'follow', standby, leader);
  }

  interface Copy {
    readonly leader: number;
    readonly lineageId: number;
    readonly nextId: number;
  }
  /**
   * Two effects, each of which may be the last before a crash: the mark with the loss of what was there, and the end.
   * What the source has become in between does not matter, so it is left open: what a copy claims to hold is compared with
   * the fork, and its WAL never held less of what was acknowledged than it claims.
   */
  function rewind(s: Uint8Array, standby: number, to: Copy, emit: Emit): void {
    const voter = m.voter(s, standby);
    if (!voter.rewinding) {
      const n = m.begin(s);
      m.setVoterId(n, standby, to.nextId);
      m.set(n, standby, NODE.postgres, at.PG_DOWN);
      m.setFlag(n, standby, at.FLAG_REPLAYED, false);
      m.set(n, standby, NODE.path, 0);
      m.endReceiver(n, standby, 'reset');
      if (effects.rewindsAfterCheckpoint) {
        m.set(n, standby, NODE.wal, m.wals.id(m.wal(s, standby).map(() => GARBAGE)));
        emit(n, 'rewind-begin', standby, to.leader);
      } else {
        // "no rewind required": what is on the disk stays.
        finishRewind(n, standby, to);
        emit(n, 'rewind-refused', standby, to.leader);
      }
      return;
    }
    if (m.get(s, to.leader, NODE.postgres) === at.PG_DOWN) return;
    const n = m.begin(s);
    m.set(n, standby, NODE.wal, m.get(s, to.leader, NODE.wal));
    finishRewind(n, standby, to);
    emit(n, 'rewind-end', standby, to.leader);
  }
  function finishRewind(n: Uint8Array, standby: number, to: Copy): void {
    const next = m.voters.value(to.nextId);
    m.setVoter(n, standby, { ...next, lineage: m.lineages.value(to.lineageId), rewinding: false, rewound: true });
    m.set(n, standby, NODE.postgres, at.PG_STANDBY);
  }

  function serverSteps(s: Uint8Array, node: number, emit: Emit): void {
    const role = m.get(s, node, NODE.postgres);
    if (role === at.PG_PRIMARY) {
      const n = m.begin(s);
      m.stopServer(n, node);
      emit(n, 'stop-leader', node, -1);
      return;
    }
    if (role === at.PG_DOWN) return;
    if (!m.hasFlag(s, node, at.FLAG_REPLAYED)) {
      const n = m.begin(s);
      m.setFlag(n, node, at.FLAG_REPLAYED, true);
      emit(n, 'replayed', node, -1);
      return;
    }
    const voter = m.voter(s, node);
    if (voter.rewound === true) {
      // Consistent again once it has passed the fork.
      if (voter.lineage === null || BigInt(m.length(s, node)) < forkLsnOf(voter.lineage)) return;
      const n = m.begin(s);
      m.setVoter(n, node, { ...voter, rewound: false });
      emit(n, 'rewind-passed', node, -1);
      return;
    }
    const n = m.begin(s);
    if (!m.spend(n, BUDGET.serverCrash)) return;
    m.setFlag(n, node, at.FLAG_REPLAYED, false);
    m.endReceiver(n, node, 'reset');
    emit(n, 'crash-standby', node, -1);
  }

  /** The agent's memory is gone, and with it the path; PostgreSQL goes on. It starts again at once: a later start changes nothing. */
  function crashAgent(s: Uint8Array, node: number, emit: Emit): void {
    const isIdle = m.get(s, node, NODE.handler) === at.HANDLER_IDLE && m.get(s, node, NODE.attempt) === 0;
    if (isIdle && m.get(s, node, NODE.path) === 0 && m.get(s, node, NODE.postgres) !== at.PG_PRIMARY) return;
    const n = m.begin(s);
    if (!m.spend(n, BUDGET.agentCrash)) return;
    m.set(n, node, NODE.handler, at.HANDLER_IDLE);
    m.set(n, node, NODE.requester, 0);
    m.endAttempt(n, node);
    m.set(n, node, NODE.path, 0);
    m.endReceiver(n, node, 'died');
    m.forgetChange(n, node);
    if (m.bounds.changes && m.get(n, node, NODE.postgres) === at.PG_PRIMARY) m.setFlag(n, node, at.FLAG_BARRIER, true);
    emit(n, 'crash-agent', node, -1);
  }

  /** The disk is lost: promise file and data. The node comes back in another life. */
  function wipe(s: Uint8Array, node: number, emit: Emit): void {
    const life = m.life(s, node) + (effects.changesIncarnation ? 1 : 0);
    const n = m.begin(s);
    if (life > 3 || !m.spend(n, BUDGET.wipe)) return;
    m.endReceiver(n, node, 'died');
    m.dropSenders(n, node);
    m.endAttempt(n, node);
    n.fill(0, node * at.NODE_BYTES, (node + 1) * at.NODE_BYTES);
    m.setVoter(n, node, {
      incarnation: incarnationOf(life),
      promisedTerm: 0,
      seen: { term: 0, version: 0 },
      lineage: null,
      followedTerm: 0,
      rewinding: false,
    });
    m.set(n, node, NODE.wal, m.wals.id([]));
    emit(n, 'wipe', node, -1);
  }

  function clone(s: Uint8Array, node: number, from: Copy, term: number, emit: Emit): void {
    if (m.get(s, from.leader, NODE.postgres) === at.PG_DOWN) return;
    const n = m.begin(s);
    m.set(n, node, NODE.wal, m.get(s, from.leader, NODE.wal));
    m.setVoter(n, node, { ...m.voter(s, node), lineage: m.lineages.value(from.lineageId), followedTerm: term });
    m.set(n, node, NODE.postgres, at.PG_STANDBY);
    emit(n, 'clone', node, from.leader);
  }

  return {
    successors(s, emit) {
      for (let node = 0; node < m.nodes; node++) {
        if (m.get(s, node, NODE.postgres) === at.PG_PRIMARY) {
          write(s, node, emit);
          senderSteps(s, node, emit);
        } else {
          connect(s, node, emit);
          receive(s, node, emit);
          followLeaders(s, node, emit);
        }
        serverSteps(s, node, emit);
        crashAgent(s, node, emit);
        wipe(s, node, emit);
      }
    },
  };
}
