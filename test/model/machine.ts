/**
 * The model's memory: reads and writes the bytes of a state as what they mean, and asks the decision functions.
 * Nodes are numbers from 0; node i is "n<i>" to the decision functions, which look at names for equality only.
 */
import type { ClusterRecord, Member } from '../../src/api/record.ts';
import type { Lineage, Position } from '../../src/core/leadership/position.ts';
import type { Configuration } from '../../src/core/leadership/quorum.ts';
import type { NodeStep } from '../../src/core/leadership/step.ts';
import type { VoterState } from '../../src/core/leadership/voter.ts';
import * as at from './layout.ts';
import { NODE, RECORD, SENDER } from './layout.ts';
import type { Machinery } from './rules.ts';
import { createTable, type Entry, lineageKey, looksLikePrefix, memoize, voterKey, type Wal, walKey } from './tables.ts';

/** What is explored: how much of each thing may happen. */
export interface Bounds {
  readonly nodes: number;
  /** Node 0 leads at first; these are the members, by node. */
  readonly members: readonly number[];
  readonly writeQuorum: number;
  /** 7 at most. */
  readonly termMax: number;
  /** Longest WAL in entries. */
  readonly entriesMax: number;
  /** Highest version of the record; 15 at most. */
  readonly versionMax: number;
  readonly agentCrashes: number;
  /** Crashes of a standby's PostgreSQL. A leader's may stop at any time. */
  readonly serverCrashes: number;
  readonly wipes: number;
  /** Connections of one node to one leader that the model can tell apart. */
  readonly connections: number;
  /** Nodes may be taken into M and out of it; w follows from `minCopies`. */
  readonly changes: boolean;
  readonly minCopies: number;
}

export const PROBLEMS = [
  '',
  'an old leader acknowledged a write after the new one had',
  'a write was acknowledged that a newer leader does not have',
  'two nodes led one term',
  'two promotions took one timeline id',
] as const;
export const PROBLEM = { lateAcknowledgement: 1, missingInNewer: 2, twoLeaders: 3, sharedTimeline: 4 } as const;

/** A setting of synchronous_standby_names: any `count` of these nodes in these lives (2 bits a node). */
export interface SyncSetting {
  readonly count: number;
  readonly mask: number;
  readonly lives: number;
}

export interface NodeStepResult {
  readonly step: Exclude<NodeStep['kind'], 'start'> | 'start-primary' | 'start-standby';
  readonly nextId: number;
}

export class Machine {
  readonly bounds: Bounds;
  readonly machinery: Machinery;
  readonly layout: at.Layout;
  readonly nodes: number;
  readonly voters = createTable<VoterState>(voterKey, 65536);
  readonly lineages = createTable<Lineage>(lineageKey, 255);
  readonly wals = createTable<Wal>(walKey, 256);
  /** A state to write a successor into. */
  readonly next: Uint8Array;

  constructor(bounds: Bounds, machinery: Machinery) {
    this.bounds = bounds;
    this.machinery = machinery;
    this.nodes = bounds.nodes;
    this.layout = at.createLayout(bounds.nodes, bounds.connections, bounds.termMax);
    this.next = new Uint8Array(this.layout.bytes);
  }

  /** Copies `state` to `next`, to be changed there. */
  begin(state: Uint8Array): Uint8Array {
    this.next.set(state);
    return this.next;
  }

  voterId(s: Uint8Array, node: number): number {
    const o = node * at.NODE_BYTES;
    return (s[o] as number) | ((s[o + 1] as number) << 8);
  }
  voter(s: Uint8Array, node: number): VoterState {
    return this.voters.value(this.voterId(s, node));
  }
  setVoter(s: Uint8Array, node: number, voter: VoterState): void {
    this.setVoterId(s, node, this.voters.id(voter));
  }
  setVoterId(s: Uint8Array, node: number, id: number): void {
    const o = node * at.NODE_BYTES;
    s[o] = id & 255;
    s[o + 1] = id >> 8;
  }
  get(s: Uint8Array, node: number, field: number): number {
    return s[node * at.NODE_BYTES + field] as number;
  }
  set(s: Uint8Array, node: number, field: number, value: number): void {
    s[node * at.NODE_BYTES + field] = value;
  }
  hasFlag(s: Uint8Array, node: number, flag: number): boolean {
    return (this.get(s, node, NODE.flags) & flag) !== 0;
  }
  setFlag(s: Uint8Array, node: number, flag: number, on: boolean): void {
    const flags = this.get(s, node, NODE.flags);
    this.set(s, node, NODE.flags, on ? flags | flag : flags & ~flag);
  }
  wal(s: Uint8Array, node: number): Wal {
    return this.wals.value(this.get(s, node, NODE.wal));
  }
  length(s: Uint8Array, node: number): number {
    return this.wal(s, node).length;
  }

