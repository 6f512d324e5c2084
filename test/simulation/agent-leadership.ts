/** What a simulated node does while it leads: beats, fence, probe, publishing, reaffirming, changes of members, handing over. */
import type { ClusterRecord } from '../../src/api/record.ts';
import type { Lsn } from '../../src/base/lsn.ts';
import { type ChangeProgress, type MemberView } from '../../src/core/leadership/membership.ts';
import {
  applicationName,
  configurationOf,
  isMember,
  synchronousStandbyNames,
} from '../../src/core/leadership/quorum.ts';
import { type Hearing, quorumHeardAtMs } from '../../src/core/leadership/tenure.ts';
import type { Agent } from './agent.ts';
import { type Task, wait } from './clock.ts';
import type { Echo, Phase } from './messages.ts';
import { lineageOf } from './disk.ts';

const HEARTBEAT_INTERVAL_MS = 250;
const PROBE_INTERVAL_MS = 1000;
const MEMBERS_INTERVAL_MS = 2000;
const REAFFIRM_AFTER_MS = 700;
/** A leader that is not published by then makes its checkpoint anyway. */
const CHECKPOINT_UNPUBLISHED_MS = 1000;
const NONCES_MAX = 512;
const BARRIER_RETRY_MS = 1000;

export class Leadership {
  readonly #agent: Agent;
  readonly #sentAtMs = new Map<number, number>();
  readonly #echoedSentAtMs = new Map<string, number>();
  readonly #heardSentAtMs = new Map<string, number>();
  readonly #promisedTerms = new Map<string, number>();
  readonly #sinceMs: number;
  readonly #visibleLsn: number;
  readonly #lastSeenMs = new Map<string, number>();
  #needsBarrier: boolean;
  #nonce = 0;
  #isProbing = false;
  #probedAtMs: number;
  #answeredAtMs: number;
  #progress: ChangeProgress | null = null;
  #higherPromiseSinceMs: number | null = null;
  #isConfirming = false;
  #isCheckpointing = false;
  #isReaffirming = false;
  phase: Phase = 'elected';
  isActive = true;
  isRewindable = false;
  handsOver = false;
  /** A switchover has begun: this leadership is not begun anew. */
  isSwitching = false;

  constructor(agent: Agent, needsBarrier: boolean) {
    this.#agent = agent;
    this.#needsBarrier = needsBarrier;
    this.#sinceMs = agent.nowMs;
    this.#visibleLsn = agent.server.flushLsn;
    this.#probedAtMs = agent.nowMs;
    this.#answeredAtMs = agent.nowMs;
  }

