/**
 * Planned switchover: the election's steps 3 to 5 with everybody's help. The old leader's promise is on disk before its
 * shutdown begins, so whatever happens in between, it does not come back as leader of the old term.
 *
 *   checkpoints - proxies hold - sessions end - promise - fast shutdown - target has the shutdown record - target swaps, promotes
 */
import type { RequestMessage } from '../../api/peer-stream.ts';
import type { ClusterRecord } from '../../api/record.ts';
import { formatLsn } from '../../base/lsn.ts';
import { delay, waitUntil } from '../../base/wait-until.ts';
import { chooseTerm } from '../../core/leadership/candidacy.ts';
import { comparePositions, type Position } from '../../core/leadership/position.ts';
import { configurationOf, isMember } from '../../core/leadership/quorum.ts';
import { decidePromise } from '../../core/leadership/voter.ts';
import type { Election } from './election.ts';
import { decodePromise } from './election-messages.ts';
import type { Leadership } from './leadership.ts';
import type { NodeContext } from './node-context.ts';
import type { PostgresObserver } from './postgres-view.ts';

/** Transactions that run when the proxies hold get this long to end by themselves. */
const DRAIN_MS = 300;
/** A checkpoint as short as this leaves little for the one of the shutdown; under heavy load it never becomes so. */
const CHECKPOINT_SHORT_MS = 150;
const CHECKPOINTS_MAX = 4;
/** A target further behind than this would make the hold long. */
const TARGET_LAG_BYTES_MAX = 16 * 1024 * 1024;
const TAKE_OVER_TIMEOUT_MS = 3000;
const TARGET_LEVEL_LIMIT_MS = 3000;
const WHOLE_LIMIT_MS = 30_000;

export interface SwitchoverHooks {
  leadership(): Leadership | null;
  stopForHandOver(): Promise<Position | null>;
}

/** `code`: NOT_LEADER, SWITCHOVER_RUNNING, NO_TARGET, TARGET_UNFIT, TAKE_OVER_FAILED. */
export class SwitchoverError extends Error {
  override name = 'SwitchoverError';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface SwitchoverResult {
  readonly from: string;
  readonly to: string;
  readonly term: number;
  readonly heldMs: number;
}

export class Switchover {
  readonly #node: NodeContext;
  readonly #observer: PostgresObserver;
  readonly #election: Election;
  readonly #hooks: SwitchoverHooks;
  #isRunning = false;
  #isStopping = false;

