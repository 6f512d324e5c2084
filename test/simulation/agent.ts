/**
 * One node's agent in the simulation: the effects of src/agents/instance in virtual time, over the real decision functions.
 * Observe, decideNodeStep, apply; promises and questions are answered beside that loop, under the voter's mutex.
 */
import type { ClusterRecord, Member } from '../../src/api/record.ts';
import { forkLsnOf, type Position } from '../../src/core/leadership/position.ts';
import { configurationOf, synchronousStandbyNames } from '../../src/core/leadership/quorum.ts';
import type { KnownLeader, NodeStep, RecordView } from '../../src/core/leadership/step.ts';
import type { VoterState } from '../../src/core/leadership/voter.ts';
import { Election } from './agent-election.ts';
import { Leadership } from './agent-leadership.ts';
import { Process, type Task, TaskMutex, wait } from './clock.ts';
import type { Answers, Beat, Echo, Request, State } from './messages.ts';
import type { Stored } from './record-store.ts';
import { copyDisk, lineageOf } from './disk.ts';
import type { Server } from './server.ts';
import type { World } from './world.ts';

export const STORE_TIMEOUT_MS = 1000;
const STATE_INTERVAL_MS = 1000;
const LOOK_INTERVAL_MS = 1000;
const HAND_OVER_EXTRA_MS = 500;
const GUARD_INTERVAL_MS = 500;
/** A link is held for broken after this silence; states come every second. */
const LINK_SILENCE_MS = 3000;
const RECEIVER_END_LIMIT_MS = 1000;

export interface PeerView {
  state: State | null;
  isConnected: boolean;
  isRefused: boolean;
  beat: Beat | null;
  beatAtMs: number;
  heardAtMs: number;
}

/** What survives the agent: the promise file. */
export interface VoterDisk {
  voter: VoterState;
  /** The record by which this node last led. */
  remembered: ClusterRecord | null;
}

export class Agent {
  readonly world: World;
  readonly node: string;
  readonly group: string;
  readonly process: Process;
  /** Grows with each process of this node. */
  readonly life: number;
  readonly startedAtMs: number;
  readonly server: Server;
  readonly disk: VoterDisk;
  readonly mutex = new TaskMutex();
  readonly peers = new Map<string, PeerView>();
  readonly election: Election;
  leadership: Leadership | null = null;
  record: RecordView = { kind: 'unread' };
  storeVersion = 0;
  recordConfirmedSentAtMs = Number.NEGATIVE_INFINITY;
  path: {
    readonly node: string;
    readonly as: 'leader' | 'promised';
    readonly term: number;
    readonly timeline: number;
  } | null = null;
  step: NodeStep | null = null;
  isSwitching = false;
  shutdownPosition: Position | null = null;
  #isWoken = false;
  #isLooping = false;
  #fencedAtMs: number | null = null;
  #aloneSinceMs: number | null = null;
  #barrierFreeTerm = 0;
  #lookId = 0;
  #sequence = 0;

  constructor(world: World, options: { node: string; group: string; server: Server; disk: VoterDisk; life: number }) {
    this.world = world;
    this.node = options.node;
    this.group = options.group;
    this.server = options.server;
    this.disk = options.disk;
    this.life = options.life;
    this.process = new Process(world.clock);
    this.startedAtMs = world.clock.nowMs;
    this.election = new Election(this);
    for (const peer of world.nodeNames)
      if (peer !== this.node)
        this.peers.set(peer, {
          state: null,
          isConnected: false,
          isRefused: false,
          beat: null,
          beatAtMs: Number.NEGATIVE_INFINITY,
          heardAtMs: world.clock.nowMs,
        });
  }

  get nowMs(): number {
    return this.world.clock.nowMs;
  }
  get voter(): VoterState {
    return this.disk.voter;
  }
  get self(): Member {
    return { node: this.node, incarnation: this.voter.incarnation };
  }
  get accepted(): ClusterRecord | null {
    return this.record.kind === 'present' ? this.record.record : null;
  }

  start(): void {
    const { remembered } = this.disk;
    const isLed = remembered !== null && this.world.rules.mayLeadByRemembered(this.voter, remembered, this.node);
    if (this.server.role === 'primary' && isLed && this.world.options.remembersRecord)
      this.record = { kind: 'present', record: remembered };
    this.world.store.watch(this.node, (stored) => {
      if (this.world.agent(this.node) === this)
        this.process.deliver(() => void this.process.spawn(this.accept(stored, false)));
    });
    this.process.after(0, () => this.wake());
    this.#publishRegularly();
    this.#guardAlone();
  }

