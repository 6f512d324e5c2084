/**
 * Suspect, ask, promise, swap: steps 1 to 4 of the protocol as one member carries them out. Decisions are in core/leadership.
 */
import type { AskAnswerMessage, PromiseAnswerMessage } from '../../api/peer-stream.ts';
import type { ClusterRecord } from '../../api/record.ts';
import { formatLsnOrNull, type Lsn } from '../../base/lsn.ts';
import { delay } from '../../base/wait-until.ts';
import { type AskAnswer, chooseTerm, decideCandidacy } from '../../core/leadership/candidacy.ts';
import { decidePosition, type Position } from '../../core/leadership/position.ts';
import { configurationOf, isMember, voteQuorum } from '../../core/leadership/quorum.ts';
import { decideHandOverSwap } from '../../core/leadership/lease.ts';
import { decideSuspicion, type Suspicion } from '../../core/leadership/suspicion.ts';
import { decideForcedSwap, decideSwap, type PromiseAnswer, type SwapDecision } from '../../core/leadership/swap.ts';
import { decidePromise, type Reason } from '../../core/leadership/voter.ts';
import { decodeAsk, decodePromise, encodePosition } from './election-messages.ts';
import type { NodeContext } from './node-context.ts';
import { TakeOver } from './take-over.ts';
import type { PostgresObserver } from './postgres-view.ts';

/** Answers to a question come in a round trip; a leader that is frozen never answers and is not waited for. */
const ASK_TIMEOUT_MS = 250;
/** A promise ends a receiver and syncs a file. */
const PROMISE_TIMEOUT_MS = 1500;
const RECEIVER_END_LIMIT_MS = 1000;
/** A node that is not the best gives each better one this long. */
const DEFER_MS = 250;
const RETRY_MS = 150;
/** The others' last heartbeats came within one interval of ours: for that long it is asked again quickly. */
const EARLY_MS = 300;
const EARLY_RETRY_MS = 25;
/** The pause after many failed attempts is at most this many times the first. */
const BACKOFF_FACTOR_MAX = 8;
/** Random part of the pause after a failed attempt: two candidates that collide part this way. */
const BACKOFF_RANDOM_MS = 250;

/** Moments of the last election that this node won; of performance.now(). */
export interface ElectionTimes {
  readonly suspectedAtMs: number;
  readonly promisedAtMs: number;
  readonly swappedAtMs: number;
  readonly formerLeader: string;
  readonly reason: string;
  /** Led without the members' votes (the lease rule): what may be gone. `heardAtMs`: the former leader's last sign of life. */
  readonly loss?: { readonly lagBytes: bigint; readonly heardAtMs: number };
}

export interface ElectionHooks {
  /** Leader of this node's own record and PostgreSQL works: for answers to others. */
  isServingLeader(): boolean;
  /** This node acts as leader, whether its PostgreSQL works or not. */
  isLeading(): boolean;
  /** Stops PostgreSQL at once if it is a primary, before a promise is written. */
  fenceForPromise(): Promise<void>;
  /** Takes WAL up to an LSN from a promised member; true once it is here. Called under the voter's mutex. */
  fetch(from: string, until: Lsn): Promise<boolean>;
  /** The disk has room for WAL. */
  hasRoom(): boolean;
  /** End of the WAL of a cleanly stopped former leader; null if it was not stopped cleanly. */
  shutdownPosition(): Position | null;
}

/** `code` is FORCED_FAILOVER_REFUSED. */
export class ForcedFailoverError extends Error {
  override name = 'ForcedFailoverError';
  readonly code = 'FORCED_FAILOVER_REFUSED';
}

export class Election {
  readonly #node: NodeContext;
  readonly #observer: PostgresObserver;
  readonly #hooks: ElectionHooks;
  readonly #takeOver: TakeOver;
  #isRunning = false;
  /** Attempts of the present election that promised and did not win. */
  #failedStands = 0;
  /** Elections in a row that ended with an error. */
  #errors = 0;
  #expectsLeaderSinceMs = performance.now();
  #leaderKey = '';
  #promisedAtMs = Number.NEGATIVE_INFINITY;
  #callOff: () => void = () => {};

  times: ElectionTimes | null = null;

