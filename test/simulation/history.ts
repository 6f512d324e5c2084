/**
 * One random history: faults upon faults for a while, then everything is repaired, and a leader must be published, every node
 * follow it, and no acknowledged write be missing.
 */
import { configurationOf, synchronousStandbyNames, voteQuorum } from '../../src/core/leadership/quorum.ts';
import { Client } from './client.ts';
import * as faults from './faults.ts';
import type { SimulationOptions, SimulationRules } from './rules.ts';
import { type Topology, World } from './world.ts';

const FAULTS_UNTIL_MS = 14_000;
/** After the repair: detection, an election that may collide a few times, rewinds and clones. */
const RECOVERY_LIMIT_MS = 15_000;
const CLIENT_INTERVAL_MS = 60;

export interface HistoryOptions {
  readonly seed: number;
  readonly rules?: Partial<SimulationRules>;
  readonly options?: Partial<SimulationOptions>;
  readonly isTracing?: boolean;
}
export interface HistoryResult {
  readonly problem: string | null;
  /** More copies were lost than w allows; nobody was elected, and rightly. */
  readonly isBlocked: boolean;
  readonly log: readonly string[];
  readonly events: number;
  readonly acknowledged: number;
  readonly publications: number;
}

/** From one rack to another continent: the longer, the more is on its way when a fault comes. */
const WIDE_DELAYS_MS = [0.4, 0.4, 6, 30] as const;

const TOPOLOGIES: readonly Topology[] = [
  { groups: { leo: 1, ait: 1, pit: 1 }, minCopies: 2 },
  { groups: { leo: 3 }, minCopies: 2 },
  { groups: { leo: 1, ait: 1 }, minCopies: 1 },
  { groups: { leo: 2, ait: 1, pit: 1 }, minCopies: 2 },
  { groups: { leo: 2, ait: 2, pit: 1 }, minCopies: 2 },
  { groups: { leo: 1, ait: 1, pit: 1 }, minCopies: 3 },
];

export function runHistory(options: HistoryOptions): HistoryResult {
  const topology = TOPOLOGIES[options.seed % TOPOLOGIES.length] as Topology;
  const world = new World({ ...options, topology });
  const clients = [
    new Client(world, { intervalMs: CLIENT_INTERVAL_MS, isSticky: false }),
    new Client(world, { intervalMs: CLIENT_INTERVAL_MS * 2, isSticky: true }),
  ];
  world.network.wideDelayMs = world.random.pick(WIDE_DELAYS_MS);
  planFaults(world, topology);
  const isBroken = (): boolean => world.problem !== null;
  world.clock.run(FAULTS_UNTIL_MS, isBroken);
  let isBlocked = false;
  if (!isBroken()) {
    faults.repairAll(world);
    isBlocked = recover(world, clients);
  }
  return {
    problem: world.problem,
    isBlocked,
    log: world.log,
    events: world.clock.events,
    acknowledged: world.acknowledged.size,
    publications: world.publications,
  };
}

/** True if it stays blocked, and rightly. */
function recover(world: World, clients: readonly Client[]): boolean {
  const limitMs = world.clock.nowMs + RECOVERY_LIMIT_MS;
  const writer = clients[0] as Client;
  while (world.problem === null) {
    const before = writer.acknowledged;
    world.clock.run(world.clock.nowMs + 300, () => world.problem !== null);
    const missing = whatIsMissing(world) ?? (writer.acknowledged === before ? 'no write is acknowledged' : null);
    if (missing === null) break;
    if (world.clock.nowMs > limitMs && isBlockedRightly(world)) return true;
    if (world.clock.nowMs > limitMs) world.fail(`not recovered after ${RECOVERY_LIMIT_MS} ms: ${missing}`);
  }
  const leader = world.writeTarget();
  if (leader === null || world.problem !== null) return false;
  const held = new Set(world.server(leader).wal.map((entry) => entry.id));
  for (const id of world.acknowledged.keys()) if (!held.has(id)) world.fail(`acknowledged write ${id} is lost`);
  return false;
}

/**
 * Whether too few members are left that can say what they hold: disks were lost and rewinds did not finish, and more copies may be
 * gone than w allows. Then nobody may be elected without a possible loss, and blocking is right.
 */
function isBlockedRightly(world: World): boolean {
  const record = world.store.stored.record;
  if (record === null || world.writeTarget() !== null) return false;
  const votes = record.members.filter((member) => {
    const { voter } = world.agent(member.node);
    const view = world.server(member.node).view();
    if (voter.incarnation !== member.incarnation || view === null) return false;
    const own = { flushLsn: BigInt(view.flushLsn), isReplayedToEnd: view.isReplayedToEnd };
    return world.rules.decidePosition(voter, own).kind === 'known';
  });
  return votes.length < voteQuorum(configurationOf(record));
}

