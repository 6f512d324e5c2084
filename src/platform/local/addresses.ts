/**
 * The loopback addresses of a site: a /24 out of 127.0.0.0/8 that nobody uses, and one address in it for each
 * server. Linux answers on all of 127.0.0.0/8 without configuration, so every node can have port 5432.
 *
 * "Free" is proved by binding, not by asking: the port is bound on each address that the site needs. The choice is
 * kept in the site's state, so that certificates and printed connection strings stay right.
 */
import { createServer } from 'node:net';
import { UserError } from '../../base/user-error.ts';
import { describeHolder, findPortHolders, findWildcardHolder } from './port-holders.ts';

/** Where a /24 may be taken from, as `127.63` (one /16) or `127` (all but 127.0, where machines keep things of their own). */
export type AddressRange = string;

/** How many /24 are tried before giving up. Each failure means that somebody else is there; ten in a row mean something else is wrong. */
const SUBNET_TRIES_MAX = 10;
/** Usable last bytes of a /24: 2 … 254. `.1` stays free for a person's own use. */
const FIRST_HOST = 2;
const HOSTS_MAX = 253;

export interface SubnetRequest {
  readonly range: AddressRange;
  /** How many addresses the site needs. */
  readonly count: number;
  /** Ports that must be free on each of them. */
  readonly ports: readonly number[];
  /** A number in [0, 1): where the search begins. Passed in, so that a test can repeat it. */
  readonly random: () => number;
}

/**
 * Finds a /24 whose first `count` addresses are free on `ports`.
 * @returns its first three bytes, such as `127.63.17`.
 * Throws UserError PORT_HELD_EVERYWHERE, NO_LOOPBACK_RANGE, NO_FREE_ADDRESSES.
 */
export async function chooseSubnet(request: SubnetRequest): Promise<string> {
  if (request.count > HOSTS_MAX) {
    throw new UserError({
      code: 'NO_FREE_ADDRESSES',
      kind: 'usage',
      message: `Cannot give ${request.count} servers an address: a local site has ${HOSTS_MAX}`,
      todo: 'Use fewer nodes or proxies in the manifest.',
    });
  }
  let lastFound = '';
  for (let attempt = 0; attempt < SUBNET_TRIES_MAX; attempt += 1) {
    const subnet = randomSubnet(request.range, request.random);
    const obstacle = await findObstacle(hostAddresses(subnet, request.count), request.ports);
    if (obstacle === null) return subnet;
    lastFound = obstacle;
  }
  throw new UserError({
    code: 'NO_FREE_ADDRESSES',
    message: `Cannot find free addresses in "${request.range}": ${lastFound}, and ${SUBNET_TRIES_MAX - 1} other ranges were no better`,
    todo: 'Stop other local sites (`pgspan local down --state DIR`), or name another range with --addresses.',
  });
}

/** Throws UserError ADDRESS_HELD if one of the addresses is taken: said before a start, with the process that holds it. */
export async function assertAddressesFree(addresses: readonly string[], ports: readonly number[]): Promise<void> {
  const obstacle = await findObstacle(addresses, ports);
  if (obstacle === null) return;
  throw new UserError({
    code: 'ADDRESS_HELD',
    message: `Cannot start the local site on its addresses: ${obstacle}`,
    todo: 'End that process, or remove the site with `pgspan local down` and start it again on other addresses.',
  });
}

/** The first `count` addresses of a /24 that a site uses; all without a count. */
export function hostAddresses(subnet: string, count: number = HOSTS_MAX): string[] {
  return Array.from({ length: count }, (_, index) => `${subnet}.${FIRST_HOST + index}`);
}

function randomSubnet(range: AddressRange, random: () => number): string {
  const byte = (from: number, to: number) => from + Math.floor(random() * (to - from + 1));
  const fixed = range.split('.');
  const second = fixed[1] ?? String(byte(1, 254));
  const third = fixed[2] ?? String(byte(1, 254));
  return `127.${second}.${third}`;
}

/** Says what stands in the way, or null. What no other address could help is thrown. */
async function findObstacle(addresses: readonly string[], ports: readonly number[]): Promise<string | null> {
  for (const port of ports) {
    for (const address of addresses) {
      const code = await bindOnce(address, port);
      if (code === null) continue;
      if (code === 'EADDRNOTAVAIL') throw noLoopbackRange(address);
      const wildcard = findWildcardHolder(port);
      if (wildcard !== null) {
        throw new UserError({
          code: 'PORT_HELD_EVERYWHERE',
          message: `Cannot use port ${port} on "${address}": ${describeHolder(wildcard)} holds it on all addresses (${wildcard.address})`,
          todo: `Stop that process, or let it listen on 127.0.0.1 only (PostgreSQL: listen_addresses = 'localhost').`,
        });
      }
      const holder = findPortHolders(port).find((candidate) => candidate.address === address);
      return `${holder === undefined ? `the system (${code})` : describeHolder(holder)} holds ${address}:${port}`;
    }
  }
  return null;
}

/** Binds and lets go again. @returns null, or the error's code. */
function bindOnce(address: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'unknown'));
    server.listen({ host: address, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

function noLoopbackRange(address: string): UserError {
  return new UserError({
    code: 'NO_LOOPBACK_RANGE',
    kind: 'missing',
    message: `Cannot use the address "${address}": this system has no 127.0.0.0/8, only 127.0.0.1 (macOS is such a one)`,
    todo: 'Run pgspan on Linux: in a container or a virtual machine, where the whole range exists.',
  });
}
