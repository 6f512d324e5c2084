/** Suspect, ask, promise, swap: as src/agents/instance/election.ts does it, in virtual time. */
import type { ClusterRecord } from '../../src/api/record.ts';
import type { AskAnswer } from '../../src/core/leadership/candidacy.ts';
import type { Position } from '../../src/core/leadership/position.ts';
import { configurationOf, isMember, voteQuorum } from '../../src/core/leadership/quorum.ts';
import type { PromiseAnswer, SwapDecision } from '../../src/core/leadership/swap.ts';
import type { Agent } from './agent.ts';
import { Future, type Task, wait } from './clock.ts';
import type { Answers } from './messages.ts';

const ASK_TIMEOUT_MS = 250;
const PROMISE_TIMEOUT_MS = 1500;
const RECEIVER_END_LIMIT_MS = 1000;
const DEFER_MS = 250;
const RETRY_MS = 150;
const BACKOFF_RANDOM_MS = 250;
const TARGET_LEVEL_LIMIT_MS = 3000;
const FETCH_LIMIT_MS = 3000;

export class Election {
  readonly #agent: Agent;
  #isRunning = false;
  #leaderKey = '';
  #promisedAtMs = Number.NEGATIVE_INFINITY;
  #expectsSinceMs = 0;
  #timerId = 0;

