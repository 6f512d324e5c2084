/**
 * The two rounds of questions of a candidate: who else suspects the leader, and who promises. Nothing is decided here but when
 * enough has been heard.
 */
import type { ClusterRecord } from '../../api/record.ts';
import type { AskAnswer } from '../../core/leadership/candidacy.ts';
import { configurationOf, isMember, voteQuorum } from '../../core/leadership/quorum.ts';
import { decideSwap, type PromiseAnswer, type SwapDecision } from '../../core/leadership/swap.ts';
import { decodeAsk, decodePromise } from './election-messages.ts';
import type { LeaderWatch } from './leader-watch.ts';
import type { NodeContext } from './node-context.ts';
import type { Voting } from './voting.ts';

/** Answers to a question come in a round trip; a leader that is frozen never answers and is not waited for. */
export const ASK_TIMEOUT_MS = 250;
/** A promise ends a receiver and syncs a file. */
const PROMISE_TIMEOUT_MS = 1500;

export class ElectionPolls {
  readonly #node: NodeContext;
  readonly #watch: LeaderWatch;
  readonly #voting: Voting;

  constructor(node: NodeContext, watch: LeaderWatch, voting: Voting) {
    this.#node = node;
    this.#watch = watch;
    this.#voting = voting;
  }

  /** Asks all members for their promise; resolves as soon as the votes decide; null: all have answered and they do not suffice. */
  collect(record: ClusterRecord, term: number, answers: PromiseAnswer[]): Promise<SwapDecision | null> {
    const node = this.#node;
    const candidate = { node: node.config.node, incarnation: node.voter.incarnation, term };
    return new Promise((resolve) => {
      const judge = (): boolean => {
        const decision = decideSwap(record, candidate, answers);
        if (decision.kind === 'wait') return false;
        node.log.info({ decision: decision.kind, detail: decision.reason.message }, 'votes');
        resolve(decision);
        return true;
      };
      if (judge()) return;
      const asked = record.members.filter(
        (member) => member.node !== node.config.node && !answers.some((answer) => answer.node === member.node),
      );
      const requests = asked.map(async (member) => {
        const link = node.links.get(member.node);
        if (link === undefined) return;
        try {
          const { promise } = await link.request({ method: 'promise', term }, PROMISE_TIMEOUT_MS);
          if (promise === undefined) return;
          if (!promise.granted) node.log.info({ from: member.node, detail: promise.reason }, 'promise refused');
          else if (promise.node === member.node) {
            answers.push(decodePromise(promise));
            judge();
          }
        } catch (error) {
          node.log.info({ from: member.node, error: (error as Error).message }, 'no promise');
        }
      });
      void Promise.all(requests).then(() => resolve(null));
    });
  }

  /** Answers of the members, own included. The suspected leader is waited for only where its veto could matter. */
  async askAll(record: ClusterRecord): Promise<AskAnswer[]> {
    const node = this.#node;
    const configuration = configurationOf(record);
    const answers: AskAnswer[] = [decodeAsk(await this.#voting.answerAsk(record.leader))];
    const mattersVeto = voteQuorum(configuration) === 1;
    // One slow answer must not depose a leader that only this node has lost: where one vote is enough, the veto is waited for.
    const timeoutMs = mattersVeto ? Math.max(ASK_TIMEOUT_MS, node.config.timing.detectionMs) : ASK_TIMEOUT_MS;
    const asked = mattersVeto
      ? node.config.peers.map((peer) => peer.node).filter((name) => name !== node.config.node)
      : record.members.map((member) => member.node).filter((name) => name !== node.config.node);
    const requests = asked.map(async (name) => {
      const link = node.links.get(name);
      if (link === undefined) return;
      try {
        const { ask } = await link.request({ method: 'ask', leader: record.leader, term: record.term }, timeoutMs);
        if (ask === undefined || ask.node !== name) return;
        const answer = decodeAsk(ask);
        if (isMember(configuration, ask)) answers.push(answer);
        else if (answer.vetoes) answers.push({ ...answer, position: null, canLead: false, suspects: false });
      } catch {
        // Silence is an answer too: it does not suspect, it does not vote.
      }
    });
    const isSilent = performance.now() - this.#watch.lastSignMs(record) >= node.config.timing.detectionMs;
    const others = mattersVeto || !isSilent ? requests : requests.filter((_, index) => asked[index] !== record.leader);
    await Promise.all(others);
    return answers;
  }
}
