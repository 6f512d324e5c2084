/**
 * The simulated world: nodes with disks, servers and agents, the record's store, a network and clients, and what must always
 * be true of them. Everything random comes from one seed.
 */
import type { ClusterRecord } from '../../src/api/record.ts';
import type { QuorumPolicy } from '../../src/core/leadership/quorum.ts';
import { configurationOf, decideWriteQuorum, synchronousStandbyNames } from '../../src/core/leadership/quorum.ts';
import { Agent, type VoterDisk } from './agent.ts';
import type { Client } from './client.ts';
import { Clock, Future } from './clock.ts';
import type { Answers, Beat, Request, State } from './messages.ts';
import { Network } from './network.ts';
import { createRandom, type Random } from './random.ts';
import { SimulatedStore } from './record-store.ts';
import { realOptions, realRules, type SimulationOptions, type SimulationRules } from './rules.ts';
import { Server } from './server.ts';

export interface Topology {
  /** Group name to number of nodes. */
  readonly groups: Readonly<Record<string, number>>;
  readonly minCopies: number;
  /** Node name to priority; 100 where it is not said. */
  readonly priorities?: Readonly<Record<string, number>>;
}
export interface Timing {
  readonly detectionMs: number;
  readonly fenceMs: number;
  readonly memberTimeoutMs: number;
}
export const LAN: Timing = { detectionMs: 1000, fenceMs: 3000, memberTimeoutMs: 4000 };

/** The receiver asks for its leader again this often (wal_retrieve_retry_interval as the agent sets it). */
const RECEIVER_RETRY_MS = 150;
/** Where proxies and clients are. */
export const PROXY_PLACE = 'proxy';
const WATCH_INTERVAL_MS = 500;
/** A superseded primary that runs may go on serving reads this much longer than the fence: one look, and its end. */
const STALE_SLACK_MS = 1200;

export class World {
  readonly clock = new Clock();
  readonly random: Random;
  readonly network: Network;
  readonly store: SimulatedStore;
  readonly rules: SimulationRules;
  readonly options: SimulationOptions;
  readonly timing: Timing;
  readonly policy: QuorumPolicy;
  readonly nodeNames: readonly string[];
  readonly clients: Client[] = [];
  readonly #priorities: Readonly<Record<string, number>>;
  readonly #groups = new Map<string, string>();
  readonly #servers = new Map<string, Server>();
  readonly #agents = new Map<string, Agent>();
  readonly #disks = new Map<string, VoterDisk>();
  readonly #lives = new Map<string, number>();
  readonly #leadersOfTerms = new Map<number, string>();
  readonly #promotions = new Map<number, string>();
  /** By proxies: the newest state of each node. */
  readonly proxyStates = new Map<string, State>();
  readonly #silentMs = new Map<string, number>();
  readonly log: string[] = [];
  /** What has gone wrong; the first one counts. */
  problem: string | null = null;
  /** Acknowledged entries: id to the timeline that acknowledged it. */
  readonly acknowledged = new Map<number, number>();
  #newestAckTimeline = 0;
  #newestPublished: { readonly node: string; readonly term: number; readonly atMs: number } | null = null;
  publications = 0;
  nextWriteId = 1;
  /** Called when a node has written down that it rewinds. */
  onRewinding: (node: string) => void = () => {};
  isTracing = false;

  constructor(options: {
    readonly seed: number;
    readonly topology: Topology;
    readonly timing?: Timing;
    readonly rules?: Partial<SimulationRules>;
    readonly options?: Partial<SimulationOptions>;
    readonly isTracing?: boolean;
  }) {
    this.random = createRandom(options.seed);
    this.network = new Network(this.clock, this.random);
    this.store = new SimulatedStore(this.clock, this.network, this.random);
    this.rules = { ...realRules, ...options.rules };
    this.options = { ...realOptions, ...options.options };
    this.timing = options.timing ?? LAN;
    this.isTracing = options.isTracing ?? false;
    this.#priorities = options.topology.priorities ?? {};
    this.policy = { minCopies: options.topology.minCopies, siteMembersMax: 0 };
    this.nodeNames = Object.entries(options.topology.groups).flatMap(([group, count]) =>
      Array.from({ length: count }, (_, index) => {
        const node = `${group}-${index + 1}`;
        this.#groups.set(node, group);
        return node;
      }),
    );
    for (const node of this.nodeNames) this.#servers.set(node, new Server(this, node));
    this.#bootstrap();
  }

