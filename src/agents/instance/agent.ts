/**
 * One node's agent: the loop observe -> decide (core/leadership/step.ts) -> apply, and what feeds it.
 *
 *   store watch --> record --+                    +--> start, stop, promote, follow, clone, rewind (one at a time)
 *   peer streams -> leader --+--> NodeSnapshot ---+    by the StepExecutor
 *   PostgreSQL ---> state ---+                    +--> lead: Leadership (beats, probe, fence, members)
 *   suspicion --> Election (ask, promise, swap) --> record
 *
 *   decision-loop.ts  when to look      node-snapshot.ts  observe, decide      step-executor.ts      apply
 *   peer-hearing.ts   the other nodes   server-control.ts PostgreSQL           leadership-holder.ts  leadership and fence
 *
 * Promises are answered beside the loop, under the voter's mutex: they must not wait for a clone or a start.
 */
import type { InstanceConfig } from '../../api/agent-config.ts';
import type { EchoMessage, RequestMessage, ResponseMessage, StateMessage } from '../../api/peer-stream.ts';
import { STATE_INTERVAL_MS } from '../../api/peer-stream.ts';
import { parseLsnOrNull } from '../../base/lsn.ts';
import { delay } from '../../base/wait-until.ts';
import { configurationOf, isMember } from '../../core/leadership/quorum.ts';
import type { NodeStep } from '../../core/leadership/step.ts';
import { mayLeadByRemembered, type Reason } from '../../core/leadership/voter.ts';
import { DataDirectory } from './data-directory.ts';
import { DecisionLoop, type NextLook } from './decision-loop.ts';
import { DiskSpace } from './disk-space.ts';
import { Election } from './election.ts';
import type { Leadership } from './leadership.ts';
import { LeadershipHolder } from './leadership-holder.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import type { NodeContext } from './node-context.ts';
import { observeAndDecide } from './node-snapshot.ts';
import { activityOf, nodeState } from './node-state.ts';
import { PeerHearing } from './peer-hearing.ts';
import type { PeerServer } from './peer-server.ts';
import { PostgresObserver } from './postgres-view.ts';
import { Promotion } from './promotion.ts';
import { serveAsRelay } from './relay-slots.ts';
import { RelayWatch } from './relay-watch.ts';
import { ServerControl } from './server-control.ts';
import { SlotKeeper } from './slot-keeper.ts';
import { Standby } from './standby.ts';
import { StepExecutor } from './step-executor.ts';
import { Switchover } from './switchover.ts';

const STARTING_POLL_MS = 20;
const WITHOUT_RECORD_POLL_MS = 500;
const FOLLOWING_POLL_MS = 1000;
/** The same while nothing is behind: there is nothing to see. */
const LEVEL_POLL_MS = 2000;
/** A leader hears of its PostgreSQL's end at once; what is left to look at is slots and settings. */
const LEADING_POLL_MS = 5000;
/** Lags are told when they change by a power of two above this; below, all read nodes are alike. */
const LAG_STEP_BYTES = 64 * 1024;
/** Before its own end a leader gives the hand-over this long. */
const HAND_OVER_LIMIT_MS = 5000;
const CLOSE_LIMIT_MS = 1000;
const SERVES_TIMEOUT_MS = 800;
/** How often it is looked whether PostgreSQL is a primary that nobody guards. */
const GUARD_INTERVAL_MS = 500;
/** A disk that takes 100 MiB a second fills what must be free in 160 ms: neither this nor ten times as often would always come first. */
const DISK_INTERVAL_MS = 2000;

export class InstanceAgent {
  readonly node: NodeContext;
  readonly observer: PostgresObserver;
  readonly election: Election;
  readonly switchover: Switchover;
  readonly data: DataDirectory;
  readonly promotion: Promotion;
  readonly disk: DiskSpace;
  readonly lease: LeaseKeeper;
  readonly #server: PeerServer;
  readonly #loop: DecisionLoop;
  readonly #peers: PeerHearing;
  readonly #control: ServerControl;
  readonly #holder: LeadershipHolder;
  readonly #standby: Standby;
  readonly #executor: StepExecutor;
  readonly #relay = new RelayWatch();
  #publishSoon = false;
  #lagStep = 0;
  #loadedGeneration: number;

