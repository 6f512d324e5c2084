/**
 * Fetches what strangers sent to the agents of a group, and brings the answers: one long poll to each agent, while invitations are
 * open. The connections go from the operator to the agents, as all of them do: nothing listens here.
 */
import {
  JOIN_ANSWERS_PATH,
  JOIN_POLL_MS,
  JOIN_REQUESTS_PATH,
  type RelayedAnswer,
  relayedRequestsSchema,
} from '../../api/invitation.ts';
import type { DialTarget, ReloadableTls } from '../../base/mutual-tls.ts';
import { askAgent } from '../../platform/agent-api.ts';

const RETRY_MS = 1000;
const ANSWER_TIMEOUT_MS = 5000;

export interface RequestFollowerOptions {
  readonly tls: ReloadableTls;
  /** Null: no answer now; the other side tries again. */
  readonly answer: (message: unknown) => Promise<Pick<RelayedAnswer, 'status' | 'body'> | null>;
  readonly onError: (error: Error) => void;
}

export class RequestFollower {
  readonly #options: RequestFollowerOptions;
  readonly #polls = new Map<string, AbortController>();

  constructor(options: RequestFollowerOptions) {
    this.#options = options;
  }

  /** Agents, by name; none: stop. */
  follow(targets: ReadonlyMap<string, DialTarget>): void {
    const wanted = new Map([...targets].map(([name, target]) => [JSON.stringify([name, target]), target]));
    for (const [key, poll] of this.#polls) {
      if (wanted.has(key)) continue;
      poll.abort();
      this.#polls.delete(key);
    }
    for (const [key, target] of wanted) {
      if (this.#polls.has(key)) continue;
      const poll = new AbortController();
      this.#polls.set(key, poll);
      void this.#run(target, poll.signal);
    }
  }

  close(): void {
    this.follow(new Map());
  }

  async #run(target: DialTarget, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#poll(target, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#options.onError(error as Error);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async #poll(target: DialTarget, signal: AbortSignal): Promise<void> {
    const { tls } = this.#options;
    const timeoutMs = JOIN_POLL_MS + ANSWER_TIMEOUT_MS;
    const { status, body } = await askAgent({ target, credentials: tls, path: JOIN_REQUESTS_PATH, timeoutMs, signal });
    if (status !== 200) throw new Error(`Cannot fetch requests to join from "${target.host}": it answered ${status}`);
    const { requests } = relayedRequestsSchema.parse(body);
    // Not waited for: the next request must not stand behind this one's API calls.
    for (const { id, message } of requests)
      this.#answer(target, id, message).catch((error: Error) => this.#options.onError(error));
  }

  async #answer(target: DialTarget, id: string, message: unknown): Promise<void> {
    const answer = await this.#options.answer(message);
    if (answer === null) return;
    await askAgent({
      target,
      credentials: this.#options.tls,
      method: 'POST',
      path: JOIN_ANSWERS_PATH,
      body: { id, ...answer } satisfies RelayedAnswer,
      timeoutMs: ANSWER_TIMEOUT_MS,
    });
  }
}