  constructor(node: NodeContext, observer: PostgresObserver, election: Election, hooks: SwitchoverHooks) {
    this.#node = node;
    this.#observer = observer;
    this.#election = election;
    this.#hooks = hooks;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  /** On the old leader: its promise is given and its PostgreSQL has not ended yet. */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** On the leader. `to` null: the best member. Resolves when the new leader is published. */
  async run(to: string | null): Promise<SwitchoverResult> {
    const node = this.#node;
    const leadership = this.#hooks.leadership();
    const record = node.acceptedRecord;
    if (leadership === null || !leadership.isActive || record?.leader !== node.config.node)
      throw new SwitchoverError(
        'NOT_LEADER',
        `Cannot switch over from "${node.config.node}": it does not lead; "${record?.leader ?? 'nobody'}" does`,
      );
    if (this.#isRunning)
      throw new SwitchoverError('SWITCHOVER_RUNNING', 'Cannot switch over: a switchover runs already');
    const target = this.#chooseTarget(to);
    this.#isRunning = true;
    try {
      await leadership.members.settle(5000);
      await this.#emptyBuffers();
      return await this.#handOver(leadership, target);
    } finally {
      this.#isRunning = false;
      node.wake();
    }
  }

  /** What is dirty when writes are held is written while they wait: so again, until little comes together during a checkpoint. */
  async #emptyBuffers(): Promise<void> {
    for (let round = 1; round <= CHECKPOINTS_MAX; round++) {
      const startedAtMs = performance.now();
      await this.#node.sql.run('CHECKPOINT', { timeoutMs: null });
      if (performance.now() - startedAtMs < CHECKPOINT_SHORT_MS) return;
    }
  }

  #chooseTarget(to: string | null): string {
    const node = this.#node;
    const record = node.acceptedRecord;
    if (record === null) throw new SwitchoverError('NO_TARGET', 'Cannot switch over: there is no record');
    // Commits do not wait for other groups then, but a leader that has ended cleanly can hand over to whoever holds all of it.
    const needsMember = node.config.replication.scope === 'global';
    const fitness = (name: string): string | null => {
      const view = node.links.get(name)?.view;
      const peer = node.config.peers.find((one) => one.node === name);
      if (peer === undefined) return 'there is no such node';
      if (name === node.config.node) return 'it leads already';
      if (!peer.votes) return 'it never leads';
      if (needsMember && !record.members.some((member) => member.node === name)) return 'it is no voting member (yet)';
      if (view?.isConnected !== true || view.state === null) return 'its agent is not reached';
      if (needsMember && !isMember(configurationOf(record), view.state))
        return 'it has lost its data and is no member (yet)';
      if (view.state.activity !== 'following') return `it is ${view.state.activity}: ${view.state.reason.message}`;
      if ((view.state.lagBytes ?? 0) > TARGET_LAG_BYTES_MAX) return `it lags ${view.state.lagBytes} bytes behind`;
      return null;
    };
    if (to !== null) {
      const why = fitness(to);
      if (why !== null) throw new SwitchoverError('TARGET_UNFIT', `Cannot switch over to "${to}": ${why}`);
      return to;
    }
    const best = node.config.peers
      .filter((peer) => peer.priority > 0 && fitness(peer.node) === null)
      .map(({ node: name, priority }) => ({ name, priority, isMember: isMemberName(record, name) }))
      .sort((a, b) => b.isMember - a.isMember || b.priority - a.priority || (a.name < b.name ? -1 : 1))[0]?.name;
    if (best === undefined) throw new SwitchoverError('NO_TARGET', 'Cannot switch over: no other member can lead now');
    return best;
  }

  async #handOver(leadership: Leadership, target: string): Promise<SwitchoverResult> {
    const node = this.#node;
    const record = node.acceptedRecord;
    const link = node.links.get(target);
    if (record === null || link === undefined)
      throw new SwitchoverError('NO_TARGET', `Cannot switch over to "${target}"`);
    const heldAtMs = performance.now();
    const since = (): number => Math.round(performance.now() - heldAtMs);
    leadership.hold();
    await this.#drain();
    const drainedMs = since();
    const terms = [...node.links.values()].map((one) => one.view.state?.promisedTerm ?? 0);
    const term = chooseTerm(record.term, [
      { promisedTerm: Math.max(node.voter.promisedTerm, ...terms), seenTerm: node.voter.seen.term },
    ]);
    // Durable before the shutdown: from here on this node does not lead term T again.
    this.#isStopping = true;
    let position: Position | null;
    try {
      await this.#promiseAway(term, target, leadership);
      position = await this.#hooks.stopForHandOver();
    } finally {
      this.#isStopping = false;
    }
    node.log.info({ target, term, drainedMs, stoppedMs: since() }, 'switchover: PostgreSQL has ended');
    node.wake();
    try {
      const { accepted } = await link.request(
        {
          method: 'take-over',
          term,
          promise: {
            node: node.config.node,
            incarnation: node.voter.incarnation,
            granted: true,
            term,
            position: position === null ? null : { timeline: position.timeline, lsn: formatLsn(position.lsn) },
            reason: 'switchover',
          },
        },
        TAKE_OVER_TIMEOUT_MS,
      );
      if (accepted !== true) throw new SwitchoverError('TAKE_OVER_FAILED', `"${target}" did not take over`);
      await waitUntil(`"${target}" leads`, { timeoutMs: TAKE_OVER_TIMEOUT_MS, intervalMs: 10 }, () => {
        const view = link.view.state?.leaderView;
        return view !== undefined && view.term >= term && view.phase === 'published';
      });
    } catch (error) {
      // Nobody leads now: the others elect as after a crash.
      leadership.handOver();
      const deadline = performance.now() + WHOLE_LIMIT_MS;
      while (performance.now() < deadline && node.acceptedRecord?.leader === node.config.node) await delay(50);
      if (node.acceptedRecord?.leader === target) return this.#result(target, heldAtMs);
      throw error;
    }
    return this.#result(target, heldAtMs);
  }

