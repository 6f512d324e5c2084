/**
 * Carries out changes of M and w on the leader (core/leadership/membership.ts decides them), and reads who streams.
 */
import type { Member } from '../../api/record.ts';
import { type Lsn, parseLsn, parseLsnOrNull } from '../../base/lsn.ts';
import { delay, waitUntil } from '../../base/wait-until.ts';
import {
  type ChangeProgress,
  decideChange,
  decideChangeStep,
  type MemberView,
} from '../../core/leadership/membership.ts';
import { applicationName, configurationOf, synchronousStandbyNames } from '../../core/leadership/quorum.ts';
import {
  decideRelays,
  decideRelayVotes,
  type GroupedView,
  type Relay,
  type RelayCandidate,
} from '../../core/leadership/relay.ts';
import type { Reason } from '../../core/leadership/voter.ts';
import type { Leadership } from './leadership.ts';
import type { NodeContext } from './node-context.ts';
import { freshSql, loadedSetting, untilArmed, untilLoaded } from './required-setting.ts';

export interface StreamingStandby {
  readonly applicationName: string;
  readonly state: string;
  readonly flushLsn: Lsn | null;
  readonly replayLsn: Lsn | null;
}

const STREAMING_SQL = `
select application_name, state, flush_lsn::text as flush, replay_lsn::text as replay,
  (select pg_current_wal_flush_lsn()::text) as own
from pg_stat_replication`;
/** Old senders end within milliseconds of being told. */
const SENDERS_LIMIT_MS = 5000;

export class MembershipChanger {
  readonly #node: NodeContext;
  readonly #leadership: Leadership;
  readonly #lastSeenMs = new Map<string, number>();
  #progress: ChangeProgress | null = null;
  /** By group. */
  #relays: ReadonlyMap<string, Relay> = new Map();
  #isStopped = false;

  /** For status: why M is as it is. */
  reason: Reason = { code: 'NotYet', message: 'Members have not been looked at' };
  standbys: readonly StreamingStandby[] = [];

  constructor(node: NodeContext, leadership: Leadership) {
    this.#node = node;
    this.#leadership = leadership;
  }

