/**
 * This node as a voter: what it answers to those who ask about a leader, and its promise (rules 2 and 3 of the protocol).
 */
import type { AskAnswerMessage, PromiseAnswerMessage } from '../../api/peer-stream.ts';
import type { ClusterRecord } from '../../api/record.ts';
import { formatLsnOrNull } from '../../base/lsn.ts';
import { delay } from '../../base/wait-until.ts';
import { decidePosition, type Position } from '../../core/leadership/position.ts';
import { decidePromise } from '../../core/leadership/voter.ts';
import { encodePosition } from './election-messages.ts';
import { ASK_TIMEOUT_MS } from './election-polls.ts';
import type { LeaderWatch } from './leader-watch.ts';
import type { NodeContext } from './node-context.ts';
import type { PostgresObserver } from './postgres-view.ts';

const RECEIVER_END_LIMIT_MS = 1000;

export interface VotingHooks {
  /** Leader of this node's own record and PostgreSQL works: for answers to others. */
  isServingLeader(): boolean;
  /** Stops PostgreSQL at once if it is a primary, before a promise is written. */
  fenceForPromise(): Promise<void>;
  /** The disk has room for WAL. */
  hasRoom(): boolean;
  /** End of the WAL of a cleanly stopped former leader; null if it was not stopped cleanly. */
  shutdownPosition(): Position | null;
}

export class Voting {
  readonly #node: NodeContext;
  readonly #observer: PostgresObserver;
  readonly #watch: LeaderWatch;
  readonly #hooks: VotingHooks;

  constructor(node: NodeContext, observer: PostgresObserver, watch: LeaderWatch, hooks: VotingHooks) {
    this.#node = node;
    this.#observer = observer;
    this.#watch = watch;
    this.#hooks = hooks;
  }

  /** What this node answers when another asks about `leader`. */
  async answerAsk(leader: string): Promise<AskAnswerMessage> {
    const node = this.#node;
    const record = node.acceptedRecord;
    const view = await this.#observer.observe(ASK_TIMEOUT_MS / 2);
    const position = decidePosition(node.voter, {
      flushLsn: view.state.kind === 'standby' ? view.flushLsn : null,
      isReplayedToEnd: view.state.kind === 'standby' && view.state.isReplayedToEnd,
    });
    const isSelf = record?.leader === node.config.node;
    const isServing = this.#hooks.isServingLeader();
    const suspects =
      record !== null && record.leader === leader && (isSelf ? !isServing : this.#watch.suspicion(record).isSuspect);
    const peer = node.config.peers.find((one) => one.node === node.config.node);
    const replayed = view.replayLsn ?? 0n;
    const flushed = view.flushLsn ?? replayed;
    return {
      node: node.config.node,
      incarnation: node.voter.incarnation,
      group: node.config.group,
      suspects,
      position: position.kind === 'known' ? encodePosition(position.position) : null,
      replayBytes: String(flushed > replayed ? flushed - replayed : 0n),
      priority: peer?.priority ?? 0,
      canLead: view.state.kind === 'standby' && !view.isReplayPaused && peer?.votes !== false && this.#hooks.hasRoom(),
      promisedTerm: node.voter.promisedTerm,
      seenTerm: node.voter.seen.term,
      vetoes: !suspects && record?.leader === leader && (isSelf ? isServing : !this.#watch.suspicion(record).isSuspect),
      leaderLsn: isSelf ? formatLsnOrNull(view.flushLsn) : this.#leaderLsn(record),
    };
  }

  /** What its last beat of this term told. */
  #leaderLsn(record: ClusterRecord | null): string | null {
    const beat = record === null ? null : this.#node.links.get(record.leader)?.view.beat;
    return beat?.term === record?.term ? (beat?.flushLsn ?? null) : null;
  }

  /**
   * Rule 3, in its order: the promise is durable, the path is closed, the receiver has ended, and only then the position is
   * read. All under the mutex, so that no follow comes between.
   */
  async promise(request: { readonly term: number; readonly candidate: string }): Promise<PromiseAnswerMessage> {
    const node = this.#node;
    return await node.voterMutex.run(async () => {
      const answer = (granted: boolean, position: Position | null, reason: string): PromiseAnswerMessage => ({
        node: node.config.node,
        incarnation: node.voter.incarnation,
        granted,
        term: granted ? request.term : node.voter.promisedTerm,
        position: position === null ? null : encodePosition(position),
        reason,
      });
      const decision = decidePromise(node.voter, request);
      if (decision.kind === 'refuse') return answer(false, null, decision.reason.message);
      await this.#hooks.fenceForPromise();
      await node.saveVoter(decision.next);
      this.#watch.notePromise();
      node.path.close();
      node.log.info({ term: request.term, candidate: request.candidate }, 'promised');
      node.changed();
      node.wake();
      const position = this.#hooks.shutdownPosition() ?? (await this.#positionAfterReceiver());
      return answer(true, position, decision.reason.message);
    });
  }

  async #positionAfterReceiver(): Promise<Position | null> {
    const deadline = performance.now() + RECEIVER_END_LIMIT_MS;
    for (;;) {
      const view = await this.#observer.observe(ASK_TIMEOUT_MS);
      if (view.state.kind !== 'standby' || view.flushLsn === null) return null;
      if (!view.hasReceiver) {
        // Once more: the receiver flushed what it had before it ended, and the first look may have come in between.
        const last = await this.#observer.observe(ASK_TIMEOUT_MS);
        if (last.state.kind !== 'standby') return null;
        const result = decidePosition(this.#node.voter, last.state);
        return result.kind === 'known' ? result.position : null;
      }
      if (performance.now() > deadline) return null;
      await delay(3);
    }
  }
}
