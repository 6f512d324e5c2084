/**
 * Asks whichever member of etcd answers. The member that answered last is asked first; after HEDGE_DELAY_MS without an
 * answer the next one is asked as well, so that a frozen member costs that long and not the whole time allowed.
 * While etcd elects its own leader, all are asked again. So a request may be carried out more than once: send only what may be.
 */
import type { DialTarget, ReloadableTls } from '../base/mutual-tls.ts';
import { delay } from '../base/wait-until.ts';
import { errorAnswerSchema, REQUIRE_LEADER } from './etcd-messages.ts';
import { createJsonHttpClient, type JsonHttpClient } from './json-http.ts';
import { StoreUnavailableError } from './store.ts';

export interface EtcdClientOptions {
  readonly endpoints: readonly DialTarget[];
  /** Null: plain HTTP. */
  readonly tls: ReloadableTls | null;
  readonly sourceAddress: string | null;
}

export interface EtcdClient {
  /** The first good answer. Throws StoreUnavailableError in at most `timeoutMs`; its message holds what each member said. */
  request(path: string, body: unknown, options: { timeoutMs: number }): Promise<unknown>;
  /** An answer without end, from the preferred member; when it ends, the next one is preferred. */
  lines(
    path: string,
    body: unknown,
    listener: { onLine(value: unknown): void; onEnd(error: Error): void },
    options: { timeoutMs: number },
  ): { close(): void };
  readonly where: string;
  close(): void;
}

/** Ten usual answers within a site; a third and a fourth of them fit into the second that a caller waits. */
const HEDGE_DELAY_MS = 250;
/** While etcd elects a leader its members refuse at once; an election takes about a second, so a caller's time may suffice. */
const RETRY_DELAY_MS = 50;

export function createEtcdClient(options: EtcdClientOptions): EtcdClient {
  const members = options.endpoints.map((target) =>
    createJsonHttpClient({ target, tls: options.tls, sourceAddress: options.sourceAddress }),
  );
  let preferred = 0;
  const memberAt = (index: number): JsonHttpClient => members[index % members.length] as JsonHttpClient;

  /** The first good answer, or, when all have failed, what each said. */
  const askAll = (path: string, body: unknown, deadlineMs: number): Promise<unknown> => {
    const first = preferred;
    return new Promise((resolve, reject) => {
      const problems: Error[] = [];
      let askedCount = 0;
      let isOver = false;
      let hedge: NodeJS.Timeout | undefined;
      const settle = (outcome: () => void): void => {
        if (isOver) return;
        isOver = true;
        clearTimeout(hedge);
        outcome();
      };
      const onProblem = (error: Error): void => {
        problems.push(error);
        if (problems.length < members.length) return askNext();
        settle(() => reject(joinProblems(problems)));
      };
      const askNext = (): void => {
        clearTimeout(hedge);
        if (isOver || askedCount >= members.length) return;
        const index = (first + askedCount) % members.length;
        askedCount += 1;
        hedge = setTimeout(askNext, HEDGE_DELAY_MS);
        ask(memberAt(index), path, body, deadlineMs).then((answer) => {
          settle(() => {
            preferred = index;
            resolve(answer);
          });
        }, onProblem);
      };
      askNext();
    });
  };

  return {
    where: members.map((member) => member.origin).join(', '),
    async request(path, body, { timeoutMs }) {
      const deadlineMs = performance.now() + timeoutMs;
      for (;;) {
        try {
          return await askAll(path, body, deadlineMs);
        } catch (error) {
          const isElecting = error instanceof MemberError && error.status === UNAVAILABLE;
          if (!isElecting || performance.now() + RETRY_DELAY_MS >= deadlineMs) throw error;
          await delay(RETRY_DELAY_MS);
        }
      }
    },
    lines(path, body, listener, { timeoutMs }) {
      const index = preferred;
      const onEnd = (error: Error): void => {
        if (preferred === index) preferred = (index + 1) % members.length;
        listener.onEnd(error);
      };
      return memberAt(index).lines(
        { method: 'POST', path, body, headers: REQUIRE_LEADER },
        { onLine: listener.onLine, onEnd },
        { timeoutMs, silenceMsMax: null },
      );
    },
    close() {
      for (const member of members) member.close();
    },
  };
}

/** A member answered with an error. `status` is that of HTTP. */
class MemberError extends StoreUnavailableError {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** gRPC's "unavailable" in HTTP: no leader, leader changed, request timed out. */
const UNAVAILABLE = 503;

/** One error of all; its status is 503 if a member is alive and waits for a leader. */
function joinProblems(problems: readonly Error[]): StoreUnavailableError {
  const message = problems.map((problem) => problem.message).join('; ');
  const isElecting = problems.some((problem) => problem instanceof MemberError && problem.status === UNAVAILABLE);
  return isElecting ? new MemberError(UNAVAILABLE, message) : new StoreUnavailableError(message);
}

async function ask(member: JsonHttpClient, path: string, body: unknown, deadlineMs: number): Promise<unknown> {
  const timeoutMs = Math.max(1, deadlineMs - performance.now());
  const answer = await member.request({ method: 'POST', path, body, repeatable: true }, { timeoutMs });
  if (answer.status === 200) return answer.body;
  const told = errorAnswerSchema.safeParse(answer.body).data;
  const words = (told?.error ?? told?.message ?? '').slice(0, 300);
  throw new MemberError(answer.status, `"${member.origin}" answered ${answer.status} (${words})`);
}
