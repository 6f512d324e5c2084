/** A client that writes one row after the other and remembers which were acknowledged, and when. */
import { PROXY_PLACE, type World } from './world.ts';

/** A session that hears nothing for this long is given up; what it wrote may or may not be there. */
const PATIENCE_MS = 4000;
/** Proxies hear of a new leader within this time. */
const PROXY_LOOK_MS = 50;

export class Client {
  readonly #world: World;
  readonly #intervalMs: number;
  /** A session that stays with its node for as long as that answers, as one past the proxy would. */
  readonly #isSticky: boolean;
  #target: string | null = null;
  lastAckedAtMs: number;
  lastAckedBy: string | null = null;
  longestGapMs = 0;
  acknowledged = 0;
  attempted = 0;

  constructor(world: World, options: { readonly intervalMs: number; readonly isSticky: boolean }) {
    this.#world = world;
    this.#intervalMs = options.intervalMs;
    this.#isSticky = options.isSticky;
    this.lastAckedAtMs = world.clock.nowMs;
    this.#next();
  }

  resetGap(): void {
    this.longestGapMs = 0;
    this.lastAckedAtMs = this.#world.clock.nowMs;
  }

  #next(): void {
    const { clock, random } = this.#world;
    clock.after(this.#intervalMs * random.between(0.7, 1.3), () => this.#write());
  }

  #write(): void {
    const world = this.#world;
    if (!this.#isSticky || this.#target === null) this.#target = world.writeTarget();
    const node = this.#target;
    if (node === null || world.network.isCut(PROXY_PLACE, node)) {
      if (!this.#isSticky) this.#target = null;
      return this.#next();
    }
    const id = world.nextWriteId++;
    let isOver = false;
    const end = (isAcknowledged: boolean): void => {
      if (isOver) return;
      isOver = true;
      if (isAcknowledged) this.#onAcknowledged(node);
      else this.#target = null;
      this.#next();
    };
    this.attempted++;
    world.network.send(PROXY_PLACE, node, () => {
      const server = world.server(node);
      if (!server.process.isAlive) return end(false);
      server.process.deliver(() =>
        server.commit(id).then((isAcknowledged) => {
          world.network.send(node, PROXY_PLACE, () => end(isAcknowledged));
          if (isAcknowledged) world.onAcknowledged(node, id);
        }),
      );
    });
    world.clock.after(PATIENCE_MS, () => end(false));
    // The proxy closes sessions of a leader that was replaced; one that goes past the proxy hangs.
    const watch = (): void => {
      const leader = world.writeTarget();
      if (leader !== null && leader !== node) end(false);
      if (!isOver) world.clock.after(PROXY_LOOK_MS, watch);
    };
    if (!this.#isSticky) world.clock.after(PROXY_LOOK_MS, watch);
  }

  #onAcknowledged(node: string): void {
    const { nowMs } = this.#world.clock;
    this.acknowledged++;
    this.longestGapMs = Math.max(this.longestGapMs, nowMs - this.lastAckedAtMs);
    this.lastAckedAtMs = nowMs;
    this.lastAckedBy = node;
  }
}
