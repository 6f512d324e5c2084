/**
 * Holds the leadership of this node, if it has one: when it begins and ends, and the fence, which also ends a primary that nobody
 * leads. What a leader does meanwhile is in leadership.ts.
 */
import { Leadership } from './leadership.ts';
import type { NodeContext } from './node-context.ts';
import type { PeerServer } from './peer-server.ts';
import type { PostgresObserver } from './postgres-view.ts';
import type { ServerControl } from './server-control.ts';
import type { NodeStep } from '../../core/leadership/step.ts';

/** A leader without room asks the others to lead this often: when nobody could, it would stop again and again. */
const FULL_HAND_OVER_INTERVAL_MS = 60_000;

export class LeadershipHolder {
  readonly #node: NodeContext;
  readonly #server: PeerServer;
  readonly #observer: PostgresObserver;
  readonly #control: ServerControl;
  #leadership: Leadership | null = null;
  #fencedAtMs: number | null = null;
  /** Since when PostgreSQL is a primary without a leadership. */
  #aloneSinceMs: number | null = null;
  #fullHandOverAtMs = Number.NEGATIVE_INFINITY;

  constructor(node: NodeContext, server: PeerServer, observer: PostgresObserver, control: ServerControl) {
    this.#node = node;
    this.#server = server;
    this.#observer = observer;
    this.#control = control;
  }

  get current(): Leadership | null {
    return this.#leadership;
  }

  get isActive(): boolean {
    return this.#leadership?.isActive === true;
  }

  /** It leads, does not hand over, and its PostgreSQL runs. */
  get isServing(): boolean {
    return this.isActive && this.#leadership?.phase !== 'handing-over' && this.#node.postmaster.pid !== null;
  }

  /** It fenced itself and has had no confirmed record since. */
  get isFenced(): boolean {
    return this.#fencedAtMs !== null;
  }

  /** @param needsBarrier an older swap of this node may still be on its way to the store */
  begin(needsBarrier: boolean): void {
    this.#leadership?.stop();
    this.#leadership = new Leadership(this.#node, this.#server, (reason) => this.fence(reason));
    this.#node.changed();
    void this.#leadership.start(needsBarrier);
  }

  end(): void {
    this.#leadership?.stop();
    this.#leadership = null;
  }

  /** An elected node beats from its election on, a crashed leader while it hands over; every other step ends a leadership. */
  endUnless(step: NodeStep): void {
    if (this.#leadership === null || step.kind === 'lead' || step.kind === 'promote') return;
    if (step.kind === 'stop' && step.reason.code === 'DiskFull') return;
    if (step.kind === 'wait' && step.reason.code === 'HandingOver') return;
    this.end();
    this.#node.changed();
  }

  /** Stops PostgreSQL at once; it leads again only after a record that was confirmed later. */
  async fence(reason: string): Promise<void> {
    this.#node.log.warn({ reason }, 'fence');
    this.#fencedAtMs = performance.now();
    this.end();
    this.#node.path.close();
    await this.#control.stopNow();
    this.#node.wake();
  }

  /** A record may have been confirmed since the fence. */
  liftFence(): void {
    if (this.#fencedAtMs !== null && this.#node.recordConfirmedSentAtMs > this.#fencedAtMs) this.#fencedAtMs = null;
  }

  /**
   * Ends a PostgreSQL that has been a primary for the length of a fence without a leadership that would fence it: the agent was
   * started beside it and has not learned whether it still leads, or the record is refused. Call it beside the loop, which may wait
   * for a slow disk to take what it has read of the record.
   */
  guardAlone(): void {
    const isAlone = this.#observer.view.state.kind === 'primary' && this.#leadership === null;
    if (!isAlone) this.#aloneSinceMs = null;
    else this.#aloneSinceMs ??= performance.now();
    const { fenceMs } = this.#node.config.timing;
    if (this.#aloneSinceMs === null || performance.now() - this.#aloneSinceMs <= fenceMs) return;
    this.#aloneSinceMs = null;
    void this.fence('PostgreSQL is a primary, and this node does not come to lead');
  }

  /** Before a promise is written: whatever may be a primary is stopped. */
  async fenceForPromise(isPromoting: boolean): Promise<void> {
    // What was last observed may be old: a leader by the record, or one that is being promoted, counts as a primary.
    // One that has promised away already runs as a standby: stopping it with each promise would keep it from ever voting.
    const { acceptedRecord: record, voter, isLeaderByRecord, postmaster } = this.#node;
    const mayLead = isLeaderByRecord && !this.isFenced && voter.promisedTerm <= (record?.term ?? 0);
    if (postmaster.pid === null || !(this.#control.mayBePrimary || isPromoting || mayLead)) return;
    this.end();
    await postmaster.stop('immediate');
  }

  /** Without a promise of its own, which would need room on the disk: the others elect as after a crash, in a moment. */
  handOverFull(): void {
    this.#fullHandOverAtMs = performance.now();
    this.#leadership?.handOver();
  }

  get hasJustHandedOverFull(): boolean {
    return performance.now() - this.#fullHandOverAtMs < FULL_HAND_OVER_INTERVAL_MS;
  }
}
