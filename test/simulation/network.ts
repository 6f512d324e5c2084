/**
 * The network between nodes, the proxy and the record's store: delays, cuts, and what a cut leaves behind. A message that was
 * sent over TCP while a link is cut is not lost as long as the connection lives: it arrives after the heal, late and stale.
 * So a cut holds messages up for MESSAGES_HELD_MS at most, or drops them, as the history's random numbers say.
 */
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

/** How long the kernel goes on sending (tcp_user_timeout, or the end of the connection). */
const MESSAGES_HELD_MS = 8000;

export class Network {
  readonly #clock: Clock;
  readonly #random: Random;
  /** Links that are cut, by "from>to", with how often. */
  readonly #cuts = new Map<string, number>();
  readonly #held: { readonly link: string; readonly untilMs: number; readonly deliver: () => void }[] = [];
  /** By place: added to every delay. */
  readonly slowness = new Map<string, number>();
  /** Every message of a link takes equally long. */
  isSteady = false;
  /** Delay between places of different groups, in ms one way. */
  wideDelayMs = 0.4;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  isCut(from: string, to: string): boolean {
    return (this.#cuts.get(`${from}>${to}`) ?? 0) > 0;
  }

  /** Both directions; cuts of one link by several faults add up. */
  cut(a: string, b: string): void {
    for (const link of [`${a}>${b}`, `${b}>${a}`]) this.#cuts.set(link, (this.#cuts.get(link) ?? 0) + 1);
  }

  heal(a: string, b: string): void {
    for (const link of [`${a}>${b}`, `${b}>${a}`]) this.#cuts.set(link, Math.max(0, (this.#cuts.get(link) ?? 0) - 1));
    this.#release();
  }

  healAll(): void {
    this.#cuts.clear();
    this.#release();
  }

  /** `deliver` runs when the message arrives; never if it is lost. */
  send(from: string, to: string, deliver: () => void): void {
    const link = `${from}>${to}`;
    if (this.isCut(from, to)) return this.#hold(link, deliver);
    const slow = (this.slowness.get(from) ?? 0) + (this.slowness.get(to) ?? 0);
    const delayMs =
      (from === to ? 0.05 : this.wideDelayMs) * (this.isSteady ? 1 : this.#random.between(0.6, 1.6)) +
      slow * this.#random.next();
    this.#clock.after(delayMs, () => {
      if (this.isCut(from, to)) this.#hold(link, deliver);
      else deliver();
    });
  }

  #hold(link: string, deliver: () => void): void {
    if (this.#random.chance(0.2)) return;
    this.#held.push({ link, untilMs: this.#clock.nowMs + MESSAGES_HELD_MS, deliver });
  }

  #release(): void {
    for (let index = 0; index < this.#held.length; ) {
      const message = this.#held[index];
      if (message === undefined || (this.#cuts.get(message.link) ?? 0) > 0) {
        index++;
        continue;
      }
      this.#held.splice(index, 1);
      if (message.untilMs > this.#clock.nowMs) this.#clock.after(this.#random.between(0.2, 40), message.deliver);
    }
  }
}

/** One direction of a connection. */
export class Stream {
  readonly #network: Network;
  readonly #from: string;
  readonly #to: string;
  #sent = 0;
  #delivered = 0;
  readonly #early = new Map<number, () => void>();

  constructor(network: Network, from: string, to: string) {
    this.#network = network;
    this.#from = from;
    this.#to = to;
  }

  send(deliver: () => void): void {
    const number = this.#sent++;
    this.#network.send(this.#from, this.#to, () => {
      this.#early.set(number, deliver);
      for (;;) {
        const next = this.#early.get(this.#delivered);
        if (next === undefined) return;
        this.#early.delete(this.#delivered++);
        next();
      }
    });
  }
}
