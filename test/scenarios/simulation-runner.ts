/**
 * Runs a scenario in the simulation: three groups of one node each, the real decision functions, virtual time. A minute of a
 * scenario takes some milliseconds, so each is run with many seeds.
 */
import assert from 'node:assert/strict';
import type { ClusterRecord } from '../../src/api/record.ts';
import { Client } from '../simulation/client.ts';
import * as faults from '../simulation/faults.ts';
import { whatIsMissing } from '../simulation/history.ts';
import { STORE_PLACE } from '../simulation/record-store.ts';
import type { SimulationOptions, SimulationRules } from '../simulation/rules.ts';
import { LAN, type Topology, World } from '../simulation/world.ts';
import { isWorkbenchStep, type Scenario, type ScenarioStep, type SiteName, type WorkbenchStep } from './format.ts';

const WRITE_INTERVAL_MS = 20;
const WHOLE_LIMIT_MS = 120_000;
const LOOK_MS = 50;
const SLOW_CHECKPOINT_MS = 20_000;
/** The manifests of format.ts, as far as they matter here; `memberTimeout` is 30 s by default. */
const SITES: Readonly<Record<SiteName, { readonly topology: Topology; readonly memberTimeoutMs: number }>> = {
  'three-groups': { topology: { groups: { leo: 1, ait: 1, pit: 1 }, minCopies: 2 }, memberTimeoutMs: 30_000 },
  'two-nodes': { topology: { groups: { leo: 1, ait: 1 }, minCopies: 1 }, memberTimeoutMs: 3000 },
  'one-may-not-lead': {
    topology: { groups: { leo: 1, ait: 1, pit: 1 }, minCopies: 2, priorities: { 'ait-1': 0 } },
    memberTimeoutMs: 30_000,
  },
};
/** What the device of a slow disk adds to each flush. */
const SLOW_FLUSH_MS = 250;
const FLUSH_MS = 0.3;

export interface SimulatedScenarioOptions {
  readonly seed: number;
  readonly rules?: Partial<SimulationRules>;
  readonly options?: Partial<SimulationOptions>;
  readonly isTracing?: boolean;
}

/** Throws an AssertionError that names the step and the seed. */
export function simulateScenario(
  scenario: Scenario,
  options: SimulatedScenarioOptions,
): { readonly acknowledged: number } {
  const { topology, memberTimeoutMs } = SITES[scenario.site];
  const world = new World({ ...options, topology, timing: { ...LAN, memberTimeoutMs } });
  const run = new SimulatedRun(world);
  try {
    return run.play(scenario);
  } catch (error) {
    const { message } = error as Error;
    throw new assert.AssertionError({
      message: `${scenario.name}, seed ${options.seed}: ${message}\n${world.log.join('\n')}`,
    });
  }
}

interface Cast {
  readonly former: string;
  readonly follower: string;
  readonly other: string;
}

class SimulatedRun {
  readonly #world: World;
  readonly #client: Client;
  readonly #killed = new Set<string>();
  readonly #cut = new Map<string, readonly (readonly [string, string])[]>();
  readonly #records: { old: ClusterRecord | null; newest: ClusterRecord | null } = { old: null, newest: null };
  #caught: string | null = null;
  #cast: Cast = { former: '', follower: '', other: '' };

  constructor(world: World) {
    this.#world = world;
    this.#client = new Client(world, { intervalMs: WRITE_INTERVAL_MS, isSticky: false });
    // Stays on the leader of the beginning: what it is told late is a fault, which the world itself notices.
    new Client(world, { intervalMs: WRITE_INTERVAL_MS, isSticky: true });
  }

