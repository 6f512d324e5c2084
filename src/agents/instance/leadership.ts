/**
 * What a node does for as long as it leads: beats, probe commits, publishing, the fence, reaffirming after a false alarm,
 * and changes of members. It begins when PostgreSQL is the primary of the record's timeline and ends with `stop`.
 *
 *   start --barrier swap?--> elected --first probe on w members--> published --CHECKPOINT--> rewindable
 *     every HEARTBEAT_INTERVAL_MS: beat, fence?, reaffirm?      every PROBE_INTERVAL_MS: probe
 *     every MEMBERS_INTERVAL_MS: members, slots
 */
import type { EchoMessage, Leading, LeaderPhase } from '../../api/peer-stream.ts';
import { HEARTBEAT_INTERVAL_MS } from '../../api/peer-stream.ts';
import type { ClusterRecord } from '../../api/record.ts';
import { formatLsn, formatLsnOrNull, type Lsn, parseLsn } from '../../base/lsn.ts';
import { Latch } from '../../base/latch.ts';
import { delay } from '../../base/wait-until.ts';
import { decideFence, decideReaffirm, type Hearing, quorumHeardAtMs } from '../../core/leadership/tenure.ts';
import { configurationOf, isMember } from '../../core/leadership/quorum.ts';
import { PROBE_DETECTION_FACTOR } from '../../core/leadership/suspicion.ts';
import { LocalSql } from './local-sql.ts';
import { MembershipChanger } from './membership-changer.ts';
import type { NodeContext } from './node-context.ts';
import type { PeerServer } from './peer-server.ts';
import { RoleKeeper } from './role-keeper.ts';
import { encodeLineage } from './voter-file.ts';

/** A hung PostgreSQL is found within a few of these; each is a small WAL record and a commit that waits for the quorum. */
const PROBE_INTERVAL_MS = 1000;
/** While a probe is late, PostgreSQL is asked this often whether it answers at all. */
const ANSWER_INTERVAL_MS = 500;
/** How often the members, their lag and their slots are looked at. */
const MEMBERS_INTERVAL_MS = 2000;
/** Between two steps of a change of members. */
const CHANGE_STEP_MS = 50;
/** Higher promises are left this long to whoever asked for them, before the leader calls them a false alarm. */
const REAFFIRM_AFTER_MS = 700;
/**
 * A leader that is not published by then makes its checkpoint all the same: where the only other members must rewind first, they
 * wait for the checkpoint, and publishing waits for them.
 */
const CHECKPOINT_UNPUBLISHED_MS = 1000;
/** A bulk load lets a commit on a slow disk wait for several seconds: a lease is not given up for that. */
const BUSY_FACTOR = 3;
/** Nonces that may be unanswered; older ones are of no use to the fence. */
const NONCES_MAX = 512;

/** A transaction of its own that holds nothing but a WAL record, and waits for the write quorum like any commit. */
const PROBE_SQL = `select pg_logical_emit_message(true, 'pgspan', '')::text as lsn`;

export interface LeadershipTimes {
  publishedAtMs: number | null;
  checkpointedAtMs: number | null;
}

export class Leadership {
  readonly #node: NodeContext;
  readonly #server: PeerServer;
  readonly #members: MembershipChanger;
  readonly #roles: RoleKeeper;
  readonly #probeSql: LocalSql;
  readonly #sentAtMs = new Map<number, number>();
  /** Of members that can acknowledge for this term. */
  readonly #echoedSentAtMs = new Map<string, number>();
  /** Of all that answered, those that have promised a higher term too. */
  readonly #heardSentAtMs = new Map<string, number>();
  readonly #promisedTerms = new Map<string, number>();
  readonly #sinceMs = performance.now();
  readonly #onFence: (reason: string) => Promise<void>;
  /** Of what the pulse does for it. */
  readonly #ends: (() => void)[] = [];
  #nonce = Math.floor(performance.now());
  #phase: LeaderPhase = 'elected';
  #handsOver = false;
  #isRewindable = false;
  #isActive = true;
  #probedAtMs = performance.now();
  /** When PostgreSQL last answered a question that needs no flush; asked only while a probe is late. */
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #isAsking = false;
  #probeLsn: Lsn | null = null;
  #isConfirming = false;
  #higherPromiseSinceMs: number | null = null;
  #isReaffirming = false;
  #isFencing = false;

