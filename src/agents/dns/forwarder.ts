/**
 * Asking the upstreams: in their order, the next one as well when one is silent for `attemptTimeoutMs`, at once when it cannot
 * be reached or has failed itself; the first good answer counts. Equal questions that are under way share one.
 */
import type { DnsLimits } from '../../api/dns-config.ts';
import type { DnsEndpoint } from '../../core/dns/resolv-conf.ts';
import { isDown, NEW_HEALTH, nextHealth, orderUpstreams, type UpstreamHealth } from '../../core/dns/upstream-choice.ts';
import { encodeQuestion } from '../../wire/dns-answer.ts';
import { type DnsResponse, type Question, RCODE } from '../../wire/dns-message.ts';
import { type Exchange, Upstream } from './upstream.ts';

/** What is asked, with the bits of the header and of EDNS that make another answer. */
export interface Asked {
  readonly question: Question;
  readonly flags: number;
  readonly dnssecOk: boolean;
}

export type Forwarded =
  | { readonly kind: 'answered'; readonly response: DnsResponse }
  | { readonly kind: 'failed'; readonly reason: 'silent' | 'unreachable' | 'too-many' };

export interface ForwarderEvents {
  /** Each answer of an upstream, and each failure: `silent`, `unreachable`, or a word for its rcode. */
  readonly onAttempt: (upstream: string, result: string, tookMs: number) => void;
}

type ForwarderLimits = Pick<DnsLimits, 'queriesInFlightMax' | 'attemptTimeoutMs' | 'deadlineMs'>;

/** With a single upstream a lost packet must not cost the question. */
const ATTEMPTS_MIN = 3;

interface Member {
  readonly upstream: Upstream;
  health: UpstreamHealth;
  /** It answered that it does not know EDNS. */
  isWithoutEdns: boolean;
}

export class Forwarder {
  readonly #events: ForwarderEvents;
  readonly #underWay = new Map<string, Promise<Forwarded>>();
  #members: readonly Member[] = [];
  #limits: ForwarderLimits;

  constructor(upstreams: readonly DnsEndpoint[], limits: ForwarderLimits, events: ForwarderEvents) {
    this.#limits = limits;
    this.#events = events;
    this.configure(upstreams, limits);
  }

  get underWay(): number {
    return this.#underWay.size;
  }

  /** Nobody would answer: all have failed, a moment ago. */
  get allDown(): boolean {
    const nowMs = performance.now();
    return this.#members.every(({ health }) => isDown(health, nowMs));
  }

  get upstreams(): { readonly name: string; readonly isDown: boolean }[] {
    const nowMs = performance.now();
    return this.#members.map(({ upstream, health }) => ({ name: nameOf(upstream), isDown: isDown(health, nowMs) }));
  }

  /** Those that stay keep what is known of them; questions that are under way go on. */
  configure(upstreams: readonly DnsEndpoint[], limits: ForwarderLimits): void {
    this.#limits = limits;
    const before = this.#members;
    this.#members = upstreams.map(
      (endpoint) =>
        before.find(
          ({ upstream: { endpoint: known } }) => known.address === endpoint.address && known.port === endpoint.port,
        ) ?? { upstream: new Upstream(endpoint), health: NEW_HEALTH, isWithoutEdns: false },
    );
    for (const member of before)
      if (!this.#members.includes(member)) setTimeout(() => member.upstream.close(), limits.deadlineMs).unref();
  }

  /** Null: so many are under way that no more is begun. @param key equal for equal questions */
  forward(key: string, asked: Asked): Promise<Forwarded> | null {
    const known = this.#underWay.get(key);
    if (known !== undefined) return known;
    if (this.#underWay.size >= this.#limits.queriesInFlightMax) return null;
    const answer = this.#ask(asked).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, answer);
    return answer;
  }

  close(): void {
    for (const { upstream } of this.#members) upstream.close();
  }

  #ask(asked: Asked): Promise<Forwarded> {
    const { promise, resolve } = Promise.withResolvers<Forwarded>();
    const { attemptTimeoutMs, deadlineMs } = this.#limits;
    const order = orderUpstreams(
      this.#members.map(({ health }) => health),
      performance.now(),
    ).map((index) => this.#members[index] as Member);
    const attemptsMax = Math.max(ATTEMPTS_MIN, order.length);
    const exchanges = new Set<Exchange>();
    /** Those of whom nothing more is to be hoped for, with what they answered; null: they cannot be reached. */
    const useless = new Map<Member, DnsResponse | null>();
    let waiting = [...order];
    let started = 0;
    let wasSilent = false;
    let patience: NodeJS.Timeout | undefined;

    const finish = (result: Forwarded): void => {
      clearTimeout(patience);
      clearTimeout(deadline);
      resolve(result);
      for (const { cancel } of exchanges) cancel();
    };
    const giveUp = (): void => {
      const response = [...useless.values()].find((one) => one !== null);
      if (response != null) finish({ kind: 'answered', response });
      else finish({ kind: 'failed', reason: wasSilent ? 'silent' : 'unreachable' });
    };
    const deadline = setTimeout(() => {
      wasSilent = true;
      giveUp();
    }, deadlineMs);

    const tryNext = (): void => {
      clearTimeout(patience);
      // The second round is for those that were silent: a packet may have been lost.
      if (waiting.length === 0) waiting = order.filter((one) => !useless.has(one));
      const member = waiting.shift();
      if (member === undefined || started >= attemptsMax) {
        if (exchanges.size === 0) giveUp();
        return;
      }
      started++;
      attempt(member);
    };
    const attempt = (member: Member): void => {
      const beganMs = performance.now();
      const name = nameOf(member.upstream);
      const note = (event: 'answered' | 'failed', result: string): void => {
        member.health = nextHealth(member.health, event, performance.now());
        this.#events.onAttempt(name, result, performance.now() - beganMs);
      };
      const edns = member.isWithoutEdns ? null : { dnssecOk: asked.dnssecOk };
      const message = encodeQuestion(asked.question, { flags: asked.flags, edns });
      const exchange = member.upstream.ask(message, asked.question);
      let isOver = false;
      exchanges.add(exchange);
      patience = setTimeout(() => {
        wasSilent = true;
        note('failed', 'silent');
        tryNext();
      }, attemptTimeoutMs);
      exchange.response.then(
        (response) => {
          isOver = true;
          exchanges.delete(exchange);
          note('answered', RESULT_WORDS[response.rcode] ?? 'other');
          if (response.rcode === RCODE.NOERROR || response.rcode === RCODE.NXDOMAIN)
            return finish({ kind: 'answered', response });
          // RFC 6891 section 7: servers before EDNS do not understand the question with it.
          if (edns !== null && (response.rcode === RCODE.FORMERR || response.rcode === RCODE.NOTIMP)) {
            member.isWithoutEdns = true;
            return attempt(member);
          }
          useless.set(member, response);
          tryNext();
        },
        (error: Error) => {
          exchanges.delete(exchange);
          if (isOver || error.message === 'cancelled' || error.message === 'closed') return;
          note('failed', 'unreachable');
          useless.set(member, null);
          tryNext();
        },
      );
    };
    tryNext();
    return promise;
  }
}

const RESULT_WORDS: Readonly<Record<number, string>> = {
  [RCODE.NOERROR]: 'noerror',
  [RCODE.NXDOMAIN]: 'nxdomain',
  [RCODE.SERVFAIL]: 'servfail',
  [RCODE.REFUSED]: 'refused',
  [RCODE.FORMERR]: 'formerr',
  [RCODE.NOTIMP]: 'notimp',
};

function nameOf({ endpoint: { address, port } }: Upstream): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
