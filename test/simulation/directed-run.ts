/** A history that is told step by step, in virtual time: for a rule that random faults meet too rarely. */
import assert from 'node:assert/strict';
import { Client } from './client.ts';
import * as faults from './faults.ts';
import { whatIsMissing } from './history.ts';
import type { SimulationOptions, SimulationRules } from './rules.ts';
import { LAN, type Timing, type Topology, World } from './world.ts';

export interface DirectedHistory {
  /** What must be so, as a fact. */
  readonly name: string;
  readonly topology: Topology;
  readonly timing?: Partial<Timing>;
  /** Between groups, one way; default 0.4 ms. */
  readonly wideDelayMs?: number;
  /** Rules that make the world harder than the real ones do. */
  readonly rules?: Partial<SimulationRules>;
  /** Throws where it is not so. Begins when all is well. */
  readonly play: (run: DirectedRun) => void;
}

export interface DirectedOptions {
  readonly seed: number;
  readonly rules?: Partial<SimulationRules>;
  readonly options?: Partial<SimulationOptions>;
  readonly isTracing?: boolean;
}

const WRITE_INTERVAL_MS = 20;
const LOOK_MS = 1;
const WHOLE_LIMIT_MS = 40_000;

/** What went wrong, or null. */
export function playDirected(
  history: DirectedHistory,
  options: DirectedOptions,
): { readonly problem: string | null; readonly log: readonly string[] } {
  const timing = { ...LAN, ...history.timing };
  const rules = { ...history.rules, ...options.rules };
  const world = new World({ ...options, rules, topology: history.topology, timing });
  if (history.wideDelayMs !== undefined) world.network.wideDelayMs = history.wideDelayMs;
  const run = new DirectedRun(world);
  try {
    run.whole('at the beginning');
    history.play(run);
    run.repairAndCheck();
    return { problem: world.problem, log: world.log };
  } catch (error) {
    if (!(error instanceof assert.AssertionError)) throw error;
    return { problem: world.problem ?? error.message, log: world.log };
  }
}

export class DirectedRun {
  readonly world: World;
  readonly client: Client;

  constructor(world: World) {
    this.world = world;
    this.client = new Client(world, { intervalMs: WRITE_INTERVAL_MS, isSticky: false });
    new Client(world, { intervalMs: WRITE_INTERVAL_MS, isSticky: true });
  }

  get term(): number {
    return this.world.store.stored.record?.term ?? 0;
  }

  /** The longest time without an acknowledgement since the client was last told to forget. */
  get gapMs(): number {
    return Math.max(this.client.longestGapMs, this.world.clock.nowMs - this.client.lastAckedAtMs);
  }

  pass(ms: number): void {
    const { clock } = this.world;
    clock.run(clock.nowMs + ms, () => this.world.problem !== null);
    assert.equal(this.world.problem, null);
  }
  /** Looks each millisecond. */
  until(what: string, limitMs: number, isSo: () => boolean): void {
    const endMs = this.world.clock.nowMs + limitMs;
    while (!isSo()) {
      assert.ok(this.world.clock.nowMs < endMs, `not so within ${limitMs} ms: ${what} (${whatIsMissing(this.world)})`);
      this.pass(LOOK_MS);
    }
  }
  whole(when: string): void {
    const isWhole = (): boolean => whatIsMissing(this.world) === null && this.client.acknowledged > 5;
    this.until(`all nodes lead or follow, ${when}`, WHOLE_LIMIT_MS, isWhole);
  }
  writes(withinMs: number): void {
    const before = this.client.acknowledged;
    this.until('a write is acknowledged', withinMs, () => this.client.acknowledged > before);
  }
  leads(node: string, withinMs: number): void {
    this.client.lastAckedBy = null;
    this.until(`"${node}" acknowledges writes`, withinMs, () => this.client.lastAckedBy === node);
  }

  /** A node, or a part of one: "leo-1", "leo-1/postgres". */
  kill(target: string): void {
    faults.kill(this.world, faults.parseTarget(this.world, target));
  }
  restart(node: string): void {
    faults.restart(this.world, faults.parseTarget(this.world, node));
  }
  /** The disk is lost; it stays down. */
  wipe(node: string): void {
    faults.wipe(this.world, node);
  }
  freeze(target: string): void {
    faults.freeze(this.world, faults.parseTarget(this.world, target));
  }
  thaw(target: string): void {
    faults.thaw(this.world, faults.parseTarget(this.world, target));
  }
  /** One link, to be healed as it was cut. */
  cut(...links: (readonly [string, string])[]): void {
    faults.cut(this.world, links);
  }
  heal(...links: (readonly [string, string])[]): void {
    faults.heal(this.world, links);
  }
  /** All links of a node. */
  isolate(node: string): void {
    faults.cut(this.world, faults.linksOf(this.world, [node]));
  }
  rejoin(node: string): void {
    faults.heal(this.world, faults.linksOf(this.world, [node]));
  }

  /** Everything is repaired: all must be well again, and nothing lost. */
  repairAndCheck(): void {
    faults.repairAll(this.world);
    this.whole('at the end');
    const leader = this.world.writeTarget();
    assert.ok(leader !== null);
    const held = new Set(this.world.server(leader).wal.map((entry) => entry.id));
    for (const id of this.world.acknowledged.keys()) assert.ok(held.has(id), `acknowledged write ${id} is lost`);
  }
}
