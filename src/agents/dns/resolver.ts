/**
 * From a query to its answer: kept? by a rule? else from an upstream. What is kept is answered at once, without a promise:
 * that is nearly all of it.
 */
import type { DnsConfig } from '../../api/dns-config.ts';
import type { DnsEndpoint } from '../../core/dns/resolv-conf.ts';
import { decideByRules, type RuleSet } from '../../core/dns/split-rules.ts';
import { type Answer, answerOf, encodeAnswer, encodeRefusal, questionFor } from '../../wire/dns-answer.ts';
import { type DnsQuery, FLAG, parseQuery, RCODE } from '../../wire/dns-message.ts';
import { encodeName } from '../../wire/dns-names.ts';
import { addressAnswer, failureAnswer, renamedAnswer } from '../../wire/dns-own-answer.ts';
import { AnswerCache, type CachedAnswer } from './answer-cache.ts';
import { type Forwarded, Forwarder, type ForwarderEvents } from './forwarder.ts';

/** Where an answer came from. */
export type AnswerSource = 'cache' | 'rule' | 'upstream' | 'stale' | 'failed' | 'refused';

export interface ResolverEvents extends ForwarderEvents {
  readonly onAnswer: (source: AnswerSource, rcode: number) => void;
  readonly onDrop: (reason: string) => void;
  /** A rule that cannot be carried out. */
  readonly onBrokenRule: (reason: string) => void;
}

export interface ResolverSettings {
  readonly config: DnsConfig;
  readonly rules: RuleSet;
  readonly upstreams: readonly DnsEndpoint[];
}

/** A client's, for one query. @returns the largest message that it takes. */
type BytesMax = (query: DnsQuery) => number;

/** A failure of the upstreams is kept so long, that a crowd does not make it worse (RFC 9520). */
const FAILURE_SECONDS = 1;
/** RFC 8767 says 30; what we serve moves, and a good answer should replace it soon. */
const STALE_TTL_SECONDS = 5;

export class Resolver {
  readonly cache: AnswerCache;
  readonly forwarder: Forwarder;
  readonly #events: ResolverEvents;
  #settings: ResolverSettings;

  constructor(settings: ResolverSettings, events: ResolverEvents) {
    this.#settings = settings;
    this.#events = events;
    this.cache = new AnswerCache(cacheLimits(settings));
    this.forwarder = new Forwarder(settings.upstreams, settings.config.limits, events);
  }

  /** Other rules make other answers, so nothing kept counts any more. */
  configure(settings: ResolverSettings): void {
    this.#settings = settings;
    this.cache.clear();
    this.cache.configure(cacheLimits(settings));
    this.forwarder.configure(settings.upstreams, settings.config.limits);
  }

  /** Null: nothing is sent. `message` is not kept beyond the call unless a promise is returned. */
  answer(message: Buffer, bytesMax: BytesMax): Buffer | null | Promise<Buffer> {
    const parsed = parseQuery(message);
    if (parsed.kind === 'dropped') {
      this.#events.onDrop(parsed.reason);
      return null;
    }
    if (parsed.kind === 'refused') {
      this.#events.onAnswer('refused', parsed.rcode);
      return encodeRefusal(parsed);
    }
    const { query } = parsed;
    const key = cacheKey(query);
    const nowSeconds = performance.now() / 1000;
    const kept = this.cache.find(key, nowSeconds);
    if (kept !== undefined && nowSeconds < kept.expiresAt) return this.#encode(query, kept, 'cache', bytesMax(query));
    const decision = decideByRules(this.#settings.rules, query.question);
    switch (decision.kind) {
      case 'address': {
        const { ruleTtlSeconds } = this.#settings.config.limits;
        const answer = addressAnswer(query.question, [decision.address], ruleTtlSeconds);
        return this.#encode(query, this.#keep(key, answer, 'rule'), 'rule', bytesMax(query));
      }
      case 'broken':
        this.#events.onBrokenRule(decision.reason);
        return this.#fail(query, bytesMax(query));
      case 'rename':
      case 'forward': {
        const target = decision.kind === 'rename' ? decision.target : null;
        return this.#fromUpstream({ query, key, kept, target, bytesMax: bytesMax(query) });
      }
    }
  }

  close(): void {
    this.forwarder.close();
  }

  #fromUpstream(work: Work): Buffer | Promise<Buffer> {
    const { query, kept, target, bytesMax } = work;
    const name = target === null ? null : (encodeName(target) as Buffer);
    const question = name === null ? query.question : questionFor(query.question, name);
    const asked = { question, flags: query.flags, dnssecOk: query.edns?.dnssecOk ?? false };
    const known = this.forwarder.allDown;
    const forwarded = this.forwarder.forward(work.key, asked);
    if (forwarded === null) return this.#givenUp(work, 'too-many');
    // Nobody has answered for a while: whoever can be helped with an old answer does not wait for that again.
    if (known && kept !== undefined) {
      void forwarded.then((result) => void this.#take(work, result));
      return this.#encode(query, kept, 'stale', bytesMax);
    }
    return forwarded.then((result) => {
      const entry = this.#take(work, result);
      if (entry === null) return this.#givenUp(work, 'failed');
      return this.#encode(query, entry, target === null ? 'upstream' : 'rule', bytesMax);
    });
  }

  /** Keeps what an upstream answered. Null: it helps nobody. */
  #take({ query, key, target, kept }: Work, result: Forwarded): CachedAnswer | null {
    if (result.kind === 'failed') return null;
    const { response } = result;
    const isFailure = response.rcode !== RCODE.NOERROR && response.rcode !== RCODE.NXDOMAIN;
    if (isFailure && kept !== undefined) return null;
    const answer = target === null ? answerOf(response) : renamedAnswer(response, query.question);
    if (answer === null) return null;
    return this.#keep(key, answer, target === null ? 'upstream' : 'rule');
  }