  start(): void {
    const { process } = this.#agent;
    this.#beat();
    void process.spawn(this.#begin());
    if (this.#agent.world.options.checkpointsUnpublished)
      process.after(CHECKPOINT_UNPUBLISHED_MS, () => this.#checkpointSoon());
  }
  /** A change of members under way. */
  get progress(): ChangeProgress | null {
    return this.#progress;
  }
  stop(): void {
    this.isActive = false;
  }
  handOver(): void {
    if (this.handsOver) return;
    this.phase = 'handing-over';
    this.handsOver = true;
    this.#agent.publish();
  }

  onEcho(node: string, echo: Echo): void {
    const agent = this.#agent;
    const sentAtMs = this.#sentAtMs.get(echo.nonce);
    const record = agent.accepted;
    if (sentAtMs === undefined || !this.isActive || record === null) return;
    // A node that lost its disk knows nothing of what it has promised before: in this life it is no member.
    const isOfMember = isMember(configurationOf(record), { node, incarnation: echo.incarnation });
    this.#promisedTerms.set(node, echo.promisedTerm);
    const { countsEchoFromSending, countsOtherLives, countsPromisedAway } = agent.world.options;
    const heardAtMs = countsEchoFromSending ? sentAtMs : agent.nowMs;
    // To judge a false alarm a node in another life is heard too: were it not, with w = |M|, the others would wait for ever.
    keepLatest(this.#heardSentAtMs, node, heardAtMs);
    if (!isOfMember && !countsOtherLives) return;
    if (!countsPromisedAway && echo.promisedTerm > record.term) return;
    keepLatest(this.#echoedSentAtMs, node, heardAtMs);
  }

  hearing(): Hearing {
    return {
      nowMs: this.#agent.nowMs,
      self: this.#agent.node,
      echoedSentAtMs: this.#echoedSentAtMs,
      recordConfirmedSentAtMs: this.#agent.recordConfirmedSentAtMs,
      sinceMs: this.#sinceMs,
    };
  }

  #beat(): void {
    const agent = this.#agent;
    const record = agent.accepted;
    if (!this.isActive || record === null) return;
    const nonce = ++this.#nonce;
    this.#sentAtMs.set(nonce, agent.nowMs);
    if (this.#sentAtMs.size > NONCES_MAX) this.#sentAtMs.delete(this.#sentAtMs.keys().next().value as number);
    if (agent.server.view() !== null) this.#answeredAtMs = agent.nowMs;
    agent.world.beat(agent, {
      nonce,
      term: record.term,
      probeAgeMs: Math.max(0, agent.nowMs - this.#probedAtMs),
      answerAgeMs: agent.nowMs - this.#answeredAtMs,
    });
    this.#guard(record);
    this.#reaffirmIfNeeded(record);
    agent.process.after(HEARTBEAT_INTERVAL_MS, () => this.#beat());
  }

  #guard(record: ClusterRecord): void {
    const agent = this.#agent;
    const decision = agent.world.rules.decideFence(this.hearing(), configurationOf(record), agent.world.timing.fenceMs);
    if (decision.kind === 'hold') return;
    if (decision.kind === 'fence') {
      agent.world.trace(agent.node, `fence: ${decision.reason.message}`);
      return void agent.process.spawn(agent.fence());
    }
    if (this.#isConfirming) return;
    this.#isConfirming = true;
    agent.process.spawn(agent.readRecord()).then(() => (this.#isConfirming = false));
  }

  #reaffirmIfNeeded(record: ClusterRecord): void {
    const agent = this.#agent;
    const told = [...agent.peers.values()].map((view) => view.state?.promisedTerm ?? 0);
    const highestPromise = Math.max(0, ...this.#promisedTerms.values(), ...told);
    if (highestPromise <= record.term || this.handsOver || this.#isReaffirming || this.phase === 'handing-over') {
      this.#higherPromiseSinceMs = null;
      return;
    }
    this.#higherPromiseSinceMs ??= agent.nowMs;
    if (agent.nowMs - this.#higherPromiseSinceMs < REAFFIRM_AFTER_MS) return;
    this.#isReaffirming = true;
    agent.process.spawn(this.#reaffirm(highestPromise)).then(() => {
      this.#isReaffirming = false;
      this.#higherPromiseSinceMs = null;
    });
  }
  *#reaffirm(highestPromise: number): Task {
    const agent = this.#agent;
    if (agent.server.view()?.role !== 'primary') return;
    if ((yield* agent.readRecord()) === null) return;
    const record = agent.accepted;
    if (record === null || !this.isActive) return;
    // Who has promised is heard as well: with the new term they follow again.
    const { reaffirmsByAllHeard } = agent.world.options;
    const hearing = { ...this.hearing(), ...(reaffirmsByAllHeard ? { echoedSentAtMs: this.#heardSentAtMs } : {}) };
    const decision = agent.world.rules.decideReaffirm({
      record,
      voter: agent.voter,
      self: agent.node,
      hearsQuorum: agent.nowMs - quorumHeardAtMs(hearing, configurationOf(record)) < agent.world.timing.detectionMs,
      highestPromise,
    });
    if (decision.kind === 'swap') yield* this.swapOwn(decision.next);
  }

  *swapOwn(next: ClusterRecord): Task<'swapped' | 'lost'> {
    const agent = this.#agent;
    const expected = agent.storeVersion;
    for (;;) {
      const sentAtMs = agent.nowMs;
      const result = yield* wait(agent.world.store.compareAndSwap(agent.node, expected, next, 1000));
      if (result.kind === 'unknown') {
        if (!this.isActive) return 'lost';
        yield 200;
        continue;
      }
      yield* agent.accept(result.stored, true);
      agent.recordConfirmedSentAtMs = Math.max(agent.recordConfirmedSentAtMs, sentAtMs);
      return result.kind === 'swapped' || JSON.stringify(result.stored.record) === JSON.stringify(next)
        ? 'swapped'
        : 'lost';
    }
  }

  *#probes(): Task {
    const agent = this.#agent;
    while (this.isActive) {
      const startedAtMs = agent.nowMs;
      const isDone = agent.server.isUp && !agent.server.process.isFrozen && (yield* wait(agent.server.commit(0)));
      if (!this.isActive) return;
      if (isDone) {
        this.#probedAtMs = startedAtMs;
        if (this.phase === 'elected') this.#publish();
      } else yield 20;
      if (!agent.world.options.publishesAfterProbe && this.phase === 'elected') this.#publish();
      yield Math.max(1, PROBE_INTERVAL_MS - (agent.nowMs - startedAtMs));
    }
  }
  #publish(): void {
    const agent = this.#agent;
    this.phase = 'published';
    agent.world.onPublished(agent.node, agent.accepted?.term ?? 0, this.#visibleLsn);
    agent.publish();
    this.#checkpointSoon();
  }
  /** Off the path of the first write; but where the only other members must rewind first, publishing would wait for ever. */
  #checkpointSoon(): void {
    if (this.#isCheckpointing || !this.isActive) return;
    this.#isCheckpointing = true;
    void this.#agent.process.spawn(this.#checkpoint());
  }
  *#checkpoint(): Task {
    yield* wait(this.#agent.server.checkpoint());
    this.isRewindable = true;
    this.#agent.publish();
  }

  /** After an agent's start a swap of the one before it may still land: this one swaps once, before anything else. */
  *#begin(): Task {
    while (this.isActive && this.#needsBarrier) {
      if (yield* this.#barrier()) break;
      // The database goes on without the store; only changes of members wait.
      this.#startProbes();
      yield BARRIER_RETRY_MS;
    }
    this.#startProbes();
    yield* this.#members();
  }
  *#members(): Task {
    const agent = this.#agent;
    while (this.isActive) {
      yield this.#progress === null ? MEMBERS_INTERVAL_MS : 50;
      const record = agent.accepted;
      if (!this.isActive || record?.leader !== agent.node || agent.server.view()?.role !== 'primary') continue;
      const mayChange = this.phase === 'elected' && agent.world.options.changesUnpublished;
      if (this.phase === 'published' || mayChange) yield* this.#changeMembers(record);
    }
  }
  /** True: no older swap can land any more. */
  *#barrier(): Task<boolean> {
    const agent = this.#agent;
    if (agent.world.options.swapsBarrier) {
      if ((yield* agent.readRecord()) === null || agent.accepted?.leader !== agent.node) return false;
      if ((yield* this.swapOwn({ ...agent.accepted, version: agent.accepted.version + 1 })) !== 'swapped') return false;
    }
    const record = agent.accepted;
    if (record === null || !this.isActive) return false;
    this.#needsBarrier = false;
    const setting = synchronousStandbyNames(configurationOf(record), agent.node);
    if (agent.server.disk.setting !== setting) agent.server.load(setting);
    return true;
  }
  #startProbes(): void {
    if (this.#isProbing) return;
    this.#isProbing = true;
    void this.#agent.process.spawn(this.#probes());
  }

  *#changeMembers(record: ClusterRecord): Task {
    const agent = this.#agent;
    const { rules, timing, policy } = agent.world;
    const views = this.#views(record);
    if (this.#progress === null) {
      const decision = rules.decideChange({
        record,
        self: agent.self,
        views,
        policy,
        memberTimeoutMs: timing.memberTimeoutMs,
        leaderFlushLsn: BigInt(agent.server.flushLsn),
      });
      if (decision.kind !== 'change') return;
      agent.world.trace(agent.node, `change: ${decision.reason.message}`);
      this.#progress = { from: configurationOf(record), to: decision.to, armedLsn: null, swap: 'not-tried' };
    }
    const progress = this.#progress;
    const step = rules.decideChangeStep(progress, record, agent.self, views);
    if (step.kind === 'require-both')
      this.#progress = { ...progress, armedLsn: yield* this.#requireBoth(step.setting) };
    if (step.kind === 'swap') this.#progress = { ...progress, swap: yield* this.swapOwn(step.next) };
    if (step.kind === 'relax') {
      agent.server.load(step.setting);
      this.#progress = null;
    }
  }
  *#requireBoth(setting: string): Task<Lsn | null> {
    const { server } = this.#agent;
    const before = server.setting;
    if (before !== setting) {
      server.load(setting);
      while (server.setting !== setting && this.isActive && server.role === 'primary') yield 5;
      if (before === '') yield* wait(server.checkpoint());
    }
    // Also where the text is the same: a sender may still use one from before the last relaxing.
    server.endOldSenders();
    return server.role === 'primary' ? BigInt(server.flushLsn) : null;
  }

  #views(record: ClusterRecord): MemberView[] {
    const agent = this.#agent;
    return agent.world.nodeNames
      .filter((node) => node !== agent.node)
      .map((node): MemberView => {
        const known = record.members.find((member) => member.node === node)?.incarnation;
        const member = { node, incarnation: agent.peers.get(node)?.state?.incarnation ?? known ?? '000000000000' };
        const sender = [...agent.server.senders].find((one) => one.applicationName === applicationName(member));
        const seenMs = sender === undefined ? (this.#lastSeenMs.get(node) ?? this.#sinceMs) : agent.nowMs;
        this.#lastSeenMs.set(node, seenMs);
        return {
          member,
          isStreaming: sender !== undefined,
          flushLsn: sender === undefined ? null : BigInt(sender.ackedLsn),
          lostForMs: agent.nowMs - seenMs,
          votes: true,
        };
      });
  }

  /** A planned switchover to `target`. */
  *switchOver(target: string): Task<boolean> {
    const agent = this.#agent;
    const record = agent.accepted;
    if (record === null || this.phase !== 'published' || this.#progress !== null) return false;
    this.phase = 'handing-over';
    this.isSwitching = true;
    agent.publish();
    yield 50;
    const isDone = yield* this.#switchOverHeld(record, target);
    this.isSwitching = false;
    agent.wake();
    return isDone;
  }
  *#switchOverHeld(record: ClusterRecord, target: string): Task<boolean> {
    const agent = this.#agent;
    const told = [...agent.peers.values()].map((view) => ({
      promisedTerm: view.state?.promisedTerm ?? 0,
      seenTerm: 0,
    }));
    const own = { promisedTerm: agent.voter.promisedTerm, seenTerm: agent.voter.seen.term };
    const term = agent.world.rules.chooseTerm(record.term, [...told, own]);
    agent.isSwitching = true;
    if (!(yield* agent.mutex.run(() => this.#promiseAway(term, target)))) {
      agent.isSwitching = false;
      if (this.phase === 'handing-over' && !this.handsOver) this.phase = 'published';
      return false;
    }
    yield agent.world.random.between(20, 100);
    const isClean = agent.server.role === 'primary' && !agent.server.process.isFrozen;
    if (isClean) agent.server.shutDown();
    yield* agent.stopServer('fast');
    const position = isClean
      ? { timeline: lineageOf(agent.server.disk).timeline, lsn: BigInt(agent.server.flushLsn) }
      : null;
    agent.shutdownPosition = position;
    agent.isSwitching = false;
    const promise = { node: agent.node, incarnation: agent.voter.incarnation, term, position };
    const accepted = yield* wait(
      agent.world.request(agent, target, { method: 'take-over', from: agent.node, term, promise }, 3000),
    );
    if (accepted !== true) this.handOver();
    return accepted === true;
  }
  /** Under the mutex: a promise to somebody else may have come between. */
  *#promiseAway(term: number, target: string): Task<boolean> {
    const agent = this.#agent;
    const decision = agent.world.rules.decidePromise(agent.voter, { term, candidate: target });
    if (decision.kind === 'refuse' || !this.isActive || agent.server.role !== 'primary') return false;
    if (agent.world.options.writesSwitchoverPromise) yield* agent.save(decision.next);
    return true;
  }
}

function keepLatest(times: Map<string, number>, node: string, atMs: number): void {
  if (atMs > (times.get(node) ?? Number.NEGATIVE_INFINITY)) times.set(node, atMs);
}
