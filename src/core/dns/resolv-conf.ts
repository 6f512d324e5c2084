/** /etc/resolv.conf: resolv.conf(5), as glibc reads it and the kubelet writes it. */
import { isIP } from 'node:net';

export interface ResolvConf {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  /** `ndots:5`, `edns0`, … as written. */
  readonly options: readonly string[];
}

/** What it does not know is passed over, as glibc does; of several `search` or `domain` lines the last counts. */
export function parseResolvConf(text: string): ResolvConf {
  const nameservers: string[] = [];
  const options: string[] = [];
  let search: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line
      .replace(/[#;].*$/, '')
      .trim()
      .split(/\s+/);
    const [first] = words;
    if (keyword === 'nameserver' && first !== undefined && isIP(first) !== 0) nameservers.push(first);
    else if (keyword === 'search') search = words;
    else if (keyword === 'domain' && first !== undefined) search = [first];
    else if (keyword === 'options') options.push(...words);
  }
  return { nameservers, search, options };
}

export interface DnsEndpoint {
  readonly address: string;
  readonly port: number;
}

/**
 * Whom to ask: those that were found, without the resolver itself, which would ask itself for ever.
 * @param own what it listens on, and every address of its machine, since it may be reached by any of them.
 */
export function upstreamsWithout(
  found: readonly DnsEndpoint[],
  own: { readonly listen: DnsEndpoint; readonly addresses: readonly string[] },
): DnsEndpoint[] {
  const { listen, addresses } = own;
  const isAny = listen.address === '0.0.0.0' || listen.address === '::';
  const isOwn = ({ address, port }: DnsEndpoint): boolean => {
    if (port !== listen.port) return false;
    if (address === listen.address) return true;
    if (address === '0.0.0.0' || address === '::') return true;
    return isAny && (addresses.includes(address) || address.startsWith('127.') || address === '::1');
  };
  const unique = new Map(found.map((endpoint) => [`${endpoint.address} ${endpoint.port}`, endpoint]));
  return [...unique.values()].filter((endpoint) => !isOwn(endpoint));
}
