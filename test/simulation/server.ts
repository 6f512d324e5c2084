/**
 * PostgreSQL as far as replication and its failures go: WAL that is written, flushed, sent and acknowledged; senders that count by
 * their own copy of synchronous_standby_names; crash recovery, promotion, rewind and clone. One unit of LSN is one record.
 *
 * What was seen on PostgreSQL 15 is kept: a commit waits only once the checkpointer has armed the wait; a server that starts shows
 * less than it holds until it has replayed; a rewind that stops half-way leaves no usable data; a commit that waited and was not
 * acknowledged is visible after a restart.
 */
import { applicationName } from '../../src/core/leadership/quorum.ts';
import type { Member } from '../../src/api/record.ts';
import { Future, Process } from './clock.ts';
import { type Disk, type Entry, parseSetting } from './disk.ts';
import { Connection } from './replication.ts';
import type { World } from './world.ts';

interface Waiter {
  readonly lsn: number;
  readonly done: Future<boolean>;
}

export class Server {
  readonly world: World;
  readonly node: string;
  process: Process;
  role: 'down' | 'starting' | 'standby' | 'primary' = 'down';
  startsAs: 'primary' | 'standby' = 'standby';
  stoppedSinceMs = 0;
  startedAtMs = 0;
  disk: Disk = { wal: null, timeline: 0, history: [], setting: '', isMangled: false };
  /** Written, not flushed. */
  #unflushed: Entry[] = [];
  #isFlushing = false;
  #isReplayedToEnd = true;
  replayPaused = false;
  /** What the postmaster has loaded; each sender has a copy. */
  setting = '';
  /** Commits wait: the checkpointer has seen a setting that is not empty. */
  isArmed = false;
  loadedAtMs = 0;
  /** As a standby: when the receiver last brought something. */
  walArrivedAtMs = Number.NEGATIVE_INFINITY;
  readonly senders = new Set<Connection>();
  receiver: Connection | null = null;
  #waiters: Waiter[] = [];
  /** Milliseconds a flush takes, at least. */
  flushMs = 0.3;
  isDiskFull = false;
  /** Work of a postmaster that stands still alone, while its children go on; null: it runs. */
  #postmasterWork: (() => void)[] | null = null;
  /** The end of a checkpoint that spreads its writes, until which the checkpointer takes up no setting. */
  #checkpointEndsAtMs = 0;

  constructor(world: World, node: string) {
    this.world = world;
    this.node = node;
    this.process = new Process(world.clock);
    this.process.kill();
  }

  get isUp(): boolean {
    return this.role === 'primary' || this.role === 'standby';
  }
  get wal(): readonly Entry[] {
    return this.disk.wal ?? [];
  }
  get flushLsn(): number {
    return this.wal.length;
  }
  /** What SQL functions answer; null when it does not run or hangs. */
  view(): {
    readonly role: 'primary' | 'standby';
    readonly flushLsn: number;
    readonly isReplayedToEnd: boolean;
  } | null {
    if (!this.isUp || this.process.isFrozen) return null;
    const shown = this.#isReplayedToEnd ? this.flushLsn : Math.floor(this.flushLsn / 2);
    return {
      role: this.role === 'primary' ? 'primary' : 'standby',
      flushLsn: shown,
      isReplayedToEnd: this.#isReplayedToEnd,
    };
  }

