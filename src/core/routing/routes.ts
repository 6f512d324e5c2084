/**
 * Where a new connection goes, and which open sessions must end. Pure.
 *
 *   write   the leader of the highest term, once it is published; otherwise the connection waits
 *   read    read nodes: level before lagging, own group before others, then the fewest connections;
 *           the leader, if allowed, only when no read node is left; then nodes that were last known to serve reads
 */
import type { LeaderView } from '../../api/peer-stream.ts';
import type { NodeSight, RoutingView } from './routing-view.ts';

export type Route = 'write' | 'read';

/** Why a connection cannot be made now: a constant word and a sentence that also stands in the error that a client sees. */
export interface WaitReason {
  readonly code:
    | 'NoLeaderKnown'
    | 'LeaderElected'
    | 'LeaderHandingOver'
    | 'LeaderUnknownHere'
    | 'NoReadNode'
    | 'NoAnswer';
  readonly message: string;
}

export type WriteRoute =
  | { readonly kind: 'connect'; readonly node: string; readonly term: number }
  | { readonly kind: 'wait'; readonly reason: WaitReason };

/** @param peers the nodes that this proxy has addresses of. */
export function decideWriteRoute(leader: LeaderView, peers: ReadonlySet<string>): WriteRoute {
  if (leader.leader === null) return wait('NoLeaderKnown', 'no write leader is known yet');
  const name = `"${leader.leader}" of term ${leader.term}`;
  if (!peers.has(leader.leader)) return wait('LeaderUnknownHere', `the write leader ${name} has no address here yet`);
  if (leader.phase === 'handing-over') return wait('LeaderHandingOver', `the write leader ${name} is handing over`);
  if (leader.phase !== 'published')
    return wait('LeaderElected', `the write leader ${name} is not open for clients yet`);
  return { kind: 'connect', node: leader.leader, term: leader.term };
}

function wait(code: WaitReason['code'], message: string): WriteRoute {
  return { kind: 'wait', reason: { code, message } };
}

export interface ReadRouteContext {
  /** Group of this proxy. */
  readonly group: string;
  readonly peers: ReadonlySet<string>;
  readonly fallsBackToLeader: boolean;
  /** Sessions that this proxy has open to each node. */
  readonly sessions: ReadonlyMap<string, number>;
  /** Nodes to which a connection failed a moment ago: tried last. */
  readonly failing: ReadonlySet<string>;
  /** A node to prefer among equals (a cancel may be on its way there), or null. */
  readonly preferred: string | null;
}

/**
 * Nodes behind by less than this are level: one segment of WAL is what a busy standby is behind at any moment, and
 * preferring less would send every connection to whichever node reported last.
 */
export const LEVEL_LAG_BYTES = 16 * 1024 * 1024;

/** The nodes to try for a read, best first; empty: nobody can serve. */
export function decideReadRoute(view: RoutingView, context: ReadRouteContext): string[] {
  const known = [...view.nodes.values()].filter((sight) => context.peers.has(sight.node) && sight.state?.acceptsReads);
  const readers = known.filter((sight) => sight.node !== view.leader.leader && isReader(sight));
  const order = compareReaders(context);
  const live = readers.filter((sight) => sight.live).sort(order);
  const silent = readers.filter((sight) => !sight.live).sort(order);
  const leader = context.fallsBackToLeader ? decideWriteRoute(view.leader, context.peers) : null;
  const leaders = leader?.kind === 'connect' ? [leader.node] : [];
  return [...live, ...leaders.map((node) => ({ node })), ...silent].map((sight) => sight.node);
}

/** A node that still takes itself for the leader, after another one was chosen, serves nobody: it may hold what was lost. */
function isReader({ node, state }: NodeSight): boolean {
  return state !== null && state.activity !== 'fenced' && state.leaderView.leader !== node;
}

function compareReaders(context: ReadRouteContext): (a: NodeSight, b: NodeSight) => number {
  const keys = (sight: NodeSight): readonly number[] => [
    context.failing.has(sight.node) ? 1 : 0,
    lagBand(sight),
    sight.group === context.group ? 0 : 1,
    sight.node === context.preferred ? 0 : 1,
    context.sessions.get(sight.node) ?? 0,
  ];
  return (a, b) => {
    const left = keys(a);
    const right = keys(b);
    const index = left.findIndex((key, at) => key !== right[at]);
    return index === -1 ? (a.node < b.node ? -1 : 1) : (left[index] ?? 0) - (right[index] ?? 0);
  };
}

/** 0 for level, then one more for each doubling of the lag; an unknown lag comes after every known one. */
function lagBand(sight: NodeSight): number {
  const lag = sight.state?.lagBytes ?? null;
  if (lag === null) return 1000;
  return lag < LEVEL_LAG_BYTES ? 0 : 1 + Math.floor(Math.log2(lag / LEVEL_LAG_BYTES));
}

export interface EndedNode {
  readonly node: string;
  readonly reason: 'superseded' | 'fenced';
}

/**
 * The nodes whose sessions, of either route, must be closed at once when `before` became `after`: a leader that another
 * one replaced, and a node that says that it fenced itself. A session that came by the read route counts as well: it may
 * have been opened to a read node that became leader since, and would then acknowledge writes.
 * A leader that hands over keeps its sessions: it ends them itself when its last commits are through.
 */
export function decideEndedNodes(before: RoutingView, after: RoutingView): EndedNode[] {
  const ended: EndedNode[] = [];
  const old = before.leader.leader;
  if (old !== null && old !== after.leader.leader) ended.push({ node: old, reason: 'superseded' });
  for (const sight of after.nodes.values()) {
    const wasFenced = before.nodes.get(sight.node)?.state?.activity === 'fenced';
    if (sight.state?.activity !== 'fenced' || wasFenced || sight.node === ended[0]?.node) continue;
    ended.push({ node: sight.node, reason: 'fenced' });
  }
  return ended;
}

/** Where a cancel request is sent: to each node that may run the query. A node with another key ignores it. */
export function decideCancelTargets(
  view: RoutingView,
  options: {
    readonly route: Route;
    readonly peers: ReadonlySet<string>;
    readonly sessions: ReadonlyMap<string, number>;
  },
): string[] {
  const targets = new Set([...options.sessions].filter(([, count]) => count > 0).map(([node]) => node));
  if (view.leader.leader !== null && options.route === 'write') targets.add(view.leader.leader);
  if (options.route === 'read') {
    for (const sight of view.nodes.values()) if (sight.state?.acceptsReads) targets.add(sight.node);
  }
  return [...targets].filter((node) => options.peers.has(node));
}

/** The first version whose server takes TLS without asking for it first. */
export const DIRECT_TLS_VERSION_MIN = 170000;
