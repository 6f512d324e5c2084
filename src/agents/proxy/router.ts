/**
 * The proxy's memory: the view of the cluster, the sessions, who waits. Sessions ask it where to go; the streams tell it
 * what changed. Decisions are core/routing's; this carries them out.
 */
import type { Endpoint, Peer, ProxyConfig } from '../../api/agent-config.ts';
import { AddressCache } from '../../base/address-cache.ts';
import {
  AFFINITY_SESSIONS_MAX,
  ATTEMPTS_AT_FAILING_MAX,
  FAILING_MS,
  READ_ATTEMPT_MS,
} from '../../core/routing/limits.ts';
import {
  decideCancelTargets,
  decideEndedNodes,
  decideReadRoute,
  decideWriteRoute,
  type EndedNode,
  type Route,
  type WaitReason,
} from '../../core/routing/routes.ts';
import { decideRoutingView, NO_LEADER, type NodeSight, type RoutingView } from '../../core/routing/routing-view.ts';
import type { PostgresError } from '../../wire/postgres-error.ts';
import type { AttemptResult } from './backend-attempt.ts';
import type { RefusalReason, RefusalTls } from './refusal.ts';
import type { EndReason, Session } from './session.ts';

export type Choice =
  | {
      readonly kind: 'connect';
      readonly node: string;
      readonly endpoint: Endpoint;
      readonly term: number;
      /** Such as 150018; null when its agent has not said. */
      readonly serverVersion: number | null;
      /** How long it may take to answer. */
      readonly timeoutMs: number;
    }
  | { readonly kind: 'wait'; readonly reason: WaitReason };

/** What happened, for logs and metrics. */
export interface RouterEvents {
  onLeader(view: RoutingView['leader']): void;
  onSessionOpen(session: Session, waitedMs: number): void;
  onSessionEnd(session: Session, reason: EndReason): void;
  onRefused(session: Session, reason: RefusalReason, error: PostgresError | null): void;
  onAttempted(node: string, result: AttemptResult): void;
  onEndedNode(node: string, reason: EndedNode['reason'] | 'lost', sessions: number): void;
}

export interface CancelForwarder {
  forward(peers: readonly Peer[], packet: Buffer, route: Route): void;
}

const NO_NODES: ReadonlySet<string> = new Set();

export class Router {
  readonly #events: RouterEvents;
  readonly #cancels: CancelForwarder;
  #config: ProxyConfig;
  #peers: ReadonlyMap<string, Peer>;
  #peerNames: ReadonlySet<string>;
  #view: RoutingView = { nodes: new Map(), leader: NO_LEADER };
  readonly #sessions = new Set<Session>();
  /** Those without a backend yet, and of them those that wait. */
  readonly #unsettled = new Set<Session>();
  readonly #held = new Set<Session>();
  /** Open sessions by node, and on the read route by source too. */
  readonly #byNode = new Map<string, Set<Session>>();
  readonly #bySource = new Map<string, Set<Session>>();
  readonly #failedAtMs = new Map<string, number>();
  readonly #addresses = new AddressCache();
  /** Attempts under way, by node. */
  readonly #attempting = new Map<string, number>();
  /** How to tell a client inside TLS that it is refused; set before the first client. */
  refusalTls: RefusalTls | null = null;

  constructor(config: ProxyConfig, events: RouterEvents, cancels: CancelForwarder) {
    this.#events = events;
    this.#cancels = cancels;
    this.#config = config;
    this.#peers = new Map();
    this.#peerNames = new Set();
    this.configure(config);
  }

  /** Takes new configuration. Sessions stay where they are; limits count for new ones. */
  configure(config: ProxyConfig): void {
    this.#config = config;
    this.#peers = new Map(config.peers.map((peer) => [peer.node, peer]));
    this.#peerNames = new Set(this.#peers.keys());
    for (const { postgres } of config.peers) this.#askForAddress(postgres);
    this.#wakeHeld();
  }

  get limits(): ProxyConfig['limits'] {
    return this.#config.limits;
  }
  get sourceAddress(): string | null {
    return this.#config.sourceAddress;
  }
  get view(): RoutingView {
    return this.#view;
  }
  get sessions(): ReadonlySet<Session> {
    return this.#sessions;
  }
  get heldCount(): number {
    return this.#held.size;
  }
  openSessions(node: string): number {
    return this.#byNode.get(node)?.size ?? 0;
  }