  /** Starts; usable after recovery. */
  start(as: 'primary' | 'standby'): void {
    const { random, clock } = this.world;
    if (this.role !== 'down' || this.disk.wal === null) return;
    this.process = new Process(clock);
    this.#postmasterWork = null;
    this.#checkpointEndsAtMs = 0;
    this.role = 'starting';
    this.startedAtMs = clock.nowMs;
    this.startsAs = as;
    this.setting = this.disk.setting;
    this.isArmed = parseSetting(this.setting).count > 0;
    this.process.after(random.between(80, 250), () => {
      if (this.isDiskFull) return this.crash();
      this.role = as;
      this.#isReplayedToEnd = as === 'primary';
      if (as === 'standby') this.process.after(random.between(5, 150), () => (this.#isReplayedToEnd = true));
      this.world.onServerChange(this.node);
    });
  }

  /** All processes end, whatever they did: an immediate stop, a crash, SIGKILL. What was not flushed is gone. */
  crash(): void {
    if (this.role === 'down') return;
    this.process.kill();
    this.role = 'down';
    this.stoppedSinceMs = this.world.clock.nowMs;
    this.#unflushed = [];
    this.#isFlushing = false;
    this.#isReplayedToEnd = false;
    for (const sender of [...this.senders]) sender.endAtLeader('server');
    this.receiver?.endAtStandby('server');
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.done.settle(false);
    this.world.onServerChange(this.node);
  }

  get isPostmasterStalled(): boolean {
    return this.#postmasterWork !== null;
  }
  stallPostmaster(): void {
    this.#postmasterWork ??= [];
  }
  resumePostmaster(): void {
    const work = this.#postmasterWork ?? [];
    this.#postmasterWork = null;
    for (const action of work) action();
  }
  /** In this life of the server, once its postmaster runs. */
  #byPostmaster(action: () => void): void {
    const { process } = this;
    const inThisLife = (): void => void (process.isAlive && action());
    if (this.#postmasterWork === null) inThisLife();
    else this.#postmasterWork.push(inThisLife);
  }

  /** The shutdown checkpoint of a clean stop. */
  shutDown(): void {
    if (this.role !== 'primary') return;
    this.#unflushed.push({ timeline: this.disk.timeline, id: 0 });
    this.flushAll();
    for (const sender of this.senders) sender.push();
  }

  /** Writes a record as the primary; settles with true when it is acknowledged, false when the session ends before. */
  commit(id: number): Future<boolean> {
    const done = new Future<boolean>();
    if (this.role !== 'primary' || this.isDiskFull) {
      done.settle(false);
      return done;
    }
    this.#unflushed.push({ timeline: this.disk.timeline, id });
    this.#waiters.push({ lsn: this.flushLsn + this.#unflushed.length, done });
    this.#flush();
    return done;
  }

  /**
   * A client's own cancel request ends its wait: PostgreSQL says that the commit is done. Settles once it has waited and been told.
   */
  commitAndCancel(id: number): Future<boolean> {
    const told = new Future<boolean>();
    const done = this.commit(id);
    const waiter = this.#waiters.find((one) => one.done === done);
    const cancel = (): void => {
      const isWaiting = waiter !== undefined && this.#waiters.includes(waiter) && waiter.lsn <= this.flushLsn;
      if (!isWaiting) return this.process.after(10, cancel);
      this.#waiters = this.#waiters.filter((one) => one !== waiter);
      told.settle(true);
    };
    this.process.after(10, cancel);
    return told;
  }

  /** A standby's receiver brought these. */
  receive(entries: readonly Entry[]): void {
    this.walArrivedAtMs = this.world.clock.nowMs;
    this.#unflushed.push(...entries);
    this.#flush();
  }
  get receivedLsn(): number {
    return this.flushLsn + this.#unflushed.length;
  }
  /** What a receiver that ends has received it flushes first. */
  flushAll(): void {
    if (this.disk.wal === null || this.isDiskFull) return;
    this.disk.wal.push(...this.#unflushed);
    this.#unflushed = [];
  }

  #flush(): void {
    if (this.#isFlushing || this.#unflushed.length === 0) return;
    this.#isFlushing = true;
    this.process.after(this.flushMs * this.world.random.between(0.8, 1.5), () => {
      this.#isFlushing = false;
      // A full disk is a PANIC, for the receiver as well.
      if (this.isDiskFull) return this.crash();
      this.flushAll();
      if (this.role === 'primary') {
        if (!this.isArmed) this.release(this.flushLsn);
      } else this.receiver?.reply();
      for (const sender of this.senders) sender.push();
      this.#flush();
    });
  }

  /** Clients that wait up to `lsn` are told. */
  release(lsn: number): void {
    const kept: Waiter[] = [];
    for (const waiter of this.#waiters) {
      if (waiter.lsn > lsn || waiter.lsn > this.flushLsn) kept.push(waiter);
      else waiter.done.settle(true);
    }
    this.#waiters = kept;
  }

  /** Like SyncRepReleaseWaiters in syncrep.c: one sender, after a reply, by its own copy of the setting. */
  countAcknowledged(by: Connection): void {
    const { count, names } = by.copy;
    if (count === 0 || !names.has(by.applicationName)) return;
    const acked = [...this.senders]
      .filter((sender) => sender.copy.names.has(sender.applicationName))
      .map((sender) => sender.ackedLsn)
      .sort((a, b) => b - a);
    const lsn = acked[count - 1];
    if (lsn !== undefined) this.release(lsn);
  }

  /** Writes the file and reloads. The postmaster, each sender and the checkpointer take it up in their own time. */
  load(setting: string): void {
    if (this.disk.wal === null) return;
    this.disk.setting = setting;
    if (!this.isUp) return;
    const { random } = this.world;
    const late = (): number => (random.chance(0.1) ? random.between(50, 800) : random.between(0.2, 5));
    const take = (): void => {
      if (this.disk.setting !== setting) return;
      this.setting = setting;
      this.loadedAtMs = this.world.clock.nowMs;
      const isList = parseSetting(setting).count > 0;
      this.process.after(Math.max(late(), this.#checkpointEndsAtMs - this.loadedAtMs), () => {
        if (this.setting === setting) this.#arm(isList);
      });
      for (const sender of this.senders)
        this.process.after(late(), () => {
          if (this.setting === setting) sender.copy = parseSetting(setting);
        });
    };
    this.process.after(late(), () => this.#byPostmaster(take));
  }
  /** One that nobody has asked to be quick. */
  beginSlowCheckpoint(durationMs: number): void {
    this.#checkpointEndsAtMs = this.world.clock.nowMs + durationMs;
  }
  /** As SyncRepUpdateSyncStandbysDefined: whoever waits when the list becomes empty is released. */
  #arm(isList: boolean): void {
    this.isArmed = isList;
    if (!isList) this.release(this.flushLsn);
  }
  /** When a checkpoint that was asked for is done, the checkpointer has seen every reload before it. */
  checkpoint(): Future<boolean> {
    const done = new Future<boolean>();
    // It hurries one that is under way, and follows it.
    const nowMs = this.world.clock.nowMs;
    const isUnderWay = this.#checkpointEndsAtMs > nowMs;
    const delayMs = this.world.random.between(5, 60) * (isUnderWay ? 5 : 1);
    if (isUnderWay) this.#checkpointEndsAtMs = nowMs + delayMs;
    this.process.after(delayMs, () => {
      this.#arm(parseSetting(this.setting).count > 0);
      done.settle(true);
    });
    return done;
  }
  /** Ends senders that began before the last load. */
  endOldSenders(): void {
    for (const sender of [...this.senders]) if (sender.startedAtMs <= this.loadedAtMs) sender.endAtLeader('server');
  }

  /** Ends recovery: a new timeline begins after the last whole record. */
  promote(timeline: number): Future<boolean> {
    const done = new Future<boolean>();
    const end = (): void => {
      if (this.role !== 'standby') return done.settle(false);
      this.receiver?.endAtStandby('server');
      this.flushAll();
      this.disk.history = [...this.disk.history, { timeline: this.disk.timeline, endLsn: this.flushLsn }];
      this.disk.timeline = timeline;
      this.role = 'primary';
      this.world.onPromoted(this.node, timeline);
      this.disk.wal?.push({ timeline, id: 0 });
      done.settle(true);
    };
    this.process.after(this.world.random.between(20, 120), () => this.#byPostmaster(end));
    return done;
  }

  /** What a standby of `member` connects with. */
  connect(leader: Server, member: Member, viaLeaderCheck: () => boolean): void {
    if (this.role !== 'standby' || this.receiver !== null || this.process.isFrozen || this.isPostmasterStalled) return;
    this.receiver = new Connection(this.world, {
      leader,
      standby: this,
      applicationName: applicationName(member),
      isAdmitted: viaLeaderCheck,
    });
  }
}
