/**
 * A vantage elsewhere: questions go as lines of JSON to a program there (`pgspan vantage`), answers come back as lines.
 *
 *   > {"id": 1, "call": "ask", "question": {...}}            < {"id": 1, "result": {"status": 200, "body": {...}}}
 *   > {"id": 2, "call": "examine", "questions": [...]}       < {"id": 2, "error": {"code": "DIAL_TIMEOUT", "message": "..."}}
 *
 * The first line from there is a greeting, `{"id": 0, "result": {"ready": true}}`. Many may be under way at a time. The other side ends with the end of its input.
 */
import * as z from 'zod';
import { EDGES_MAX, edgeFactsSchema, edgeQuestionSchema } from '../api/edge-facts.ts';
import { DialError } from '../base/dial-tls.ts';
import { encodeJsonLine, LineDecoder, parseJsonLine } from '../wire/ndjson.ts';
import type { Vantage } from './vantage.ts';

/** An agent's answer has at most 1 MiB (agent-api.ts); as JSON within JSON it can grow. */
export const VANTAGE_LINE_BYTES_MAX = 2 * 1024 * 1024;
/** Questions under way at a time: nodes and proxies of the largest global cluster, every edge of each. */
const CALLS_MAX = 1024;
const GREETING_ID = 0;

const targetSchema = z.strictObject({
  host: z.string().min(1).max(253),
  address: z.string().nullable(),
  port: z.int().min(1).max(65535),
});
const callSchema = z.discriminatedUnion('call', [
  z.strictObject({
    id: z.int(),
    call: z.literal('ask'),
    question: z.strictObject({
      target: targetSchema,
      method: z.enum(['GET', 'POST']).optional(),
      path: z.string().startsWith('/').max(200),
      body: z.unknown().optional(),
      timeoutMs: z.int().min(1).max(600_000),
    }),
  }),
  z.strictObject({ id: z.int(), call: z.literal('examine'), questions: z.array(edgeQuestionSchema).max(EDGES_MAX) }),
]);
type Call = z.infer<typeof callSchema>;
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

const answerSchema = z.union([
  z.object({ id: z.int(), error: z.object({ code: z.string(), message: z.string() }) }),
  z.object({ id: z.int(), result: z.unknown() }),
]);
const agentAnswerSchema = z.object({ status: z.int(), body: z.unknown() });
/** The side that is elsewhere: answers each line of `input` until it ends. @throws LineError for what is no line of ours. */
export async function serveVantage(
  vantage: Vantage,
  input: AsyncIterable<Buffer>,
  write: (line: Buffer) => void,
): Promise<void> {
  const decoder = new LineDecoder(VANTAGE_LINE_BYTES_MAX);
  write(encodeJsonLine({ id: GREETING_ID, result: { ready: true } }, VANTAGE_LINE_BYTES_MAX));
  for await (const chunk of input) {
    decoder.push(chunk, (line) => {
      const call = callSchema.parse(parseJsonLine(line));
      void answer(vantage, call).then((value) => write(encodeJsonLine(value, VANTAGE_LINE_BYTES_MAX)));
    });
  }
}

async function answer(vantage: Vantage, call: Call): Promise<unknown> {
  try {
    return { id: call.id, result: await carryOut(vantage, call) };
  } catch (error) {
    const { code = 'DIAL_FAILED', message } = error as Error & { code?: string };
    return { id: call.id, error: { code, message } };
  }
}

async function carryOut(vantage: Vantage, call: Call): Promise<unknown> {
  switch (call.call) {
    case 'ask': {
      const { method, ...question } = call.question;
      return await vantage.ask({ ...question, ...(method === undefined ? {} : { method }) });
    }
    case 'examine':
      return await vantage.examine(call.questions);
  }
}

/** The near side. `push` takes what comes back; `fail` ends every question that waits, and all later ones. */
export interface RemoteVantage extends Vantage {
  push(chunk: Buffer): void;
  fail(error: Error): void;
}

/** @param onGreeting the other side listens. */
export function vantageOverLines(name: string, send: (line: Buffer) => void, onGreeting: () => void): RemoteVantage {
  const waiting = new Map<
    number,
    { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }
  >();
  const decoder = new LineDecoder(VANTAGE_LINE_BYTES_MAX);
  let lastId = 0;
  let failure: Error | null = null;
  const fail = (error: Error): void => {
    failure ??= error;
    for (const { reject } of waiting.values()) reject(failure);
    waiting.clear();
  };
  const call = (content: WithoutId<Call>): Promise<unknown> => {
    if (failure !== null) return Promise.reject(failure);
    if (waiting.size >= CALLS_MAX) return Promise.reject(new RangeError(`Cannot ask: ${CALLS_MAX} questions wait`));
    lastId += 1;
    const id = lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    waiting.set(id, { resolve, reject });
    send(encodeJsonLine({ id, ...content }, VANTAGE_LINE_BYTES_MAX));
    return promise;
  };
  const onLine = (line: string): void => {
    const value = answerSchema.parse(parseJsonLine(line));
    if (value.id === GREETING_ID) return onGreeting();
    const asked = waiting.get(value.id);
    waiting.delete(value.id);
    if (asked === undefined) return;
    if ('error' in value) asked.reject(new DialError(value.error.code, value.error.message));
    else asked.resolve(value.result);
  };
  return {
    name,
    ask: async (question) => agentAnswerSchema.parse(await call({ call: 'ask', question })),
    examine: async (questions) =>
      z
        .array(edgeFactsSchema)
        .max(EDGES_MAX)
        .parse(await call({ call: 'examine', questions: [...questions] })),
    push: (chunk) => {
      try {
        decoder.push(chunk, onLine);
      } catch (error) {
        fail(error as Error);
      }
    },
    fail,
  };
}
