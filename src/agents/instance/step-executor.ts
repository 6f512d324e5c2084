/**
 * Carries out one step of this node (core/leadership/step.ts). Each may be interrupted anywhere: the next decision goes on from
 * what is there.
 */
import type { NodeStep } from '../../core/leadership/step.ts';
import type { DataDirectory } from './data-directory.ts';
import type { LeadershipHolder } from './leadership-holder.ts';
import type { NodeContext } from './node-context.ts';
import type { Promotion } from './promotion.ts';
import type { ServerControl } from './server-control.ts';
import type { SlotKeeper } from './slot-keeper.ts';
import type { Standby } from './standby.ts';
import type { Switchover } from './switchover.ts';

export interface ExecutorParts {
  readonly node: NodeContext;
  readonly data: DataDirectory;
  readonly control: ServerControl;
  readonly leadership: LeadershipHolder;
  readonly promotion: Promotion;
  readonly slots: SlotKeeper;
  readonly standby: Standby;
  readonly switchover: Switchover;
}

type Executors = {
  readonly [Kind in NodeStep['kind']]: (step: Extract<NodeStep, { kind: Kind }>) => Promise<void>;
};

export class StepExecutor {
  readonly #parts: ExecutorParts;
  /** This process has just made the database and the record: no older swap of this node can be in flight. */
  #isNewDatabase = false;

  readonly #executors: Executors = {
    wait: () => this.#parts.standby.keepSettings(),
    blocked: () => this.#parts.standby.keepSettings(),
    bootstrap: () => this.#bootstrap(),
    clone: ({ from }) => this.#andWake(this.#parts.data.clone(from)),
    start: ({ as }) => this.#parts.control.start(as),
    stop: (step) => this.#stop(step),
    promote: ({ record }) => this.#promote(record.term),
    lead: () => this.#lead(),
    follow: ({ leader, upstream }) => this.#parts.standby.follow(leader, upstream),
    rewind: ({ leader }) => this.#andWake(this.#parts.data.rewind(leader)),
  };

  constructor(parts: ExecutorParts) {
    this.#parts = parts;
  }

  async apply(step: NodeStep): Promise<void> {
    this.#parts.leadership.endUnless(step);
    await (this.#executors[step.kind] as (step: NodeStep) => Promise<void>)(step);
  }

  async #andWake(work: Promise<unknown>): Promise<void> {
    await work;
    this.#parts.node.wake();
  }

  async #bootstrap(): Promise<void> {
    await this.#parts.data.bootstrap();
    this.#isNewDatabase = true;
    this.#parts.node.wake();
  }

  async #stop(step: Extract<NodeStep, { kind: 'stop' }>): Promise<void> {
    const { node, control, leadership } = this.#parts;
    if (step.reason.code === 'DiskFull') leadership.handOverFull();
    node.path.close();
    if (step.mode === 'fast') await control.stopFast();
    else await control.stopNow();
    node.wake();
  }

  /** Beats begin before the promotion, which may have much to replay: silence would make the others elect again. */
  async #promote(term: number): Promise<void> {
    const { node, control, leadership, promotion } = this.#parts;
    leadership.begin(false);
    try {
      await control.open(() => promotion.promote(term));
    } catch (error) {
      // Silence lets the others elect; unless they have, it is tried again on a server that was started anew.
      leadership.end();
      await node.postmaster.stop('immediate');
      throw error;
    }
    node.wake();
  }

  async #lead(): Promise<void> {
    const { leadership, slots, switchover } = this.#parts;
    const isLed = leadership.isActive && leadership.current?.phase !== 'handing-over';
    if (!isLed) {
      if (leadership.current !== null && switchover.isRunning) return;
      leadership.begin(!this.#isNewDatabase);
      this.#isNewDatabase = false;
    }
    await slots.keep(null);
  }
}
