/** The verbs of the local platform, on the simulated world: kill, freeze, cut and so on, of a node, a group or one part. */
import { STORE_PLACE } from './record-store.ts';
import { PROXY_PLACE, type World } from './world.ts';

export type Part = 'node' | 'postgres' | 'agent' | 'postmaster';

/** What a node can be told apart into; `record` and `proxy` are targets of their own. */
export interface Target {
  readonly nodes: readonly string[];
  readonly part: Part;
}

/** "leo-1", "leo", "leo-1/postgres", "leo-1/agent". */
export function parseTarget(world: World, text: string): Target {
  const [name = '', part = 'node'] = text.split('/');
  const nodes = world.nodesOf(name);
  if (nodes.length === 0) throw new Error(`Cannot find "${name}": there is no such node or group`);
  if (part !== 'node' && part !== 'postgres' && part !== 'agent' && part !== 'postmaster')
    throw new Error(`Cannot find part "${part}" of "${name}"`);
  return { nodes, part };
}

export function kill(world: World, { nodes, part }: Target): void {
  for (const node of nodes) {
    world.trace('FAULT', `kill ${node}/${part}`);
    if (part !== 'postgres') world.killAgent(node);
    if (part !== 'agent') world.server(node).crash();
  }
}

/** What a killed agent's supervisor does; the agent then starts its PostgreSQL. */
export function restart(world: World, { nodes }: Target): void {
  for (const node of nodes) if (!world.agent(node).process.isAlive) world.startAgent(node);
}

export function freeze(world: World, { nodes, part }: Target): void {
  for (const node of nodes) {
    world.trace('FAULT', `freeze ${node}/${part}`);
    if (part === 'postmaster') {
      world.server(node).stallPostmaster();
      continue;
    }
    if (part !== 'postgres') world.agent(node).process.freeze();
    if (part !== 'agent') world.server(node).process.freeze();
  }
}

export function thaw(world: World, { nodes, part }: Target): void {
  for (const node of nodes) {
    world.trace('FAULT', `thaw ${node}/${part}`);
    world.server(node).resumePostmaster();
    if (part !== 'agent') world.server(node).process.thaw();
    if (part !== 'postgres') world.agent(node).process.thaw();
  }
}

/** Every link between the targets and the rest of the world. */
export function linksOf(world: World, nodes: readonly string[]): (readonly [string, string])[] {
  const rest = [...world.nodeNames, STORE_PLACE, PROXY_PLACE].filter((place) => !nodes.includes(place));
  return nodes.flatMap((node) => rest.map((place) => [node, place] as const));
}

export function cut(world: World, links: readonly (readonly [string, string])[]): void {
  world.trace('FAULT', `cut ${links.map(([a, b]) => `${a}-${b}`).join(' ')}`);
  for (const [a, b] of links) world.network.cut(a, b);
}

export function heal(world: World, links: readonly (readonly [string, string])[]): void {
  world.trace('FAULT', `heal ${links.map(([a, b]) => `${a}-${b}`).join(' ')}`);
  for (const [a, b] of links) world.network.heal(a, b);
}

/** The disk is lost: promise file and data. The node stays down until it is restarted. */
export function wipe(world: World, node: string): void {
  world.trace('FAULT', `wipe ${node}`);
  kill(world, { nodes: [node], part: 'node' });
  world.server(node).disk = { wal: null, timeline: 0, history: [], setting: '', isMangled: false };
  world.voterDisk(node).remembered = null;
  world.voterDisk(node).voter = {
    incarnation: world.newIncarnation(),
    promisedTerm: 0,
    seen: { term: 0, version: 0 },
    lineage: null,
    followedTerm: 0,
    rewinding: false,
  };
}

/** Everything runs and is connected again; what was lost stays lost. */
export function repairAll(world: World): void {
  world.trace('FAULT', 'repair all');
  world.network.healAll();
  world.network.slowness.clear();
  world.store.slownessMs = 0;
  if (world.store.isAway) world.store.comeBack();
  for (const node of world.nodeNames) {
    const server = world.server(node);
    server.flushMs = 0.3;
    server.isDiskFull = false;
    server.resumePostmaster();
    server.process.thaw();
    world.agent(node).process.thaw();
    restart(world, { nodes: [node], part: 'node' });
  }
}