  /**
   * PostgreSQL has been a primary for the length of a fence without a leadership that would fence it: the agent was started beside
   * it and has not learned whether it still leads, or the record is refused.
   */
  #guardAlone(): void {
    if (this.#isUnguarded()) {
      this.#aloneSinceMs = null;
      void this.process.spawn(this.fence());
    }
    this.process.after(GUARD_INTERVAL_MS, () => this.#guardAlone());
  }
  #isUnguarded(): boolean {
    const isAlone = this.server.role === 'primary' && this.leadership === null;
    if (!isAlone) this.#aloneSinceMs = null;
    else this.#aloneSinceMs ??= this.nowMs;
    const isLong = this.#aloneSinceMs !== null && this.nowMs - this.#aloneSinceMs > this.world.timing.fenceMs;
    return isLong && this.world.options.fencesUnguarded;
  }

  #publishRegularly(): void {
    this.publish();
    for (const view of this.peers.values())
      if (view.isConnected && this.nowMs - view.heardAtMs > LINK_SILENCE_MS) {
        view.isConnected = false;
        view.isRefused = false;
      }
    this.process.after(STATE_INTERVAL_MS, () => this.#publishRegularly());
  }

  /** fsync takes what the disk takes; a slow one is slow for the promise as well. */
  *save(voter: VoterState): Task {
    yield this.server.flushMs * 2;
    while (this.server.isDiskFull) yield 100;
    const begins = voter.rewinding && !this.disk.voter.rewinding;
    this.disk.voter = voter;
    if (begins) this.world.clock.after(0, () => this.world.onRewinding(this.node));
  }

  *accept(stored: Stored, isLinearizable: boolean): Task {
    yield* this.mutex.run(() => this.#accept(stored, isLinearizable));
    this.wake();
    this.publish();
  }
  *#accept(stored: Stored, isLinearizable: boolean): Task {
    const check = this.world.rules.decideRecordSeen(this.voter, stored.record);
    if (check.kind === 'older') {
      if (isLinearizable) this.record = { kind: 'refused', reason: check.reason };
      return;
    }
    if (check.next !== this.voter) yield* this.save(check.next);
    if (this.accepted !== null && stored.record !== null && stored.record.version < this.accepted.version) return;
    this.storeVersion = stored.storeVersion;
    if (stored.record?.leader === this.node) this.disk.remembered = stored.record;
    this.record = stored.record === null ? { kind: 'absent' } : { kind: 'present', record: stored.record };
  }

  /** Linearizable; null when the store does not answer in time. */
  *readRecord(): Task<Stored | null> {
    const sentAtMs = this.nowMs;
    const stored = yield* wait(this.world.store.read(this.node, STORE_TIMEOUT_MS));
    if (stored === null) return null;
    yield* this.accept(stored, true);
    this.recordConfirmedSentAtMs = Math.max(this.recordConfirmedSentAtMs, sentAtMs);
    return stored;
  }

  wake(): void {
    this.#isWoken = true;
    if (this.#isLooping) return;
    this.#isLooping = true;
    this.process.after(0.01, () => void this.process.spawn(this.#loop()));
  }

  *#loop(): Task {
    while (this.#isWoken) {
      this.#isWoken = false;
      yield* this.#tick();
    }
    this.#isLooping = false;
  }

  *#tick(): Task {
    if (this.isSwitching) return;
    if (this.record.kind !== 'present' || this.#fencedAtMs !== null) {
      yield* this.readRecord();
      if (this.#fencedAtMs !== null && this.recordConfirmedSentAtMs > this.#fencedAtMs) this.#fencedAtMs = null;
    }
    yield this.world.random.between(0.5, 2);
    yield* this.#adoptLineage();
    yield* this.#endRewind();
    const step = this.#decide();
    if (this.step?.kind !== step.kind || this.step.reason.code !== step.reason.code)
      this.world.trace(this.node, `${step.kind} ${step.reason.code}: ${step.reason.message}`);
    this.step = step;
    yield* this.#apply(step);
    this.election.check();
    const untilMs = step.kind === 'wait' && step.untilMs !== null ? step.untilMs : this.nowMs + this.#pauseMs(step);
    const id = ++this.#lookId;
    this.process.after(Math.max(1, untilMs - this.nowMs), () => {
      if (id === this.#lookId) this.wake();
    });
  }
  #pauseMs(step: NodeStep): number {
    if (this.server.role === 'starting' || (step.kind === 'wait' && step.reason.code === 'PositionUnknown')) return 20;
    return this.record.kind === 'present' ? LOOK_INTERVAL_MS : 500;
  }

  #decide(): NodeStep {
    const { server } = this;
    const view = server.view();
    const postgres =
      server.role === 'down'
        ? ({ kind: 'stopped', sinceMs: server.stoppedSinceMs } as const)
        : server.role === 'starting'
          ? ({ kind: 'starting', as: server.startsAs } as const)
          : server.role === 'primary'
            ? ({ kind: 'primary' } as const)
            : ({
                kind: 'standby',
                flushLsn: view === null ? null : BigInt(view.flushLsn),
                isReplayedToEnd: view?.isReplayedToEnd ?? false,
              } as const);
    const detectionMs = this.world.timing.detectionMs;
    return this.world.rules.decideNodeStep({
      nowMs: this.nowMs,
      self: this.node,
      bootstraps: false,
      voter: this.voter,
      record: this.record,
      data: server.disk.wal === null ? 'none' : 'present',
      systemIdentifier: '1',
      dataProblem: null,
      peersKnowDatabase: true,
      postgres,
      leader: this.#knownLeader(),
      path: this.path,
      handOverMs: this.#otherMembersHeard() > 0 ? detectionMs + HAND_OVER_EXTRA_MS : 0,
      isFenced: this.#fencedAtMs !== null,
    });
  }

  /**
   * The agent may have died between a promotion and the writing of its lineage: a history file of a higher timeline than it has
   * followed is of its own promotion. Whoever leads by now, that is what the disk holds.
   */
  *#adoptLineage(): Task {
    const { voter, server } = this;
    if (!this.world.options.reconcilesLineage || server.role === 'standby' || server.role === 'starting') return;
    if (voter.lineage === null || voter.rewinding || server.disk.wal === null || server.disk.isMangled) return;
    if (server.disk.timeline <= voter.lineage.timeline) return;
    const lineage = lineageOf(server.disk);
    const followedTerm = Math.max(voter.followedTerm, lineage.timeline);
    yield* this.mutex.run(() => this.save({ ...this.voter, lineage, followedTerm }));
  }

  #knownLeader(): KnownLeader | null {
    let best: KnownLeader | null = null;
    for (const { state, isConnected } of this.peers.values()) {
      if (!isConnected || state === null || state.leading === null || state.leaderView.leader !== state.node) continue;
      if (best !== null && best.term >= state.leaderView.term) continue;
      best = {
        term: state.leaderView.term,
        node: state.node,
        lineage: state.leading.lineage,
        isPublished: state.leaderView.phase === 'published',
        isRewindable: state.leading.isRewindable,
      };
    }
    return best;
  }
  #otherMembersHeard(): number {
    const members = this.accepted?.members ?? [];
    return members.filter((member) => this.peers.get(member.node)?.isConnected === true).length;
  }

  *#apply(step: NodeStep): Task {
    if (step.kind !== 'lead' && !(step.kind === 'wait' && step.reason.code === 'HandingOver')) this.endLeadership();
    switch (step.kind) {
      case 'clone':
        return yield* this.#clone(step.from);
      case 'start':
        return yield* this.#start(step.as);
      case 'stop':
        this.closePath();
        return yield* this.stopServer(step.mode);
      case 'promote':
        return yield* this.#promote(step.record);
      case 'lead':
        return this.#lead(step.record.term);
      case 'follow':
        return yield* this.#follow(step.leader);
      case 'rewind':
        return yield* this.#rewind(step.leader);
      default:
        this.#keepStandbySetting();
    }
  }

  endLeadership(): void {
    this.leadership?.stop();
    this.leadership = null;
    this.publish();
  }
  closePath(): void {
    this.path = null;
    this.server.receiver?.endAtStandby('path');
  }
  /** A server that hangs is killed after a while. */
  *stopServer(mode: 'immediate' | 'fast'): Task {
    if (this.server.role === 'down') return;
    yield mode === 'fast' ? this.world.random.between(20, 120) : this.world.random.between(3, 15);
    if (this.server.process.isFrozen || this.server.isPostmasterStalled) yield 500;
    this.server.crash();
    this.wake();
  }
  #keepStandbySetting(): void {
    const record = this.accepted;
    if (record === null || this.server.role !== 'standby') return;
    const setting = synchronousStandbyNames(configurationOf(record), this.node);
    if (this.server.disk.setting !== setting) this.server.load(setting);
  }

  *#start(as: 'primary' | 'standby'): Task {
    const record = this.accepted;
    this.shutdownPosition = null;
    if (record === null || this.server.disk.wal === null || this.server.disk.isMangled) return;
    if (as === 'standby' || !this.world.options.keepsSettingUntilBarrier)
      this.server.disk.setting = synchronousStandbyNames(configurationOf(record), this.node);
    this.server.start(as);
    while (this.server.role === 'starting') yield 20;
    this.wake();
  }

  *#promote(record: ClusterRecord): Task {
    const before = this.voter.lineage;
    if (before === null) return;
    this.closePath();
    const setting = synchronousStandbyNames(configurationOf(record), this.node);
    const isArming = this.server.setting === '' && setting !== '';
    if (this.server.disk.setting !== setting || isArming) {
      this.server.load(setting);
      while (this.server.setting !== setting && this.server.role === 'standby') yield 2;
      if (isArming) yield* wait(this.server.checkpoint());
    }
    yield* this.mutex.run(() => this.#endRecovery(record));
    this.wake();
  }
  /** Under the mutex: a promise that comes meanwhile waits, and then finds a primary. */
  *#endRecovery(record: ClusterRecord): Task {
    if (this.voter.promisedTerm > record.term || this.server.role !== 'standby') return;
    const isPromoted = yield* wait(this.process.within(this.server.promote(record.term), 5000));
    if (isPromoted !== true) return yield* this.stopServer('immediate');
    yield* this.save({ ...this.voter, lineage: lineageOf(this.server.disk), followedTerm: record.term });
    this.#barrierFreeTerm = record.term;
  }

  #lead(term: number): void {
    const isLed = this.leadership?.isActive === true && this.leadership.phase !== 'handing-over';
    if (isLed || (this.leadership !== null && this.leadership.isSwitching)) return;
    this.leadership?.stop();
    this.leadership = new Leadership(this, this.#barrierFreeTerm !== term);
    this.#barrierFreeTerm = 0;
    this.leadership.start();
    this.publish();
  }

  *#follow(leader: KnownLeader): Task {
    yield* this.mutex.run(() => this.#followHeld(leader));
    this.wake();
  }
  *#followHeld(leader: KnownLeader): Task {
    if (this.path !== null && this.path.node !== leader.node) this.closePath();
    const untilMs = this.nowMs + RECEIVER_END_LIMIT_MS;
    while (this.path === null && this.server.receiver !== null && this.nowMs < untilMs) yield 5;
    const view = this.server.view();
    if (view?.role !== 'standby' || (this.path === null && this.server.receiver !== null)) return;
    const own = { flushLsn: BigInt(view.flushLsn), isReplayedToEnd: view.isReplayedToEnd };
    const decision = this.world.rules.decideFollow(this.voter, leader, own);
    if (decision.kind !== 'stream') return;
    yield* this.save(decision.next);
    this.path = { node: leader.node, as: 'leader', term: leader.term, timeline: leader.lineage.timeline };
    this.#keepStandbySetting();
  }

  *#rewind(leader: KnownLeader): Task {
    yield* this.mutex.run(() =>
      this.save({ ...this.voter, rewinding: true, followedTerm: Math.max(this.voter.followedTerm, leader.term) }),
    );
    this.closePath();
    yield* this.stopServer('fast');
    const { server } = this;
    server.disk.isMangled = true;
    yield this.world.random.between(100, 700);
    const source = this.world.server(leader.node);
    if (!source.isUp || this.world.network.isCut(this.node, leader.node))
      return void this.process.after(300, () => this.wake());
    server.disk = copyDisk(source.disk, server.disk);
    server.disk.isMangled = false;
    yield* this.mutex.run(() => this.save({ ...this.voter, lineage: leader.lineage, rewinding: false, rewound: true }));
    this.wake();
  }

  /** A rewound copy has passed the fork again. */
  *#endRewind(): Task {
    const { lineage, rewound } = this.voter;
    const view = this.server.view();
    if (rewound !== true || lineage === null || view?.role !== 'standby' || !view.isReplayedToEnd) return;
    if (BigInt(view.flushLsn) >= forkLsnOf(lineage))
      yield* this.mutex.run(() => this.save({ ...this.voter, rewound: false }));
  }

  *#clone(leader: KnownLeader): Task {
    if (this.voter.lineage !== null)
      yield* this.mutex.run(() =>
        this.save({ ...this.voter, incarnation: this.world.newIncarnation(), lineage: null, rewinding: false }),
      );
    yield this.world.random.between(200, 1200);
    const source = this.world.server(leader.node);
    if (!source.isUp || this.world.network.isCut(this.node, leader.node))
      return void this.process.after(300, () => this.wake());
    this.server.disk = copyDisk(source.disk, this.server.disk);
    yield* this.mutex.run(() =>
      this.save({ ...this.voter, lineage: leader.lineage, followedTerm: leader.term, rewinding: false }),
    );
    this.wake();
  }

  *fence(): Task {
    this.#fencedAtMs = this.nowMs;
    this.endLeadership();
    this.closePath();
    yield* this.stopServer('immediate');
  }

  onServerChange(): void {
    const { leadership } = this;
    if (this.server.role === 'down' && leadership?.isActive === true && !leadership.isSwitching) {
      if (this.#fencedAtMs === null) leadership.handOver();
    }
    this.publish();
    this.wake();
    this.election.check();
  }

  state(): State {
    const record = this.accepted;
    const leads = this.leadership?.isActive === true && record?.leader === this.node;
    const { lineage } = this.voter;
    return {
      node: this.node,
      life: this.life,
      sequence: ++this.#sequence,
      incarnation: this.voter.incarnation,
      leaderView: {
        term: record?.term ?? 0,
        version: record?.version ?? 0,
        leader: record?.leader ?? null,
        phase: leads ? (this.leadership?.phase ?? 'none') : 'elected',
      },
      promisedTerm: this.voter.promisedTerm,
      leading:
        leads && lineage !== null && this.leadership !== null
          ? { lineage, isRewindable: this.leadership.isRewindable, handsOver: this.leadership.handsOver }
          : null,
    };
  }

  publish(): void {
    if (!this.process.isAlive || this.process.isFrozen) return;
    this.world.publish(this, this.state());
  }

  onState(state: State): void {
    const view = this.peers.get(state.node);
    if (view === undefined || (view.state?.life === state.life && view.state.sequence > state.sequence)) return;
    const wasNews =
      view.state?.leaderView.term !== state.leaderView.term || view.state.leaderView.phase !== state.leaderView.phase;
    const handed = state.leading?.handsOver !== view.state?.leading?.handsOver;
    const known = this.accepted;
    if (known !== null && (state.leaderView.version > known.version || state.leaderView.term > known.term))
      void this.process.spawn(this.readRecord());
    view.state = state;
    view.isConnected = true;
    view.isRefused = false;
    view.heardAtMs = this.nowMs;
    if (wasNews || handed || state.leading?.isRewindable === true) this.wake();
    if (handed) this.election.check();
  }
  onRefused(node: string): void {
    const view = this.peers.get(node);
    if (view === undefined) return;
    view.isConnected = false;
    view.isRefused = true;
    this.election.check();
    this.wake();
  }
  onBeat(node: string, beat: Beat): Echo {
    const view = this.peers.get(node);
    if (view !== undefined) {
      view.beat = beat;
      view.beatAtMs = this.nowMs;
      view.heardAtMs = this.nowMs;
      view.isConnected = true;
    }
    return { nonce: beat.nonce, incarnation: this.voter.incarnation, promisedTerm: this.voter.promisedTerm };
  }

  *answer(request: Request): Task<Answers[Request['method']]> {
    switch (request.method) {
      case 'ask':
        return yield* this.election.answerAsk(request.leader);
      case 'promise':
        return yield* this.election.promise(request);
      case 'take-over':
        return this.election.takeOver(request);
    }
  }
}