  /** The first node leads term 1; all others follow it. */
  #bootstrap(): void {
    const leader = this.nodeNames[0] ?? '';
    const members = this.nodeNames.map((node) => ({ node, incarnation: this.newIncarnation() }));
    const record: ClusterRecord = {
      format: 1,
      globalCluster: 'simulated',
      systemIdentifier: '1',
      version: 1,
      term: 1,
      leader,
      timeline: 1,
      members,
      writeQuorum: decideWriteQuorum(members.length, this.policy),
      switchover: null,
      paused: false,
    };
    this.store.set(record);
    for (const member of members) {
      const lineage = { timeline: 1, history: [] };
      this.#disks.set(member.node, {
        voter: {
          incarnation: member.incarnation,
          promisedTerm: 1,
          seen: { term: 1, version: 1 },
          lineage,
          followedTerm: 1,
          rewinding: false,
        },
        remembered: null,
      });
      const server = this.server(member.node);
      const setting = synchronousStandbyNames(configurationOf(record), member.node);
      server.disk = { wal: [{ timeline: 1, id: 0 }], timeline: 1, history: [], setting, isMangled: false };
      server.start(member.node === leader ? 'primary' : 'standby');
      this.startAgent(member.node);
    }
    for (const node of this.nodeNames) this.#keepReceiving(node);
    this.keepWatch();
    this.watchStaleness();
  }

  server(node: string): Server {
    return this.#servers.get(node) as Server;
  }
  agent(node: string): Agent {
    return this.#agents.get(node) as Agent;
  }
  voterDisk(node: string): VoterDisk {
    return this.#disks.get(node) as VoterDisk;
  }
  groupOf(node: string): string {
    return this.#groups.get(node) ?? '';
  }
  nodesOf(target: string): readonly string[] {
    const inGroup = this.nodeNames.filter((node) => this.groupOf(node) === target);
    return inGroup.length > 0 ? inGroup : this.nodeNames.filter((node) => node === target);
  }
  priorityOf(node: string): number {
    return this.#priorities[node] ?? 100;
  }
  newIncarnation(): string {
    let digits = '';
    for (let index = 0; index < 12; index++) digits += this.random.integer(0, 16).toString(16);
    return digits;
  }

  trace(who: string, what: string): void {
    if (this.isTracing) this.log.push(`${this.clock.nowMs.toFixed(1).padStart(9)} ${who.padEnd(6)} ${what}`);
  }
  fail(problem: string): void {
    this.problem ??= `${problem} (at ${this.clock.nowMs.toFixed(1)} ms)`;
    this.trace('WORLD', `PROBLEM ${problem}`);
  }

  startAgent(node: string): void {
    const life = (this.#lives.get(node) ?? 0) + 1;
    this.#lives.set(node, life);
    const agent = new Agent(this, {
      node,
      group: this.groupOf(node),
      server: this.server(node),
      disk: this.voterDisk(node),
      life,
    });
    this.#agents.set(node, agent);
    agent.start();
  }
  /** The process ends: its sockets do as well, so the path is gone; others that reach the node are refused at once. */
  killAgent(node: string): void {
    const agent = this.agent(node);
    if (!agent.process.isAlive) return;
    agent.process.kill();
    agent.leadership?.stop();
    this.server(node).receiver?.endAtStandby('agent');
    for (const other of this.nodeNames)
      if (other !== node)
        this.network.send(node, other, () =>
          this.agent(other).process.deliver(() => this.agent(other).onRefused(node)),
        );
    this.network.send(
      node,
      PROXY_PLACE,
      () => void (this.proxyStates.get(node)?.life === agent.life && this.proxyStates.delete(node)),
    );
  }

  /** A standby's receiver asks for its leader for as long as the path leads to one. */
  #keepReceiving(node: string): void {
    const server = this.server(node);
    const agent = this.agent(node);
    const { path } = agent;
    if (
      path !== null &&
      server.role === 'standby' &&
      server.receiver === null &&
      agent.process.isAlive &&
      !agent.process.isFrozen
    ) {
      server.connect(this.server(path.node), agent.self, () => this.#isMeant(path));
    }
    this.clock.after(RECEIVER_RETRY_MS * this.random.between(0.7, 1.3), () => this.#keepReceiving(node));
  }

  /** What the agent of the server that was reached says of it. */
  #isMeant(path: NonNullable<Agent['path']>): boolean {
    if (!this.options.verifiesLeaderOnConnect) return true;
    const { process, voter } = this.agent(path.node);
    const { role, disk } = this.server(path.node);
    if (!process.isAlive || process.isFrozen || disk.timeline !== path.timeline) return false;
    return path.as === 'promised' ? role === 'standby' && voter.promisedTerm === path.term : role === 'primary';
  }

  publish(from: Agent, state: State): void {
    for (const node of this.nodeNames)
      if (node !== from.node)
        this.network.send(from.node, node, () => {
          if (this.agent(from.node) !== from) return;
          const to = this.agent(node);
          to.process.deliver(() => to.onState(state));
        });
    this.network.send(from.node, PROXY_PLACE, () => {
      if (this.agent(from.node) !== from || !from.process.isAlive) return;
      const known = this.proxyStates.get(from.node);
      if (known?.life !== state.life || known.sequence < state.sequence) this.proxyStates.set(from.node, state);
    });
  }

  beat(from: Agent, beat: Beat): void {
    for (const node of this.nodeNames) {
      if (node === from.node) continue;
      this.network.send(from.node, node, () => {
        const to = this.agent(node);
        to.process.deliver(() => {
          const echo = to.onBeat(from.node, beat);
          this.network.send(node, from.node, () => from.process.deliver(() => from.leadership?.onEcho(node, echo)));
        });
      });
    }
  }

  /** Settles with null when no answer came in time. */
  request(from: Agent, to: string, request: Request, timeoutMs: number): Future<Answers[Request['method']] | null> {
    const result = new Future<Answers[Request['method']] | null>();
    // Without a stream there is nobody to ask.
    if (from.peers.get(to)?.isConnected !== true) {
      from.process.after(0, () => result.settle(null));
      return result;
    }
    this.network.send(from.node, to, () => {
      const agent = this.agent(to);
      agent.process.deliver(() => {
        agent.process.spawn(agent.answer(request)).then((answer) => {
          this.network.send(to, from.node, () => from.process.deliver(() => result.settle(answer)));
        });
      });
    });
    from.process.after(timeoutMs, () => result.settle(null));
    return result;
  }

  onServerChange(node: string): void {
    const agent = this.#agents.get(node);
    this.trace(node, `PostgreSQL ${this.server(node).role}`);
    agent?.process.deliver(() => agent.onServerChange());
  }

  onPromoted(node: string, timeline: number): void {
    this.trace(node, `promoted to timeline ${timeline}`);
    const other = this.#promotions.get(timeline);
    if (other !== undefined) this.fail(`timeline ${timeline} was promoted by "${other}" and by "${node}"`);
    // One that was frozen between its election and here may be superseded: it cannot acknowledge, so it may lack what came since.
    if (timeline > Math.max(...this.#promotions.keys(), 0)) this.#checkHolds(node, 'is promoted');
    this.#promotions.set(timeline, node);
  }

  /** @param visibleLsn up to here readers see what is there without having waited for a quorum: all from before this leadership */
  onPublished(node: string, term: number, visibleLsn: number): void {
    this.publications++;
    this.trace(node, `published term ${term}`);
    const other = this.#leadersOfTerms.get(term);
    if (other !== undefined && other !== node) this.fail(`"${other}" and "${node}" both lead term ${term}`);
    this.#leadersOfTerms.set(term, node);
    // An agent that was frozen may say so of a term that is over; nobody listens to it.
    if (this.#newestPublished !== null && term < this.#newestPublished.term) return;
    this.#checkHolds(node, `is published in term ${term}`);
    // What readers see from now on must not be lost either.
    for (const entry of this.server(node).wal.slice(0, visibleLsn))
      if (entry.id !== 0 && !this.acknowledged.has(entry.id)) this.acknowledged.set(entry.id, entry.timeline);
    if (this.#newestPublished === null || term > this.#newestPublished.term)
      this.#newestPublished = { node, term, atMs: this.clock.nowMs };
  }

  #checkHolds(node: string, when: string): void {
    const held = new Set(this.server(node).wal.map((entry) => entry.id));
    for (const id of this.acknowledged.keys())
      if (!held.has(id)) return this.fail(`"${node}" ${when} and lacks acknowledged write ${id}`);
  }

  /** A client was told that its write is committed. */
  onAcknowledged(node: string, id: number): void {
    const server = this.server(node);
    const { timeline } = server.disk;
    this.acknowledged.set(id, timeline);
    if (timeline >= this.#newestAckTimeline) {
      this.#newestAckTimeline = timeline;
      return;
    }
    const newer = this.#newestPublished === null ? undefined : this.server(this.#newestPublished.node);
    if (newer?.wal.some((entry) => entry.id === id) !== true)
      this.fail(
        `"${node}" of timeline ${timeline} acknowledged write ${id} after timeline ${this.#newestAckTimeline} had, which lacks it`,
      );
  }

  /** What the watchdog beside each agent does: a primary whose agent has not run for the length of a fence is stopped. */
  keepWatch(): void {
    for (const node of this.nodeNames) {
      const agent = this.agent(node);
      const server = this.server(node);
      const runs = agent.process.isAlive && !agent.process.isFrozen;
      const silentMs = runs ? 0 : (this.#silentMs.get(node) ?? 0) + WATCH_INTERVAL_MS;
      this.#silentMs.set(node, silentMs);
      if (silentMs > this.timing.fenceMs && server.role === 'primary' && !server.process.isFrozen) server.crash();
    }
    this.clock.after(WATCH_INTERVAL_MS, () => this.keepWatch());
  }

  /** Looks for a superseded primary that goes on serving for longer than the fence allows. */
  watchStaleness(): void {
    const newest = this.#newestPublished;
    for (const node of this.nodeNames) {
      const server = this.server(node);
      if (newest === null || newest.node === node || server.role !== 'primary' || server.process.isFrozen) continue;
      if (server.disk.timeline >= newest.term) continue;
      const agent = this.agent(node);
      // Without its agent the watchdog ends it; that has no part in the decisions.
      if (!agent.process.isAlive || agent.process.isFrozen) continue;
      const sinceMs = Math.max(newest.atMs, server.process.runsSinceMs, agent.process.runsSinceMs);
      // A leader that was frozen for longer than a fence has heard nothing newer: it must notice at once, not after another fence.
      // A server or an agent that was started since (by an older record, or without one) has a fence of its own.
      const isOlder = server.startedAtMs < newest.atMs && agent.startedAtMs < newest.atMs;
      const isLate = isOlder && sinceMs - newest.atMs > this.timing.fenceMs;
      const allowedMs = (isLate ? 0 : this.timing.fenceMs) + STALE_SLACK_MS;
      if (this.clock.nowMs - sinceMs > allowedMs)
        this.fail(
          `"${node}" serves old data ${(this.clock.nowMs - sinceMs).toFixed(0)} ms after "${newest.node}" was published`,
        );
    }
    this.clock.after(100, () => this.watchStaleness());
  }

  get newestPublished(): { readonly node: string; readonly term: number; readonly atMs: number } | null {
    return this.#newestPublished;
  }

  /** The node that proxies send writes to now, or null. */
  writeTarget(): string | null {
    let best: State | null = null;
    for (const state of this.proxyStates.values())
      if (state.leading !== null && (best === null || state.leaderView.term > best.leaderView.term)) best = state;
    return best?.leaderView.phase === 'published' ? best.node : null;
  }
}