  constructor(agent: Agent) {
    this.#agent = agent;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  check(): void {
    const agent = this.#agent;
    const record = agent.accepted;
    if (record === null) return;
    if (record.leader === agent.node && !this.#hasPromisedAway(record)) return;
    if (this.isSuspect(record)) {
      if (this.#isRunning || record.paused || !isMember(configurationOf(record), agent.self)) return;
      this.#isRunning = true;
      void agent.process.spawn(this.#run(record));
      return;
    }
    const { detectionMs } = agent.world.timing;
    const dueMs = Math.max(this.#lastSignMs(record) + detectionMs - agent.nowMs, 10);
    const id = ++this.#timerId;
    agent.process.after(Math.min(dueMs, detectionMs), () => {
      if (id === this.#timerId) this.check();
    });
  }

  /**
   * The record's leader that has promised a higher term is a candidate like any other: if it holds the most, all others defer to
   * it. As with a leader that is silent: whoever it has promised gets the time of a detection.
   */
  #hasPromisedAway(record: ClusterRecord): boolean {
    const { voter, leadership, world } = this.#agent;
    const isLeading = leadership !== null && (leadership.isActive || leadership.isSwitching);
    return voter.promisedTerm > record.term && !isLeading && world.options.promisedLeaderStands;
  }

  isSuspect(record: ClusterRecord): boolean {
    const agent = this.#agent;
    const view = agent.peers.get(record.leader);
    const leads = view?.state?.leaderView.leader === record.leader && view.state.leaderView.term >= record.term;
    return agent.world.rules.decideSuspicion({
      nowMs: agent.nowMs,
      detectionMs: agent.world.timing.detectionMs,
      lastBeatAtMs: this.#lastSignMs(record),
      isRefused: view?.isRefused === true && !view.isConnected,
      handsOver: view?.isConnected === true && leads && view.state?.leading?.handsOver === true,
      probeAgeMs: view?.beat?.term === record.term ? view.beat.probeAgeMs : null,
      answerAgeMs: view?.beat?.term === record.term ? view.beat.answerAgeMs : null,
      walArrivedAtMs: agent.server.walArrivedAtMs,
      hasStreamingQuorum: agent.server.receiver !== null,
    }).isSuspect;
  }

  #lastSignMs(record: ClusterRecord): number {
    const agent = this.#agent;
    const key = `${record.leader} ${record.term}`;
    if (key !== this.#leaderKey) {
      this.#leaderKey = key;
      this.#expectsSinceMs = agent.nowMs;
    }
    if (record.leader === agent.node) return Math.max(this.#promisedAtMs, this.#expectsSinceMs);
    const view = agent.peers.get(record.leader);
    const isOfTerm = view?.beat !== undefined && view.beat !== null && view.beat.term >= record.term;
    return Math.max(isOfTerm ? view.beatAtMs : Number.NEGATIVE_INFINITY, this.#expectsSinceMs);
  }

  *answerAsk(leader: string): Task<Answers['ask']> {
    const agent = this.#agent;
    yield agent.world.random.between(0.3, 1.5);
    const record = agent.accepted;
    const view = agent.server.view();
    const isStandby = view?.role === 'standby';
    const position = agent.world.rules.decidePosition(agent.voter, {
      flushLsn: isStandby ? BigInt(view.flushLsn) : null,
      isReplayedToEnd: isStandby && view.isReplayedToEnd,
    });
    const isSelf = record?.leader === agent.node;
    const serves =
      agent.leadership?.isActive === true &&
      agent.leadership.phase !== 'handing-over' &&
      agent.server.role === 'primary';
    const suspects = record !== null && record.leader === leader && (isSelf ? !serves : this.isSuspect(record));
    return {
      node: agent.node,
      incarnation: agent.voter.incarnation,
      group: agent.group,
      suspects,
      position: position.kind === 'known' ? position.position : null,
      replayBytes: 0n,
      priority: agent.world.priorityOf(agent.node),
      canLead: isStandby && !agent.server.replayPaused,
      promisedTerm: agent.voter.promisedTerm,
      seenTerm: agent.voter.seen.term,
      vetoes: !suspects && record?.leader === leader && (isSelf ? serves : !this.isSuspect(record)),
    };
  }

  /** Rule 3 in its order; null: refused. */
  *promise(request: { readonly term: number; readonly candidate: string }): Task<PromiseAnswer | null> {
    return yield* this.#agent.mutex.run(() => this.#promiseHeld(request));
  }
  *#promiseHeld(request: { readonly term: number; readonly candidate: string }): Task<PromiseAnswer | null> {
    const agent = this.#agent;
    const { options, rules } = agent.world;
    const decision = rules.decidePromise(agent.voter, request);
    if (decision.kind === 'refuse') return null;
    if (agent.server.role === 'primary' || (agent.server.role === 'starting' && agent.server.startsAs === 'primary')) {
      agent.leadership?.stop();
      agent.leadership = null;
      yield* agent.stopServer('immediate');
    }
    if (options.writesPromise) yield* agent.save(decision.next);
    this.#promisedAtMs = agent.nowMs;
    let position: Position | null = null;
    if (!options.closesPathBeforePosition) position = yield* this.#positionNow();
    agent.closePath();
    agent.publish();
    agent.wake();
    if (options.closesPathBeforePosition) position = agent.shutdownPosition ?? (yield* this.#positionAfterReceiver());
    return { node: agent.node, incarnation: agent.voter.incarnation, term: request.term, position };
  }

  *#positionAfterReceiver(): Task<Position | null> {
    const untilMs = this.#agent.nowMs + RECEIVER_END_LIMIT_MS;
    while (this.#agent.server.receiver !== null) {
      if (this.#agent.nowMs > untilMs) return null;
      yield 3;
    }
    return yield* this.#positionNow();
  }
  *#positionNow(): Task<Position | null> {
    const agent = this.#agent;
    yield agent.world.random.between(0.3, 1.5);
    const view = agent.server.view();
    if (view?.role !== 'standby') return null;
    const own = { flushLsn: BigInt(view.flushLsn), isReplayedToEnd: view.isReplayedToEnd };
    const result = agent.world.rules.decidePosition(agent.voter, own);
    return result.kind === 'known' ? result.position : null;
  }

  *#run(first: ClusterRecord): Task {
    const agent = this.#agent;
    const suspectedAtMs = agent.nowMs;
    for (;;) {
      const record = agent.accepted;
      if (record === null || record.term !== first.term || record.leader !== first.leader) break;
      if (!this.isSuspect(record)) break;
      const pauseMs = yield* this.#attempt(record, suspectedAtMs);
      if (pauseMs === null) break;
      yield pauseMs;
    }
    this.#isRunning = false;
    this.check();
  }

  *#attempt(record: ClusterRecord, suspectedAtMs: number): Task<number | null> {
    const agent = this.#agent;
    const { rules } = agent.world;
    const answers = yield* this.#askAll(record);
    const decision = rules.decideCandidacy({
      self: agent.node,
      leader: record.leader,
      leaderGroup: agent.world.groupOf(record.leader),
      voteQuorum: voteQuorum(configurationOf(record)),
      members: record.members.map((member) => member.node),
      answers,
    });
    agent.world.trace(agent.node, `candidacy ${decision.kind}: ${decision.reason.message}`);
    if (decision.kind === 'refrain') return this.#pauseMs();
    if (decision.kind === 'defer') return DEFER_MS * decision.rank;
    const outcome = yield* this.stand({
      answers,
      formerLeader: record.leader,
      term: null,
      promises: [],
      suspectedAtMs,
    });
    return outcome === 'ended' ? null : this.#pauseMs();
  }

  #pauseMs(): number {
    const { random, options } = this.#agent.world;
    return RETRY_MS + (options.backsOffAtRandom ? random.next() * BACKOFF_RANDOM_MS : 0);
  }

  *stand(options: {
    readonly answers: readonly AskAnswer[];
    readonly formerLeader: string;
    readonly term: number | null;
    readonly promises: readonly PromiseAnswer[];
    readonly suspectedAtMs: number;
  }): Task<'ended' | 'failed'> {
    const agent = this.#agent;
    const { rules, store } = agent.world;
    const stored = yield* agent.readRecord();
    if (stored === null) return 'failed';
    const record = agent.accepted;
    if (record === null || record.leader !== options.formerLeader || record.paused) return 'ended';
    const own = { promisedTerm: agent.voter.promisedTerm, seenTerm: agent.voter.seen.term };
    const term = options.term ?? rules.chooseTerm(record.term, [...options.answers, own]);
    const promised = yield* this.promise({ term, candidate: agent.node });
    if (promised === null) return 'failed';
    const answers = [...options.promises, promised];
    let decision = yield* this.#collect(record, term, answers);
    if (decision?.kind === 'behind')
      decision = yield* agent.mutex.run(() => this.#catchUp(record, term, answers, decision));
    if (decision?.kind !== 'swap') return 'failed';
    const { next } = decision;
    for (;;) {
      const result = yield* wait(store.compareAndSwap(agent.node, stored.storeVersion, next, 1000));
      if (result.kind === 'unknown') {
        if (agent.voter.promisedTerm > term) return 'ended';
        yield RETRY_MS;
        continue;
      }
      yield* agent.accept(result.stored, true);
      return 'ended';
    }
  }

  /** Under the mutex: takes what a promised member holds more, and judges the votes again. */
  *#catchUp(
    record: ClusterRecord,
    term: number,
    answers: readonly PromiseAnswer[],
    behind: SwapDecision | null,
  ): Task<SwapDecision | null> {
    const agent = this.#agent;
    const { server, voter, world } = agent;
    const { timeline } = server.disk;
    if (behind?.kind !== 'behind' || !world.options.fetches || behind.position.timeline !== voter.lineage?.timeline)
      return null;
    if (voter.promisedTerm !== term) return null;
    world.trace(agent.node, `fetches from ${behind.node}`);
    agent.path = { node: behind.node, as: 'promised', term, timeline };
    const untilMs = agent.nowMs + FETCH_LIMIT_MS;
    while (BigInt(server.flushLsn) < behind.position.lsn && agent.nowMs < untilMs) yield 5;
    agent.closePath();
    const position = yield* this.#positionAfterReceiver();
    const fresh = answers.map((answer) => (answer.node === agent.node ? { ...answer, position } : answer));
    return world.rules.decideSwap(record, { node: agent.node, incarnation: voter.incarnation, term }, fresh);
  }

  *#collect(record: ClusterRecord, term: number, answers: PromiseAnswer[]): Task<SwapDecision | null> {
    const agent = this.#agent;
    const candidate = { node: agent.node, incarnation: agent.voter.incarnation, term };
    const result = new Future<SwapDecision | null>();
    const judge = (): void => {
      const decision = agent.world.rules.decideSwap(record, candidate, answers);
      agent.world.trace(agent.node, `votes ${decision.kind}: ${decision.reason.message}`);
      if (decision.kind !== 'wait') result.settle(decision);
    };
    judge();
    if (result.isSettled) return yield* wait(result);
    let open = 0;
    for (const member of record.members) {
      if (member.node === agent.node || answers.some((answer) => answer.node === member.node)) continue;
      open++;
      const request = { method: 'promise', term, candidate: agent.node } as const;
      agent.world.request(agent, member.node, request, PROMISE_TIMEOUT_MS).then((answer) => {
        if (answer !== null) {
          answers.push(answer as PromiseAnswer);
          judge();
        }
        if (--open === 0) result.settle(null);
      });
    }
    if (open === 0) result.settle(null);
    return yield* wait(result);
  }

