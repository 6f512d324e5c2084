/**
 * Suspect, ask, promise, swap: steps 1 to 4 of the protocol as one member carries them out. Decisions are in core/leadership.
 *
 *   leader-watch.ts  what is seen of the leader     election-polls.ts  questions to the others   take-over.ts  after the lease
 *   voting.ts        answers and promises           forced-failover.ts `failover --accept-loss`
 */
import type { ClusterRecord } from '../../api/record.ts';
import type { Lsn } from '../../base/lsn.ts';
import { delay } from '../../base/wait-until.ts';
import { type AskAnswer, chooseTerm, decideCandidacy } from '../../core/leadership/candidacy.ts';
import { decidePosition } from '../../core/leadership/position.ts';
import { configurationOf, isMember, voteQuorum } from '../../core/leadership/quorum.ts';
import { decideHandOverSwap } from '../../core/leadership/lease.ts';
import type { Suspicion } from '../../core/leadership/suspicion.ts';
import { decideSwap, type PromiseAnswer, type SwapDecision } from '../../core/leadership/swap.ts';
import type { Reason } from '../../core/leadership/voter.ts';
import { decodePromise } from './election-messages.ts';
import { ASK_TIMEOUT_MS, ElectionPolls } from './election-polls.ts';
import { ForcedElection, type ForcedFailover } from './forced-failover.ts';
import { LeaderWatch } from './leader-watch.ts';
import type { NodeContext } from './node-context.ts';
import { TakeOver } from './take-over.ts';
import type { PostgresObserver } from './postgres-view.ts';
import { Voting, type VotingHooks } from './voting.ts';

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

export interface ElectionHooks extends VotingHooks {
  /** This node acts as leader, whether its PostgreSQL works or not. */
  isLeading(): boolean;
  /** Takes WAL up to an LSN from a promised member; true once it is here. Called under the voter's mutex. */
  fetch(from: string, until: Lsn): Promise<boolean>;
}

export class Election {
  readonly #node: NodeContext;
  readonly #observer: PostgresObserver;
  readonly #hooks: ElectionHooks;
  readonly #watch: LeaderWatch;
  readonly #polls: ElectionPolls;
  readonly #takeOver: TakeOver;
  /** This node's answers and promises, to others and to itself. */
  readonly voting: Voting;
  #isRunning = false;
  /** Attempts of the present election that promised and did not win. */
  #failedStands = 0;
  /** Elections in a row that ended with an error. */
  #errors = 0;
  #problem: string | null = null;
  #callOff: () => void = () => {};

  times: ElectionTimes | null = null;

  constructor(node: NodeContext, observer: PostgresObserver, hooks: ElectionHooks) {
    this.#node = node;
    this.#observer = observer;
    this.#hooks = hooks;
    this.#watch = new LeaderWatch(node, observer);
    this.voting = new Voting(node, observer, this.#watch, hooks);
    this.#polls = new ElectionPolls(node, this.#watch, this.voting);
    this.#takeOver = new TakeOver(node, {
      answerAsk: (leader) => this.voting.answerAsk(leader),
      promise: (request) => this.voting.promise(request),
      isStillSuspect: (record) => this.#watch.suspicion(record).isSuspect,
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
    const suspicion = this.#watch.suspicion(record);
    if (suspicion.isSuspect) {
      const mayStand = isMember(configurationOf(record), this.#node.self) || this.#takeOver.isPossible;
      if (!this.#isRunning && !record.paused && mayStand) void this.#run(suspicion);
      return;
    }
    const { detectionMs } = this.#node.config.timing;
    this.#watch.lookCloser(record);
    const dueMs = Math.max(this.#watch.lastSignMs(record) + detectionMs - performance.now(), 10);
    this.#callOff = this.#node.pulse.once(performance.now() + Math.min(dueMs, detectionMs), () => this.check());
  }

  /**
   * The record's leader that has promised a higher term is a candidate like any other: if it holds the most, all others defer to
   * it. As with a leader that is silent: whoever it has promised gets the time of a detection.
   */
  #hasPromisedAway(record: ClusterRecord): boolean {
    return this.#node.voter.promisedTerm > record.term && !this.#hooks.isLeading();
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
        if (!this.#watch.suspicion(record).isSuspect) return;
        const pauseMs = await this.#attempt(record, suspectedAtMs, suspicion.reason);
        this.#errors = 0;
        this.#problem = null;
        if (pauseMs === null) return;
        // Each failed attempt asks for a higher promise, which disturbs those that recover: it becomes rarer.
        const factor = this.#failedStands === 0 ? 1 : Math.min(2 ** (this.#failedStands - 1), BACKOFF_FACTOR_MAX);
        await delay(pauseMs * factor);
      }
    } catch (error) {
      // Mostly the coordination service that is away: nothing else can be done, and it need not be said six times a second.
      this.#problem = (error as Error).message;
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
    const answers = await this.#polls.askAll(record);
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
    const heardAtMs = this.#watch.lastSignMs(record);
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
    const own = await this.voting.promise({ term, candidate: node.config.node });
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
    let decision = await this.#polls.collect(record, term, answers);
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

  /** Why nobody can be elected by this node, as far as its last attempt goes and the leader is still suspected; null: nothing is known. */
  get problem(): string | null {
    const record = this.#node.acceptedRecord;
    return record !== null && this.#watch.suspicion(record).isSuspect ? this.#problem : null;
  }

  /** `failover --accept-loss`. Throws ForcedFailoverError. */
  async force(): Promise<Omit<ForcedFailover, 'times'>> {
    const { times, ...outcome } = await new ForcedElection(this.#node, this.#polls, this.voting).run();
    this.times = times;
    return outcome;
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
}