  constructor(node: NodeContext, server: PeerServer) {
    this.node = node;
    this.#loadedGeneration = node.config.generation;
    this.#server = server;
    this.observer = new PostgresObserver(node.postmaster, node.sql);
    const slots = new SlotKeeper(node);
    this.data = new DataDirectory(node);
    this.disk = new DiskSpace(node.config.paths.stateDirectory);
    this.#standby = new Standby(node, this.observer, slots);
    this.lease = new LeaseKeeper(node, {
      isWanted: () => this.mayWrite() && this.leadership?.isHung() !== true,
      onLapse: (reason) => this.#holder.fence(reason),
    });
    this.#control = new ServerControl(node, this.observer, this.lease);
    this.#holder = new LeadershipHolder(node, server, this.observer, this.#control);
    this.election = new Election(node, this.observer, {
      isServingLeader: () => this.#holder.isServing,
      isLeading: () => this.#holder.isActive || this.switchover.isRunning,
      fenceForPromise: () => this.#holder.fenceForPromise(this.promotion.isPromoting),
      shutdownPosition: () => this.#control.shutdownPosition,
      hasRoom: () => !this.disk.isFull,
      fetch: (from, until) => this.#standby.fetch(from, until),
    });
    this.promotion = new Promotion(node, this.election);
    this.switchover = new Switchover(node, this.observer, this.election, {
      leadership: () => this.leadership,
      stopForHandOver: () => this.#control.stopForHandOver(),
    });
    this.#peers = new PeerHearing(node, this.observer, {
      onNews: () => this.#onPeerNews(),
      onLink: () => this.election.check(),
    });
    this.#executor = new StepExecutor({
      node,
      data: this.data,
      control: this.#control,
      leadership: this.#holder,
      promotion: this.promotion,
      slots,
      standby: this.#standby,
      switchover: this.switchover,
    });
    this.#loop = new DecisionLoop(node.pulse, {
      run: () => this.#round(),
      onFailure: (error, retryMs) => this.#onFailedRound(error, retryMs),
    });
    node.connect({ wake: () => this.#loop.wake(), changed: () => this.#publish() });
    node.postmaster.on('exit', () => this.#onPostgresExit());
  }

  get leadership(): Leadership | null {
    return this.#holder.current;
  }

  /** Generation of the configuration that runs: PostgreSQL has taken what a reload changes, and told what waits for a restart. */
  get loadedGeneration(): number {
    return this.#loadedGeneration;
  }

  /** Awaited before PostgreSQL may become a primary. */
  set beforeOpening(work: () => Promise<void>) {
    this.#control.beforeOpening = work;
  }

  async start(): Promise<void> {
    const { node } = this;
    await this.data.inspect();
    // What an earlier process of this agent wrote stands until the record is known: it may be stricter than the record.
    await node.files.restore();
    if (this.data.hasData && (await node.postmaster.adopt()))
      node.log.info({ pid: node.postmaster.pid }, 'adopted the running PostgreSQL');
    await this.observer.observe(2000);
    await this.#goOnByRemembered();
    this.#peers.connect();
    node.store.watch(
      (stored) => {
        node
          .acceptRecord(stored, { isLinearizable: false })
          .catch((error: Error) => node.log.warn({ error: error.message }, 'record not taken'));
      },
      (error) => node.log.debug({ error: error.message }, 'watch'),
    );
    node.pulse.every(STATE_INTERVAL_MS, () => this.#server.publish(this.state()));
    node.pulse.every(GUARD_INTERVAL_MS, () => this.#holder.guardAlone());
    await this.disk.look();
    node.pulse.every(DISK_INTERVAL_MS, () => void this.#lookAtDisk());
    node.wake();
  }

  /**
   * The agent before this one led, and PostgreSQL still runs as it left it: the coordination service may be away. Where the lease
   * rule holds, nobody leads without it.
   */
  async #goOnByRemembered(): Promise<void> {
    const { node } = this;
    if (this.lease.isNeeded) return;
    const record = this.observer.view.state.kind === 'primary' ? await node.remembered.load() : null;
    if (record === null || !mayLeadByRemembered(node.voter, record, node.config.node)) return;
    node.record = { kind: 'present', record };
    node.log.info({ term: record.term, version: record.version }, 'goes on by the record that it remembers');
  }

  /** New configuration of the platform: peers, settings, timing. */
  async reconfigure(config: InstanceConfig): Promise<void> {
    // First: new names may need the new trust bundle.
    const hasNewCertificate = await this.node.credentials.reload();
    this.node.config = { ...config, peers: this.#peers.settle(config.peers) };
    this.#peers.connect();
    const isRunning = this.observer.view.state.kind !== 'stopped';
    const before = isRunning ? await this.observer.readClock() : null;
    const isReloaded = (await this.node.files.write(config, {})) || hasNewCertificate;
    if (isReloaded) this.node.postmaster.reload();
    if (isRunning) await this.observer.readPendingRestart(isReloaded ? before : null).catch(() => []);
    this.leadership?.keepRoles();
    this.#loadedGeneration = config.generation;
    this.node.wake();
    this.node.changed();
  }

  /** Ends the agent. `stop`: PostgreSQL as well (handing over first when it leads); `release`: leaves it for the next agent. */
  async shutdown(mode: 'stop' | 'release'): Promise<void> {
    const { node } = this;
    this.#control.startNoMore();
    this.#peers.endTrials();
    if (mode === 'stop' && this.leadership?.phase === 'published' && this.#hasSuccessor())
      await Promise.race([
        this.switchover
          .run(null)
          .catch((error: Error) => node.log.warn({ error: error.message }, 'no hand-over before the stop')),
        delay(HAND_OVER_LIMIT_MS),
      ]);
    this.#loop.stop();
    this.leadership?.stop();
    this.lease.stop();
    this.election.stop();
    node.pulse.stop();
    if (mode === 'stop') await this.#control.stopFast();
    else node.postmaster.release();
    this.#peers.close();
    // What remains are connections; whoever holds one open does not keep this process.
    const closing = Promise.all([node.path.stop(), node.sql.close(), this.#server.close(), node.store.close()]);
    await Promise.race([closing, delay(CLOSE_LIMIT_MS)]);
  }

  /** Somebody whom a leader that ends could hand over to; where commits stay in a group, a node of another one too. */
  #hasSuccessor(): boolean {
    if (this.#peers.otherMembers().length > 0) return true;
    return this.lease.isNeeded && this.#peers.otherCandidates().length > 0;
  }

  async #round(): Promise<NextLook | null> {
    const { node } = this;
    // Between its promise and the end of its shutdown a switching leader must not be "helped" by an immediate stop.
    if (this.switchover.isStopping) return null;
    if (node.record.kind === 'unread' || this.#holder.isFenced || node.record.kind === 'refused')
      await this.#confirmRecord();
    // A server that has just ended may have ended for want of room: that must be known before it is started again.
    if (node.postmaster.pid === null) await this.disk.look();
    await this.observer.observe(1000);
    this.#publishLag();
    await this.#standby.endRewind();
    this.#lookAtRelay();
    await this.#renewLease();
    const step = await observeAndDecide({
      node,
      observer: this.observer,
      data: this.data,
      disk: this.disk,
      lease: this.lease,
      leadership: this.#holder,
      peers: this.#peers,
      relay: this.#relay,
      switchover: this.switchover,
    });
    this.#show(step);
    await this.#executor.apply(step);
    this.lease.keep();
    this.election.check();
    const untilMs = step.kind === 'wait' ? step.untilMs : null;
    if (untilMs !== null) return { atMs: untilMs, isPunctual: true };
    return { atMs: performance.now() + this.#pollMs(step), isPunctual: false };
  }

  #lookAtRelay(): void {
    const { path, links, acceptedRecord } = this.node;
    const beat = links.get(acceptedRecord?.leader ?? '')?.view.beat;
    this.#relay.look({
      relay: path.target?.isRelay === true ? path.target.node : null,
      flushLsn: this.observer.view.flushLsn,
      leaderLsn: parseLsnOrNull(beat?.flushLsn ?? null),
      nowMs: performance.now(),
    });
  }

  #onFailedRound({ code, message }: Error & { code?: string }, retryMs: number): void {
    const { node } = this;
    node.log.error({ error: message, code, retryMs }, 'step failed');
    node.setActivity(node.activity, this.disk.problem ?? { code: code ?? 'StepFailed', message });
  }

  #pollMs(step: NodeStep): number {
    const { state } = this.observer.view;
    if (state.kind === 'starting') return STARTING_POLL_MS;
    if (state.kind === 'standby' && step.kind === 'wait' && step.reason.code === 'PositionUnknown')
      return STARTING_POLL_MS;
    if (this.node.record.kind !== 'present') return WITHOUT_RECORD_POLL_MS;
    if (step.kind === 'lead') return LEADING_POLL_MS;
    return step.reason.code === 'Following' && this.#lagStep === 0 ? LEVEL_POLL_MS : FOLLOWING_POLL_MS;
  }

  #show(step: NodeStep): void {
    const problem = step.kind === 'start' ? this.#control.startProblem : null;
    const reason = this.disk.problem ?? problem ?? this.#whyNobodyLeads(step) ?? step.reason;
    const isStarting = this.observer.view.state.kind === 'starting';
    const activity = activityOf(step, { isFenced: this.#holder.isFenced, isStarting });
    this.node.setActivity(problem === null ? activity : 'blocked', reason);
  }

  /** A node that waits for a lost leader, and could not elect another. */
  #whyNobodyLeads({ reason }: NodeStep): Reason | null {
    const { problem } = this.election;
    if (problem === null || reason.code !== 'WaitingForLeader') return null;
    return { code: 'ElectionWaits', message: `${reason.message}; another cannot be elected yet: ${problem}` };
  }

  async #lookAtDisk(): Promise<void> {
    const wasFull = this.disk.isFull;
    await this.disk.look();
    // While it is full, the free space that it tells changes.
    if (wasFull || this.disk.isFull) this.node.wake();
  }

  async #confirmRecord(): Promise<void> {
    try {
      await this.node.readRecord();
      this.#holder.liftFence();
    } catch (error) {
      this.node.log.debug({ error: (error as Error).message }, 'record not read');
    }
  }

  /** A leader that has not renewed its lease does so before anything else; not for a server that does not start. */
  async #renewLease(): Promise<void> {
    const { node, lease } = this;
    const record = node.acceptedRecord;
    if (!lease.isNeeded || lease.isFresh || record === null || !node.isLeaderByRecord) return;
    if (!this.data.hasData || node.voter.promisedTerm > record.term || !this.isVotingMember()) return;
    if (this.#control.isPausing || this.leadership?.phase === 'handing-over') return;
    await lease.renew();
  }

  #onPostgresExit(): void {
    this.#control.noteExit();
    this.observer.forget();
    if (!this.switchover.isRunning && this.#holder.isActive) {
      this.node.log.warn('PostgreSQL has ended');
      this.leadership?.handOver();
    }
    this.node.wake();
    this.node.changed();
  }

  #onPeerNews(): void {
    this.election.check();
    this.leadership?.lookAtMembers();
    this.node.wake();
  }

  /**
   * Stops and starts PostgreSQL, so that settings take effect that a reload does not change. A leader hands over first where
   * somebody can take over. Throws what the switchover throws.
   */
  async restartPostgres(): Promise<void> {
    if (this.leadership?.phase === 'published' && this.#peers.otherMembers().length > 0) {
      await this.switchover.run(null);
      return;
    }
    this.leadership?.handOver();
    await this.#control.stopFast();
  }

  async onRequest(from: string, request: RequestMessage): Promise<Omit<ResponseMessage, 'type' | 'id'>> {
    switch (request.method) {
      case 'ask':
        return { ask: await this.election.voting.answerAsk(request.leader) };
      case 'promise':
        return { promise: await this.election.voting.promise({ term: request.term, candidate: from }) };
      case 'take-over':
        return { accepted: this.switchover.accept(from, request) };
      case 'serves':
        return { accepted: await this.#serves(from, request) };
    }
  }

  /** For a receiver that has just reached this node's PostgreSQL: what it is now, not what it was last seen to be. */
  async #serves(from: string, request: Extract<RequestMessage, { method: 'serves' }>): Promise<boolean> {
    const { node } = this;
    if (request.as === 'relay')
      return await node.voterMutex.run(
        async () =>
          !this.promotion.isPromoting &&
          (await serveAsRelay(node, this.observer, { from, timeline: request.timeline })),
      );
    const { state } = await this.observer.observe(SERVES_TIMEOUT_MS);
    const { voter, acceptedRecord: record } = node;
    if (voter.lineage?.timeline !== request.timeline || this.promotion.isPromoting) return false;
    if (request.as === 'promised') return state.kind === 'standby' && voter.promisedTerm === request.term;
    // By the record as well: between a promotion and the writing of its lineage the file still has the former timeline.
    return state.kind === 'primary' && node.isLeaderByRecord && record?.timeline === request.timeline;
  }

  onEcho(from: string, echo: EchoMessage): void {
    this.leadership?.onEcho(from, echo);
  }

  /** The published lag is refreshed when it has become another order of magnitude; the rest waits for the next state. */
  #publishLag(): void {
    const lagBytes = this.state().lagBytes ?? 0;
    const step = lagBytes < LAG_STEP_BYTES ? 0 : Math.floor(Math.log2(lagBytes / LAG_STEP_BYTES)) + 1;
    if (step === this.#lagStep) return;
    this.#lagStep = step;
    this.#publish();
  }

  /** Soon, and once for several changes in one turn. */
  #publish(): void {
    if (this.#publishSoon || this.#loop.isStopped) return;
    this.#publishSoon = true;
    setImmediate(() => {
      this.#publishSoon = false;
      this.#server.publish(this.state());
    });
  }

  state(): StateMessage {
    return nodeState(this.node, this.observer.view, this.leadership);
  }

  isReady(): boolean {
    const { state } = this.observer.view;
    if (state.kind === 'primary') return this.leadership?.phase === 'published';
    return state.kind === 'standby' && this.node.path.target !== null && this.observer.view.replayLsn !== null;
  }

  /** PostgreSQL is, or may become at any moment, a primary: what the watchdog stops when this agent falls silent. */
  mayWrite(): boolean {
    if (this.#control.isOpening) return true;
    return this.node.postmaster.pid !== null && (this.#control.mayBePrimary || this.#holder.isActive);
  }

  isVotingMember(): boolean {
    const record = this.node.acceptedRecord;
    return record !== null && isMember(configurationOf(record), this.node.self);
  }
}
