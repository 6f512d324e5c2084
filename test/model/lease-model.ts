/**
 * The lease rule in discrete time, over the real decision functions: two nodes of two groups, a store with its clock, agents that
 * freeze beside a watchdog, requests that are late or lost at either end. A tick is a quarter of the fence. Time passes only when
 * nobody who lives has something overdue; everything else may happen in any order, as early or as late as that allows.
 *
 * The one violation is that both servers are primaries at once: a server counts as one until its last backend is gone.
 */
import type { ClusterRecord } from '../../src/api/record.ts';
import {
  decideLeaseCandidacy,
  decideLeaseFence,
  decideLeaseSwap,
  leaseDurationMs,
  isLeaseFresh,
} from '../../src/core/leadership/lease.ts';
import { FENCE_STOP_MS, type LeaseAnswer } from '../../src/core/leadership/lease.ts';
import { decideNodeStep, type NodeStep } from '../../src/core/leadership/step.ts';
import type { Emit, Model } from './explore.ts';

export interface LeaseRules {
  readonly leaseDurationMs: typeof leaseDurationMs;
  readonly decideLeaseFence: typeof decideLeaseFence;
  readonly isLeaseFresh: typeof isLeaseFresh;
  readonly decideNodeStep: typeof decideNodeStep;
  readonly decideLeaseCandidacy: typeof decideLeaseCandidacy;
  readonly decideLeaseSwap: typeof decideLeaseSwap;
  /** What agents and store do beside the decisions; each is true in the real ones. */
  readonly isHeldFromSending: boolean;
  readonly swapsUnlessLeased: boolean;
  readonly renewsIfRecordIsExpected: boolean;
  /** False: a freeze takes the watchdog along (docs/decisions/lease-rule.md says that nothing helps then). */
  readonly watchdogOutlivesAgent: boolean;
  /** False: it was killed; then nobody freezes here, since two faults at once are more than is promised. */
  readonly hasWatchdog: boolean;
}

export const realLeaseRules: LeaseRules = {
  leaseDurationMs,
  decideLeaseFence,
  isLeaseFresh,
  decideNodeStep,
  decideLeaseCandidacy,
  decideLeaseSwap,
  isHeldFromSending: true,
  swapsUnlessLeased: true,
  renewsIfRecordIsExpected: true,
  watchdogOutlivesAgent: true,
  hasWatchdog: true,
};

const TICK_MS = 1000;
const FENCE_MS = 4 * TICK_MS;
const STOP_TICKS = FENCE_STOP_MS / TICK_MS;
/** Looks of the watchdog are a third of the fence apart: it acts between two and three of them after the last feed. */
const WATCHDOG_MIN_TICKS = 3;
const WATCHDOG_MAX_TICKS = 4;
const LONG_AGO_TICKS = 20;
const NEVER = 255;
const VERSION_MAX = 3;
const FREEZES = 1;

/** Per node. */
const N = {
  /** 0 down (or a standby), 1 primary, 2 being stopped. */
  server: 0,
  stoppingFor: 1,
  heldAge: 2,
  /** 0 none, 1 sent, 2 carried out, 3 refused. */
  request: 3,
  requestAge: 4,
  requestVersion: 5,
  isFrozen: 6,
  unfedFor: 7,
  knownVersion: 8,
  knownLeader: 9,
  /** The term on whose timeline its data is: it is promoted when the record has another. */
  timeline: 10,
  /** A take-over on its way: the version it expects + 1; 0: none. */
  swap: 11,
} as const;
const NODE_BYTES = 12;
const S = { version: 24, leader: 25, leaseLeft: 26, freezes: 27 } as const;
const BYTES = 28;