  /** New sights of the nodes: ends what must end first, then lets wait what waited. */
  observe(sights: ReadonlyMap<string, NodeSight>): void {
    const before = this.#view;
    const after = decideRoutingView(new Map(sights), before.leader);
    this.#view = after;
    const ended = decideEndedNodes(before, after);
    for (const { node, reason } of ended) this.endSessionsOf(node, reason);
    const { leader } = after;
    if (
      leader.leader !== before.leader.leader ||
      leader.term !== before.leader.term ||
      leader.phase !== before.leader.phase
    ) {
      this.#events.onLeader(leader);
    }
    const endedNodes = new Set(ended.map(({ node }) => node));
    for (const session of this.#unsettled) session.onRoutesChanged(endedNodes);
  }

  /** Cuts every session on a node. */
  endSessionsOf(node: string, reason: EndedNode['reason'] | 'lost'): void {
    const sessions = [...(this.#byNode.get(node) ?? [])];
    for (const session of sessions) session.end(reason);
    this.#events.onEndedNode(node, reason, sessions.length);
  }

  /** Nodes that have sessions here and whose agent is not heard. */
  silentNodes(): Peer[] {
    return [...this.#byNode.keys()].flatMap((node) => {
      const peer = this.#peers.get(node);
      return peer === undefined || this.#view.nodes.get(node)?.live === true ? [] : [peer];
    });
  }

  add(session: Session): void {
    this.#sessions.add(session);
    this.#unsettled.add(session);
  }

  /** Where a connection goes now. @param tried nodes that this connection has tried in vain in this round. */
  choose(route: Route, source: string, tried: ReadonlySet<string>): Choice {
    const nodes = route === 'write' ? this.#chooseWrite() : this.#chooseRead(source);
    if (!Array.isArray(nodes)) return { kind: 'wait', reason: nodes };
    const usable = nodes.filter((one) => !tried.has(one) && !this.#isBesieged(one));
    const [node] = usable;
    if (node === undefined) return { kind: 'wait', reason: noAnswer(nodes) };
    const peer = this.#peers.get(node) as Peer;
    const state = this.#view.nodes.get(node)?.state;
    return {
      kind: 'connect',
      node,
      endpoint: this.#withAddress(peer.postgres),
      term: this.#view.leader.term,
      serverVersion: state?.serverVersion ?? null,
      timeoutMs:
        usable.length > 1 ? Math.min(READ_ATTEMPT_MS, this.limits.connectTimeoutMs) : this.limits.connectTimeoutMs,
    };
  }

  /** An attempt begun under an older view goes on only if the route would still take it there. */
  isStillRight(route: Route, node: string, term: number): boolean {
    const { leader } = this.#view;
    if (route === 'write') return leader.leader === node && leader.term === term && leader.phase === 'published';
    return this.#view.nodes.get(node)?.state?.acceptsReads === true;
  }

  /** False: too many wait already. */
  admitHeld(session: Session): boolean {
    if (this.#held.size >= this.limits.heldConnectionsMax) return false;
    this.#held.add(session);
    return true;
  }

  onAttempting(node: string): void {
    this.#attempting.set(node, (this.#attempting.get(node) ?? 0) + 1);
  }

  onAttemptCancelled(node: string): void {
    this.#attempting.set(node, (this.#attempting.get(node) ?? 1) - 1);
  }

  onAttempted(node: string, result: AttemptResult): void {
    this.onAttemptCancelled(node);
    this.#events.onAttempted(node, result);
    if (result.kind === 'failed') {
      this.#failedAtMs.set(node, performance.now());
      this.#askForAddress(this.#peers.get(node)?.postgres);
    }
    // It is back: those who wait need not wait for their own timers.
    else if (this.#failedAtMs.delete(node)) setImmediate(() => this.#wakeHeld());
  }

  onSessionOpen(session: Session, waitedMs: number): void {
    this.#unsettled.delete(session);
    this.#held.delete(session);
    addTo(this.#byNode, session.node as string, session);
    if (session.route === 'read') addTo(this.#bySource, session.source, session);
    this.#events.onSessionOpen(session, waitedMs);
  }

  onSessionEnd(session: Session, reason: EndReason): void {
    this.#sessions.delete(session);
    this.#unsettled.delete(session);
    this.#held.delete(session);
    if (session.node !== null) removeFrom(this.#byNode, session.node, session);
    removeFrom(this.#bySource, session.source, session);
    this.#events.onSessionEnd(session, reason);
  }

  onRefused(session: Session, reason: RefusalReason, error: PostgresError | null): void {
    this.#unsettled.delete(session);
    this.#held.delete(session);
    this.#events.onRefused(session, reason, error);
  }

  forwardCancel(route: Route, packet: Buffer): void {
    const targets = decideCancelTargets(this.#view, {
      route,
      peers: this.#peerNames,
      sessions: this.#sessionCounts(route),
    });
    this.#cancels.forward(
      targets.map((node) => this.#peers.get(node) as Peer),
      packet,
      route,
    );
  }

  #withAddress(endpoint: Endpoint): Endpoint {
    if (endpoint.address !== null) return endpoint;
    return { ...endpoint, address: this.#addresses.peek(endpoint.otherwise ?? endpoint.host) };
  }

  /** It may have moved. */
  #askForAddress(endpoint: Endpoint | undefined): void {
    if (endpoint?.address === null) this.#addresses.refresh(endpoint.otherwise ?? endpoint.host);
  }

  /** Of all that wait for a node which does not answer, a few try it; when one gets through, all do. */
  #isBesieged(node: string): boolean {
    return this.#failedAtMs.has(node) && (this.#attempting.get(node) ?? 0) >= ATTEMPTS_AT_FAILING_MAX;
  }

  #wakeHeld(): void {
    for (const session of [...this.#held]) session.onRoutesChanged(NO_NODES);
  }

  #chooseWrite(): string[] | WaitReason {
    const decided = decideWriteRoute(this.#view.leader, this.#peerNames);
    return decided.kind === 'connect' ? [decided.node] : decided.reason;
  }

  /** Best first. */
  #chooseRead(source: string): string[] | WaitReason {
    const order = decideReadRoute(this.#view, {
      group: this.#config.group,
      peers: this.#peerNames,
      fallsBackToLeader: this.#config.readFallsBackToLeader,
      sessions: this.#sessionCounts(null),
      failing: this.#failing(),
      preferred: this.#nodeAwaitedBy(source),
    });
    if (order.length === 0) return { code: 'NoReadNode', message: 'no read node is known to serve reads' };
    return order;
  }

  #sessionCounts(route: Route | null): ReadonlyMap<string, number> {
    const count = (sessions: Set<Session>): number =>
      route === null ? sessions.size : [...sessions].filter((session) => session.route === route).length;
    return new Map([...this.#byNode].map(([node, sessions]) => [node, count(sessions)]));
  }

  #failing(): ReadonlySet<string> {
    const now = performance.now();
    for (const [node, at] of this.#failedAtMs) if (now - at > FAILING_MS) this.#failedAtMs.delete(node);
    return new Set(this.#failedAtMs.keys());
  }

  /** The one node at which this client waits for an answer: its next connection may be a cancel request inside TLS. */
  #nodeAwaitedBy(source: string): string | null {
    const sessions = this.#bySource.get(source);
    if (sessions === undefined || sessions.size > AFFINITY_SESSIONS_MAX) return null;
    const nodes = new Set([...sessions].filter((session) => session.awaitsAnswer).map((session) => session.node));
    return nodes.size === 1 ? ([...nodes][0] ?? null) : null;
  }
}

function noAnswer(nodes: readonly string[]): WaitReason {
  const names = nodes.map((node) => `"${node}"`).join(', ');
  return { code: 'NoAnswer', message: nodes.length === 1 ? `${names} does not answer` : `none of ${names} answers` };
}

function addTo(map: Map<string, Set<Session>>, key: string, session: Session): void {
  const sessions = map.get(key);
  if (sessions === undefined) map.set(key, new Set([session]));
  else sessions.add(session);
}

function removeFrom(map: Map<string, Set<Session>>, key: string, session: Session): void {
  const sessions = map.get(key);
  if (sessions?.delete(session) && sessions.size === 0) map.delete(key);
}