  play(scenario: Scenario): { readonly acknowledged: number } {
    const world = this.#world;
    this.#until(
      'all nodes lead or follow',
      WHOLE_LIMIT_MS,
      () => whatIsMissing(world) === null && this.#client.acknowledged > 10,
    );
    const former = world.writeTarget() as string;
    const followers = world.nodeNames.filter((node) => node !== former);
    followers.sort((a, b) => world.priorityOf(a) - world.priorityOf(b));
    this.#cast = { former, follower: followers[0] ?? '', other: followers[1] ?? '' };
    this.#client.resetGap();
    for (const [index, step] of scenario.steps.entries()) {
      world.trace('STEP', JSON.stringify(step));
      try {
        this.#step(step);
      } catch (error) {
        throw new Error(`step ${index + 1} (${JSON.stringify(step)}): ${(error as Error).message}`);
      }
    }
    this.#healAll();
    this.#until('all nodes lead or follow', WHOLE_LIMIT_MS, () => whatIsMissing(world) === null);
    this.#pass(500);
    const { longestGapMs } = this.#client;
    if (scenario.outageMsMax !== null)
      assert.ok(longestGapMs <= scenario.outageMsMax, `the client waited ${Math.round(longestGapMs)} ms`);
    const held = new Set(world.server(world.writeTarget() ?? former).wal.map((entry) => entry.id));
    for (const id of world.acknowledged.keys()) assert.ok(held.has(id), `acknowledged write ${id} is missing`);
    return { acknowledged: this.#client.acknowledged };
  }

  #pass(ms: number): void {
    const { clock } = this.#world;
    clock.run(clock.nowMs + ms, () => this.#world.problem !== null);
    assert.equal(this.#world.problem, null);
  }
  #until(what: string, limitMs: number, isSo: () => boolean): void {
    const endMs = this.#world.clock.nowMs + limitMs;
    while (!isSo()) {
      assert.ok(
        this.#world.clock.nowMs < endMs,
        `not so within ${limitMs} ms: ${what} (${whatIsMissing(this.#world)})`,
      );
      this.#pass(LOOK_MS);
    }
  }

