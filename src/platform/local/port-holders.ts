/**
 * Who holds a TCP port: from /proc/net/tcp, /proc/net/tcp6 and the descriptors of every process.
 * Used to say *which* program stands in the way of a site's addresses.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface PortHolder {
  /** `0.0.0.0`, `::` or `127.1.2.3`; other IPv6 addresses as the kernel's hexadecimal digits. */
  readonly address: string;
  readonly port: number;
  /** The process, or null if it belongs to a user whose descriptors are not ours to read. */
  readonly pid: number | null;
  /** Its name (/proc/PID/comm), or null. */
  readonly command: string | null;
}

const LISTEN_STATE = '0A';

/** All listening sockets on `port`. */
export function findPortHolders(port: number): PortHolder[] {
  const sockets = [...listeningSockets('/proc/net/tcp'), ...listeningSockets('/proc/net/tcp6')].filter(
    (socket) => socket.port === port,
  );
  const owners = ownersOf(new Set(sockets.map((socket) => socket.inode)));
  return sockets.map(({ address, inode }) => {
    const pid = owners.get(inode) ?? null;
    return { address, port, pid, command: pid === null ? null : commandOf(pid) };
  });
}

/** The one that holds `port` on all addresses, or null. */
export function findWildcardHolder(port: number): PortHolder | null {
  return findPortHolders(port).find(({ address }) => address === '0.0.0.0' || address === '::') ?? null;
}

/** `process 4711 (postgres)`, or what can be said without knowing the process. */
export function describeHolder(holder: PortHolder): string {
  return holder.pid === null ? 'a process of another user' : `process ${holder.pid} (${holder.command ?? 'unknown'})`;
}

interface ListeningSocket {
  readonly address: string;
  readonly port: number;
  readonly inode: string;
}

function listeningSockets(path: string): ListeningSocket[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return []; // no IPv6 in this kernel
  }
  return text
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === LISTEN_STATE)
    .map((fields) => {
      const [address = '', port = ''] = (fields[1] ?? '').split(':');
      return { address: decodeAddress(address), port: Number.parseInt(port, 16), inode: fields[9] ?? '' };
    });
}

/** The kernel prints each 32-bit word in the machine's own (little-endian) order. */
function decodeAddress(hex: string): string {
  if (/^0+$/.test(hex)) return hex.length === 8 ? '0.0.0.0' : '::';
  if (hex.length !== 8) return hex;
  return (hex.match(/../g) ?? [])
    .reverse()
    .map((byte) => Number.parseInt(byte, 16))
    .join('.');
}

function ownersOf(inodes: ReadonlySet<string>): Map<string, number> {
  const owners = new Map<string, number>();
  if (inodes.size === 0) return owners;
  for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name))) {
    for (const link of descriptorsOf(pid)) {
      const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1];
      if (inode !== undefined && inodes.has(inode)) owners.set(inode, Number(pid));
    }
  }
  return owners;
}

function descriptorsOf(pid: string): string[] {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).map((fd) => {
      try {
        return readlinkSync(`${directory}/${fd}`);
      } catch {
        return ''; // closed meanwhile
      }
    });
  } catch {
    return []; // ended meanwhile, or another user's
  }
}

function commandOf(pid: number): string | null {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return null;
  }
}