/** What keeps the world from being as it should: published, all others following on its timeline, all of them members. */
export function whatIsMissing(world: World): string | null {
  const leader = world.writeTarget();
  if (leader === null) return 'no leader is published';
  const server = world.server(leader);
  if (server.role !== 'primary') return `"${leader}" is published and its PostgreSQL is ${server.role}`;
  const record = world.store.stored.record;
  if (record?.leader !== leader) return `"${leader}" is published, and the record names "${record?.leader}"`;
  for (const node of world.nodeNames) {
    if (node === leader) continue;
    const step = world.agent(node).step;
    const why = `${step?.kind} ${step?.reason.code}: ${step?.reason.message}`;
    if (![...server.senders].some((sender) => sender.standby.node === node))
      return `"${node}" does not stream from "${leader}" (${why})`;
    if (
      !record.members.some(
        (member) => member.node === node && member.incarnation === world.agent(node).voter.incarnation,
      )
    )
      return `"${node}" is no member`;
  }
  if (server.setting !== synchronousStandbyNames(record, leader))
    return `"${leader}" still has the setting ${server.setting}`;
  return null;
}

/** Several faults, one after the other and over each other, each of which ends by itself. */
function planFaults(world: World, topology: Topology): void {
  const { random, clock } = world;
  const count = random.integer(2, 8);
  let hasWiped = false;
  for (let index = 0; index < count; index++) {
    const atMs = random.between(800, FAULTS_UNTIL_MS - 1500);
    clock.at(atMs, () => {
      if (!hasWiped && topology.minCopies > 1 && random.chance(0.08)) {
        hasWiped = true;
        const node = random.pick(world.nodeNames);
        faults.wipe(world, node);
        clock.after(random.between(200, 3000), () => faults.restart(world, { nodes: [node], part: 'node' }));
      } else oneFault(world);
    });
  }
}

/** The leader is hit more often than it would be by chance. */
function pickNode(world: World): string {
  const leader = world.writeTarget() ?? world.store.stored.record?.leader;
  return leader !== undefined && world.random.chance(0.4) ? leader : world.random.pick(world.nodeNames);
}

function oneFault(world: World): void {
  if (world.clock.nowMs >= FAULTS_UNTIL_MS) return;
  const { random, clock } = world;
  const node = pickNode(world);
  const part = random.pick(['node', 'node', 'postgres', 'agent'] as const);
  const isGroup = part === 'node' && random.chance(0.2);
  const nodes = isGroup ? world.nodesOf(world.groupOf(node)) : [node];
  const target = { nodes, part };
  const durationMs = random.chance(0.3) ? random.between(3000, 9000) : random.between(50, 3000);
  switch (random.integer(0, 13)) {
    case 0:
    case 1:
      faults.kill(world, target);
      return clock.after(durationMs, () => faults.restart(world, target));
    case 2:
    case 3:
      faults.freeze(world, target);
      return clock.after(durationMs, () => faults.thaw(world, target));
    case 4:
    case 5: {
      const links = faults.linksOf(world, nodes);
      faults.cut(world, links);
      return clock.after(durationMs, () => faults.heal(world, links));
    }
    case 6: {
      const other = random.pick([...world.nodeNames, 'record', 'proxy']);
      if (other === node) return;
      return flap(world, [[node, other]], random.integer(1, 6));
    }
    case 7:
      return flap(world, faults.linksOf(world, [node]), random.integer(2, 6));
    case 8: {
      const server = world.server(node);
      server.flushMs = random.pick([20, 150, 700, 2500]);
      world.trace('FAULT', `slow disk ${node}: ${server.flushMs} ms`);
      return clock.after(durationMs, () => (server.flushMs = 0.3));
    }
    case 9: {
      const server = world.server(node);
      server.isDiskFull = true;
      world.trace('FAULT', `full disk ${node}`);
      return clock.after(durationMs, () => (server.isDiskFull = false));
    }
    case 10:
      if (random.chance(0.5)) {
        world.trace('FAULT', 'record away');
        world.store.isAway = true;
        return clock.after(durationMs, () => world.store.comeBack());
      }
      world.store.slownessMs = random.pick([200, 800, 2500]);
      world.trace('FAULT', `slow record: ${world.store.slownessMs} ms`);
      return clock.after(durationMs, () => (world.store.slownessMs = 0));
    case 11:
      return thawIntoCut(world, node, durationMs);
    default: {
      const leader = world.store.stored.record?.leader;
      const agent = leader === undefined ? null : world.agent(leader);
      const to = random.pick(world.nodeNames);
      const { leadership } = agent ?? {};
      if (agent === null || leadership === null || leadership === undefined || to === leader) return;
      world.trace('FAULT', `switchover to ${to}`);
      agent.process.deliver(() => void agent.process.spawn(leadership.switchOver(to)));
    }
  }
}

/** What a frozen leader meets when it wakes: what its peers sent before, and nobody any more. */
function thawIntoCut(world: World, node: string, frozenMs: number): void {
  const { clock, random } = world;
  const links = faults.linksOf(world, [node]);
  const target = { nodes: [node], part: 'node' } as const;
  faults.freeze(world, target);
  clock.after(frozenMs * random.next(), () => {
    if (clock.nowMs < FAULTS_UNTIL_MS) faults.cut(world, links);
  });
  clock.after(frozenMs, () => faults.thaw(world, target));
  clock.after(frozenMs + random.between(500, 6000), () => faults.heal(world, links));
}

function flap(world: World, links: readonly (readonly [string, string])[], times: number): void {
  const { random, clock } = world;
  if (times === 0 || clock.nowMs >= FAULTS_UNTIL_MS) return;
  faults.cut(world, links);
  clock.after(random.between(20, 1500), () => {
    faults.heal(world, links);
    clock.after(random.between(20, 1200), () => flap(world, links, times - 1));
  });
}