  #step(step: ScenarioStep): void {
    if (isWorkbenchStep(step)) return this.#bench(step);
    if ('fault' in step) return this.#fault(step.fault, step.target);
    if ('start' in step) return this.#startMissing();
    if ('switchover' in step) return this.#switchOver(step.switchover === 'best' ? null : this.#cast.follower);
    if ('pauseMs' in step) return this.#pass(step.pauseMs);
    this.#expect(step);
  }

  #expect(step: Extract<ScenarioStep, { readonly expect: string }>): void {
    const world = this.#world;
    const client = this.#client;
    switch (step.expect) {
      case 'another leader': {
        const hasMoved = (): boolean => client.lastAckedBy !== null && client.lastAckedBy !== this.#cast.former;
        return this.#until('another node acknowledges writes', step.withinMs, hasMoved);
      }
      case 'same leader': {
        client.resetGap();
        this.#pass(step.forMs);
        const gapMs = Math.max(client.longestGapMs, world.clock.nowMs - client.lastAckedAtMs);
        assert.ok(gapMs <= step.gapMs, `a gap of ${Math.round(gapMs)} ms`);
        assert.equal(world.writeTarget(), this.#cast.former, 'the leader was replaced');
        return;
      }
      case 'whole':
        return this.#until('all nodes lead or follow', step.withinMs, () => whatIsMissing(world) === null);
      case 'writes': {
        const before = client.acknowledged;
        return this.#until('a write is acknowledged', step.withinMs, () => client.acknowledged > before);
      }
      case 'no writes': {
        const before = client.acknowledged;
        this.#pass(step.forMs);
        assert.equal(client.acknowledged, before, 'writes were acknowledged');
        return;
      }
      case 'leader': {
        const node = this.#cast[step.is];
        client.lastAckedBy = null;
        return this.#until(`"${node}" acknowledges writes`, step.withinMs, () => client.lastAckedBy === node);
      }
    }
  }

  #bench(step: WorkbenchStep): void {
    const world = this.#world;
    if ('when' in step) return this.#setTrap(step);
    if ('record' in step) return this.#replaceRecord(step.record);
    const leader = world.writeTarget() ?? world.store.stored.record?.leader ?? '';
    if ('checkpoint' in step) return world.server(leader).beginSlowCheckpoint(SLOW_CHECKPOINT_MS);
    if ('cancel' in step) {
      const told = world.server(leader).commitAndCancel(world.nextWriteId++);
      return this.#until('a cancelled commit is said to be done', 20_000, () => told.isSettled);
    }
    this.#until('the trap has sprung', step.withinMs, () => this.#caught !== null);
  }

  #setTrap({ when, fault }: Extract<WorkbenchStep, { readonly when: string }>): void {
    const world = this.#world;
    this.#caught = null;
    const spring = (node: string): void => {
      if (this.#caught !== null) return;
      this.#caught = node;
      this.#fault(fault, 'caught');
    };
    world.store.onChange = (before, record) => {
      if (when === 'elected' && record.leader !== before?.leader) spring(record.leader);
      if (when === 'joined' && record.members.length > (before?.members.length ?? 0)) spring(record.leader);
    };
    world.onRewinding = (node) => void (when === 'rewinding' && spring(node));
  }

  #replaceRecord(verb: 'remember' | 'restore' | 'bring back'): void {
    const { store } = this.#world;
    const { record } = store.stored;
    assert.ok(record !== null);
    if (verb === 'remember') this.#records.old = record;
    if (verb === 'restore') this.#records.newest = record;
    const next = verb === 'restore' ? this.#records.old : verb === 'bring back' ? this.#records.newest : null;
    if (next !== null) store.replace(next);
  }

  #fault(verb: string, text: string): void {
    const world = this.#world;
    if (text === 'record') return this.#faultRecord(verb);
    const target = faults.parseTarget(world, this.#resolve(text));
    switch (verb) {
      case 'kill':
        for (const node of target.nodes) if (target.part !== 'postgres') this.#killed.add(node);
        return faults.kill(world, target);
      case 'freeze':
        return faults.freeze(world, target);
      case 'thaw':
        return faults.thaw(world, target);
      case 'cut':
        if (this.#cut.has(target.nodes.join())) return;
        this.#cut.set(target.nodes.join(), faults.linksOf(world, target.nodes));
        return faults.cut(world, faults.linksOf(world, target.nodes));
      case 'fill-disk':
        for (const node of target.nodes) world.server(node).isDiskFull = true;
        return;
      case 'slow-disk':
        for (const node of target.nodes) world.server(node).flushMs = SLOW_FLUSH_MS;
        return;
      case 'heal':
        return this.#heal(target.nodes);
    }
    throw new Error(`no fault "${verb}"`);
  }

  #faultRecord(verb: string): void {
    const { store, network } = this.#world;
    const isBack = verb === 'thaw' || verb === 'heal';
    if (verb === 'cut') for (const node of this.#world.nodeNames) network.cut(node, STORE_PLACE);
    else if (verb === 'heal') for (const node of this.#world.nodeNames) network.heal(node, STORE_PLACE);
    if (isBack) store.comeBack();
    else if (verb !== 'cut') store.isAway = true;
  }

  #heal(nodes: readonly string[]): void {
    const links = this.#cut.get(nodes.join());
    if (links !== undefined) faults.heal(this.#world, links);
    this.#cut.delete(nodes.join());
    for (const node of nodes) {
      this.#world.server(node).isDiskFull = false;
      this.#world.server(node).flushMs = FLUSH_MS;
    }
  }

  #healAll(): void {
    const world = this.#world;
    for (const nodes of [...this.#cut.keys()]) this.#heal(nodes.split(','));
    this.#heal(world.nodeNames);
    for (const node of world.nodeNames) faults.thaw(world, { nodes: [node], part: 'node' });
    if (world.store.isAway) world.store.comeBack();
  }

  #startMissing(): void {
    for (const node of this.#killed) faults.restart(this.#world, { nodes: [node], part: 'node' });
    this.#killed.clear();
    if (this.#world.store.isAway) this.#world.store.comeBack();
  }

  #switchOver(to: string | null): void {
    const world = this.#world;
    const leader = world.writeTarget() as string;
    const agent = world.agent(leader);
    const target = to ?? this.#cast.follower;
    const { leadership } = agent;
    assert.ok(leadership !== null, 'nobody leads');
    let isDone: boolean | null = null;
    agent.process.spawn(leadership.switchOver(target)).then((result) => (isDone = result));
    this.#until(`"${target}" takes over`, 10_000, () => isDone !== null && world.writeTarget() === target);
  }

  /** The node or group that a word means, with its part. */
  #resolve(text: string): string {
    const [, word = '', rest = ''] = /^(leader|follower|other|former|caught)(.*)$/.exec(text) ?? [];
    const record = this.#world.store.stored.record;
    const node =
      word === 'leader'
        ? (this.#world.writeTarget() ?? record?.leader ?? '')
        : word === 'caught'
          ? (this.#caught ?? '')
          : this.#cast[word as keyof Cast];
    if (rest === '-group') return this.#world.groupOf(node);
    return node + rest;
  }
}
