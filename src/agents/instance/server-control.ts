/**
 * Starts and stops this node's PostgreSQL: with the settings that a start needs, with pauses after failed starts, and with the
 * watchdog told before it may become a primary. Whether it is to run, and as what, is decided elsewhere (core/leadership/step.ts).
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readFileIfPresent, writeFileAtomically } from '../../base/durable-file.ts';
import { FENCE_STOP_MS } from '../../core/leadership/lease.ts';
import type { Position } from '../../core/leadership/position.ts';
import { configurationOf, synchronousStandbyNames } from '../../core/leadership/quorum.ts';
import type { Reason } from '../../core/leadership/voter.ts';
import { readControlData } from './control-file.ts';
import { failurePauseMs } from './decision-loop.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { NodeContext } from './node-context.ts';
import type { PostgresObserver } from './postgres-view.ts';
import { lastFatalMessage } from './server-log.ts';
import { readStandbyFloors } from './standby-floors.ts';
import { removeReservedTimelines, reserveTimelines } from './timelines.ts';

/** A fast shutdown waits for standbys to take the last WAL; a dead one is not waited for longer. */
const FAST_STOP_LIMIT_MS = 10_000;
/** One failed start can be a crash that repeats once; after this many a person should look. */
const START_FAILURES_BLOCKED = 3;
const AUTO_CONF_TEXT = '# Emptied by pgspan at each start: set spec.postgresql.parameters instead of ALTER SYSTEM.\n';

export class ServerControl {
  readonly #node: NodeContext;
  readonly #observer: PostgresObserver;
  readonly #lease: Pick<LeaseKeeper, 'isNeeded' | 'durationMs'>;
  #isOpening = false;
  #isEnding = false;
  #startFailures = 0;
  #startNotBeforeMs = 0;
  #startProblem: Reason | null = null;
  #shutdownPosition: Position | null = null;

  /** Awaited before PostgreSQL may become a primary. */
  beforeOpening: () => Promise<void> = async () => {};

  constructor(node: NodeContext, observer: PostgresObserver, lease: Pick<LeaseKeeper, 'isNeeded' | 'durationMs'>) {
    this.#node = node;
    this.#observer = observer;
    this.#lease = lease;
  }

  /** PostgreSQL is, or may become at any moment, a primary. */
  get mayBePrimary(): boolean {
    const { state } = this.#observer.view;
    return state.kind === 'primary' || (state.kind === 'starting' && state.as === 'primary');
  }

  /** It is being made a primary: what is observed may be older. */
  get isOpening(): boolean {
    return this.#isOpening;
  }

  /** PostgreSQL does not come up; the reason for people. */
  get startProblem(): Reason | null {
    return this.#startProblem;
  }

  /** It has just failed to start, and is not started again yet. */
  get isPausing(): boolean {
    return performance.now() < this.#startNotBeforeMs;
  }

  /** End of the WAL of a cleanly stopped leader, until the next start. */
  get shutdownPosition(): Position | null {
    return this.#shutdownPosition;
  }

  /** A signal has asked this process to end: PostgreSQL is not started again. */
  startNoMore(): void {
    this.#isEnding = true;
  }

  async start(as: 'primary' | 'standby'): Promise<void> {
    const node = this.#node;
    if (this.#isEnding || this.isPausing) return;
    this.#shutdownPosition = null;
    // It starts without a leader: whom it followed before, it must follow anew.
    node.path.close();
    const record = node.acceptedRecord;
    await removeReservedTimelines(node.config.paths.dataDirectory);
    const timeline = node.voter.lineage?.timeline ?? 1;
    if (as === 'primary') await reserveTimelines(node.config.paths.dataDirectory, timeline, timeline);
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
      isPrimary: as === 'primary',
    });
    await this.#emptyAutoConf();
    node.files.serverStarts();
    if (as === 'primary') await this.open(() => node.postmaster.start(as));
    else await node.postmaster.start(as);
    node.wake();
  }

  /** Whatever makes a primary: the watchdog guards it from before its first moment. */
  async open(work: () => Promise<unknown>): Promise<void> {
    this.#isOpening = true;
    try {
      await this.beforeOpening();
      await work();
      await this.#observer.observe(1000);
    } finally {
      this.#isOpening = false;
    }
  }

  async stopFast(): Promise<void> {
    await this.#node.postmaster.stop('fast', FAST_STOP_LIMIT_MS);
  }

  /** Where the lease rule holds there is a limit to it, after which another may lead: what has not ended by then is killed. */
  async stopNow(): Promise<void> {
    if (this.#lease.isNeeded) await this.#node.postmaster.stop('immediate', FENCE_STOP_MS / 2);
    else await this.#node.postmaster.stop('immediate');
  }

  /** For a switchover: PostgreSQL ends cleanly, and where its WAL ends is known from the control file. */
  async stopForHandOver(): Promise<Position | null> {
    const node = this.#node;
    await this.stopFast();
    const control = await readControlData(node.config.paths.dataDirectory);
    const timeline = node.voter.lineage?.timeline;
    if (!control.isShutDown || timeline === undefined) return null;
    // One byte into the shutdown checkpoint: whoever holds that record holds every byte before it.
    this.#shutdownPosition = { timeline, lsn: control.checkpointLsn + 1n };
    return this.#shutdownPosition;
  }

  /** PostgreSQL has ended, and the observer does not know it yet: one that had not come up is started again after a pause. */
  noteExit(): void {
    const { kind } = this.#observer.view.state;
    const wasUp = kind === 'primary' || kind === 'standby';
    this.#startFailures = wasUp ? 0 : this.#startFailures + 1;
    if (wasUp) {
      this.#startProblem = null;
      return;
    }
    void this.#explainStartFailure();
    const pauseMs = this.#startPauseMs();
    this.#startNotBeforeMs = performance.now() + pauseMs;
    this.#node.log.error(
      { failures: this.#startFailures, retryMs: pauseMs },
      'PostgreSQL ended while it started; its log says why',
    );
  }

  /** Where the lease rule holds, the lease runs out between two tries of a server that fails again and again. */
  #startPauseMs(): number {
    const isLeader = this.#lease.isNeeded && this.#node.isLeaderByRecord;
    const isBlocked = isLeader && this.#startFailures >= START_FAILURES_BLOCKED;
    return isBlocked ? 2 * this.#lease.durationMs : failurePauseMs(this.#startFailures);
  }

  async #explainStartFailure(): Promise<void> {
    const { postgresLog } = this.#node.config.paths;
    const said = (await lastFatalMessage(postgresLog)) ?? 'see its log';
    const message = `PostgreSQL ended ${this.#startFailures} times while it started: ${said}; it is tried again, nothing was removed`;
    if (this.#startFailures >= START_FAILURES_BLOCKED) this.#startProblem = { code: 'PostgresFails', message };
  }

  /** ALTER SYSTEM would win over the plan; what it set before 17 (which can forbid it) ends with the server. */
  async #emptyAutoConf(): Promise<void> {
    const path = join(this.#node.config.paths.dataDirectory, 'postgresql.auto.conf');
    if ((await readFileIfPresent(path)) !== AUTO_CONF_TEXT) await writeFileAtomically(path, AUTO_CONF_TEXT);
  }
}