  *#askAll(record: ClusterRecord): Task<AskAnswer[]> {
    const agent = this.#agent;
    const configuration = configurationOf(record);
    const answers: AskAnswer[] = [yield* this.answerAsk(record.leader)];
    const mattersVeto = voteQuorum(configuration) === 1;
    const asked = (mattersVeto ? agent.world.nodeNames : record.members.map((one) => one.node)).filter(
      (one) => one !== agent.node,
    );
    const isSilent = agent.nowMs - this.#lastSignMs(record) >= agent.world.timing.detectionMs;
    const all = new Future<void>();
    let open = 0;
    for (const name of asked) {
      const isWaitedFor = mattersVeto || !isSilent || name !== record.leader;
      if (isWaitedFor) open++;
      agent.world.request(agent, name, { method: 'ask', leader: record.leader }, ASK_TIMEOUT_MS).then((reply) => {
        const answer = reply as Answers['ask'] | null;
        if (answer !== null) {
          if (isMember(configuration, answer)) answers.push(answer);
          else if (answer.vetoes) answers.push({ ...answer, position: null, canLead: false, suspects: false });
        }
        if (isWaitedFor && --open === 0) all.settle(undefined);
      });
    }
    if (open > 0) yield all;
    return answers;
  }

  /** On the target of a switchover. */
  takeOver(request: { readonly from: string; readonly term: number; readonly promise: PromiseAnswer }): boolean {
    const agent = this.#agent;
    if (agent.accepted?.leader !== request.from || this.#isRunning) return false;
    this.#isRunning = true;
    void agent.process.spawn(this.#takeOver(request));
    return true;
  }
  *#takeOver(request: { readonly from: string; readonly term: number; readonly promise: PromiseAnswer }): Task {
    const agent = this.#agent;
    const wanted = request.promise.position;
    const untilMs = agent.nowMs + TARGET_LEVEL_LIMIT_MS;
    while (wanted !== null && agent.server.flushLsn < Number(wanted.lsn) && agent.nowMs < untilMs) yield 5;
    yield* this.stand({
      answers: [],
      formerLeader: request.from,
      term: request.term,
      promises: [request.promise],
      suspectedAtMs: agent.nowMs,
    });
    this.#isRunning = false;
    this.check();
  }
}