  readonly #appended = memoize((key) => {
    const entry: Entry = { term: (key >> 3) & 7, timeline: key & 7 };
    return this.wals.id([...this.wals.value(key >> 6), entry]);
  });
  append(s: Uint8Array, node: number, entry: Entry): void {
    const wal = this.get(s, node, NODE.wal);
    this.set(s, node, NODE.wal, this.#appended((wal << 6) | (entry.term << 3) | entry.timeline));
  }
  readonly #looksLikePrefix = memoize((key) => looksLikePrefix(this.wals.value(key >> 8), this.wals.value(key & 255)));
  /** Whether PostgreSQL lets `standby` stream from `leader`. */
  canStream(s: Uint8Array, standby: number, leader: number): boolean {
    return this.#looksLikePrefix((this.get(s, standby, NODE.wal) << 8) | this.get(s, leader, NODE.wal));
  }

  recordKey(s: Uint8Array, offset = this.layout.record): number {
    return (
      (s[offset + RECORD.term] as number) |
      ((s[offset + RECORD.leader] as number) << 3) |
      ((s[offset + RECORD.mask] as number) << 5) |
      ((s[offset + RECORD.quorum] as number) << 9) |
      ((s[offset + RECORD.lives] as number) << 12) |
      ((s[offset + RECORD.timeline] as number) << 20) |
      ((s[this.layout.record + RECORD.version] as number) << 23)
    );
  }
  readonly record = memoize((key): ClusterRecord => {
    const mask = (key >> 5) & 15;
    const lives = (key >> 12) & 255;
    return {
      format: 1,
      globalCluster: 'model',
      systemIdentifier: '1',
      version: (key >> 23) & 15,
      term: key & 7,
      leader: nodeName((key >> 3) & 3),
      timeline: (key >> 20) & 7,
      members: membersOf(this.nodes, mask, lives),
      writeQuorum: (key >> 9) & 7,
      switchover: null,
      paused: false,
    };
  });
  presentRecord(s: Uint8Array): ClusterRecord {
    return this.record(this.recordKey(s));
  }

  /** The setting for `self` as leader of the record's configuration. */
  readonly leaderSetting = memoize((key): SyncSetting => {
    const record = this.record(key & 0x7ffffff);
    return parseSetting(this.machinery.rules.synchronousStandbyNames(record, nodeName(Math.floor(key / 2 ** 27))));
  });

  life(s: Uint8Array, node: number): number {
    return lifeOf(this.voter(s, node).incarnation);
  }

  /** `problem` is kept in the state, so that the exploration finds it there; the first one counts. */
  fail(s: Uint8Array, problem: number): void {
    if (s[this.layout.problem] === 0) s[this.layout.problem] = problem;
  }

  spend(s: Uint8Array, budget: number): boolean {
    const offset = this.layout.budgets + budget;
    if (s[offset] === 0) return false;
    s[offset] = (s[offset] as number) - 1;
    return true;
  }

  /** The key of the record that `node` last learned and that names it; 0: none. */
  officeKey(s: Uint8Array, node: number): number {
    const term = this.get(s, node, NODE.office);
    if (term === 0) return 0;
    return (
      term |
      (node << 3) |
      (this.get(s, node, NODE.officeMask) << 5) |
      (this.get(s, node, NODE.officeQuorum) << 9) |
      (this.get(s, node, NODE.officeLives) << 12) |
      (this.get(s, node, NODE.officeTimeline) << 20)
    );
  }
  /** `voterId`: the voter after it has seen the present record. */
  learnRecord(s: Uint8Array, node: number, voterId: number): void {
    const { record } = this.layout;
    this.setVoterId(s, node, voterId);
    const isNamed = s[record + RECORD.leader] === node;
    this.set(s, node, NODE.office, isNamed ? (s[record + RECORD.term] as number) : 0);
    this.set(s, node, NODE.officeTimeline, isNamed ? (s[record + RECORD.timeline] as number) : 0);
    this.set(s, node, NODE.officeMask, isNamed ? (s[record + RECORD.mask] as number) : 0);
    this.set(s, node, NODE.officeQuorum, isNamed ? (s[record + RECORD.quorum] as number) : 0);
    this.set(s, node, NODE.officeLives, isNamed ? (s[record + RECORD.lives] as number) : 0);
  }

  readonly #nodeSteps = memoize((officeKey) =>
    memoize((key) => {
      const lineageId = (key >> 3) & 255;
      const leaderTerm = key & 7;
      const server = Math.floor(key / 2048) % 128;
      const voter = this.voters.value(Math.floor(key / 2 ** 18));
      return this.#decideNodeStep({ officeKey, voter, lineageId, leaderTerm, server });
    }),
  );
  /**
   * What decideNodeStep says for a node with the record that it knows, and one leader that has told of itself (term 0: none).
   * `nextId` is the voter to write first, -1 where there is none.
   */
  nodeStep(s: Uint8Array, node: number, leaderTerm: number, lineageId: number): NodeStepResult {
    const replayed = this.hasFlag(s, node, at.FLAG_REPLAYED) ? 4 : 0;
    const server = this.get(s, node, NODE.postgres) | replayed | (this.length(s, node) << 3);
    const key = this.voterId(s, node) * 2 ** 18 + server * 2048 + (lineageId << 3) + leaderTerm;
    return this.#nodeSteps(this.officeKey(s, node))(key);
  }
  #decideNodeStep(input: {
    readonly officeKey: number;
    readonly voter: VoterState;
    readonly lineageId: number;
    readonly leaderTerm: number;
    readonly server: number;
  }): NodeStepResult {
    const { officeKey, voter, leaderTerm, server } = input;
    const isOffice = officeKey !== 0;
    const record = isOffice
      ? this.record(officeKey)
      : { ...this.record(1 | (1 << 9) | (1 << 20)), term: voter.seen.term, leader: 'other' };
    const isReplayedToEnd = (server & 4) !== 0;
    const flushLsn = BigInt(isReplayedToEnd ? server >> 3 : 0);
    const step = this.machinery.rules.decideNodeStep({
      nowMs: 0,
      self: isOffice ? record.leader : 'self',
      bootstraps: false,
      voter,
      record: voter.seen.version === 0 ? { kind: 'unread' } : { kind: 'present', record },
      data: voter.lineage === null ? 'none' : 'present',
      systemIdentifier: '1',
      dataProblem: null,
      peersKnowDatabase: true,
      postgres:
        (server & 3) === at.PG_DOWN ? { kind: 'stopped', sinceMs: 0 } : { kind: 'standby', flushLsn, isReplayedToEnd },
      leader:
        leaderTerm === 0
          ? null
          : {
              term: leaderTerm,
              node: 'leader',
              lineage: this.lineages.value(input.lineageId),
              isPublished: true,
              isRewindable: true,
            },
      path: null,
      handOverMs: 0,
      isFenced: false,
    });
    const nextId = step.kind === 'follow' || step.kind === 'rewind' ? this.voters.id(step.decision.next) : -1;
    return { step: step.kind === 'start' ? `start-${step.as}` : step.kind, nextId };
  }

  /** Gives the sender at `offset` the setting that its leader's postmaster has loaded. */
  loadSender(s: Uint8Array, leader: number, offset: number): void {
    s[offset + SENDER.count] = this.get(s, leader, NODE.syncCount);
    s[offset + SENDER.mask] = this.get(s, leader, NODE.syncMask);
    s[offset + SENDER.lives] = this.get(s, leader, NODE.syncLives);
  }
  setSetting(s: Uint8Array, node: number, setting: SyncSetting): void {
    this.set(s, node, NODE.syncCount, setting.count);
    this.set(s, node, NODE.syncMask, setting.mask);
    this.set(s, node, NODE.syncLives, setting.lives);
  }
  forgetChange(s: Uint8Array, node: number): void {
    s.fill(0, node * at.NODE_BYTES + NODE.change, node * at.NODE_BYTES + NODE.armed + 1);
  }

  stopServer(s: Uint8Array, node: number): void {
    this.set(s, node, NODE.postgres, at.PG_DOWN);
    this.set(s, node, NODE.reign, 0);
    this.set(s, node, NODE.released, 0);
    this.setFlag(s, node, at.FLAG_REPLAYED, false);
    this.endReceiver(s, node, 'reset');
    this.dropSenders(s, node);
    this.forgetChange(s, node);
  }

  /** Puts a swap on its way; false if the same one already is, or no more are modelled. */
  send(s: Uint8Array, next: ClusterRecord): boolean {
    const { mask, lives } = maskOf(next);
    const bytes = [next.term, Number(next.leader.slice(1)), mask, next.writeQuorum, lives, next.timeline];
    for (let slot = 0; slot < at.SWAPS_MAX; slot++) {
      const o = this.layout.swaps + slot * at.SWAP_BYTES;
      if (s[o] === 0) {
        s.set(bytes, o);
        return true;
      }
      if (bytes.every((byte, index) => s[o + index] === byte)) return false;
    }
    return false;
  }

  /** Takes the senders at `leader` away: its server stopped. */
  dropSenders(s: Uint8Array, leader: number): void {
    const from = this.layout.sender(leader, 0, 0);
    s.fill(0, from, from + this.nodes * this.layout.connections * at.SENDER_BYTES);
  }

  /**
   * `standby`'s receiver ends: its senders, wherever they are, have not noticed yet. If its agent closed the path with a reset,
   * nothing that was on the way arrives any more; if the agent died, the kernel still delivers it.
   */
  endReceiver(s: Uint8Array, standby: number, how: 'reset' | 'died'): void {
    const length = this.length(s, standby);
    const isDelivered = how === 'died' || !this.machinery.effects.resetsPath;
    for (let leader = 0; leader < this.nodes; leader++)
      for (let c = 0; c < this.layout.connections; c++) {
        const o = this.layout.sender(leader, standby, c);
        if (((s[o] as number) & 3) !== at.SENDER_LIVE) continue;
        s[o] = ((s[o] as number) & ~3) | at.SENDER_HALF_OPEN;
        s[o + SENDER.pending] = isDelivered ? length : (s[o + SENDER.acked] as number);
      }
  }

  /** An attempt ends: nobody waits for its answers. */
  endAttempt(s: Uint8Array, candidate: number): void {
    this.set(s, candidate, NODE.attempt, 0);
    for (let from = 0; from < this.nodes; from++)
      s.fill(0, this.layout.answer(from, candidate), this.layout.answer(from, candidate) + 2);
  }
}

