/**
 * One node's agent: the loop observe -> decide (core/leadership/step.ts) -> apply, and what feeds it.
 *
 *   store watch --> record --+                      +--> start, stop, promote, follow, clone, rewind (one at a time)
 *   peer streams -> leader --+--> decideNodeStep ---+
 *   PostgreSQL ---> state ---+                      +--> lead: Leadership (beats, probe, fence, members)
 *   suspicion --> Election (ask, promise, swap) --> record
 *
 * Promises are answered beside the loop, under the voter's mutex: they must not wait for a clone or a start.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstanceConfig } from '../../api/agent-config.ts';
import type { RequestMessage, ResponseMessage, StateMessage } from '../../api/peer-stream.ts';
import { STATE_INTERVAL_MS } from '../../api/peer-stream.ts';
import { readFileIfPresent, writeFileAtomically } from '../../base/durable-file.ts';
import { formatLsnOrNull } from '../../base/lsn.ts';
import { delay } from '../../base/wait-until.ts';
import type { Position } from '../../core/leadership/position.ts';
import { FENCE_STOP_MS } from '../../core/leadership/lease.ts';
import { configurationOf, isMember, synchronousStandbyNames } from '../../core/leadership/quorum.ts';
import { mayLeadByRemembered, type Reason } from '../../core/leadership/voter.ts';
import { decideNodeStep, type NodeSnapshot, type NodeStep } from '../../core/leadership/step.ts';
import { readControlData } from './control-file.ts';
import { DataDirectory } from './data-directory.ts';
import { DiskSpace } from './disk-space.ts';
import { Election } from './election.ts';
import { Leadership } from './leadership.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import type { NodeContext } from './node-context.ts';
import { knownLeader, nodeState } from './node-state.ts';
import { PeerLink, type PeerView } from './peer-links.ts';
import { ChangedEndpoints, withPeer } from '../peer-stream/changed-endpoints.ts';
import type { PeerServer } from './peer-server.ts';
import { PostgresObserver } from './postgres-view.ts';
import { Promotion } from './promotion.ts';
import { lastFatalMessage } from './server-log.ts';
import { SlotKeeper } from './slot-keeper.ts';
import { Standby } from './standby.ts';
import { readStandbyFloors } from './standby-floors.ts';
import { Switchover } from './switchover.ts';
import { readNewestLineage, removeReservedTimelines } from './timelines.ts';

const STARTING_POLL_MS = 20;
const FOLLOWING_POLL_MS = 1000;
/** The same while nothing is behind: there is nothing to see. */
const LEVEL_POLL_MS = 2000;
/** A leader hears of its PostgreSQL's end at once; what is left to look at is slots and settings. */
const LEADING_POLL_MS = 5000;
/** At 3 s of fence every second beat is echoed. */
const ECHOES_PER_FENCE = 6;
/** A beat that comes this much early still counts as due, so that the rhythm does not slip by a whole beat. */
const ECHO_SLACK_MS = 50;
/** Lags are told when they change by a power of two above this; below, all read nodes are alike. */
const LAG_STEP_BYTES = 64 * 1024;
/** Pause after a step that failed, doubled up to the maximum: a broken disk is not asked a hundred times a second. */
const FAILURE_PAUSE_MS = 200;
const FAILURE_PAUSE_MS_MAX = 10_000;
/** Before its own end a leader gives the hand-over this long. */
const HAND_OVER_LIMIT_MS = 5000;
const CLOSE_LIMIT_MS = 1000;
/** One failed start can be a crash that repeats once; after this many a person should look. */
const START_FAILURES_BLOCKED = 3;
/** Others that hear a crashed leader get this much longer than `detection` to take over. */
const HAND_OVER_EXTRA_MS = 500;
/** A leader without room asks the others to lead this often: when nobody could, it would stop again and again. */
const FULL_HAND_OVER_INTERVAL_MS = 60_000;
const AUTO_CONF_TEXT = '# Emptied by pgspan at each start: set spec.postgresql.parameters instead of ALTER SYSTEM.\n';
const SERVES_TIMEOUT_MS = 800;
/** How often it is looked whether PostgreSQL is a primary that nobody guards. */
const GUARD_INTERVAL_MS = 500;
/** A disk that takes 100 MiB a second fills what must be free in 160 ms: neither this nor ten times as often would always come first. */
const DISK_INTERVAL_MS = 2000;
/** A fast shutdown waits for standbys to take the last WAL; a dead one is not waited for longer. */
const FAST_STOP_LIMIT_MS = 10_000;

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
  readonly #slots: SlotKeeper;
  readonly #standby: Standby;
  #leadership: Leadership | null = null;
  /** Awaited before PostgreSQL may become a primary. */
  beforeOpening: () => Promise<void> = async () => {};
  #isOpening = false;
  #isRunning = false;
  #isWoken = false;
  #isStopping = false;
  /** A signal has asked this process to end: PostgreSQL is not started again. */
  #isEnding = false;
  #callOffSleep: () => void = () => {};
  #publishSoon = false;
  /** Set after a fence; cleared by a record confirmed later. */
  #fencedAtMs: number | null = null;
  /** This process has just made the database and the record: no older swap of this node can be in flight. */
  #isNewDatabase = false;
  #failures = 0;
  #lagStep = 0;
  /** By peer: why it is not reached, as last logged; null: it is reached. */
  readonly #linkNews = new Map<string, string | null>();
  /** By peer: what its last state said, as far as anything follows from it. */
  readonly #peerNews = new Map<string, string>();
  #echoed = { node: '', promisedTerm: -1, atMs: 0 };
  #startFailures = 0;
  #loadedGeneration: number;
  /** Peers with new names that are dialled by their former ones until the new ones are reached. */
  readonly #changedEndpoints: ChangedEndpoints;
  /** PostgreSQL does not come up; the reason for people. */
  #startProblem: Reason | null = null;
  #startNotBeforeMs = 0;
  #shutdownPosition: Position | null = null;
  /** Since when PostgreSQL is a primary without a leadership. */
  #aloneSinceMs: number | null = null;
  #fullHandOverAtMs = Number.NEGATIVE_INFINITY;

  constructor(node: NodeContext, server: PeerServer) {
    this.node = node;
    this.#loadedGeneration = node.config.generation;
    this.#server = server;
    this.observer = new PostgresObserver(node.postmaster, node.sql);
    this.#slots = new SlotKeeper(node);
    this.data = new DataDirectory(node);
    this.disk = new DiskSpace(node.config.paths.stateDirectory);
    this.#standby = new Standby(node, this.observer, this.#slots);
    this.lease = new LeaseKeeper(node, {
      isWanted: () => this.mayWrite() && this.#leadership?.isHung() !== true,
      onLapse: (reason) => this.#fence(reason),
    });
    this.election = new Election(node, this.observer, {
      isServingLeader: () => this.#isServingLeader(),
      isLeading: () => this.#leadership?.isActive === true || this.switchover.isRunning,
      fenceForPromise: () => this.#fenceForPromise(),
      shutdownPosition: () => this.#shutdownPosition,
      hasRoom: () => !this.disk.isFull,
      fetch: (from, until) => this.#standby.fetch(from, until),
    });
    this.promotion = new Promotion(node, this.election);
    this.switchover = new Switchover(node, this.observer, this.election, {
      leadership: () => this.#leadership,
      stopForHandOver: () => this.#stopForHandOver(),
    });
    this.#changedEndpoints = new ChangedEndpoints({
      globalCluster: node.config.globalCluster,
      tls: node.credentials,
      sourceAddress: node.config.listen.address,
      onReached: (peer) => {
        node.config = { ...node.config, peers: withPeer(node.config.peers, peer) };
        this.connectPeers();
        node.log.info({ peer: peer.node, host: peer.agent.host }, 'peer reached by its new name');
      },
      onTrial: (peer, error) => {
        const { host } = peer.agent;
        if (error === null)
          node.log.info({ peer: peer.node, host }, 'peer has a new name, tried beside the former one');
        else node.log.warn({ peer: peer.node, host, error: error.message }, 'peer not reached by its new name yet');
      },
    });
    node.connect({ wake: () => this.wake(), changed: () => this.#publish() });
    node.postmaster.on('exit', () => this.#onPostgresExit());
  }

  get leadership(): Leadership | null {
    return this.#leadership;
  }

  /** Generation of the configuration that runs: PostgreSQL has taken what a reload changes, and told what waits for a restart. */
  get loadedGeneration(): number {
    return this.#loadedGeneration;
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
    this.connectPeers();
    node.store.watch(
      (stored) => {
        node
          .acceptRecord(stored, { isLinearizable: false })
          .catch((error: Error) => node.log.warn({ error: error.message }, 'record not taken'));
      },
      (error) => node.log.debug({ error: error.message }, 'watch'),
    );
    node.pulse.every(STATE_INTERVAL_MS, () => this.#server.publish(this.state()));
    node.pulse.every(GUARD_INTERVAL_MS, () => this.#guardAlone());
    await this.disk.look();
    node.pulse.every(DISK_INTERVAL_MS, () => void this.#lookAtDisk());
    this.wake();
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

  /** Makes links to peers that are new in the configuration and ends those that are gone or changed. */
  connectPeers(): void {
    const { node } = this;
    const wanted = new Map(
      node.config.peers.filter((peer) => peer.node !== node.config.node).map((peer) => [peer.node, peer]),
    );
    for (const [name, link] of node.links) {
      if (JSON.stringify(wanted.get(name)) === JSON.stringify(link.view.peer)) continue;
      link.close();
      node.links.delete(name);
    }
    for (const [name, peer] of wanted) {
      if (node.links.has(name)) continue;
      const link = new PeerLink(peer, {
        globalCluster: node.config.globalCluster,
        credentials: node.credentials,
        sourceAddress: node.config.listen.address,
        pulse: node.pulse,
        events: {
          onState: (view) => this.#onPeerState(view),
          onLink: (view) => {
            this.#tellLink(view);
            this.#peerNews.delete(view.peer.node);
            this.election.check();
          },
          onBeat: (view, beat) => {
            node.pulse.nudge();
            if (!this.#isEchoDue(view)) return null;
            return {
              type: 'echo',
              nonce: beat.nonce,
              promisedTerm: node.voter.promisedTerm,
              incarnation: node.voter.incarnation,
              flushLsn: formatLsnOrNull(this.observer.view.flushLsn),
              replayLsn: formatLsnOrNull(this.observer.view.replayLsn),
            };
          },
        },
      });
      node.links.set(name, link);
    }
  }

  /** Once for each change, not for each attempt. */
  #tellLink({ peer, isConnected, lastError }: PeerView): void {
    if (this.#linkNews.get(peer.node) === lastError) return;
    this.#linkNews.set(peer.node, lastError);
    if (isConnected) this.node.log.info({ peer: peer.node }, 'peer reached');
    else this.node.log.warn({ peer: peer.node, error: lastError }, 'peer not reached');
  }

  /** An echo proves to the leader that it is heard; ECHOES_PER_FENCE of them in a fence are enough, a new promise goes at once. */
  #isEchoDue(view: PeerView): boolean {
    const { promisedTerm } = this.node.voter;
    const isDue =
      view.peer.node !== this.#echoed.node ||
      promisedTerm !== this.#echoed.promisedTerm ||
      view.beatAtMs - this.#echoed.atMs >= this.node.config.timing.fenceMs / ECHOES_PER_FENCE - ECHO_SLACK_MS;
    if (isDue) this.#echoed = { node: view.peer.node, promisedTerm, atMs: view.beatAtMs };
    return isDue;
  }

  /** New configuration of the platform: peers, settings, timing. */
  async reconfigure(config: InstanceConfig): Promise<void> {
    // First: new names may need the new trust bundle.
    const hasNewCertificate = await this.node.credentials.reload();
    const isReached = (name: string): boolean => this.node.links.get(name)?.view.isConnected === true;
    const peers = this.#changedEndpoints.settle(config.peers, this.node.config.peers, isReached);
    this.node.config = { ...config, peers };
    this.connectPeers();
    const isRunning = this.observer.view.state.kind !== 'stopped';
    const before = isRunning ? await this.observer.readClock() : null;
    const isReloaded = (await this.node.files.write(config, {})) || hasNewCertificate;
    if (isReloaded) this.node.postmaster.reload();
    if (isRunning) await this.observer.readPendingRestart(isReloaded ? before : null).catch(() => []);
    this.#leadership?.keepRoles();
    this.#loadedGeneration = config.generation;
    this.wake();
    this.node.changed();
  }

  /** Ends the agent. `stop`: PostgreSQL as well (handing over first when it leads); `release`: leaves it for the next agent. */
  async shutdown(mode: 'stop' | 'release'): Promise<void> {
    const { node } = this;
    this.#isEnding = true;
    this.#changedEndpoints.close();
    if (mode === 'stop' && this.#leadership?.phase === 'published' && this.#hasSuccessor())
      await Promise.race([
        this.switchover
          .run(null)
          .catch((error: Error) => node.log.warn({ error: error.message }, 'no hand-over before the stop')),
        delay(HAND_OVER_LIMIT_MS),
      ]);
    this.#isStopping = true;
    this.#leadership?.stop();
    this.lease.stop();
    this.election.stop();
    node.pulse.stop();
    if (mode === 'stop') await node.postmaster.stop('fast', FAST_STOP_LIMIT_MS);
    else node.postmaster.release();
    for (const link of node.links.values()) link.close();
    // What remains are connections; whoever holds one open does not keep this process.
    const closing = Promise.all([node.path.stop(), node.sql.close(), this.#server.close(), node.store.close()]);
    await Promise.race([closing, delay(CLOSE_LIMIT_MS)]);
  }

  wake(): void {
    this.#isWoken = true;
    if (this.#isRunning || this.#isStopping) return;
    this.#isRunning = true;
    setImmediate(() => void this.#loop());
  }

  async #loop(): Promise<void> {
    try {
      while (this.#isWoken && !this.#isStopping) {
        this.#isWoken = false;
        await this.#tick();
      }
    } finally {
      this.#isRunning = false;
      if (this.#isWoken) this.wake();
    }
  }

  async #tick(): Promise<void> {
    const { node } = this;
    // Between its promise and the end of its shutdown a switching leader must not be "helped" by an immediate stop.
    if (this.switchover.isStopping) return;
    try {
      if (node.record.kind === 'unread' || this.#fencedAtMs !== null || node.record.kind === 'refused')
        await this.#confirmRecord();
      // A server that has just ended may have ended for want of room: that must be known before it is started again.
      if (node.postmaster.pid === null) await this.disk.look();
      await this.observer.observe(1000);
      this.#publishLag();
      await this.#standby.endRewind();
      await this.#renewLease();
      const step = decideNodeStep(await this.#snapshot());
      this.#show(step);
      await this.#apply(step);
      this.lease.keep();
      this.#failures = 0;
      this.election.check();
      this.#sleepUntil(this.#nextLookMs(step), step.kind === 'wait' && step.untilMs !== null);
    } catch (error) {
      this.#failures++;
      const pauseMs = Math.min(FAILURE_PAUSE_MS * 2 ** (this.#failures - 1), FAILURE_PAUSE_MS_MAX);
      const { code, message } = error as Error & { code?: string };
      node.log.error({ error: message, code, retryMs: pauseMs }, 'step failed');
      node.setActivity(node.activity, this.disk.problem ?? { code: code ?? 'StepFailed', message });
      this.#sleepUntil(performance.now() + pauseMs);
    }
  }

  /**
   * Ends a PostgreSQL that has been a primary for the length of a fence without a leadership that would fence it: the agent was
   * started beside it and has not learned whether it still leads, or the record is refused. Beside the loop, which may wait for a
   * slow disk to take what it has read of the record.
   */
  #guardAlone(): void {
    const isAlone = this.observer.view.state.kind === 'primary' && this.#leadership === null;
    if (!isAlone) this.#aloneSinceMs = null;
    else this.#aloneSinceMs ??= performance.now();
    const { fenceMs } = this.node.config.timing;
    if (this.#aloneSinceMs === null || performance.now() - this.#aloneSinceMs <= fenceMs) return;
    this.#aloneSinceMs = null;
    void this.#fence('PostgreSQL is a primary, and this node does not come to lead');
  }

  async #lookAtDisk(): Promise<void> {
    const wasFull = this.disk.isFull;
    await this.disk.look();
    // While it is full, the free space that it tells changes.
    if (wasFull || this.disk.isFull) this.wake();
  }

  /** @param isPunctual what is looked for is there at that moment and not before */
  #sleepUntil(atMs: number, isPunctual = false): void {
    this.#callOffSleep();
    this.#callOffSleep = this.node.pulse.once(atMs, () => this.wake(), { isPunctual });
  }

  #nextLookMs(step: NodeStep): number {
    const nowMs = performance.now();
    if (step.kind === 'wait' && step.untilMs !== null) return step.untilMs;
    if (this.observer.view.state.kind === 'starting') return nowMs + STARTING_POLL_MS;
    if (this.observer.view.state.kind === 'standby' && step.kind === 'wait' && step.reason.code === 'PositionUnknown')
      return nowMs + STARTING_POLL_MS;
    if (this.node.record.kind !== 'present') return nowMs + 500;
    if (step.kind === 'lead') return nowMs + LEADING_POLL_MS;
    return nowMs + (step.reason.code === 'Following' && this.#lagStep === 0 ? LEVEL_POLL_MS : FOLLOWING_POLL_MS);
  }

  /** The published lag is refreshed when it has become another order of magnitude; the rest waits for the next state. */
  #publishLag(): void {
    const lagBytes = this.state().lagBytes ?? 0;
    const step = lagBytes < LAG_STEP_BYTES ? 0 : Math.floor(Math.log2(lagBytes / LAG_STEP_BYTES)) + 1;
    if (step === this.#lagStep) return;
    this.#lagStep = step;
    this.#publish();
  }

  async #confirmRecord(): Promise<void> {
    try {
      await this.node.readRecord();
      if (this.#fencedAtMs !== null && this.node.recordConfirmedSentAtMs > this.#fencedAtMs) this.#fencedAtMs = null;
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
    if (performance.now() < this.#startNotBeforeMs || this.#leadership?.phase === 'handing-over') return;
    await lease.renew();
  }

  async #snapshot(): Promise<NodeSnapshot> {
    const { node } = this;
    if (node.postmaster.pid === null || this.data.problem !== null) await this.data.look();
    await this.#adoptLineage();
    return {
      nowMs: performance.now(),
      self: node.config.node,
      bootstraps: node.config.bootstraps,
      voter: node.voter,
      record: node.record,
      data: this.data.hasData ? 'present' : 'none',
      systemIdentifier: this.data.systemIdentifier,
      dataProblem: this.data.problem,
      peersKnowDatabase: [...node.links.values()].some(
        ({ view }) => view.state !== null && (view.state.leaderView.version > 0 || view.state.timeline > 0),
      ),
      postgres: this.observer.view.state,
      leader: knownLeader(node),
      path: node.path.target === null ? null : { node: node.path.target.node, term: node.path.target.term },
      handOverMs: this.#otherMembersHeard() > 0 ? node.config.timing.detectionMs + HAND_OVER_EXTRA_MS : 0,
      isFenced: this.#fencedAtMs !== null,
      lease: this.lease.isNeeded ? { isHeld: this.lease.isHeld, isFresh: this.lease.isFresh } : null,
      disk: this.disk.problem === null ? null : { problem: this.disk.problem, mayHandOver: this.#mayHandOverFull() },
    };
  }

  #mayHandOverFull(): boolean {
    const isRecent = performance.now() - this.#fullHandOverAtMs < FULL_HAND_OVER_INTERVAL_MS;
    const hasOther = this.#otherMembers().some(
      ({ state }) => state?.activity === 'following' && state.reason.code !== 'DiskFull',
    );
    return !isRecent && hasOther && !this.switchover.isRunning && this.#leadership?.phase === 'published';
  }

  /**
   * The agent may have died between a promotion and the writing of its lineage. Whoever leads by now: the real history file of a
   * timeline higher than any that this node has followed is of its own promotion, since whom it follows is written down first.
   */
  async #adoptLineage(): Promise<void> {
    const { node } = this;
    const { kind } = this.observer.view.state;
    if (this.#leadership !== null || (kind !== 'stopped' && kind !== 'primary') || !this.data.hasData) return;
    const { lineage: known, rewinding } = node.voter;
    if (known === null || rewinding) return;
    const lineage = await readNewestLineage(node.config.paths.dataDirectory, known.timeline);
    if (lineage === null) return;
    node.log.warn({ timeline: lineage.timeline }, 'this node was promoted, and had not written it down');
    await node.changeVoter((voter) => ({
      ...voter,
      lineage,
      followedTerm: Math.max(voter.followedTerm, lineage.timeline),
    }));
  }

  /** Members other than this node whose agents are connected. */
  #otherMembers(): PeerView[] {
    const members = this.node.acceptedRecord?.members ?? [];
    const views = members.map((member) => this.node.links.get(member.node)?.view);
    return views.filter((view) => view?.isConnected === true) as PeerView[];
  }

  #otherMembersHeard(): number {
    return this.#otherMembers().length;
  }

  /** Somebody whom a leader that ends could hand over to; where commits stay in a group, a node of another one too. */
  #hasSuccessor(): boolean {
    if (this.#otherMembersHeard() > 0) return true;
    const views = [...this.node.links.values()].map((link) => link.view);
    return this.lease.isNeeded && views.some(({ peer, isConnected }) => isConnected && peer.priority > 0);
  }

  #isServingLeader(): boolean {
    return (
      this.#leadership?.isActive === true &&
      this.#leadership.phase !== 'handing-over' &&
      this.node.postmaster.pid !== null
    );
  }

  #show(step: NodeStep): void {
    const activity = {
      wait: this.#waitingActivity(step),
      blocked: 'blocked',
      bootstrap: 'bootstrapping',
      clone: 'cloning',
      start: 'starting',
      stop: 'stopped',
      promote: 'leading',
      lead: 'leading',
      follow: 'following',
      rewind: 'rewinding',
    } as const;
    const problem = step.kind === 'start' ? this.#startProblem : null;
    const reason = this.disk.problem ?? problem ?? step.reason;
    this.node.setActivity(problem === null ? activity[step.kind] : 'blocked', reason);
  }

  #waitingActivity(step: NodeStep): StateMessage['activity'] {
    if (this.#fencedAtMs !== null) return 'fenced';
    if (step.reason.code === 'Following') return 'following';
    if (this.observer.view.state.kind === 'starting') return 'recovering';
    return 'waiting';
  }

  async #apply(step: NodeStep): Promise<void> {
    const { node } = this;
    this.#endLeadershipUnless(step);
    switch (step.kind) {
      case 'wait':
      case 'blocked':
        await this.#standby.keepSettings();
        return;
      case 'bootstrap':
        await this.data.bootstrap();
        this.#isNewDatabase = true;
        return this.wake();
      case 'clone':
        await this.data.clone(step.from);
        return this.wake();
      case 'start':
        return await this.#startPostgres(step.as);
      case 'stop':
        if (step.reason.code === 'DiskFull') this.#handOverFull();
        node.path.close();
        if (step.mode === 'fast') await node.postmaster.stop('fast', FAST_STOP_LIMIT_MS);
        else await this.#stopNow();
        return this.wake();
      case 'promote':
        return await this.#promote(step.record.term);
      case 'lead':
        return await this.#lead();
      case 'follow':
        return await this.#standby.follow(step.leader);
      case 'rewind':
        await this.data.rewind(step.leader);
        return this.wake();
    }
  }

  /** Without a promise of its own, which would need room on the disk: the others elect as after a crash, in a moment. */
  #handOverFull(): void {
    this.#fullHandOverAtMs = performance.now();
    this.#leadership?.handOver();
  }

  async #startPostgres(as: 'primary' | 'standby'): Promise<void> {
    const { node } = this;
    if (this.#isEnding || performance.now() < this.#startNotBeforeMs) return;
    this.#shutdownPosition = null;
    // It starts without a leader: whom it followed before, it must follow anew.
    node.path.close();
    const record = node.acceptedRecord;
    await removeReservedTimelines(node.config.paths.dataDirectory);
    await mkdir(node.config.paths.runtimeDirectory, { recursive: true, mode: 0o700 });
    node.files.keepAtLeast(as === 'standby' ? await readStandbyFloors(node.config.paths) : {});
    await node.files.write(node.config, {
      // A leader keeps what it last required: a change of members may have been under way, and its swap may still land.
      synchronousStandbyNames:
        record === null || node.isLeaderByRecord
          ? node.files.dynamic.synchronousStandbyNames
          : synchronousStandbyNames(configurationOf(record), node.config.node),
      primaryConninfo: '',
      primarySlotName: '',
    });
    await this.#emptyAutoConf();
    node.files.serverStarts();
    if (as === 'primary') await this.#open(() => node.postmaster.start(as));
    else await node.postmaster.start(as);
    this.wake();
  }

  /** Whatever makes a primary: the watchdog guards it from before its first moment. */
  async #open(work: () => Promise<unknown>): Promise<void> {
    this.#isOpening = true;
    try {
      await this.beforeOpening();
      await work();
      await this.observer.observe(1000);
    } finally {
      this.#isOpening = false;
    }
  }

  /** ALTER SYSTEM would win over the plan; what it set before 17 (which can forbid it) ends with the server. */
  async #emptyAutoConf(): Promise<void> {
    const path = join(this.node.config.paths.dataDirectory, 'postgresql.auto.conf');
    if ((await readFileIfPresent(path)) !== AUTO_CONF_TEXT) await writeFileAtomically(path, AUTO_CONF_TEXT);
  }

  /** An elected node beats from its election on, a crashed leader while it hands over; every other step ends a leadership. */
  #endLeadershipUnless(step: NodeStep): void {
    if (this.#leadership === null || step.kind === 'lead' || step.kind === 'promote') return;
    if (step.kind === 'stop' && step.reason.code === 'DiskFull') return;
    if (step.kind === 'wait' && step.reason.code === 'HandingOver') return;
    this.#leadership.stop();
    this.#leadership = null;
    this.node.changed();
  }

  /** Beats begin before the promotion, which may have much to replay: silence would make the others elect again. */
  async #promote(term: number): Promise<void> {
    this.#beginLeadership(false);
    try {
      await this.#open(() => this.promotion.promote(term));
    } catch (error) {
      // Silence lets the others elect; unless they have, it is tried again on a server that was started anew.
      this.#leadership?.stop();
      this.#leadership = null;
      await this.node.postmaster.stop('immediate');
      throw error;
    }
    this.wake();
  }

  async #lead(): Promise<void> {
    const isLed = this.#leadership?.isActive === true && this.#leadership.phase !== 'handing-over';
    if (!isLed) {
      if (this.#leadership !== null && this.switchover.isRunning) return;
      this.#beginLeadership(!this.#isNewDatabase);
      this.#isNewDatabase = false;
    }
    await this.#slots.keep(null);
  }

  /** @param needsBarrier an older swap of this node may still be on its way to the store */
  #beginLeadership(needsBarrier: boolean): void {
    this.#leadership?.stop();
    this.#leadership = new Leadership(this.node, this.#server, (reason) => this.#fence(reason));
    this.node.changed();
    void this.#leadership.start(needsBarrier);
  }

  async #fence(reason: string): Promise<void> {
    this.node.log.warn({ reason }, 'fence');
    this.#fencedAtMs = performance.now();
    this.#leadership?.stop();
    this.#leadership = null;
    this.node.path.close();
    await this.#stopNow();
    this.wake();
  }

  /** Where the lease rule holds there is a limit to it, after which another may lead: what has not ended by then is killed. */
  async #stopNow(): Promise<void> {
    if (this.lease.isNeeded) await this.node.postmaster.stop('immediate', FENCE_STOP_MS / 2);
    else await this.node.postmaster.stop('immediate');
  }

  async #fenceForPromise(): Promise<void> {
    const { state } = this.observer.view;
    const isPrimary = state.kind === 'primary' || (state.kind === 'starting' && state.as === 'primary');
    // What was last observed may be old: a leader by the record, or one that is being promoted, counts as a primary.
    // One that has promised away already runs as a standby: stopping it with each promise would keep it from ever voting.
    const { acceptedRecord: record, voter } = this.node;
    const mayLead =
      this.node.isLeaderByRecord && this.#fencedAtMs === null && voter.promisedTerm <= (record?.term ?? 0);
    if (this.node.postmaster.pid !== null && (isPrimary || this.promotion.isPromoting || mayLead)) {
      this.#leadership?.stop();
      this.#leadership = null;
      await this.node.postmaster.stop('immediate');
    }
  }

  /** For a switchover: PostgreSQL ends cleanly, and where its WAL ends is known from the control file. */
  async #stopForHandOver(): Promise<Position | null> {
    const { node } = this;
    await node.postmaster.stop('fast', FAST_STOP_LIMIT_MS);
    const control = await readControlData(node.config.paths.dataDirectory);
    const timeline = node.voter.lineage?.timeline;
    if (!control.isShutDown || timeline === undefined) return null;
    // One byte into the shutdown checkpoint: whoever holds that record holds every byte before it.
    this.#shutdownPosition = { timeline, lsn: control.checkpointLsn + 1n };
    return this.#shutdownPosition;
  }

  #onPostgresExit(): void {
    const { kind } = this.observer.view.state;
    const wasUp = kind === 'primary' || kind === 'standby';
    this.#startFailures = wasUp ? 0 : this.#startFailures + 1;
    if (wasUp) this.#startProblem = null;
    else void this.#explainStartFailure();
    if (!wasUp) {
      const pauseMs = this.#startPauseMs();
      this.#startNotBeforeMs = performance.now() + pauseMs;
      this.node.log.error(
        { failures: this.#startFailures, retryMs: pauseMs },
        'PostgreSQL ended while it started; its log says why',
      );
    }
    this.observer.forget();
    if (!this.switchover.isRunning && this.#leadership?.isActive === true) {
      this.node.log.warn('PostgreSQL has ended');
      this.#leadership.handOver();
    }
    this.wake();
    this.node.changed();
  }

  /** Where the lease rule holds, the lease runs out between two tries of a server that fails again and again. */
  #startPauseMs(): number {
    const pauseMs = Math.min(FAILURE_PAUSE_MS * 2 ** (this.#startFailures - 1), FAILURE_PAUSE_MS_MAX);
    const isLeader = this.lease.isNeeded && this.node.isLeaderByRecord;
    return isLeader && this.#startFailures >= START_FAILURES_BLOCKED ? 2 * this.lease.durationMs : pauseMs;
  }

  async #explainStartFailure(): Promise<void> {
    const { postgresLog } = this.node.config.paths;
    const said = (await lastFatalMessage(postgresLog)) ?? 'see its log';
    const message = `PostgreSQL ended ${this.#startFailures} times while it started: ${said}; it is tried again, nothing was removed`;
    if (this.#startFailures >= START_FAILURES_BLOCKED) this.#startProblem = { code: 'PostgresFails', message };
  }

  #onPeerState(view: PeerView): void {
    const { node } = this;
    const told = view.state?.leaderView;
    const known = node.acceptedRecord;
    if (told !== undefined && (known === null || told.version > known.version || told.term > known.term))
      node.readRecord().catch((error: Error) => node.log.debug({ error: error.message }, 'record not read'));
    if (view.state === null) return;
    // Each says every few seconds that nothing has changed but its position: nobody need look again for that.
    const news = newsOf(view.state);
    if (this.#peerNews.get(view.peer.node) === news) return;
    this.#peerNews.set(view.peer.node, news);
    this.election.check();
    this.#leadership?.lookAtMembers();
    this.wake();
  }

  /**
   * Stops and starts PostgreSQL, so that settings take effect that a reload does not change. A leader hands over first where
   * somebody can take over. Throws what the switchover throws.
   */
  async restartPostgres(): Promise<void> {
    if (this.#leadership?.phase === 'published' && this.#otherMembersHeard() > 0) {
      await this.switchover.run(null);
      return;
    }
    this.#leadership?.handOver();
    await this.node.postmaster.stop('fast', FAST_STOP_LIMIT_MS);
  }

  async onRequest(from: string, request: RequestMessage): Promise<Omit<ResponseMessage, 'type' | 'id'>> {
    switch (request.method) {
      case 'ask':
        return { ask: await this.election.answerAsk(request.leader) };
      case 'promise':
        return { promise: await this.election.promise({ term: request.term, candidate: from }) };
      case 'take-over':
        return { accepted: this.switchover.accept(from, request) };
      case 'serves':
        return { accepted: await this.#serves(request) };
    }
  }

  /** For a receiver that has just reached this node's PostgreSQL: what it is now, not what it was last seen to be. */
  async #serves(request: Extract<RequestMessage, { method: 'serves' }>): Promise<boolean> {
    const { node } = this;
    const { state } = await this.observer.observe(SERVES_TIMEOUT_MS);
    const { voter, acceptedRecord: record } = node;
    if (voter.lineage?.timeline !== request.timeline || this.promotion.isPromoting) return false;
    if (request.as === 'promised') return state.kind === 'standby' && voter.promisedTerm === request.term;
    // By the record as well: between a promotion and the writing of its lineage the file still has the former timeline.
    return state.kind === 'primary' && node.isLeaderByRecord && record?.timeline === request.timeline;
  }

  onEcho(from: string, echo: Parameters<Leadership['onEcho']>[1]): void {
    this.#leadership?.onEcho(from, echo);
  }

  /** Soon, and once for several changes in one turn. */
  #publish(): void {
    if (this.#publishSoon || this.#isStopping) return;
    this.#publishSoon = true;
    setImmediate(() => {
      this.#publishSoon = false;
      this.#server.publish(this.state());
    });
  }

  state(): StateMessage {
    return nodeState(this.node, this.observer.view, this.#leadership);
  }

  isReady(): boolean {
    const { state } = this.observer.view;
    if (state.kind === 'primary') return this.#leadership?.phase === 'published';
    return state.kind === 'standby' && this.node.path.target !== null && this.observer.view.replayLsn !== null;
  }

  /** PostgreSQL is, or may become at any moment, a primary: what the watchdog stops when this agent falls silent. */
  mayWrite(): boolean {
    const { state } = this.observer.view;
    const isPrimary = state.kind === 'primary' || (state.kind === 'starting' && state.as === 'primary');
    if (this.#isOpening) return true;
    return this.node.postmaster.pid !== null && (isPrimary || this.#leadership?.isActive === true);
  }

  isVotingMember(): boolean {
    const record = this.node.acceptedRecord;
    return record !== null && isMember(configurationOf(record), this.node.self);
  }
}

/** What others act on in a state; positions and lags alone are no news. */
function newsOf(state: StateMessage): string {
  const { leaderView, promisedTerm, activity, reason, incarnation, timeline, acceptsReads, leading } = state;
  const words = [leaderView.term, leaderView.version, leaderView.leader, leaderView.phase, promisedTerm, activity];
  return JSON.stringify([...words, reason.code, incarnation, timeline, acceptsReads, leading]);
}
