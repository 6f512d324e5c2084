/**
 * A standby and its leader: following, and the settings that a standby keeps so that it can lead at once.
 */
import type { Peer } from '../../api/agent-config.ts';
import { formatLsn, type Lsn } from '../../base/lsn.ts';
import { delay } from '../../base/wait-until.ts';
import { forkLsnOf } from '../../core/leadership/position.ts';
import { configurationOf, synchronousStandbyNames } from '../../core/leadership/quorum.ts';
import type { KnownLeader, PostgresState } from '../../core/leadership/step.ts';
import { isOnTimeline } from '../../core/leadership/relay.ts';
import { decideFollow } from '../../core/leadership/voter.ts';
import { relaySlotName, slotName } from '../../core/topology/names.ts';
import type { DynamicSettings } from './configuration.ts';
import { serverCheck } from './connection-check.ts';
import { replicationConninfo } from './conninfo.ts';
import type { NodeContext } from './node-context.ts';
import type { PostgresObserver } from './postgres-view.ts';
import { dropRelaySlots } from './relay-slots.ts';
import { untilArmed } from './required-setting.ts';
import type { SlotKeeper } from './slot-keeper.ts';
import { removeReservedTimelines } from './timelines.ts';

/** A receiver ends within milliseconds of its connection. */
const RECEIVER_END_LIMIT_MS = 1000;
/** The missing WAL of a node that was streaming a moment ago is little; more than this and another should lead. */
const FETCH_LIMIT_MS = 3000;
/** After this long without a leader the old one's address is taken out of the settings. */
const LEADERLESS_MS = 3000;

export class Standby {
  readonly #node: NodeContext;
  readonly #observer: PostgresObserver;
  readonly #slots: SlotKeeper;
  #leaderlessSinceMs: number | null = null;
  #isArming = false;

  constructor(node: NodeContext, observer: PostgresObserver, slots: SlotKeeper) {
    this.#node = node;
    this.#observer = observer;
    this.#slots = slots;
  }

