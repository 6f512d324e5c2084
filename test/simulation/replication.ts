/**
 * One replication connection: receiver, the forwarder in the standby's agent (the path), the network, and the sender.
 *
 *   leader: sender --network--> standby's agent (path) --> receiver;  replies go the same way back
 *
 * Each end finds out by itself that the other is gone: by a message if one gets through, else by silence.
 */
import { parseSetting, type Entry, type SyncSetting } from './disk.ts';
import { Stream } from './network.ts';
import type { Server } from './server.ts';
import type { World } from './world.ts';

/** wal_sender_timeout and wal_receiver_timeout as the agent sets them. */
const SILENCE_LIMIT_MS = 2500;
const KEEPALIVE_MS = 800;

export class Connection {
  readonly world: World;
  readonly leader: Server;
  readonly standby: Server;
  readonly applicationName: string;
  readonly startedAtMs: number;
  copy: SyncSetting = { count: 0, names: new Set() };
  ackedLsn = 0;
  #sentLsn = 0;
  #isOpenAtLeader = false;
  #isOpenAtStandby = true;
  /** The standby's agent closed the path with a reset: nothing that was on its way arrives any more. */
  #isReset = false;
  #heardAtLeaderMs = 0;
  #heardAtStandbyMs: number;
  /** The life of the forwarding agent: another one does not know this connection. */
  readonly #agentLife: number;
  readonly #up: Stream;
  readonly #down: Stream;

  constructor(
    world: World,
    options: {
      readonly leader: Server;
      readonly standby: Server;
      readonly applicationName: string;
      /** Asked of the leader's agent once the connection stands; settles whether it may carry anything. */
      readonly isAdmitted: () => boolean;
    },
  ) {
    this.world = world;
    this.leader = options.leader;
    this.standby = options.standby;
    this.applicationName = options.applicationName;
    this.startedAtMs = world.clock.nowMs;
    this.#heardAtStandbyMs = world.clock.nowMs;
    this.#agentLife = world.agent(this.standby.node).life;
    this.#up = new Stream(world.network, this.standby.node, this.leader.node);
    this.#down = new Stream(world.network, this.leader.node, this.standby.node);
    const from = this.standby.flushLsn;
    this.#toLeader(() => {
      if (!options.isAdmitted() || !this.#mayStream(from)) return this.#toStandby(() => this.endAtStandby('leader'));
      this.#isOpenAtLeader = true;
      this.#heardAtLeaderMs = world.clock.nowMs;
      this.copy = parseSetting(this.leader.setting);
      this.#sentLsn = from;
      this.leader.senders.add(this);
      this.push();
      this.#keepAlive();
    });
    this.#watchSilence();
  }

  /** As walsender.c checks: a free slot, and the requested position is in the leader's history. */
  #mayStream(from: number): boolean {
    const { leader, standby } = this;
    if (!leader.isUp || standby.disk.wal === null) return false;
    const hasSlot = ![...leader.senders].some((sender) => sender.standby === standby);
    if (!hasSlot && this.world.options.keepsOneSender) return false;
    if (from > leader.flushLsn) return false;
    if (standby.disk.timeline === leader.disk.timeline) return true;
    const end = leader.disk.history.find((one) => one.timeline === standby.disk.timeline);
    return end !== undefined && from <= end.endLsn;
  }

  push(): void {
    const entries = this.leader.wal.slice(this.#sentLsn);
    if (entries.length === 0 || !this.#isOpenAtLeader) return;
    this.#sentLsn += entries.length;
    const { timeline, history } = this.leader.disk;
    this.#toStandby(() => this.#receive(entries, timeline, history));
  }

  #receive(
    entries: readonly Entry[],
    timeline: number,
    history: readonly { timeline: number; endLsn: number }[],
  ): void {
    if (!this.#isOpenAtStandby) return;
    this.#heardAtStandbyMs = this.world.clock.nowMs;
    // A standby follows its upstream to a newer timeline by itself (recovery_target_timeline = latest).
    this.standby.disk.timeline = timeline;
    this.standby.disk.history = [...history];
    this.standby.receive(entries);
  }

  /** The receiver tells how far it has flushed. */
  reply(): void {
    if (!this.#isOpenAtStandby) return;
    const lsn = this.standby.flushLsn;
    this.#toLeader(() => {
      if (!this.#isOpenAtLeader || this.#isReset) return;
      this.#heardAtLeaderMs = this.world.clock.nowMs;
      if (lsn <= this.ackedLsn) return;
      this.ackedLsn = lsn;
      this.leader.countAcknowledged(this);
    });
  }

  #keepAlive(): void {
    this.leader.process.after(KEEPALIVE_MS, () => {
      if (!this.#isOpenAtLeader) return;
      if (this.world.clock.nowMs - this.#heardAtLeaderMs > SILENCE_LIMIT_MS) return this.endAtLeader('silence');
      this.#toStandby(() => {
        this.#heardAtStandbyMs = this.world.clock.nowMs;
        this.reply();
      });
      this.#keepAlive();
    });
  }

  #watchSilence(): void {
    this.standby.process.after(SILENCE_LIMIT_MS / 2, () => {
      if (!this.#isOpenAtStandby) return;
      if (this.world.clock.nowMs - this.#heardAtStandbyMs > SILENCE_LIMIT_MS) this.endAtStandby('silence');
      else this.#watchSilence();
    });
  }

  /** The receiver's end goes: by a reset of the path, with its server, or because the leader or nobody is there. */
  endAtStandby(why: 'path' | 'server' | 'leader' | 'silence' | 'agent'): void {
    if (!this.#isOpenAtStandby) return;
    this.#isOpenAtStandby = false;
    if (why === 'path' && this.world.options.resetsPath) this.#isReset = true;
    if (this.standby.receiver === this) this.standby.receiver = null;
    // What it has received it writes out; the agent of a promise waits for that.
    if (why !== 'server') this.standby.flushAll();
    if (why !== 'leader')
      this.world.network.send(this.standby.node, this.leader.node, () => this.endAtLeader('standby'));
  }

  endAtLeader(why: 'server' | 'silence' | 'standby'): void {
    if (!this.#isOpenAtLeader) return;
    this.#isOpenAtLeader = false;
    this.leader.senders.delete(this);
    if (why !== 'standby')
      this.world.network.send(this.leader.node, this.standby.node, () => this.endAtStandby('leader'));
  }

  /** Through the forwarder: the standby's agent must be the same one, and run. */
  #toLeader(deliver: () => void): void {
    const agent = this.world.agent(this.standby.node);
    if (agent.life !== this.#agentLife) return;
    agent.process.deliver(() => this.#up.send(() => this.leader.process.deliver(deliver)));
  }
  #toStandby(deliver: () => void): void {
    this.#down.send(() => {
      const agent = this.world.agent(this.standby.node);
      if (agent.life !== this.#agentLife) return;
      agent.process.deliver(() => this.standby.process.deliver(deliver));
    });
  }
}
