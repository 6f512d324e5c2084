/**
 * Steps of an election (leadership.md rules 3 to 5 and 7): attempt, promise, swap, landing of the swap, taking office, reaffirming.
 */
import type { AskAnswer } from '../../src/core/leadership/candidacy.ts';
import type { Lineage } from '../../src/core/leadership/position.ts';
import { configurationOf, isMember } from '../../src/core/leadership/quorum.ts';
import type { PromiseAnswer } from '../../src/core/leadership/swap.ts';
import type { VoterState } from '../../src/core/leadership/voter.ts';
import type { Emit } from './explore.ts';
import * as at from './layout.ts';
import { ANSWER, NODE, RECORD } from './layout.ts';
import { incarnationOf, type Machine, nodeName, positionCode, positionOf, PROBLEM } from './machine.ts';
import { memoize } from './tables.ts';

export interface ElectionSteps {
  successors(s: Uint8Array, emit: Emit): void;
}

export function createElectionSteps(m: Machine): ElectionSteps {
  const { layout, machinery } = m;
  const { rules, effects } = machinery;

  const promise = memoize((key) => {
    const voter = m.voters.value(key >> 3);
    const decision = rules.decidePromise(voter, { term: key & 7, candidate: 'any' });
    return decision.kind === 'grant' ? m.voters.id(decision.next) : -1;
  });
  /** The voter after it has seen the present record, or -1 if it refuses it. */
  const seen = memoize((key) => {
    const voter = m.voters.value(Math.floor(key / 2 ** 27));
    const check = rules.decideRecordSeen(voter, m.record(key % 2 ** 27));
    return check.kind === 'current' ? m.voters.id(check.next) : -1;
  });
  const seenRecord = (s: Uint8Array, node: number): number => seen(m.voterId(s, node) * 2 ** 27 + m.recordKey(s));

  const position = memoize((key) => {
    const replayed = (key & 2) !== 0;
    const flushLsn = (key & 1) === 0 ? null : replayed ? BigInt((key >> 2) & 15) : 0n;
    const result = rules.decidePosition(m.voters.value(key >> 6), { flushLsn, isReplayedToEnd: replayed });
    return positionCode(result.kind === 'known' ? result.position : null);
  });
  const positionAt = (s: Uint8Array, node: number): number => {
    const runs = m.get(s, node, NODE.postgres) !== at.PG_DOWN;
    const replayed = m.hasFlag(s, node, at.FLAG_REPLAYED) || m.get(s, node, NODE.postgres) === at.PG_PRIMARY;
    return position((m.voterId(s, node) << 6) | (m.length(s, node) << 2) | (replayed ? 2 : 0) | (runs ? 1 : 0));
  };
  const isNamed = (s: Uint8Array, node: number): boolean => {
    const record = m.presentRecord(s);
    return isMember(configurationOf(record), { node: nodeName(node), incarnation: m.voter(s, node).incarnation });
  };

  /** The terms that a candidate may choose, by whom of the others it has heard; the key holds its own known terms first. */
  const termsToChoose = memoize((key) => {
    const recordTerm = key % 8;
    const answers: KnownTerms[] = [];
    for (let rest = Math.floor(key / 8), node = 0; node < m.nodes; node++, rest = Math.floor(rest / 64))
      answers.unshift({ promisedTerm: (rest % 64) >> 3, seenTerm: rest % 8 });
    const [own, ...others] = answers as [KnownTerms, ...KnownTerms[]];
    const terms = new Set<number>();
    for (let subset = 0; subset < 1 << others.length; subset++)
      terms.add(rules.chooseTerm(recordTerm, [own, ...others.filter((_, index) => subset & (1 << index))]));
    return [...terms];
  });

  function begin(s: Uint8Array, node: number, emit: Emit): void {
    if (m.get(s, node, NODE.postgres) !== at.PG_STANDBY || m.get(s, node, NODE.handler) !== at.HANDLER_IDLE) return;
    if (positionAt(s, node) === at.ANSWER_NO_POSITION || !isNamed(s, node)) return;
    // The record's own leader stands once it has promised a higher term: it may hold the most.
    const isLeader = s[layout.record + RECORD.leader] === node;
    if (isLeader && m.voter(s, node).promisedTerm <= (s[layout.record + RECORD.term] as number)) return;
    const voterId = seenRecord(s, node);
    if (voterId < 0) return;
    let known = knownTerms(m.voters.value(voterId));
    for (let other = 0; other < m.nodes; other++)
      if (other !== node) known = known * 64 + knownTerms(m.voter(s, other));
    const terms = termsToChoose(known * 8 + (s[layout.record + RECORD.term] as number));
    for (const term of terms) {
      if (term > m.bounds.termMax) continue;
      const promisedId = promise((voterId << 3) | term);
      if (promisedId < 0) continue;
      const n = m.begin(s);
      m.endAttempt(n, node);
      m.learnRecord(n, node, voterId);
      m.set(n, node, NODE.attempt, term);
      startHandler(n, node, node, promisedId);
      emit(n, 'attempt', node, term);
    }
  }

  function startHandler(n: Uint8Array, node: number, requester: number, promisedId: number): void {
    if (effects.writesPromise) m.setVoterId(n, node, promisedId);
    m.set(n, node, NODE.handler, at.HANDLER_WRITTEN);
    m.set(n, node, NODE.requester, requester);
  }

  function ask(s: Uint8Array, node: number, emit: Emit): void {
    if (m.get(s, node, NODE.handler) !== at.HANDLER_IDLE) return;
    for (let candidate = 0; candidate < m.nodes; candidate++) {
      const term = m.get(s, candidate, NODE.attempt);
      if (term === 0 || candidate === node) continue;
      const promisedId = promise((m.voterId(s, node) << 3) | term);
      if (promisedId < 0) continue;
      const n = m.begin(s);
      startHandler(n, node, candidate, promisedId);
      emit(n, 'promise', node, candidate);
    }
  }

  /** Path closed, receiver ended, position read, answered: nothing can come between that would make a difference. */
  function answer(s: Uint8Array, node: number, emit: Emit): void {
    const handler = m.get(s, node, NODE.handler);
    if (handler === at.HANDLER_IDLE) return;
    const candidate = m.get(s, node, NODE.requester);
    const n = m.begin(s);
    if (handler === at.HANDLER_WRITTEN && !effects.closesPathBeforePosition) {
      putAnswer(n, node, candidate);
      m.set(n, node, NODE.handler, at.HANDLER_LATCHED);
      emit(n, 'latch-position', node, candidate);
      return;
    }
    if (m.get(n, node, NODE.postgres) === at.PG_PRIMARY && effects.stopsLeaderBeforeAnswer) m.stopServer(n, node);
    if (effects.closesPath) {
      m.set(n, node, NODE.path, 0);
      m.endReceiver(n, node, 'reset');
    }
    if (handler === at.HANDLER_WRITTEN) putAnswer(n, node, candidate);
    m.set(n, node, NODE.handler, at.HANDLER_IDLE);
    m.set(n, node, NODE.requester, 0);
    emit(n, 'answer', node, candidate);
  }

  function putAnswer(n: Uint8Array, node: number, candidate: number): void {
    const term = m.get(n, candidate, NODE.attempt);
    // Without the promise on disk there is nothing to compare; then every answer reaches the attempt that asked.
    if (term === 0 || (effects.writesPromise && term !== m.voter(n, node).promisedTerm)) return;
    const o = layout.answer(node, candidate);
    n[o + ANSWER.position] = positionAt(n, node);
    n[o + ANSWER.life] = m.life(n, node);
  }

  /** By record and answers: the record to swap to, or null. */
  const swaps = memoize((recordKey) => {
    const record = m.record(recordKey);
    return memoize((key) => {
      const candidate = key & 3;
      const term = (key >> 2) & 7;
      const life = (key >> 5) & 3;
      const answers: PromiseAnswer[] = [];
      let rest = Math.floor(key / 128);
      for (let node = 0; node < m.nodes; node++, rest = Math.floor(rest / 1024)) {
        const code = rest % 256;
        if (code === 0) continue;
        const incarnation = incarnationOf(Math.floor(rest / 256) % 4);
        answers.push({ node: nodeName(node), incarnation, term, position: positionOf(code) });
      }
      const self = { node: nodeName(candidate), incarnation: incarnationOf(life), term };
      const decision = rules.decideSwap(record, self, answers);
      return decision.kind === 'swap' ? decision.next : null;
    });
  });

  function swap(s: Uint8Array, candidate: number, emit: Emit): void {
    const term = m.get(s, candidate, NODE.attempt);
    if (term === 0 || s[layout.answer(candidate, candidate)] === 0) return;
    const decide = swaps(m.recordKey(s));
    for (let subset = (1 << m.nodes) - 1; subset > 0; subset--) {
      if ((subset & (1 << candidate)) === 0) continue;
      let key = 0;
      for (let node = m.nodes - 1; node >= 0; node--) {
        const o = layout.answer(node, candidate);
        const isHidden = (subset & (1 << node)) === 0 || isLatched(s, node, candidate);
        key = key * 1024 + (isHidden ? 0 : (s[o] as number) + 256 * (s[o + 1] as number));
      }
      const next = decide(key * 128 + (m.life(s, candidate) << 5) + (term << 2) + candidate);
      if (next === null) continue;
      const n = m.begin(s);
      if (m.send(n, next)) emit(n, 'swap', candidate, term);
      return;
    }
  }
  /** What a promised member holds more on the same timeline is taken from it, whatever that has become since its answer. */
  function fetch(s: Uint8Array, candidate: number, emit: Emit): void {
    const term = m.get(s, candidate, NODE.attempt);
    const own = s[layout.answer(candidate, candidate)] as number;
    if (term === 0 || own <= at.ANSWER_NO_POSITION || m.get(s, candidate, NODE.handler) !== at.HANDLER_IDLE) return;
    if (m.voter(s, candidate).promisedTerm !== term || m.get(s, candidate, NODE.postgres) !== at.PG_STANDBY) return;
    for (let from = 0; from < m.nodes; from++) {
      const wanted = positionOf(s[layout.answer(from, candidate)] as number);
      const has = positionOf(own);
      if (from === candidate || (s[layout.answer(from, candidate)] as number) <= at.ANSWER_NO_POSITION) continue;
      if (wanted === null || has === null || wanted.timeline !== has.timeline || wanted.lsn <= has.lsn) continue;
      if (m.get(s, from, NODE.postgres) === at.PG_DOWN || !m.canStream(s, candidate, from)) continue;
      const there = m.wal(s, from).slice(0, Number(wanted.lsn));
      if (there.length < Number(wanted.lsn)) continue;
      const n = m.begin(s);
      m.set(n, candidate, NODE.wal, m.wals.id(there));
      putAnswer(n, candidate, candidate);
      emit(n, 'fetch', candidate, from);
    }
  }

  const isLatched = (s: Uint8Array, node: number, candidate: number): boolean =>
    m.get(s, node, NODE.handler) === at.HANDLER_LATCHED && m.get(s, node, NODE.requester) === candidate;

  function land(s: Uint8Array, emit: Emit): void {
    const version = s[layout.record + RECORD.version] as number;
    if (version >= m.bounds.versionMax) return;
    for (let slot = 0; slot < at.SWAPS_MAX; slot++) {
      const o = layout.swaps + slot * at.SWAP_BYTES;
      if (s[o] === 0) return;
      const n = m.begin(s);
      n.copyWithin(layout.record, o, o + at.SWAP_BYTES);
      n[layout.record + RECORD.version] = version + 1;
      if (effects.comparesAndSwaps) {
        // All others were conditional on the version that is gone, and so is every attempt.
        n.fill(0, layout.swaps, layout.swaps + at.SWAPS_MAX * at.SWAP_BYTES);
        for (let node = 0; node < m.nodes; node++) m.endAttempt(n, node);
      } else {
        n.copyWithin(o, o + at.SWAP_BYTES, layout.swaps + at.SWAPS_MAX * at.SWAP_BYTES);
        n.fill(0, layout.swaps + (at.SWAPS_MAX - 1) * at.SWAP_BYTES, layout.swaps + at.SWAPS_MAX * at.SWAP_BYTES);
      }
      emit(n, 'land', s[o + RECORD.leader] as number, s[o] as number);
    }
  }

  /** A node takes in a record that names it, or no longer does: decideNodeStep goes by it from then on. */
  function learn(s: Uint8Array, node: number, emit: Emit): void {
    const isNamed = s[layout.record + RECORD.leader] === node;
    if (!isNamed && m.get(s, node, NODE.office) === 0 && m.voter(s, node).seen.version !== 0) return;
    const voterId = seenRecord(s, node);
    if (voterId < 0) return;
    if (voterId === m.voterId(s, node) && m.officeKey(s, node) === (isNamed ? m.recordKey(s) & 0x7fffff : 0)) return;
    const n = m.begin(s);
    m.learnRecord(n, node, voterId);
    emit(n, 'learn', node, -1);
  }

  /** What the agent's loop does next without a leader to follow: start, stop, promote. */
  function actAlone(s: Uint8Array, node: number, emit: Emit): void {
    const role = m.get(s, node, NODE.postgres);
    if (role === at.PG_PRIMARY || (m.get(s, node, NODE.unwritten) !== 0 && effects.reconcilesLineage)) return;
    const { step } = m.nodeStep(s, node, 0, 0);
    switch (step) {
      case 'start-primary':
        return restartInPlace(s, node, emit);
      case 'promote':
        return promote(s, node, emit);
      case 'start-standby': {
        const n = m.begin(s);
        m.set(n, node, NODE.postgres, at.PG_STANDBY);
        m.set(n, node, NODE.unwritten, 0);
        emit(n, step, node, -1);
        return;
      }
      case 'stop': {
        const n = m.begin(s);
        m.stopServer(n, node);
        emit(n, 'stop-standby', node, -1);
        return;
      }
      default:
    }
  }

  function becomePrimary(n: Uint8Array, node: number): void {
    m.set(n, node, NODE.path, 0);
    m.endReceiver(n, node, 'reset');
    m.endAttempt(n, node);
    m.set(n, node, NODE.postgres, at.PG_PRIMARY);
    m.setFlag(n, node, at.FLAG_REPLAYED, true);
    m.set(n, node, NODE.reign, m.get(n, node, NODE.officeTimeline));
    m.set(n, node, NODE.released, m.length(n, node));
    if (!effects.publishesAfterProbe) showToClients(n, node);
  }

  function restartInPlace(s: Uint8Array, node: number, emit: Emit): void {
    const n = m.begin(s);
    becomePrimary(n, node);
    // An older swap of its own may still land: the setting stays what it was until one more swap has shut that out.
    if (!effects.keepsSettingUntilBarrier || !m.bounds.changes)
      m.setSetting(n, node, m.leaderSetting(node * 2 ** 27 + m.officeKey(n, node)));
    m.setFlag(n, node, at.FLAG_DEFINED, true);
    m.setFlag(n, node, at.FLAG_BARRIER, m.bounds.changes);
    announce(n, node, m.get(s, node, NODE.office));
    emit(n, 'restart-in-place', node, m.get(s, node, NODE.office));
  }

  /** Under the mutex: a promise that comes later finds the promotion and stops the server. */
  function promote(s: Uint8Array, node: number, emit: Emit): void {
    if (m.get(s, node, NODE.handler) !== at.HANDLER_IDLE || !m.hasFlag(s, node, at.FLAG_REPLAYED)) return;
    const term = m.get(s, node, NODE.office);
    // With another timeline than the record says it would be promoted again and again.
    if (!effects.reservesTimelines && s[layout.announced + term * 2] === node + 1) return;
    const n = m.begin(s);
    becomePrimary(n, node);
    m.setSetting(n, node, m.leaderSetting(node * 2 ** 27 + m.officeKey(n, node)));
    if (effects.armsBeforePromotion || !m.bounds.changes) m.setFlag(n, node, at.FLAG_DEFINED, true);
    m.setFlag(n, node, at.FLAG_BARRIER, false);
    const timeline = promotedTimeline(m.voter(s, node), term);
    if ((n[layout.promoted] as number) & (1 << timeline)) m.fail(n, PROBLEM.sharedTimeline);
    n[layout.promoted] = (n[layout.promoted] as number) | (1 << timeline);
    m.set(n, node, NODE.unwritten, term);
    emit(n, 'promote', node, term);
  }

  const promotedTimeline = (voter: VoterState, term: number): number =>
    effects.reservesTimelines ? term : (voter.lineage?.timeline ?? 0) + 1;

  /** What a reader sees must not be lost either. */
  function showToClients(n: Uint8Array, node: number): void {
    const newest = m.wal(n, node).at(-1);
    if (newest === undefined) return;
    n[layout.acknowledged] = newest.term;
    n[layout.acknowledged + 1] = m.length(n, node);
  }

  /** The lineage of a promotion that is done: its fork is where its own entries begin. */
  function lineageAfterPromotion(s: Uint8Array, node: number): Lineage {
    const term = m.get(s, node, NODE.unwritten);
    const voter = m.voter(s, node);
    const fork = m.wal(s, node).findIndex((entry) => entry.term === term);
    const endLsn = BigInt(fork < 0 ? m.length(s, node) : fork);
    const old = voter.lineage ?? { timeline: 0, history: [] };
    return { timeline: promotedTimeline(voter, term), history: [...old.history, { timeline: old.timeline, endLsn }] };
  }

  function writeLineage(s: Uint8Array, node: number, emit: Emit): void {
    const term = m.get(s, node, NODE.unwritten);
    if (term === 0 || m.get(s, node, NODE.handler) !== at.HANDLER_IDLE) return;
    const n = m.begin(s);
    m.setVoter(n, node, { ...m.voter(s, node), lineage: lineageAfterPromotion(s, node), followedTerm: term });
    m.set(n, node, NODE.unwritten, 0);
    if (m.get(n, node, NODE.postgres) === at.PG_PRIMARY) announce(n, node, term);
    emit(n, 'write-lineage', node, term);
  }

  function announce(n: Uint8Array, node: number, term: number): void {
    const o = layout.announced + term * 2;
    if (n[o] !== 0 && n[o] !== node + 1) m.fail(n, PROBLEM.twoLeaders);
    const { lineage } = m.voter(n, node);
    if (lineage === null) return;
    n[o] = node + 1;
    n[o + 1] = m.lineages.id(lineage);
  }

  /** A leader that learns of higher promises swaps; one that finds itself reaffirmed in the record speaks for the new term. */
  function reaffirm(s: Uint8Array, node: number, emit: Emit): void {
    const record = m.presentRecord(s);
    if (record.leader !== nodeName(node) || m.get(s, node, NODE.reign) !== record.timeline) return;
    if (m.get(s, node, NODE.handler) !== at.HANDLER_IDLE || m.get(s, node, NODE.unwritten) !== 0) return;
    const voterId = seenRecord(s, node);
    if (voterId < 0) return;
    const voter = m.voters.value(voterId);
    if (s[layout.announced + record.term * 2] === 0) {
      // decideNodeStep would stop a leader that promised more than the record has now.
      if (voter.promisedTerm > record.term) return;
      const n = m.begin(s);
      m.learnRecord(n, node, voterId);
      announce(n, node, record.term);
      emit(n, 'learn-reaffirmed', node, record.term);
      return;
    }
    const promises = new Set<number>();
    for (let other = 0; other < m.nodes; other++) if (other !== node) promises.add(m.voter(s, other).promisedTerm);
    for (const highestPromise of promises) {
      const decision = rules.decideReaffirm({ record, voter, self: nodeName(node), hearsQuorum: true, highestPromise });
      if (decision.kind !== 'swap' || decision.next.term > m.bounds.termMax) continue;
      const n = m.begin(s);
      m.learnRecord(n, node, voterId);
      if (m.send(n, decision.next)) emit(n, 'reaffirm', node, decision.next.term);
    }
  }

  return {
    successors(s, emit) {
      for (let node = 0; node < m.nodes; node++) {
        begin(s, node, emit);
        ask(s, node, emit);
        answer(s, node, emit);
        swap(s, node, emit);
        fetch(s, node, emit);
        learn(s, node, emit);
        actAlone(s, node, emit);
        writeLineage(s, node, emit);
        reaffirm(s, node, emit);
      }
      land(s, emit);
    },
  };
}

type KnownTerms = Pick<AskAnswer, 'promisedTerm' | 'seenTerm'>;

const knownTerms = (voter: VoterState): number => voter.promisedTerm * 8 + voter.seen.term;