  /** A promise to somebody else may have come between, and stopped PostgreSQL: then that election goes on. */
  async #promiseAway(term: number, target: string, leadership: Leadership): Promise<void> {
    await this.#node.changeVoter((voter) => {
      const decision = decidePromise(voter, { term, candidate: target });
      if (decision.kind === 'grant') return decision.next;
      leadership.release();
      throw new SwitchoverError('TAKE_OVER_FAILED', `Cannot switch over to "${target}": ${decision.reason.message}`);
    });
  }

  #result(target: string, heldAtMs: number): SwitchoverResult {
    const term = this.#node.links.get(target)?.view.state?.leaderView.term ?? 0;
    return { from: this.#node.config.node, to: target, term, heldMs: Math.round(performance.now() - heldAtMs) };
  }

  /** Idle sessions are ended while nothing of theirs runs; the others get DRAIN_MS to become idle. */
  async #drain(): Promise<void> {
    const deadline = performance.now() + DRAIN_MS;
    const idle = `select count(pg_terminate_backend(pid)) filter (where state = 'idle') as ended, count(*) as all
      from pg_stat_activity where backend_type = 'client backend' and application_name not like 'pgspan%'`;
    try {
      for (;;) {
        const [row] = await this.#node.sql.query<{ all: string }>(idle);
        if (Number(row?.all ?? 0) === 0 || performance.now() >= deadline) return;
        await delay(5);
      }
    } catch (error) {
      this.#node.log.debug({ error: (error as Error).message }, 'drain');
    }
  }

  /** On the target: true once it begins; the rest runs on its own. */
  accept(from: string, request: Extract<RequestMessage, { method: 'take-over' }>): boolean {
    const node = this.#node;
    if (node.acceptedRecord?.leader !== from || request.promise.node !== from || this.#isRunning) return false;
    this.#isRunning = true;
    void this.#takeOver(from, request)
      .catch((error: Error) => node.log.warn({ error: error.message }, 'take-over failed'))
      .finally(() => {
        this.#isRunning = false;
        node.wake();
      });
    return true;
  }

  async #takeOver(from: string, request: Extract<RequestMessage, { method: 'take-over' }>): Promise<void> {
    const node = this.#node;
    const suspectedAtMs = performance.now();
    const promise = decodePromise(request.promise);
    const wanted = promise.position;
    if (wanted !== null)
      await waitUntil(
        'the shutdown record has arrived',
        { timeoutMs: TARGET_LEVEL_LIMIT_MS, intervalMs: 5 },
        async () => {
          const { flushLsn } = await this.#observer.observe(500);
          const timeline = node.voter.lineage?.timeline ?? 0;
          return flushLsn !== null && comparePositions({ timeline, lsn: flushLsn }, wanted) >= 0;
        },
      );
    node.log.info(
      { from, levelMs: Math.round(performance.now() - suspectedAtMs) },
      'switchover: level with the leader',
    );
    await this.#election.stand({
      answers: [],
      suspectedAtMs,
      reason: 'Switchover',
      formerLeader: from,
      term: request.term,
      promises: [promise],
    });
  }
}

function isMemberName(record: ClusterRecord, name: string): number {
  return record.members.some((member) => member.node === name) ? 1 : 0;
}