  readonly times: LeadershipTimes = { publishedAtMs: null, checkpointedAtMs: null };

  constructor(node: NodeContext, server: PeerServer, onFence: (reason: string) => Promise<void>) {
    this.#node = node;
    this.#roles = new RoleKeeper(node, () => this.#isActive && this.#phase === 'published');
    this.#server = server;
    this.#onFence = onFence;
    this.#members = new MembershipChanger(node, this);
    this.#probeSql = new LocalSql({
      socketDirectory: node.config.paths.runtimeDirectory,
      port: node.config.listen.postgresPort,
      applicationName: 'pgspan probe',
      synchronousCommit: 'on',
    });
  }

  /** True until `stop`. */
  get isActive(): boolean {
    return this.#isActive;
  }

  get phase(): LeaderPhase {
    return this.#phase;
  }

  get isRewindable(): boolean {
    return this.#isRewindable;
  }

  /** When each node was last proven to hear this leader, by the sending of the nonce that it echoed. */
  get echoedSentAtMs(): ReadonlyMap<string, number> {
    return this.#echoedSentAtMs;
  }

  get probeLsn(): Lsn | null {
    return this.#probeLsn;
  }

  /** PostgreSQL, which waits for nobody (w = 1), has not committed for so long that it must be taken for hung. */
  isHung(): boolean {
    if (this.#node.acceptedRecord?.writeQuorum !== 1) return false;
    const hungMs = this.#node.config.timing.detectionMs * PROBE_DETECTION_FACTOR * BUSY_FACTOR;
    return performance.now() - this.#probedAtMs >= hungMs;
  }

  get members(): MembershipChanger {
    return this.#members;
  }

  /** What followers must know; null before the lineage of this term is known. */
  leading(): Leading | null {
    const { lineage } = this.#node.voter;
    // Before the promotion is done the lineage is still the former one: following it could end beyond the fork.
    if (lineage === null || lineage.timeline !== this.#node.acceptedRecord?.timeline) return null;
    const { relays } = this.#members;
    return {
      lineage: encodeLineage(lineage),
      isRewindable: this.#isRewindable,
      handsOver: this.#handsOver,
      ...(relays === undefined ? {} : { relays }),
    };
  }

  /**
   * @param needsBarrier an earlier process of this node may have sent a swap that has not landed yet: swap once ourselves, so
   *   that it cannot land any more
   */
  async start(needsBarrier: boolean): Promise<void> {
    const { pulse } = this.#node;
    this.#ends.push(pulse.every(HEARTBEAT_INTERVAL_MS, () => this.#beat(), { isPunctual: true }));
    this.#ends.push(pulse.every(PROBE_INTERVAL_MS, () => this.#probeDue.set()));
    this.#ends.push(pulse.every(MEMBERS_INTERVAL_MS, () => this.#membersDue.set()));
    this.#beat();
    this.#beginUnpublishedCheckpoints();
    if (needsBarrier) {
      await this.#barrierSwap();
      if (this.#isActive) await this.#members.relax();
    }
    if (!this.#isActive) return;
    void this.#probeLoop();
    void this.#membersLoop();
  }

  /** Where a write quorum of one publishes at once, that may be before the promotion is done: then too it is for this to begin. */
  #beginUnpublishedCheckpoints(): void {
    const end = this.#node.pulse.every(
      CHECKPOINT_UNPUBLISHED_MS,
      () => {
        if (this.#isRewindable) end();
        else if (this.#phase !== 'handing-over') void this.#checkpoint();
      },
      { isPunctual: true },
    );
    this.#ends.push(end);
  }

  /** Ends beats and everything else; sessions and PostgreSQL are the caller's business. */
  stop(): void {
    this.#isActive = false;
    for (const end of this.#ends) end();
    this.#probeDue.set();
    this.#membersDue.set();
    void this.#probeSql.close();
    this.#members.stop();
    this.#roles.stop();
  }

  /** PostgreSQL has ended by itself: tell the others, who then need not wait for silence. */
  handOver(): void {
    this.#phase = 'handing-over';
    this.#handsOver = true;
    this.#node.changed();
  }

  /** A switchover has begun: proxies hold new connections from now on. */
  hold(): void {
    this.#phase = 'handing-over';
    this.#node.changed();
  }

  /** The switchover was given up before anything was stopped. */
  release(): void {
    if (!this.#handsOver && this.#phase === 'handing-over') this.#phase = 'published';
    this.#node.changed();
  }

  onEcho(node: string, echo: EchoMessage): void {
    const sentAtMs = this.#sentAtMs.get(echo.nonce);
    const record = this.#node.acceptedRecord;
    if (sentAtMs === undefined || record === null) return;
    this.#promisedTerms.set(node, echo.promisedTerm);
    // To judge a false alarm a node in another life is heard too: were it not, with w = |M|, the others would wait for ever.
    keepLatest(this.#heardSentAtMs, node, sentAtMs);
    // A node that lost its disk knows nothing of what it has promised before: in this life it is no member.
    if (!isMember(configurationOf(record), { node, incarnation: echo.incarnation })) return;
    // Who has promised a higher term can acknowledge nothing more: hearing it is no reason to go on serving.
    if (echo.promisedTerm > record.term) return;
    keepLatest(this.#echoedSentAtMs, node, sentAtMs);
  }

  hearing(): Hearing {
    return {
      nowMs: performance.now(),
      self: this.#node.config.node,
      echoedSentAtMs: this.#echoedSentAtMs,
      recordConfirmedSentAtMs: this.#node.recordConfirmedSentAtMs,
      sinceMs: this.#sinceMs,
    };
  }

  #beat(): void {
    const record = this.#node.acceptedRecord;
    if (record === null || !this.#isActive) return;
    const nowMs = performance.now();
    const nonce = ++this.#nonce;
    this.#sentAtMs.set(nonce, nowMs);
    if (this.#sentAtMs.size > NONCES_MAX) this.#sentAtMs.delete(this.#sentAtMs.keys().next().value as number);
    this.#server.beat({
      type: 'beat',
      nonce,
      term: record.term,
      flushLsn: formatLsnOrNull(this.#probeLsn),
      probeAgeMs: Math.max(0, Math.round(nowMs - this.#probedAtMs)),
      answerAgeMs: Math.max(0, Math.round(nowMs - Math.max(this.#probedAtMs, this.#answeredAtMs))),
    });
    if (nowMs - this.#probedAtMs >= this.#node.config.timing.detectionMs) void this.#askWhetherItAnswers();
    this.#guard(record);
    this.#reaffirmIfNeeded(record);
  }

  /** Where the lease rule holds, the lease keeper does this instead: there members that hear do not hold off the fence. */
  #guard(record: ClusterRecord): void {
    if (this.#node.config.replication.scope === 'group') return;
    const decision = decideFence(this.hearing(), configurationOf(record), this.#node.config.timing.fenceMs);
    if (decision.kind === 'hold' || this.#isFencing) return;
    if (decision.kind === 'fence') {
      this.#isFencing = true;
      void this.#onFence(decision.reason.message);
      return;
    }
    if (this.#isConfirming) return;
    this.#isConfirming = true;
    this.#node
      .readRecord()
      .catch((error: Error) => this.#node.log.debug({ error: error.message }, 'record not confirmed'))
      .finally(() => {
        this.#isConfirming = false;
      });
  }

  #reaffirmIfNeeded(record: ClusterRecord): void {
    const told = [...this.#node.links.values()].map((link) => link.view.state?.promisedTerm ?? 0);
    const highestPromise = Math.max(0, ...this.#promisedTerms.values(), ...told);
    if (highestPromise <= record.term || this.#handsOver || this.#isReaffirming || this.#phase === 'handing-over') {
      this.#higherPromiseSinceMs = null;
      return;
    }
    const nowMs = performance.now();
    this.#higherPromiseSinceMs ??= nowMs;
    if (nowMs - this.#higherPromiseSinceMs < REAFFIRM_AFTER_MS) return;
    this.#isReaffirming = true;
    void this.#reaffirm(highestPromise).finally(() => {
      this.#isReaffirming = false;
      this.#higherPromiseSinceMs = null;
    });
  }

  async #reaffirm(highestPromise: number): Promise<void> {
    const node = this.#node;
    try {
      // A leader whose PostgreSQL hangs must not talk the others out of replacing it.
      await node.sql.query('select 1', [], { timeoutMs: node.config.timing.detectionMs });
      await node.readRecord();
      const record = node.acceptedRecord;
      if (record === null || !this.#isActive) return;
      // Who has promised is heard as well: with the new term they follow again.
      const hearing = { ...this.hearing(), echoedSentAtMs: this.#heardSentAtMs };
      const heardAtMs = quorumHeardAtMs(hearing, configurationOf(record));
      const decision = decideReaffirm({
        record,
        voter: node.voter,
        self: node.config.node,
        hearsQuorum: performance.now() - heardAtMs < node.config.timing.detectionMs,
        highestPromise,
      });
      if (decision.kind === 'none') return;
      node.log.info({ reason: decision.reason.code, detail: decision.reason.message }, 'reaffirm');
      await this.swapOwn(decision.next);
    } catch (error) {
      node.log.warn({ error: (error as Error).message }, 'cannot reaffirm');
    }
  }

  /**
   * A swap by the leader of the present record. An unknown result is settled by repeating the same swap: it can succeed only
   * while no other one has landed. Resolves with what became of it.
   */
  async swapOwn(next: ClusterRecord): Promise<'swapped' | 'lost'> {
    const node = this.#node;
    const expected = node.storeVersion;
    for (;;) {
      const sentAtMs = performance.now();
      const result = await node.store.compareAndSwap(expected, next, { timeoutMs: 1000 });
      if (result.kind === 'unknown') {
        node.log.warn({ error: result.error.message }, 'swap result unknown');
        if (!this.#isActive) return 'lost';
        await delay(200);
        continue;
      }
      await node.acceptRecord(result.stored, { isLinearizable: true });
      node.recordConfirmedSentAtMs = Math.max(node.recordConfirmedSentAtMs, sentAtMs);
      if (result.kind === 'swapped') return 'swapped';
      // An earlier try of ours may have landed without its answer.
      const { record } = result.stored;
      const isOurs =
        record !== null &&
        record.version === next.version &&
        record.leader === next.leader &&
        record.term === next.term;
      return isOurs && JSON.stringify(record) === JSON.stringify(next) ? 'swapped' : 'lost';
    }
  }

  async #barrierSwap(): Promise<void> {
    while (this.#isActive) {
      try {
        await this.#node.readRecord();
        const record = this.#node.acceptedRecord;
        if (record === null || record.leader !== this.#node.config.node) return;
        if ((await this.swapOwn({ ...record, version: record.version + 1 })) === 'swapped') return;
      } catch (error) {
        // The database goes on without the store; only changes of members must wait for this swap.
        this.#node.log.warn({ error: (error as Error).message }, 'barrier swap waits for the coordination service');
        void this.#probeLoop();
        await delay(1000);
      }
    }
  }

  #isProbing = false;
  readonly #probeDue = new Latch();

  async #probeLoop(): Promise<void> {
    if (this.#isProbing) return;
    this.#isProbing = true;
    while (this.#isActive) {
      const startedAtMs = performance.now();
      this.#probeDue.clear();
      try {
        const rows = await this.#probeSql.query<{ lsn: string }>(PROBE_SQL, [], { timeoutMs: null });
        this.#probedAtMs = startedAtMs;
        this.#probeLsn = parseLsn(rows[0]?.lsn ?? '0/0');
        if (this.#phase === 'elected') this.#publish();
      } catch (error) {
        if (this.#isActive) this.#node.log.debug({ error: (error as Error).message }, 'probe failed');
        await delay(20);
        continue;
      }
      // One that took longer is followed by the next at once.
      await this.#probeDue.wait();
    }
    this.#isProbing = false;
  }

  async #askWhetherItAnswers(): Promise<void> {
    if (this.#isAsking || performance.now() - this.#answeredAtMs < ANSWER_INTERVAL_MS) return;
    this.#isAsking = true;
    const askedAtMs = performance.now();
    try {
      await this.#node.sql.query('select 1');
      this.#answeredAtMs = askedAtMs;
    } catch (error) {
      this.#node.log.debug({ error: (error as Error).message }, 'PostgreSQL does not answer');
    } finally {
      this.#isAsking = false;
    }
  }

  /** The end of recovery is on w members, since the probe behind it is: clients may come. */
  #publish(): void {
    this.#phase = 'published';
    this.times.publishedAtMs = performance.now();
    this.#node.log.info(
      { term: this.#node.acceptedRecord?.term, lsn: this.#probeLsn === null ? null : formatLsn(this.#probeLsn) },
      'published',
    );
    this.#node.changed();
    void this.#checkpoint();
    this.#roles.keep();
  }

  /** The configuration or a password may have changed. */
  keepRoles(): void {
    this.#roles.keep();
  }

  #isCheckpointing = false;

  async #checkpoint(): Promise<void> {
    // Before the promotion is done it would be a restartpoint of the former timeline.
    if (this.#isCheckpointing || this.leading() === null) return;
    this.#isCheckpointing = true;
    while (this.#isActive && !this.#isRewindable) {
      try {
        await this.#node.sql.run('CHECKPOINT', { timeoutMs: null });
        this.#isRewindable = true;
        this.times.checkpointedAtMs = performance.now();
        this.#node.changed();
      } catch (error) {
        this.#node.log.warn({ error: (error as Error).message }, 'checkpoint after promotion failed');
        await delay(1000);
      }
    }
  }

  readonly #membersDue = new Latch();

  async #membersLoop(): Promise<void> {
    while (this.#isActive) {
      this.#membersDue.clear();
      try {
        if (this.#mayChangeMembers()) await this.#members.step();
      } catch (error) {
        if (this.#isActive) this.#node.log.warn({ error: (error as Error).message }, 'change of members failed');
      }
      if (this.#members.isChanging) await delay(CHANGE_STEP_MS);
      else await this.#membersDue.wait();
    }
  }

  /**
   * Also before it is published: a lost member may be what keeps it from that (two nodes: the standby is lost, and the leader's
   * server crashes before memberTimeout). Not before its promotion is done.
   */
  #mayChangeMembers(): boolean {
    return this.#phase === 'published' || (this.#phase === 'elected' && this.leading() !== null);
  }

  /** Another node has something new to tell: it may have begun to stream, or come back as another incarnation. */
  lookAtMembers(): void {
    this.#membersDue.set();
  }
}

function keepLatest(times: Map<string, number>, node: string, atMs: number): void {
  if (atMs > (times.get(node) ?? Number.NEGATIVE_INFINITY)) times.set(node, atMs);
}
