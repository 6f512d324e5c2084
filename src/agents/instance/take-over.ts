/**
 * Taking over without votes of M, where the lease rule holds (core/leadership/lease.ts): a node of whatever group asks all, waits
 * out the lease, promises, and swaps on the condition that no lease runs.
 */
import { parseLsnOrNull } from '../../base/lsn.ts';
import type { ClusterRecord } from '../../api/record.ts';
import { delay } from '../../base/wait-until.ts';
import { chooseTerm } from '../../core/leadership/candidacy.ts';
import {
  decideLeaseCandidacy,
  decideLeaseSwap,
  type LeaseAnswer,
  leaseDurationMs,
  type PossibleLoss,
} from '../../core/leadership/lease.ts';
import type { AskAnswerMessage, PromiseAnswerMessage } from '../../api/peer-stream.ts';
import { decodeAsk, decodePromise } from './election-messages.ts';
import type { NodeContext } from './node-context.ts';

/** As for the election: answers come in a round trip. */
const ASK_TIMEOUT_MS = 500;
/** While another's lease runs, or nothing can be done yet: looked at again this often at most. */
const LOOK_MS = 500;
const DEFER_MS = 400;
const RETRY_MS = 200;

export interface TakeOverHooks {
  answerAsk(leader: string): Promise<AskAnswerMessage>;
  promise(request: { readonly term: number; readonly candidate: string }): Promise<PromiseAnswerMessage>;
  isStillSuspect(record: ClusterRecord): boolean;
}

export type TakeOverOutcome =
  | { readonly kind: 'pause'; readonly ms: number }
  /** Somebody leads a new term. `loss` and `promisedAtMs` if it is this node. */
  | { readonly kind: 'ended'; readonly won: null | { readonly loss: PossibleLoss; readonly promisedAtMs: number } };

export class TakeOver {
  readonly #node: NodeContext;
  readonly #hooks: TakeOverHooks;
  #lastReason = '';

  constructor(node: NodeContext, hooks: TakeOverHooks) {
    this.#node = node;
    this.#hooks = hooks;
  }

  /** The lease rule holds, and this node may lead by the plan. */
  get isPossible(): boolean {
    const { config } = this.#node;
    const own = config.peers.find((peer) => peer.node === config.node);
    return config.replication.scope === 'group' && own?.votes === true && own.priority > 0;
  }

  /** One round. @param goneForMs how long the leader has given no sign of life */
  async attempt(record: ClusterRecord, goneForMs: number): Promise<TakeOverOutcome> {
    const node = this.#node;
    const answers = await this.#askAll(record);
    const decision = decideLeaseCandidacy({
      self: node.config.node,
      record,
      leaderGroup: node.config.peers.find((peer) => peer.node === record.leader)?.group ?? '',
      answers,
      goneForMs,
      leaseMs: leaseDurationMs(node.config.timing.fenceMs),
      maximumLagBytes: node.config.replication.maximumLagBytes,
      minCopies: node.config.replication.minCopies,
    });
    this.#tell(decision.kind, decision.reason);
    if (decision.kind === 'refrain')
      return { kind: 'pause', ms: decision.waitMs === null ? LOOK_MS : Math.min(decision.waitMs + 1, LOOK_MS) };
    if (decision.kind === 'defer') return { kind: 'pause', ms: DEFER_MS * decision.rank };
    return await this.#stand(record, answers, decision.loss);
  }

  /** Once for each change: it is asked several times in a lease. */
  #tell(decision: string, reason: { readonly code: string; readonly message: string }): void {
    if (this.#lastReason === reason.code) return;
    this.#lastReason = reason.code;
    this.#node.log.info({ decision, reason: reason.code, detail: reason.message }, 'take-over by the lease rule');
  }

  async #stand(record: ClusterRecord, answers: readonly LeaseAnswer[], loss: PossibleLoss): Promise<TakeOverOutcome> {
    const node = this.#node;
    const pause = { kind: 'pause', ms: LOOK_MS } as const;
    const { leases } = node.store;
    const stored = await node.readRecord();
    const present = node.acceptedRecord;
    if (leases === undefined || present === null || present.paused) return pause;
    if (present.version !== record.version) return pause;
    const { promisedTerm, seen } = node.voter;
    const term = chooseTerm(present.term, [...answers, { promisedTerm, seenTerm: seen.term }]);
    const own = await this.#hooks.promise({ term, candidate: node.config.node });
    const promisedAtMs = performance.now();
    if (!own.granted) return pause;
    const decision = decideLeaseSwap(present, decodePromise(own), answers);
    if (decision.kind === 'refuse') {
      this.#tell('refuse', decision.reason);
      return pause;
    }
    // The promise stands: while the lease of a leader runs that is not heard here, the same swap is tried again.
    for (;;) {
      const result = await leases.swapUnlessLeased(stored.storeVersion, decision.next, { timeoutMs: 1000 });
      if (result.kind === 'swapped' || result.kind === 'lost') {
        node.log.info(
          { term, won: result.kind === 'swapped', lagBytes: String(loss.lagBytes) },
          'swap after the lease',
        );
        await node.acceptRecord(result.stored, { isLinearizable: true });
        return { kind: 'ended', won: result.kind === 'swapped' ? { loss, promisedAtMs } : null };
      }
      if (result.kind === 'unknown') node.log.warn({ error: result.error.message }, 'swap result unknown');
      else {
        this.#tell('wait', { code: 'Leased', message: `"${result.by.holder}" renews its lease: it is not lost` });
        if (!this.#hooks.isStillSuspect(present)) return pause;
      }
      if (node.voter.promisedTerm > term) return pause;
      await delay(RETRY_MS);
    }
  }

  /** Everybody who votes by the plan, of every group; silence is an answer too. */
  async #askAll(record: ClusterRecord): Promise<LeaseAnswer[]> {
    const node = this.#node;
    const answers: LeaseAnswer[] = [];
    const take = (ask: AskAnswerMessage): void => {
      answers.push({ ...decodeAsk(ask), incarnation: ask.incarnation, leaderLsn: parseLsnOrNull(ask.leaderLsn) });
    };
    const others = node.config.peers.filter((peer) => peer.votes && peer.node !== node.config.node);
    take(await this.#hooks.answerAsk(record.leader));
    await Promise.all(
      others.map(async (peer) => {
        try {
          const request = { method: 'ask', leader: record.leader, term: record.term } as const;
          const { ask } = (await node.links.get(peer.node)?.request(request, ASK_TIMEOUT_MS)) ?? {};
          if (ask?.node === peer.node) take(ask);
        } catch {
          // It does not count then.
        }
      }),
    );
    return answers;
  }
}
