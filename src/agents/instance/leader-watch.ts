/**
 * What this node has last seen of the record's leader, and whether that makes it suspect (core/leadership/suspicion.ts).
 */
import type { ClusterRecord } from '../../api/record.ts';
import { decideSuspicion, type Suspicion } from '../../core/leadership/suspicion.ts';
import type { NodeContext } from './node-context.ts';
import type { PostgresObserver } from './postgres-view.ts';

export class LeaderWatch {
  readonly #node: NodeContext;
  readonly #observer: PostgresObserver;
  #expectsLeaderSinceMs = performance.now();
  #leaderKey = '';
  #promisedAtMs = Number.NEGATIVE_INFINITY;

  constructor(node: NodeContext, observer: PostgresObserver) {
    this.#node = node;
    this.#observer = observer;
  }

  /** This node has just promised a term. */
  notePromise(): void {
    this.#promisedAtMs = performance.now();
  }

  suspicion(record: ClusterRecord): Suspicion {
    const { detectionMs } = this.#node.config.timing;
    const link = this.#node.links.get(record.leader);
    const view = link?.view;
    const state = view?.state ?? null;
    const leads = state?.leaderView.leader === record.leader && state.leaderView.term >= record.term;
    const nowMs = performance.now();
    return decideSuspicion({
      nowMs,
      detectionMs,
      lastBeatAtMs: this.lastSignMs(record),
      isRefused: view?.isRefused === true && !view.isConnected,
      handsOver: view?.isConnected === true && leads && state.leading?.handsOver === true,
      probeAgeMs: view?.beat?.term === record.term ? view.beat.probeAgeMs : null,
      answerAgeMs: view?.beat?.term === record.term ? (view.beat.answerAgeMs ?? null) : null,
      walArrivedAtMs: this.#observer.view.walArrivedAtMs,
      hasStreamingQuorum: this.#observer.view.hasReceiver,
    });
  }

  /** The newest beat of this leader and term, or the moment from which one is expected. */
  lastSignMs(record: ClusterRecord): number {
    const key = `${record.leader} ${record.term}`;
    if (key !== this.#leaderKey) {
      this.#leaderKey = key;
      this.#expectsLeaderSinceMs = performance.now();
    }
    if (record.leader === this.#node.config.node) return Math.max(this.#promisedAtMs, this.#expectsLeaderSinceMs);
    const view = this.#node.links.get(record.leader)?.view;
    const isOfTerm = view?.beat !== undefined && view.beat !== null && view.beat.term >= record.term;
    return Math.max(isOfTerm ? view.beatAtMs : Number.NEGATIVE_INFINITY, this.#expectsLeaderSinceMs);
  }

  /** While the leader's commits are late, whether its WAL still flows is looked at twice as often as it has to be known. */
  lookCloser(record: ClusterRecord): void {
    const { detectionMs } = this.#node.config.timing;
    const beat = this.#node.links.get(record.leader)?.view.beat;
    if (beat?.term !== record.term || beat.probeAgeMs < detectionMs) return;
    if (performance.now() - this.#observer.observedAtMs >= detectionMs / 2) void this.#observer.observe(detectionMs);
  }
}