export function nodeName(node: number): string {
  return `n${node}`;
}

/** Twelve hexadecimal digits of which the first eight tell lives apart, as random ones do. */
export function incarnationOf(life: number): string {
  return `${String(life).padStart(8, '0')}0000`;
}
export function lifeOf(incarnation: string): number {
  return Number(incarnation.slice(0, 8));
}

function membersOf(nodes: number, mask: number, lives: number): Member[] {
  const members: Member[] = [];
  for (let node = 0; node < nodes; node++)
    if (mask & (1 << node))
      members.push({ node: nodeName(node), incarnation: incarnationOf((lives >> (2 * node)) & 3) });
  return members;
}

/** The bits of a configuration: which nodes, and in which life. */
export function maskOf(configuration: Configuration): { readonly mask: number; readonly lives: number } {
  let mask = 0;
  let lives = 0;
  for (const member of configuration.members) {
    const node = Number(member.node.slice(1));
    mask |= 1 << node;
    lives |= lifeOf(member.incarnation) << (2 * node);
  }
  return { mask, lives };
}

/** Reads what PostgreSQL would read: `ANY 1 ("n1_00000000", "n2_00000000")`. */
export function parseSetting(text: string): SyncSetting {
  const count = /^ANY (\d+) \(/.exec(text);
  if (count === null) return { count: 0, mask: 0, lives: 0 };
  let mask = 0;
  let lives = 0;
  for (const name of text.matchAll(/"n(\d)_(\d{8})"/g)) {
    const node = Number(name[1]);
    mask |= 1 << node;
    lives |= Number(name[2]) << (2 * node);
  }
  return { count: Number(count[1]), mask, lives };
}

export function positionCode(position: Position | null): number {
  return position === null ? at.ANSWER_NO_POSITION : 2 + position.timeline * 16 + Number(position.lsn);
}
export function positionOf(code: number): Position | null {
  if (code === at.ANSWER_NO_POSITION) return null;
  return { timeline: (code - 2) >> 4, lsn: BigInt((code - 2) & 15) };
}