  constructor(node: NodeContext, observer: PostgresObserver, hooks: ElectionHooks) {
    this.#node = node;
    this.#observer = observer;
    this.#hooks = hooks;
    this.#takeOver = new TakeOver(node, {
      answerAsk: (leader) => this.answerAsk(leader),
      promise: (request) => this.promise(request),
      isStillSuspect: (record) => this.suspicion(record).isSuspect,
    });
  }

  stop(): void {
    this.#callOff();
  }

  /** Looks whether the leader is to be suspected, now or at the next moment at which it could be. */
  check(): void {
    this.#callOff();
    const record = this.#node.acceptedRecord;
    if (record === null || (record.leader === this.#node.config.node && !this.#hasPromisedAway(record))) return;
    const suspicion = this.suspicion(record);
    if (suspicion.isSuspect) {
      const mayStand = isMember(configurationOf(record), this.#node.self) || this.#takeOver.isPossible;
      if (!this.#isRunning && !record.paused && mayStand) void this.#run(suspicion);
      return;
    }
    const { detectionMs } = this.#node.config.timing;
    this.#lookCloser(record, detectionMs);
    const dueMs = Math.max(this.#lastSignMs(record) + detectionMs - performance.now(), 10);
    this.#callOff = this.#node.pulse.once(performance.now() + Math.min(dueMs, detectionMs), () => this.check());
  }

  /** While the leader's commits are late, whether its WAL still flows is looked at twice as often as it has to be known. */
  #lookCloser(record: ClusterRecord, detectionMs: number): void {
    const beat = this.#node.links.get(record.leader)?.view.beat;
    if (beat?.term !== record.term || beat.probeAgeMs < detectionMs) return;
    if (performance.now() - this.#observer.observedAtMs >= detectionMs / 2) void this.#observer.observe(detectionMs);
  }

  /**
   * The record's leader that has promised a higher term is a candidate like any other: if it holds the most, all others defer to
   * it. As with a leader that is silent: whoever it has promised gets the time of a detection.
   */
  #hasPromisedAway(record: ClusterRecord): boolean {
    return this.#node.voter.promisedTerm > record.term && !this.#hooks.isLeading();
  }

  suspicion(record: ClusterRecord): Suspicion {
    const { detectionMs } = this.#node.config.timing;
    const link = this.#node.links.get(record.leader);
    const view = link?.view;
    const state = view?.state ?? null;
    const leads = state?.leaderView.leader === record.leader && state.leaderView.term >= record.term;
    const nowMs = performance.now();
    return decideSuspicion({
      nowMs,
      detectionMs,
      lastBeatAtMs: this.#lastSignMs(record),
      isRefused: view?.isRefused === true && !view.isConnected,
      handsOver: view?.isConnected === true && leads && state.leading?.handsOver === true,
      probeAgeMs: view?.beat?.term === record.term ? view.beat.probeAgeMs : null,
      answerAgeMs: view?.beat?.term === record.term ? (view.beat.answerAgeMs ?? null) : null,
      walArrivedAtMs: this.#observer.view.walArrivedAtMs,
      hasStreamingQuorum: this.#observer.view.hasReceiver,
    });
  }

  /** The newest beat of this leader and term, or the moment from which one is expected. */
  #lastSignMs(record: ClusterRecord): number {
    const key = `${record.leader} ${record.term}`;
    if (key !== this.#leaderKey) {
      this.#leaderKey = key;
      this.#expectsLeaderSinceMs = performance.now();
    }
    if (record.leader === this.#node.config.node) return Math.max(this.#promisedAtMs, this.#expectsLeaderSinceMs);
    const view = this.#node.links.get(record.leader)?.view;
    const isOfTerm = view?.beat !== undefined && view.beat !== null && view.beat.term >= record.term;
    return Math.max(isOfTerm ? view.beatAtMs : Number.NEGATIVE_INFINITY, this.#expectsLeaderSinceMs);
  }

  /** What this node answers when another asks about `leader`. */
  async answerAsk(leader: string): Promise<AskAnswerMessage> {
    const node = this.#node;
    const record = node.acceptedRecord;
    const view = await this.#observer.observe(ASK_TIMEOUT_MS / 2);
    const position = decidePosition(node.voter, {
      flushLsn: view.state.kind === 'standby' ? view.flushLsn : null,
      isReplayedToEnd: view.state.kind === 'standby' && view.state.isReplayedToEnd,
    });
    const isSelf = record?.leader === node.config.node;
    const isServing = this.#hooks.isServingLeader();
    const suspects =
      record !== null && record.leader === leader && (isSelf ? !isServing : this.suspicion(record).isSuspect);
    const peer = node.config.peers.find((one) => one.node === node.config.node);
    const replayed = view.replayLsn ?? 0n;
    const flushed = view.flushLsn ?? replayed;
    return {
      node: node.config.node,
      incarnation: node.voter.incarnation,
      group: node.config.group,
      suspects,
      position: position.kind === 'known' ? encodePosition(position.position) : null,
      replayBytes: String(flushed > replayed ? flushed - replayed : 0n),
      priority: peer?.priority ?? 0,
      canLead: view.state.kind === 'standby' && !view.isReplayPaused && peer?.votes !== false && this.#hooks.hasRoom(),
      promisedTerm: node.voter.promisedTerm,
      seenTerm: node.voter.seen.term,
      vetoes: !suspects && record?.leader === leader && (isSelf ? isServing : !this.suspicion(record).isSuspect),
      leaderLsn: isSelf ? formatLsnOrNull(view.flushLsn) : this.#leaderLsn(record),
    };
  }

  /** What its last beat of this term told. */
  #leaderLsn(record: ClusterRecord | null): string | null {
    const beat = record === null ? null : this.#node.links.get(record.leader)?.view.beat;
    return beat?.term === record?.term ? (beat?.flushLsn ?? null) : null;
  }

  /**
   * Rule 3, in its order: the promise is durable, the path is closed, the receiver has ended, and only then the position is
   * read. All under the mutex, so that no follow comes between.
   */
  async promise(request: { readonly term: number; readonly candidate: string }): Promise<PromiseAnswerMessage> {
    const node = this.#node;
    return await node.voterMutex.run(async () => {
      const answer = (granted: boolean, position: Position | null, reason: string): PromiseAnswerMessage => ({
        node: node.config.node,
        incarnation: node.voter.incarnation,
        granted,
        term: granted ? request.term : node.voter.promisedTerm,
        position: position === null ? null : encodePosition(position),
        reason,
      });
      const decision = decidePromise(node.voter, request);
      if (decision.kind === 'refuse') return answer(false, null, decision.reason.message);
      await this.#hooks.fenceForPromise();
      await node.saveVoter(decision.next);
      this.#promisedAtMs = performance.now();
      node.path.close();
      node.log.info({ term: request.term, candidate: request.candidate }, 'promised');
      node.changed();
      node.wake();
      const position = this.#hooks.shutdownPosition() ?? (await this.#positionAfterReceiver());
      return answer(true, position, decision.reason.message);
    });
  }

  async #positionAfterReceiver(): Promise<Position | null> {
    const deadline = performance.now() + RECEIVER_END_LIMIT_MS;
    for (;;) {
      const view = await this.#observer.observe(ASK_TIMEOUT_MS);
      if (view.state.kind !== 'standby' || view.flushLsn === null) return null;
      if (!view.hasReceiver) {
        // Once more: the receiver flushed what it had before it ended, and the first look may have come in between.
        const last = await this.#observer.observe(ASK_TIMEOUT_MS);
        if (last.state.kind !== 'standby') return null;
        const result = decidePosition(this.#node.voter, last.state);
        return result.kind === 'known' ? result.position : null;
      }
      if (performance.now() > deadline) return null;
      await delay(3);
    }
  }

  async #run(suspicion: Suspicion): Promise<void> {
    this.#isRunning = true;
    this.#failedStands = 0;
    const node = this.#node;
    const first = node.acceptedRecord;
    const suspectedAtMs = performance.now();
    node.log.info(
      { leader: first?.leader, term: first?.term, reason: suspicion.reason.code, detail: suspicion.reason.message },
      'suspect',
    );
    try {
      for (;;) {
        const record = node.acceptedRecord;
        if (record === null || first === null || record.term !== first.term || record.leader !== first.leader) return;
        if (!this.suspicion(record).isSuspect) return;
        const pauseMs = await this.#attempt(record, suspectedAtMs, suspicion.reason);
        this.#errors = 0;
        if (pauseMs === null) return;
        // Each failed attempt asks for a higher promise, which disturbs those that recover: it becomes rarer.
        const factor = this.#failedStands === 0 ? 1 : Math.min(2 ** (this.#failedStands - 1), BACKOFF_FACTOR_MAX);
        await delay(pauseMs * factor);
      }
    } catch (error) {
      // Mostly the coordination service that is away: nothing else can be done, and it need not be said six times a second.
      node.log.error({ error: (error as Error).message }, 'election failed');
      await delay(RETRY_MS * Math.min(2 ** this.#errors++, BACKOFF_FACTOR_MAX));
    } finally {
      this.#isRunning = false;
      this.check();
    }
  }

  /** One round: ask, and if this node is the best, promise and swap. Resolves with the pause before the next, or null: ended. */
  async #attempt(
    record: ClusterRecord,
    suspectedAtMs: number,
    { code, message: reason }: Reason,
  ): Promise<number | null> {
    const node = this.#node;
    if (!isMember(configurationOf(record), node.self)) return await this.#attemptTakeOver(record, suspectedAtMs, code);
    const answers = await this.#askAll(record);
    const decision = decideCandidacy({
      self: node.config.node,
      leader: record.leader,
      leaderGroup: node.config.peers.find((peer) => peer.node === record.leader)?.group ?? '',
      voteQuorum: voteQuorum(configurationOf(record)),
      members: record.members.map((member) => member.node),
      answers,
    });
    node.log.info(
      { decision: decision.kind, reason: decision.reason.code, detail: decision.reason.message },
      'candidacy',
    );
    if (decision.kind === 'refrain') {
      const isEarly = decision.reason.code === 'TooFewSuspect' && performance.now() - suspectedAtMs < EARLY_MS;
      if (!isEarly && this.#takeOver.isPossible) return await this.#attemptTakeOver(record, suspectedAtMs, code);
      return isEarly ? EARLY_RETRY_MS : RETRY_MS + Math.random() * BACKOFF_RANDOM_MS;
    }
    if (decision.kind === 'defer') return DEFER_MS * decision.rank;
    const outcome = await this.stand({
      answers,
      suspectedAtMs,
      reason,
      formerLeader: record.leader,
      term: null,
      promises: [],
    });
    if (outcome === 'ended') return null;
    this.#failedStands++;
    return RETRY_MS + Math.random() * BACKOFF_RANDOM_MS;
  }

  /** Without the votes of M, after the lease. */
  async #attemptTakeOver(record: ClusterRecord, suspectedAtMs: number, code: string): Promise<number | null> {
    const heardAtMs = this.#lastSignMs(record);
    // A leader that says itself that it is gone goes on beating.
    const goneSinceMs = code === 'LeaderSilent' ? heardAtMs : suspectedAtMs;
    const outcome = await this.#takeOver.attempt(record, performance.now() - goneSinceMs);
    if (outcome.kind === 'pause') return outcome.ms;
    if (outcome.won !== null)
      this.times = {
        suspectedAtMs,
        promisedAtMs: outcome.won.promisedAtMs,
        swappedAtMs: performance.now(),
        formerLeader: record.leader,
        reason: `Lease over: ${code}`,
        loss: { ...outcome.won.loss, heardAtMs },
      };
    return null;
  }

  /**
   * Rules 3 and 4 as the candidate. `ended`: elected, or somebody else was first; `failed`: try again later.
   * @param term given in a switchover, where the old leader has promised it already (`promises`); null: the next free one
   */
  async stand(options: {
    readonly answers: readonly AskAnswer[];
    readonly suspectedAtMs: number;
    readonly reason: string;
    readonly formerLeader: string;
    readonly term: number | null;
    readonly promises: readonly PromiseAnswer[];
  }): Promise<'ended' | 'failed'> {
    const node = this.#node;
    const stored = await node.readRecord();
    const record = node.acceptedRecord;
    if (record === null || record.leader !== options.formerLeader || record.paused) return 'ended';
    const term =
      options.term ??
      chooseTerm(record.term, [
        ...options.answers,
        { promisedTerm: node.voter.promisedTerm, seenTerm: node.voter.seen.term },
      ]);
    const own = await this.promise({ term, candidate: node.config.node });
    if (!own.granted) return 'failed';
    const answers: PromiseAnswer[] = [...options.promises, decodePromise(own)];
    const next = isMember(configurationOf(record), node.self)
      ? await this.#elected(record, term, answers)
      : this.#handedOver(record, answers);
    if (next === null) return 'failed';
    return await this.#swap(stored.storeVersion, next, options);
  }

  /** By the votes of M. */
  async #elected(record: ClusterRecord, term: number, answers: PromiseAnswer[]): Promise<ClusterRecord | null> {
    let decision = await this.#collect(record, term, answers);
    if (decision?.kind === 'behind') decision = await this.#catchUp(record, term, answers, decision);
    return decision?.kind === 'swap' ? decision.next : null;
  }

  /** Outside of M, by the word of the leader that has ended. */
  #handedOver(record: ClusterRecord, answers: readonly PromiseAnswer[]): ClusterRecord | null {
    const node = this.#node;
    const own = answers.find((answer) => answer.node === node.config.node);
    if (own === undefined || node.config.replication.scope !== 'group') return null;
    const leader = answers.find((answer) => answer.node === record.leader);
    const decision = decideHandOverSwap(record, leader, own);
    node.log.info({ decision: decision.kind, detail: decision.reason.message }, 'hand-over');
    return decision.kind === 'swap' ? decision.next : null;
  }

  async #swap(
    storeVersion: string,
    next: ClusterRecord,
    about: Pick<ElectionTimes, 'suspectedAtMs' | 'formerLeader' | 'reason'>,
  ): Promise<'ended'> {
    const node = this.#node;
    const { term } = next;
    const promisedAtMs = performance.now();
    for (;;) {
      const result = await node.store.compareAndSwap(storeVersion, next, { timeoutMs: 1000 });
      if (result.kind === 'unknown') {
        node.log.warn({ error: result.error.message }, 'swap result unknown');
        if (node.voter.promisedTerm > term) return 'ended';
        await delay(RETRY_MS);
        continue;
      }
      const now = result.stored.record;
      const isWon = result.kind === 'swapped' || (now?.term === term && now.leader === node.config.node);
      if (isWon) {
        const { suspectedAtMs, formerLeader, reason } = about;
        this.times = { suspectedAtMs, promisedAtMs, swappedAtMs: performance.now(), formerLeader, reason };
      }
      node.log.info({ term, won: isWon }, 'swap');
      await node.acceptRecord(result.stored, { isLinearizable: true });
      return 'ended';
    }
  }

  /**
   * `failover --accept-loss`: leads without enough votes, because a person says so. Throws ForcedFailoverError while a leader is
   * alive, a safe election is possible, or this node is not the best of those that answer.
   */
  async force(): Promise<{ readonly term: number; readonly unheard: readonly string[] }> {
    const node = this.#node;
    const suspectedAtMs = performance.now();
    const stored = await node.readRecord();
    const record = node.acceptedRecord;
    const refuse = (message: string): ForcedFailoverError =>
      new ForcedFailoverError(`Cannot fail over to "${node.config.node}" by force: ${message}`);
    if (record === null) throw refuse('there is no record');
    if (record.leader === node.config.node) throw refuse('it is the leader by the record');
    const asked = await this.#askAll(record);
    const alive = asked.find((answer) => answer.vetoes);
    if (alive !== undefined) throw refuse(`"${alive.node}" says that "${record.leader}" is alive`);
    const term = chooseTerm(record.term, asked);
    const own = await this.promise({ term, candidate: node.config.node });
    if (!own.granted) throw refuse(own.reason);
    const answers = [decodePromise(own)];
    const safe = await this.#collect(record, term, answers);
    const candidate = { node: node.config.node, incarnation: node.voter.incarnation, term };
    const decision = decideForcedSwap(record, candidate, answers);
    if (decision.kind === 'refuse' && safe?.kind !== 'swap') throw refuse(decision.reason.message);
    const next = decision.kind === 'swap' ? decision.next : safe?.kind === 'swap' ? safe.next : null;
    if (next === null) throw refuse('no record to swap to');
    const { leases } = node.store;
    const limit = { timeoutMs: 1000 };
    const result =
      node.config.replication.scope === 'group' && leases !== undefined
        ? await leases.swapUnlessLeased(stored.storeVersion, next, limit)
        : await node.store.compareAndSwap(stored.storeVersion, next, limit);
    if (result.kind === 'leased')
      throw refuse(
        `"${result.by.holder}" has renewed its lease in the last ${result.by.durationMs} ms: it may be alive`,
      );
    if (result.kind === 'unknown')
      throw refuse(`the coordination service did not answer: ${result.error.message}; ask for the status`);
    await node.acceptRecord(result.stored, { isLinearizable: true });
    if (result.kind === 'lost') throw refuse('somebody else changed the record meanwhile; ask for the status');
    const nowMs = performance.now();
    this.times = {
      suspectedAtMs,
      promisedAtMs: nowMs,
      swappedAtMs: nowMs,
      formerLeader: record.leader,
      reason: 'Forced',
    };
    return { term, unheard: decision.kind === 'swap' ? decision.unheard : [] };
  }

  /**
   * Rule 2: a best node that may not or cannot lead does not block. What it holds more, on the same timeline, is fetched from
   * it; then the votes are judged again with this node's new position.
   */
  async #catchUp(
    record: ClusterRecord,
    term: number,
    answers: readonly PromiseAnswer[],
    behind: Extract<SwapDecision, { kind: 'behind' }>,
  ): Promise<SwapDecision | null> {
    const node = this.#node;
    if (behind.position.timeline !== node.voter.lineage?.timeline) return null;
    return await node.voterMutex.run(async () => {
      if (node.voter.promisedTerm !== term || !(await this.#hooks.fetch(behind.node, behind.position.lsn))) return null;
      const view = await this.#observer.observe(ASK_TIMEOUT_MS);
      if (view.hasReceiver || view.state.kind !== 'standby') return null;
      const result = decidePosition(node.voter, view.state);
      const position = result.kind === 'known' ? result.position : null;
      const fresh = answers.map((answer) => (answer.node === node.config.node ? { ...answer, position } : answer));
      return decideSwap(record, { node: node.config.node, incarnation: node.voter.incarnation, term }, fresh);
    });
  }

  /** Asks all members for their promise; resolves as soon as the votes decide; null: all have answered and they do not suffice. */
  #collect(record: ClusterRecord, term: number, answers: PromiseAnswer[]): Promise<SwapDecision | null> {
    const node = this.#node;
    const candidate = { node: node.config.node, incarnation: node.voter.incarnation, term };
    return new Promise((resolve) => {
      const judge = (): boolean => {
        const decision = decideSwap(record, candidate, answers);
        if (decision.kind === 'wait') return false;
        node.log.info({ decision: decision.kind, detail: decision.reason.message }, 'votes');
        resolve(decision);
        return true;
      };
      if (judge()) return;
      const asked = record.members.filter(
        (member) => member.node !== node.config.node && !answers.some((answer) => answer.node === member.node),
      );
      const requests = asked.map(async (member) => {
        const link = node.links.get(member.node);
        if (link === undefined) return;
        try {
          const { promise } = await link.request({ method: 'promise', term }, PROMISE_TIMEOUT_MS);
          if (promise === undefined) return;
          if (!promise.granted) node.log.info({ from: member.node, detail: promise.reason }, 'promise refused');
          else if (promise.node === member.node) {
            answers.push(decodePromise(promise));
            judge();
          }
        } catch (error) {
          node.log.info({ from: member.node, error: (error as Error).message }, 'no promise');
        }
      });
      void Promise.all(requests).then(() => resolve(null));
    });
  }

  /** Answers of the members, own included. The suspected leader is waited for only where its veto could matter. */
  async #askAll(record: ClusterRecord): Promise<AskAnswer[]> {
    const node = this.#node;
    const configuration = configurationOf(record);
    const answers: AskAnswer[] = [decodeAsk(await this.answerAsk(record.leader))];
    const mattersVeto = voteQuorum(configuration) === 1;
    // One slow answer must not depose a leader that only this node has lost: where one vote is enough, the veto is waited for.
    const timeoutMs = mattersVeto ? Math.max(ASK_TIMEOUT_MS, node.config.timing.detectionMs) : ASK_TIMEOUT_MS;
    const asked = mattersVeto
      ? node.config.peers.map((peer) => peer.node).filter((name) => name !== node.config.node)
      : record.members.map((member) => member.node).filter((name) => name !== node.config.node);
    const requests = asked.map(async (name) => {
      const link = node.links.get(name);
      if (link === undefined) return;
      try {
        const { ask } = await link.request({ method: 'ask', leader: record.leader, term: record.term }, timeoutMs);
        if (ask === undefined || ask.node !== name) return;
        const answer = decodeAsk(ask);
        if (isMember(configuration, ask)) answers.push(answer);
        else if (answer.vetoes) answers.push({ ...answer, position: null, canLead: false, suspects: false });
      } catch {
        // Silence is an answer too: it does not suspect, it does not vote.
      }
    });
    const isSilent = performance.now() - this.#lastSignMs(record) >= node.config.timing.detectionMs;
    const others = mattersVeto || !isSilent ? requests : requests.filter((_, index) => asked[index] !== record.leader);
    await Promise.all(others);
    return answers;
  }
}