export function createLeaseModel(rules: LeaseRules): Model {
  const leaseTicks = Math.ceil(rules.leaseDurationMs(FENCE_MS) / TICK_MS);
  /** A renewal that is as old as this is as good as none; ages beyond it are all alike. */
  let ageMax = 1;
  while (
    ageMax < LONG_AGO_TICKS &&
    rules.decideLeaseFence({ nowMs: 0, heldSentAtMs: -ageMax * TICK_MS, fenceMs: FENCE_MS }).kind === 'hold'
  )
    ageMax++;
  const next = new Uint8Array(BYTES);
  const get = (s: Uint8Array, node: number, field: number): number => s[node * NODE_BYTES + field] as number;
  const set = (s: Uint8Array, node: number, field: number, value: number): void => {
    s[node * NODE_BYTES + field] = value;
  };
  const begin = (s: Uint8Array): Uint8Array => {
    next.set(s);
    return next;
  };
  const holding = (s: Uint8Array, node: number) => {
    const age = get(s, node, N.heldAge);
    return { nowMs: 0, heldSentAtMs: age === NEVER ? Number.NEGATIVE_INFINITY : -age * TICK_MS, fenceMs: FENCE_MS };
  };
  const isHeld = (s: Uint8Array, node: number): boolean => rules.decideLeaseFence(holding(s, node)).kind === 'hold';
  const isAwake = (s: Uint8Array, node: number): boolean => get(s, node, N.isFrozen) === 0;
  const watches = (s: Uint8Array, node: number): boolean =>
    rules.hasWatchdog && (isAwake(s, node) || rules.watchdogOutlivesAgent);

  function stepOf(s: Uint8Array, node: number): NodeStep {
    const version = get(s, node, N.knownVersion);
    const record = aRecord(version, get(s, node, N.knownLeader));
    const server = get(s, node, N.server);
    const timeline = get(s, node, N.timeline);
    return rules.decideNodeStep({
      nowMs: 0,
      self: `n${node}`,
      bootstraps: false,
      voter: {
        incarnation: incarnation(node),
        promisedTerm: record.term,
        seen: { term: record.term, version },
        lineage: { timeline, history: [] },
        followedTerm: timeline,
        rewinding: false,
      },
      record: { kind: 'present', record },
      data: 'present',
      systemIdentifier: '1',
      dataProblem: null,
      peersKnowDatabase: true,
      postgres:
        server > 0
          ? { kind: 'primary' }
          : timeline === record.timeline
            ? { kind: 'stopped', sinceMs: 0 }
            : { kind: 'standby', flushLsn: 5n, isReplayedToEnd: true },
      leader: null,
      path: null,
      handOverMs: 0,
      isFenced: false,
      lease: { isHeld: isHeld(s, node), isFresh: rules.isLeaseFresh(holding(s, node)) },
    });
  }

  /** What must happen before time goes on. */
  function isOverdue(s: Uint8Array, node: number): boolean {
    const server = get(s, node, N.server);
    if (server === 2) return get(s, node, N.stoppingFor) >= STOP_TICKS;
    if (server !== 1) return false;
    if (isAwake(s, node) && !isHeld(s, node)) return true;
    return watches(s, node) && get(s, node, N.unfedFor) >= WATCHDOG_MAX_TICKS;
  }

  function tick(s: Uint8Array, emit: Emit): void {
    if (isOverdue(s, 0) || isOverdue(s, 1)) return;
    const n = begin(s);
    for (let node = 0; node < 2; node++) {
      const held = get(s, node, N.heldAge);
      if (held !== NEVER) set(n, node, N.heldAge, held + 1 >= ageMax ? NEVER : held + 1);
      if (get(s, node, N.request) > 0) set(n, node, N.requestAge, Math.min(get(s, node, N.requestAge) + 1, ageMax));
      if (get(s, node, N.server) === 1)
        set(n, node, N.unfedFor, Math.min(get(s, node, N.unfedFor) + 1, WATCHDOG_MAX_TICKS));
      if (get(s, node, N.server) === 2) set(n, node, N.stoppingFor, get(s, node, N.stoppingFor) + 1);
    }
    n[S.leaseLeft] = Math.max(0, (n[S.leaseLeft] as number) - 1);
    emit(n, 'tick', -1, -1);
  }

  function leaderSteps(s: Uint8Array, node: number, emit: Emit): void {
    const server = get(s, node, N.server);
    const request = get(s, node, N.request);
    if (isAwake(s, node)) {
      const isNamed = get(s, node, N.knownLeader) === node;
      if (isNamed && request === 0) {
        const n = begin(s);
        set(n, node, N.request, 1);
        set(n, node, N.requestAge, 0);
        set(n, node, N.requestVersion, get(s, node, N.knownVersion));
        emit(n, 'renew', node, -1);
      }
      if (request >= 2) {
        const n = begin(s);
        if (request === 2) {
          const age = rules.isHeldFromSending ? get(s, node, N.requestAge) : 0;
          if (age < ageMax && (get(s, node, N.heldAge) === NEVER || age < get(s, node, N.heldAge)))
            set(n, node, N.heldAge, age);
        } else learn(n, node);
        endRequest(n, node);
        emit(n, request === 2 ? 'held' : 'stale', node, -1);
      }
      if (server === 1 && rules.isLeaseFresh(holding(s, node)) && get(s, node, N.unfedFor) > 0) {
        const n = begin(s);
        set(n, node, N.unfedFor, 0);
        emit(n, 'feed', node, -1);
      }
      if (server === 1 && !isHeld(s, node)) stop(s, node, 'fence', emit);
      act(s, node, emit);
      if (get(s, node, N.knownVersion) !== s[S.version]) {
        const n = begin(s);
        learn(n, node);
        emit(n, 'learn', node, -1);
      }
    }
    if (request !== 0) {
      const n = begin(s);
      endRequest(n, node);
      emit(n, 'lose', node, -1);
    }
    if (request === 1) carryOut(s, node, emit);
    if (server === 1 && watches(s, node) && get(s, node, N.unfedFor) >= WATCHDOG_MIN_TICKS)
      stop(s, node, 'watchdog', emit);
    if (server === 1) {
      const n = begin(s);
      down(n, node);
      emit(n, 'crash', node, -1);
    }
    if (server === 2) {
      const n = begin(s);
      down(n, node);
      emit(n, 'stopped', node, -1);
    }
  }

  function act(s: Uint8Array, node: number, emit: Emit): void {
    const step = stepOf(s, node);
    const server = get(s, node, N.server);
    if (server === 1 && step.kind === 'stop') return stop(s, node, 'stop', emit);
    const opens = step.kind === 'promote' || (step.kind === 'start' && step.as === 'primary');
    if (server !== 0 || !opens) return;
    const n = begin(s);
    set(n, node, N.server, 1);
    set(n, node, N.unfedFor, 0);
    set(n, node, N.timeline, get(s, node, N.knownVersion));
    emit(n, step.kind, node, -1);
  }

  function carryOut(s: Uint8Array, node: number, emit: Emit): void {
    const n = begin(s);
    const isExpected = s[S.version] === get(s, node, N.requestVersion) && s[S.leader] === node;
    const isHeldNow = isExpected || !rules.renewsIfRecordIsExpected;
    set(n, node, N.request, isHeldNow ? 2 : 3);
    if (isHeldNow) n[S.leaseLeft] = leaseTicks;
    emit(n, 'carry-out', node, -1);
  }

  function takeOver(s: Uint8Array, node: number, emit: Emit): void {
    if (get(s, node, N.swap) > 0) {
      const n = begin(s);
      const expected = get(s, node, N.swap) - 1;
      set(n, node, N.swap, 0);
      const isFree = s[S.leaseLeft] === 0 || !rules.swapsUnlessLeased;
      if (expected === s[S.version] && isFree) {
        n[S.version] = expected + 1;
        n[S.leader] = node;
      }
      emit(n, 'swap-lands', node, -1);
    }
    const version = get(s, node, N.knownVersion);
    if (!isAwake(s, node) || get(s, node, N.swap) > 0 || get(s, node, N.knownLeader) === node || version >= VERSION_MAX)
      return;
    if (get(s, node, N.server) !== 0) return;
    const record = aRecord(version, get(s, node, N.knownLeader));
    // As impatient as can be: it believes the leader gone for ever, and only the store holds it off.
    const answer = anAnswer(node, record);
    const decision = rules.decideLeaseCandidacy({
      self: `n${node}`,
      record,
      leaderGroup: record.leader,
      answers: [answer],
      goneForMs: Number.MAX_SAFE_INTEGER,
      leaseMs: rules.leaseDurationMs(FENCE_MS),
      maximumLagBytes: 0,
      minCopies: 1,
    });
    const own = {
      node: answer.node,
      incarnation: answer.incarnation,
      term: record.term + 1,
      position: answer.position,
    };
    if (decision.kind !== 'stand' || rules.decideLeaseSwap(record, own, [answer]).kind !== 'swap') return;
    const n = begin(s);
    set(n, node, N.swap, version + 1);
    emit(n, 'take-over', node, -1);
  }

  function freezeSteps(s: Uint8Array, node: number, emit: Emit): void {
    if (!isAwake(s, node)) {
      const n = begin(s);
      set(n, node, N.isFrozen, 0);
      emit(n, 'thaw', node, -1);
    } else if ((s[S.freezes] as number) > 0 && get(s, node, N.server) === 1) {
      const n = begin(s);
      n[S.freezes] = (n[S.freezes] as number) - 1;
      set(n, node, N.isFrozen, 1);
      emit(n, 'freeze', node, -1);
    }
  }

  function learn(n: Uint8Array, node: number): void {
    set(n, node, N.knownVersion, n[S.version] as number);
    set(n, node, N.knownLeader, n[S.leader] as number);
  }
  function endRequest(n: Uint8Array, node: number): void {
    for (const field of [N.request, N.requestAge, N.requestVersion]) set(n, node, field, 0);
  }
  function stop(s: Uint8Array, node: number, why: string, emit: Emit): void {
    const n = begin(s);
    set(n, node, N.server, 2);
    set(n, node, N.stoppingFor, 0);
    set(n, node, N.unfedFor, 0);
    emit(n, why, node, -1);
  }
  function down(n: Uint8Array, node: number): void {
    for (const field of [N.server, N.stoppingFor, N.unfedFor]) set(n, node, field, 0);
  }

  return {
    stateBytes: BYTES,
    initial() {
      const s = new Uint8Array(BYTES);
      for (let node = 0; node < 2; node++) {
        set(s, node, N.heldAge, node === 0 ? 0 : NEVER);
        set(s, node, N.knownVersion, 1);
        set(s, node, N.timeline, 1);
      }
      set(s, 0, N.server, 1);
      s[S.version] = 1;
      s[S.leaseLeft] = leaseTicks;
      s[S.freezes] = rules.hasWatchdog ? FREEZES : 0;
      return s;
    },
    successors(s, emit) {
      for (let node = 0; node < 2; node++) {
        leaderSteps(s, node, emit);
        takeOver(s, node, emit);
        freezeSteps(s, node, emit);
      }
      tick(s, emit);
    },
    canonicalize: () => {},
    violation: (s) => (get(s, 0, N.server) > 0 && get(s, 1, N.server) > 0 ? 'two primaries at once' : null),
    describe: (s) =>
      [0, 1]
        .map(
          (node) =>
            `n${node} ${Object.entries(N)
              .map(([name, field]) => `${name}=${get(s, node, field)}`)
              .join(' ')}`,
        )
        .concat(`store version=${s[S.version]} leader=${s[S.leader]} leaseLeft=${s[S.leaseLeft]}`)
        .join('\n'),
  };
}

const incarnation = (node: number): string => String(node).repeat(12);

function aRecord(version: number, leader: number): ClusterRecord {
  return {
    format: 1,
    globalCluster: 'model',
    systemIdentifier: '1',
    version,
    term: version,
    leader: `n${leader}`,
    timeline: version,
    members: [{ node: `n${leader}`, incarnation: incarnation(leader) }],
    writeQuorum: 1,
    switchover: null,
    paused: false,
  };
}

function anAnswer(node: number, record: ClusterRecord): LeaseAnswer {
  return {
    node: `n${node}`,
    incarnation: incarnation(node),
    group: `n${node}`,
    suspects: true,
    position: { timeline: record.timeline, lsn: 5n },
    replayBytes: 0n,
    priority: 100,
    canLead: true,
    promisedTerm: 0,
    seenTerm: record.term,
    vetoes: false,
    leaderLsn: 5n,
  };
}
