/**
 * Addresses of the few names that a program dials again and again. A dialler never waits for a resolver that it has heard
 * from before: what is known is used at once and asked for again behind its back, so that slow or missing DNS delays no
 * connection to a node that has not moved.
 *
 * Without this every connection is a `getaddrinfo` in one of libuv's four threads; four that wait 5 s for a dead resolver
 * hold up everything else.
 */
import { lookup } from 'node:dns/promises';

/** Younger ones are not asked for again. A pod that comes back has a new address within about so long. */
const FRESH_MS = 2000;
/** Names kept; more than a proxy has peers. */
const NAMES_MAX = 256;

export interface AddressCacheOptions {
  /** For tests. Default: the system's resolver, first address. */
  readonly resolve?: (host: string) => Promise<string>;
  readonly freshMs?: number;
}

export class AddressCache {
  readonly #resolve: (host: string) => Promise<string>;
  readonly #freshMs: number;
  readonly #known = new Map<string, { address: string; atMs: number }>();
  readonly #asking = new Set<string>();

  constructor({ resolve = resolveFirst, freshMs = FRESH_MS }: AddressCacheOptions = {}) {
    this.#resolve = resolve;
    this.#freshMs = freshMs;
  }

  /** What is known of `host`, at once; null: nothing yet. Asks again when that is older than FRESH_MS. */
  peek(host: string): string | null {
    const entry = this.#known.get(host);
    if (entry === undefined || performance.now() - entry.atMs > this.#freshMs) this.refresh(host);
    return entry?.address ?? null;
  }

  /** Asks for `host` now, unless that is under way. What fails leaves what is known. */
  refresh(host: string): void {
    if (this.#asking.has(host) || (this.#known.size >= NAMES_MAX && !this.#known.has(host))) return;
    this.#asking.add(host);
    void this.#resolve(host)
      .then(
        (address) => void this.#known.set(host, { address, atMs: performance.now() }),
        () => {},
      )
      .finally(() => this.#asking.delete(host));
  }
}

async function resolveFirst(host: string): Promise<string> {
  return (await lookup(host)).address;
}
