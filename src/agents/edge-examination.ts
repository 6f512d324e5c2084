/**
 * An agent tries its own edges when it is asked to (`GET /v1/edges`): from where they really are, with its own resolver, source
 * address and certificates. Nobody can name a place that it does not dial anyway.
 */
import { getServers } from 'node:dns';
import { type EdgeQuestion, type EdgeReport, EXAMINATION_TIMEOUT_MS } from '../api/edge-facts.ts';
import { Mutex } from '../base/mutex.ts';
import { addressesOf, type EdgeMeans, examineAll, StepError } from '../platform/examine-edge.ts';

/** An answer this young serves the next one who asks: many may ask, and each examination makes connections. */
const FRESH_MS = 1000;
/** Before whoever asks loses patience. */
const RESOLVE_DEADLINE_MS = EXAMINATION_TIMEOUT_MS - 6000;
const RESOLVERS_MAX = 8;

export interface EdgeExaminationOptions {
  readonly name: string;
  readonly group: string;
  /** The edges of the present configuration. */
  edges(): readonly EdgeQuestion[];
  /** Files are read again for each examination. */
  means(question: EdgeQuestion): Promise<EdgeMeans>;
}

export class EdgeExamination {
  readonly #options: EdgeExaminationOptions;
  #running: Promise<EdgeReport> | null = null;
  #lastAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: EdgeExaminationOptions) {
    this.#options = options;
  }

  /** One at a time, shared by all who ask meanwhile. */
  examine(): Promise<EdgeReport> {
    if (this.#running === null || performance.now() - this.#lastAtMs > FRESH_MS) {
      this.#lastAtMs = Number.POSITIVE_INFINITY;
      this.#running = this.#examine().finally(() => {
        this.#lastAtMs = performance.now();
      });
    }
    // The clock is told as it is now, not as it was when the examination began.
    return this.#running.then((report) => ({ ...report, clockMs: Date.now() }));
  }

  async #examine(): Promise<EdgeReport> {
    const { name, group, edges, means } = this.#options;
    const resolve = oneByOne(performance.now() + RESOLVE_DEADLINE_MS);
    const found = await examineAll(edges(), async (question) => ({ resolve, ...(await means(question)) }));
    return { name, group, clockMs: Date.now(), resolvers: getServers().slice(0, RESOLVERS_MAX), edges: found };
  }
}

/**
 * getaddrinfo waits in one of libuv's four threads, for seconds if nobody answers, and the same threads carry the fsync of a
 * promise: so one name at a time, and none after the deadline.
 */
function oneByOne(deadlineMs: number): (host: string) => Promise<string[]> {
  const mutex = new Mutex();
  const known = new Map<string, Promise<string[]>>();
  const ask = (host: string): Promise<string[]> =>
    mutex.run(async () => {
      if (performance.now() > deadlineMs) throw new StepError('TIMEOUT', 'the resolver was too slow for all names');
      return await addressesOf(host);
    });
  return (host) => {
    const asked = known.get(host) ?? ask(host);
    known.set(host, asked);
    return asked;
  };
}
