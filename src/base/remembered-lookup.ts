/**
 * Name resolution for programs that dial a few names again and again: `lookup` of net.connect and its like.
 *
 * What is known of a name is used at once and asked for again behind the caller's back, so that a slow or dead resolver delays
 * no connection to where somebody has been before. And it is asked for few names at a time: getaddrinfo waits in one of libuv's
 * four threads, for 10 s and more when nobody answers, and the same threads carry the fsync of a promise.
 *
 * An address that was once right may be another's by now: use it where the peer proves who it is.
 */
import { type LookupAddress, lookup } from 'node:dns';
import type { LookupFunction } from 'node:net';

/** Younger ones are not asked for again. */
const FRESH_MS = 2000;
/** Half of libuv's threads. */
const ASKING_MAX = 2;
/** More than a cluster has nodes; names beyond that are resolved each time. */
const NAMES_MAX = 256;

type Resolve = (host: string, done: (error: Error | null, addresses: LookupAddress[]) => void) => void;

export interface RememberedLookupOptions {
  /** For tests. Default: getaddrinfo, all addresses in its order. */
  readonly resolve?: Resolve;
  readonly freshMs?: number;
}

export function createRememberedLookup({
  resolve = resolveAll,
  freshMs = FRESH_MS,
}: RememberedLookupOptions = {}): LookupFunction {
  const known = new Map<string, { readonly addresses: LookupAddress[]; readonly atMs: number }>();
  const waiting = new Map<string, ((error: Error | null, addresses: LookupAddress[]) => void)[]>();

  const ask = (host: string): void => {
    const callers = waiting.get(host) ?? [];
    if (waiting.has(host)) return;
    waiting.set(host, callers);
    resolve(host, (error, addresses) => {
      waiting.delete(host);
      if (error === null && addresses.length > 0 && (known.has(host) || known.size < NAMES_MAX))
        known.set(host, { addresses, atMs: performance.now() });
      for (const caller of callers) caller(error, addresses);
    });
  };

  return (host, options, callback) => {
    const answer = (error: Error | null, addresses: LookupAddress[]): void => {
      const [first] = addresses;
      if (error !== null || first === undefined) callback(error ?? new Error(`no address of "${host}"`), '', 0);
      else if (options.all === true) callback(null, addresses);
      else callback(null, first.address, first.family);
    };
    const entry = known.get(host);
    if (entry === undefined) {
      ask(host);
      waiting.get(host)?.push(answer);
      return;
    }
    if (performance.now() - entry.atMs > freshMs && waiting.size < ASKING_MAX) ask(host);
    queueMicrotask(() => answer(null, entry.addresses));
  };
}

/** With an error Node gives no addresses at all, whatever its types say. */
function resolveAll(host: string, done: (error: Error | null, addresses: LookupAddress[]) => void): void {
  lookup(host, { all: true }, (error, addresses: LookupAddress[] | undefined) => done(error, addresses ?? []));
}

/** One memory for all of a process. */
export const rememberedLookup: LookupFunction = createRememberedLookup();

/**
 * What both names lead to, `host`'s first: net.connect tries one address after the other, each for 250 ms. One that does not
 * resolve is left out.
 */
export function lookupWith(lookup: LookupFunction, otherwise: string | undefined): LookupFunction {
  if (otherwise === undefined) return lookup;
  return (host, options, callback) => {
    const found: (LookupAddress[] | null)[] = [null, null];
    let failure: NodeJS.ErrnoException | null = null;
    const take = (index: number, error: NodeJS.ErrnoException | null, addresses: LookupAddress[]): void => {
      if (error !== null && index === 0) failure = error;
      found[index] = error === null ? addresses : [];
      const [first, second] = found;
      if (first == null || second == null) return;
      const known = new Set(first.map(({ address }) => address));
      const all = [...first, ...second.filter(({ address }) => !known.has(address))];
      const [one] = all;
      if (one === undefined) callback(failure, '', 0);
      else if (options.all === true) callback(null, all);
      else callback(null, one.address, one.family);
    };
    for (const [index, name] of [host, otherwise].entries())
      lookup(name, { ...options, all: true }, (error, addresses) =>
        take(index, error, typeof addresses === 'string' ? [] : addresses),
      );
  };
}