  /** By group: the node that its other nodes stream from; absent: no group has one. */
  get relays(): Readonly<Record<string, string>> | undefined {
    if (this.#relays.size === 0) return undefined;
    return Object.fromEntries([...this.#relays].map(([group, { node }]) => [group, node]));
  }

  get isChanging(): boolean {
    return this.#progress !== null;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** One look and at most one step. */
  async step(): Promise<void> {
    const node = this.#node;
    const record = node.acceptedRecord;
    if (record === null || record.leader !== node.config.node) return;
    const { views, ownFlushLsn } = await this.#observe();
    if (this.#progress === null) {
      const decision = decideChange({
        record,
        self: node.self,
        views,
        policy: {
          minCopies: node.config.replication.minCopies,
          siteMembersMax: node.config.replication.siteMembersMax,
        },
        memberTimeoutMs: node.config.timing.memberTimeoutMs,
        leaderFlushLsn: ownFlushLsn,
      });
      this.reason = decision.reason;
      if (decision.kind !== 'change') return;
      node.log.info({ reason: decision.reason.code, detail: decision.reason.message }, 'change of members begins');
      this.#progress = { from: configurationOf(record), to: decision.to, armedLsn: null, swap: 'not-tried' };
    }
    await this.#advance(this.#progress, views);
  }

  async #advance(progress: ChangeProgress, views: readonly MemberView[]): Promise<void> {
    const node = this.#node;
    const record = node.acceptedRecord;
    if (record === null) return;
    const step = decideChangeStep(progress, record, node.self, views);
    switch (step.kind) {
      case 'require-both':
        this.#progress = { ...progress, armedLsn: await this.#requireBoth(step.setting, progress) };
        return;
      case 'wait-covered':
        this.reason = step.reason;
        return;
      case 'swap': {
        const outcome = await this.#leadership.swapOwn(step.next);
        this.#progress = { ...progress, swap: outcome };
        return;
      }
      case 'relax':
        await this.#load(step.setting);
        this.#progress = null;
        node.log.info({ members: node.acceptedRecord?.members.map((member) => member.node) }, 'change of members done');
        node.changed();
        return;
    }
  }

  /** Step (a); resolves with the LSN from which every sender releases waiters only under the joint setting. */
  async #requireBoth(setting: string, progress: ChangeProgress): Promise<Lsn> {
    const node = this.#node;
    const before = await loadedSetting(node);
    if (before !== setting) {
      await this.#load(setting);
      await untilArmed(node);
    }
    // Also where the text is the same: a sender may still use one from before the last relaxing.
    await this.#endOldSenders(progress);
    const rows = await node.sql.query<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
    return parseLsn(rows[0]?.lsn ?? '0/0');
  }

  /** Writes the setting, reloads, and waits until the postmaster hands it to new processes. */
  async #load(setting: string): Promise<void> {
    const node = this.#node;
    await this.#leadershipFiles(setting);
    node.postmaster.reload();
    await untilLoaded(node, () => this.#isStopped);
  }

  async #leadershipFiles(setting: string): Promise<void> {
    await this.#node.files.write(this.#node.config, {
      synchronousStandbyNames: setting,
      primaryConninfo: '',
      primarySlotName: '',
      isPrimary: true,
    });
  }

  /** Senders older than the reload release waiters under their own copy of the list: they are ended and come back. */
  async #endOldSenders(progress: ChangeProgress): Promise<void> {
    const names = [...progress.from.members, ...progress.to.members].map((member) => applicationName(member));
    const sql = freshSql(this.#node);
    try {
      const rows = await sql.query<{ loaded: string }>('select pg_conf_load_time()::text as loaded');
      const loaded = rows[0]?.loaded ?? '';
      const end = `select count(pg_terminate_backend(pid)) as n from pg_stat_replication
        where backend_start <= $1::timestamptz and application_name = any($2)`;
      await waitUntil(
        'senders older than the reload have ended',
        { timeoutMs: SENDERS_LIMIT_MS, intervalMs: 10 },
        async () => {
          const [row] = await sql.query<{ n: string }>(end, [loaded, names]);
          return this.#isStopped || Number(row?.n ?? 0) === 0;
        },
      );
    } finally {
      await sql.close();
    }
  }

  async #observe(): Promise<{ views: readonly MemberView[]; ownFlushLsn: Lsn }> {
    const node = this.#node;
    const rows = await node.sql.query<{
      application_name: string;
      state: string;
      flush: string | null;
      replay: string | null;
      own: string;
    }>(STREAMING_SQL);
    this.standbys = rows.map((row) => ({
      applicationName: row.application_name,
      state: row.state,
      flushLsn: parseLsnOrNull(row.flush),
      replayLsn: parseLsnOrNull(row.replay),
    }));
    const ownFlushLsn = parseLsnOrNull(rows[0]?.own) ?? this.#leadership.probeLsn ?? 0n;
    const nowMs = performance.now();
    const views = node.config.peers
      .filter((peer) => peer.node !== node.config.node)
      .map((peer): MemberView => {
        const state = node.links.get(peer.node)?.view.state ?? null;
        const known = node.acceptedRecord?.members.find((one) => one.node === peer.node);
        const member: Member = {
          node: peer.node,
          incarnation: state?.incarnation ?? known?.incarnation ?? '000000000000',
        };
        const standby = this.standbys.find(
          (one) => one.applicationName === applicationName(member) && one.state === 'streaming',
        );
        const isStreaming = standby !== undefined;
        const seenMs = isStreaming ? nowMs : (this.#lastSeenMs.get(peer.node) ?? this.#leadership.hearing().sinceMs);
        this.#lastSeenMs.set(peer.node, seenMs);
        return {
          member,
          isStreaming,
          flushLsn: standby?.flushLsn ?? null,
          lostForMs: nowMs - seenMs,
          // With `scope: group` M is in the leader's group, so that no commit waits for another.
          votes: peer.votes && (node.config.replication.scope === 'global' || peer.group === node.config.group),
        };
      });
    return { views: this.#voting(views), ownFlushLsn };
  }

  /** Names the relays anew, and leaves the vote to those who have it while groups have relays. */
  #voting(views: readonly MemberView[]): readonly MemberView[] {
    const { config, acceptedRecord: record, log } = this.#node;
    const groupOf = new Map(config.peers.map((peer) => [peer.node, peer]));
    if (record === null || !config.peers.some(({ relay }) => relay === true)) {
      this.#relays = new Map();
      return views;
    }
    const { members } = record;
    const common = { members, leaderGroup: config.group, detectionMs: config.timing.detectionMs };
    const grouped = views.map((view) => {
      const peer = groupOf.get(view.member.node);
      return { view, group: peer?.group ?? '', isRelayed: peer?.relay === true };
    });
    // Who is being taken out is no relay; of a read-only group nobody votes, and one is the relay all the same.
    const mayBe = ({ view, group, isRelayed }: GroupedView): boolean =>
      isRelayed && (view.votes || !config.peers.some((peer) => peer.group === group && peer.votes));
    const candidates = grouped.filter(mayBe).map((one) => this.#candidate(one));
    const before = JSON.stringify(this.relays);
    this.#relays = decideRelays({ ...common, candidates, current: this.#relays, nowMs: performance.now() });
    if (JSON.stringify(this.relays) !== before) {
      log.info({ relays: this.relays }, 'relays named');
      this.#node.changed();
    }
    return decideRelayVotes({ ...common, views: grouped, relays: this.#relays });
  }

  #candidate({ view, group }: { readonly view: MemberView; readonly group: string }): RelayCandidate {
    const link = this.#node.links.get(view.member.node)?.view;
    const state = link?.state ?? null;
    const isReached = link?.isConnected === true;
    return {
      node: view.member.node,
      group,
      isReached,
      isWell: isReached && state?.activity === 'following',
      timeline: state?.timeline ?? 0,
      flushLsn: parseLsnOrNull(state?.flushLsn ?? null),
      lostForMs: view.isStreaming ? 0 : view.lostForMs,
    };
  }

  /** After the barrier swap: what an earlier process left required gives way to what the record says. */
  async relax(): Promise<void> {
    const record = this.#node.acceptedRecord;
    if (record === null) return;
    const setting = synchronousStandbyNames(configurationOf(record), this.#node.config.node);
    if (this.#node.files.dynamic.synchronousStandbyNames !== setting) await this.#load(setting);
  }

  /** Until no change is under way, or `limitMs` has passed. */
  async settle(limitMs: number): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (this.#progress !== null && !this.#isStopped && performance.now() < deadline) await delay(20);
  }
}
