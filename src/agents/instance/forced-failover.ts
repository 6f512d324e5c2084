/** Leading without enough votes, because a person says so: `failover --accept-loss`. */
import { chooseTerm } from '../../core/leadership/candidacy.ts';
import { decideForcedSwap } from '../../core/leadership/swap.ts';
import type { ElectionTimes } from './election.ts';
import { decodePromise } from './election-messages.ts';
import type { ElectionPolls } from './election-polls.ts';
import type { NodeContext } from './node-context.ts';
import type { Voting } from './voting.ts';

/** `code` is FORCED_FAILOVER_REFUSED. */
export class ForcedFailoverError extends Error {
  override name = 'ForcedFailoverError';
  readonly code = 'FORCED_FAILOVER_REFUSED';
}

export interface ForcedFailover {
  readonly term: number;
  /** Members whose WAL may hold acknowledged commits that are gone. */
  readonly unheard: readonly string[];
  readonly times: ElectionTimes;
}

export class ForcedElection {
  readonly #node: NodeContext;
  readonly #polls: ElectionPolls;
  readonly #voting: Voting;

  constructor(node: NodeContext, polls: ElectionPolls, voting: Voting) {
    this.#node = node;
    this.#polls = polls;
    this.#voting = voting;
  }

  /**
   * `failover --accept-loss`: leads without enough votes, because a person says so. Throws ForcedFailoverError while a leader is
   * alive, a safe election is possible, or this node is not the best of those that answer.
   */
  async run(): Promise<ForcedFailover> {
    const node = this.#node;
    const suspectedAtMs = performance.now();
    const stored = await node.readRecord();
    const record = node.acceptedRecord;
    const refuse = (message: string): ForcedFailoverError =>
      new ForcedFailoverError(`Cannot fail over to "${node.config.node}" by force: ${message}`);
    if (record === null) throw refuse('there is no record');
    if (record.leader === node.config.node) throw refuse('it is the leader by the record');
    const asked = await this.#polls.askAll(record);
    const alive = asked.find((answer) => answer.vetoes);
    if (alive !== undefined) throw refuse(`"${alive.node}" says that "${record.leader}" is alive`);
    const term = chooseTerm(record.term, asked);
    const own = await this.#voting.promise({ term, candidate: node.config.node });
    if (!own.granted) throw refuse(own.reason);
    const answers = [decodePromise(own)];
    const safe = await this.#polls.collect(record, term, answers);
    const candidate = { node: node.config.node, incarnation: node.voter.incarnation, term };
    const decision = decideForcedSwap(record, candidate, answers);
    if (decision.kind === 'refuse' && safe?.kind !== 'swap') throw refuse(decision.reason.message);
    const next = decision.kind === 'swap' ? decision.next : safe?.kind === 'swap' ? safe.next : null;
    if (next === null) throw refuse('no record to swap to');
    const { leases } = node.store;
    const limit = { timeoutMs: 1000 };
    const result =
      node.config.replication.scope === 'group' && leases !== undefined
        ? await leases.swapUnlessLeased(stored.storeVersion, next, limit)
        : await node.store.compareAndSwap(stored.storeVersion, next, limit);
    if (result.kind === 'leased')
      throw refuse(
        `"${result.by.holder}" has renewed its lease in the last ${result.by.durationMs} ms: it may be alive`,
      );
    if (result.kind === 'unknown')
      throw refuse(`the coordination service did not answer: ${result.error.message}; ask for the status`);
    await node.acceptRecord(result.stored, { isLinearizable: true });
    if (result.kind === 'lost') throw refuse('somebody else changed the record meanwhile; ask for the status');
    const nowMs = performance.now();
    const times: ElectionTimes = {
      suspectedAtMs,
      promisedAtMs: nowMs,
      swappedAtMs: nowMs,
      formerLeader: record.leader,
      reason: 'Forced',
    };
    return { term, unheard: decision.kind === 'swap' ? decision.unheard : [], times };
  }
}