  #givenUp({ query, kept, bytesMax }: Work, reason: string): Buffer {
    if (kept !== undefined) return this.#encode(query, kept, 'stale', bytesMax);
    this.#events.onDrop(reason);
    return this.#fail(query, bytesMax);
  }

  #fail(query: DnsQuery, bytesMax: number): Buffer {
    this.#events.onAnswer('failed', RCODE.SERVFAIL);
    const answer = failureAnswer(query.question, RCODE.SERVFAIL);
    return encodeAnswer(answer, query, { ageSeconds: 0, ttlSecondsMax: 0, bytesMax });
  }

  #keep(key: string, answer: Answer, source: CachedAnswer['source']): CachedAnswer {
    const { limits } = this.#settings.config;
    const isFailure = answer.rcode !== RCODE.NOERROR && answer.rcode !== RCODE.NXDOMAIN;
    const bound = Math.min(
      answer.isNegative ? limits.negativeTtlSecondsMax : limits.ttlSecondsMax,
      source === 'rule' ? limits.ruleTtlSeconds : Number.POSITIVE_INFINITY,
    );
    const storedAt = performance.now() / 1000;
    const seconds = isFailure ? FAILURE_SECONDS : Math.min(answer.ttlSeconds, bound);
    const entry = { answer, storedAt, expiresAt: storedAt + seconds, source };
    if (seconds > 0) this.cache.store(key, entry);
    return entry;
  }

  #encode(query: DnsQuery, entry: CachedAnswer, source: AnswerSource, bytesMax: number): Buffer {
    const { limits } = this.#settings.config;
    const { answer } = entry;
    this.#events.onAnswer(source, answer.rcode);
    const ageSeconds = Math.floor(performance.now() / 1000 - entry.storedAt);
    const bound = answer.isNegative ? limits.negativeTtlSecondsMax : limits.ttlSecondsMax;
    const ttlSecondsMax = entry.source === 'rule' ? Math.min(bound, limits.ruleTtlSeconds) : bound;
    // What is too old runs down to 0; then it is said how soon to ask again.
    if (source === 'stale')
      return encodeAnswer(answer, query, { ageSeconds: 0, ttlSecondsMax: STALE_TTL_SECONDS, bytesMax });
    return encodeAnswer(answer, query, { ageSeconds, ttlSecondsMax, bytesMax });
  }
}

interface Work {
  readonly query: DnsQuery;
  readonly key: string;
  /** What was kept and is too old. */
  readonly kept: CachedAnswer | undefined;
  /** The name that a rule leads to. */
  readonly target: string | null;
  readonly bytesMax: number;
}

/** Equal for queries with the same answer. */
function cacheKey({ question, flags, edns }: DnsQuery): string {
  const bits = (flags & (FLAG.RD | FLAG.AD | FLAG.CD)) | (edns?.dnssecOk ? 1 : 0);
  return question.key + String.fromCharCode(question.type, question.class, bits);
}

function cacheLimits({ config: { limits } }: ResolverSettings) {
  const { cacheEntriesMax: entriesMax, cacheBytesMax: bytesMax, staleSecondsMax } = limits;
  return { entriesMax, bytesMax, staleSecondsMax };
}