  /**
   * Follows `leader` by the stream of `upstream`: the leader itself, or a relay of this group. Rule 6: the decision is taken again
   * under the mutex, written, and only then the path is opened.
   */
  async follow(leader: KnownLeader, upstream: string): Promise<void> {
    const node = this.#node;
    const peer = node.config.peers.find((one) => one.node === upstream);
    const isRelay = upstream !== leader.node;
    const record = node.acceptedRecord;
    if (peer === undefined || record === null) return;
    await node.voterMutex.run(async () => {
      // The former leader may have sent more since the last look: what counts is where this node is once it can send no more.
      const { target } = node.path;
      const isOtherRole = isRelay || target?.isRelay === true;
      if (target !== null && (target.node !== upstream || isOtherRole)) node.path.close();
      const state = node.path.target === null ? await this.#stateWithoutReceiver() : this.#observer.view.state;
      if (state === null) return;
      const wal = state.kind === 'standby' ? state : { flushLsn: null, isReplayedToEnd: false };
      const decision = decideFollow(node.voter, leader, wal);
      if (decision.kind !== 'stream') return;
      // Timelines change over direct streams alone.
      if (isRelay && !isOnTimeline(node.voter, leader.lineage, wal.flushLsn)) return;
      if (node.voter.lineage?.timeline !== leader.lineage.timeline) await dropRelaySlots(node);
      await node.saveVoter(decision.next);
      await removeReservedTimelines(node.config.paths.dataDirectory);
      const { timeline } = leader.lineage;
      node.path.open({
        node: upstream,
        term: leader.term,
        endpoint: peer.postgres,
        isRelay,
        verify: serverCheck(node, upstream, { as: isRelay ? 'relay' : 'leader', timeline, term: leader.term }),
      });
      await this.#loadSettings({
        synchronousStandbyNames: synchronousStandbyNames(configurationOf(record), node.config.node),
        ...this.#streamingFrom(peer, isRelay ? relaySlotName(timeline, node.config.node) : slotName(node.config.node)),
      });
    });
    node.log.info({ leader: leader.node, term: leader.term, upstream }, 'follow');
    node.wake();
  }

  /** Null while a receiver still runs after its limit. */
  async #stateWithoutReceiver(): Promise<PostgresState | null> {
    const deadline = performance.now() + RECEIVER_END_LIMIT_MS;
    while (performance.now() < deadline) {
      if (!(await this.#observer.observe(1000)).hasReceiver) return (await this.#observer.observe(1000)).state;
      await delay(5);
    }
    return null;
  }

  /**
   * For a candidate: takes the WAL that a promised member holds and this node does not, up to `until`. That member can receive
   * no more, so neither can this node. True once it is here. Call under the voter's mutex.
   */
  async fetch(from: string, until: Lsn): Promise<boolean> {
    const node = this.#node;
    const peer = node.config.peers.find((one) => one.node === from);
    if (peer === undefined) return false;
    node.log.info({ from, until: formatLsn(until) }, 'fetching what a promised member holds');
    try {
      const { promisedTerm: term, lineage } = node.voter;
      const timeline = lineage?.timeline ?? 0;
      node.path.open({
        node: from,
        term,
        endpoint: peer.postgres,
        verify: serverCheck(node, from, { as: 'promised', timeline, term }),
      });
      await this.#loadSettings(this.#streamingFrom(peer, slotName(node.config.node)));
      const deadline = performance.now() + FETCH_LIMIT_MS;
      while (((await this.#observer.observe(1000)).flushLsn ?? 0n) < until) {
        if (performance.now() > deadline) return false;
        await delay(5);
      }
      return true;
    } finally {
      node.path.close();
      await this.#stateWithoutReceiver();
    }
  }

  #streamingFrom(peer: Peer, slot: string): Pick<DynamicSettings, 'primaryConninfo' | 'primarySlotName' | 'isPrimary'> {
    const node = this.#node;
    return {
      primaryConninfo: replicationConninfo(node.config, {
        peer,
        port: node.path.port,
        applicationName: null,
        member: node.self,
      }),
      primarySlotName: slot,
      isPrimary: false,
    };
  }

  /** A rewound copy has become consistent and has passed the fork: from now on its position is known. */
  async endRewind(): Promise<void> {
    const node = this.#node;
    const { state } = this.#observer.view;
    const { lineage, rewound } = node.voter;
    if (rewound !== true || lineage === null || state.kind !== 'standby' || !state.isReplayedToEnd) return;
    if (state.flushLsn === null || state.flushLsn < forkLsnOf(lineage)) return;
    await node.changeVoter((voter) => ({ ...voter, rewound: false }));
  }

  /** synchronous_standby_names of the record is on standbys too, so that it is armed before a promotion. */
  async keepSettings(): Promise<void> {
    const node = this.#node;
    const record = node.acceptedRecord;
    if (record === null || this.#observer.view.state.kind !== 'standby') return;
    const setting = synchronousStandbyNames(configurationOf(record), node.config.node);
    if (node.files.dynamic.synchronousStandbyNames !== setting)
      await this.#loadSettings({ synchronousStandbyNames: setting });
    this.#armBeforehand();
    // A receiver that is started again and again with a leader that is gone costs a process each time.
    if (this.#isLeaderless() && node.files.dynamic.primaryConninfo !== '')
      await this.#loadSettings({ primaryConninfo: '', primarySlotName: '', isPrimary: false });
    await this.#slots.keep(this.#observer.view.replayLsn);
  }

  /** So that a promotion need not wait for it. Beside the loop: it takes a restartpoint. */
  #armBeforehand(): void {
    const { files, log } = this.#node;
    const isDone = files.required.isLoaded && (files.required.isArmed || files.dynamic.synchronousStandbyNames === '');
    if (this.#isArming || isDone) return;
    this.#isArming = true;
    untilArmed(this.#node)
      .catch((error: Error) => log.debug({ error: error.message }, 'synchronous_standby_names not armed yet'))
      .finally(() => {
        this.#isArming = false;
      });
  }

  /** Nobody has led for longer than a failover takes. */
  #isLeaderless(): boolean {
    if (this.#node.path.target !== null) this.#leaderlessSinceMs = null;
    else this.#leaderlessSinceMs ??= performance.now();
    return this.#leaderlessSinceMs !== null && performance.now() - this.#leaderlessSinceMs > LEADERLESS_MS;
  }

  async #loadSettings(change: Partial<DynamicSettings>): Promise<void> {
    if (await this.#node.files.write(this.#node.config, change)) this.#node.postmaster.reload();
  }
}
