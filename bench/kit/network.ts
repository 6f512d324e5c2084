/**
 * Hosts on one switch, each a network namespace with one address, so that a host can be cut off in the kernel:
 * packets are dropped at the switch, both ways, without a reset, whatever address their sender chose.
 *
 *      pgb-n1   pgb-n2   pgb-n3   pgb-client ...     eth0 10.64.0.x/24 in each
 *        |        |        |        |
 *   ====================================== bridge `switch0` in pgb-switch; nftables drops between its ports
 */
import { readFileSync } from 'node:fs';
import { run } from './processes.ts';

const PREFIX = 'pgb-';
const SWITCH = `${PREFIX}switch`;

export interface Lan {
  address(host: string): string;
  /** Prefix of a command that shall run on `host`. */
  on(host: string): string[];
  /** Pids of all processes on `host`. */
  pids(host: string): Promise<number[]>;
  /** SIGKILL for every process on `host`, until none is left. */
  kill(host: string): Promise<void>;
  /** SIGSTOP for every process on `host`, until all have stopped. */
  freeze(host: string): Promise<void>;
  thaw(host: string): Promise<void>;
  cut(host: string): Promise<void>;
  /** Undoes `cut`; nothing to undo is no error. */
  heal(host: string): Promise<void>;
  /** Kills what still runs on the hosts and removes them. */
  remove(): Promise<void>;
}

/** Makes the hosts: names (at most 8 characters) to addresses in one /24. What an interrupted run has left is removed first. */
export async function createLan(hosts: Readonly<Record<string, string>>): Promise<Lan> {
  await removeAll();
  await run(['ip', 'netns', 'add', SWITCH]);
  await inSwitch(['ip', 'link', 'add', 'name', 'switch0', 'type', 'bridge']);
  await inSwitch(['ip', 'link', 'set', 'switch0', 'up']);
  for (const [host, address] of Object.entries(hosts)) {
    const on = ['ip', 'netns', 'exec', PREFIX + host];
    await run(['ip', 'netns', 'add', PREFIX + host]);
    await run([...on, 'ip', 'link', 'set', 'lo', 'up']);
    await inSwitch(['ip', 'link', 'add', port(host), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', PREFIX + host]);
    await inSwitch(['ip', 'link', 'set', port(host), 'master', 'switch0', 'up']);
    await run([...on, 'ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0']);
    await run([...on, 'ip', 'link', 'set', 'eth0', 'up']);
  }
  await inSwitch(['nft', 'add table bridge cut; add set bridge cut ports { type ifname; }']);
  await inSwitch(['nft', 'add chain bridge cut forward { type filter hook forward priority 0; }']);
  await inSwitch([
    'nft',
    'add rule bridge cut forward iifname @ports drop; add rule bridge cut forward oifname @ports drop',
  ]);

  const signalAll = async (host: string, signal: NodeJS.Signals, done: (pids: number[]) => boolean) => {
    for (;;) {
      const found = await pids(host);
      if (done(found)) return;
      for (const pid of found) signalIfThere(pid, signal);
    }
  };
  return {
    address: (host) => hosts[host] ?? '',
    on: (host) => ['ip', 'netns', 'exec', PREFIX + host],
    pids,
    kill: (host) => signalAll(host, 'SIGKILL', (found) => found.every((pid) => processState(pid) === 'gone')),
    freeze: (host) => signalAll(host, 'SIGSTOP', (found) => found.every((pid) => processState(pid) !== 'runs')),
    thaw: async (host) => (await pids(host)).forEach((pid) => signalIfThere(pid, 'SIGCONT')),
    cut: async (host) => void (await inSwitch(['nft', `add element bridge cut ports { ${port(host)} }`])),
    heal: async (host) => {
      await inSwitch(['nft', `add element bridge cut ports { ${port(host)} }`]);
      await inSwitch(['nft', `delete element bridge cut ports { ${port(host)} }`]);
    },
    remove: removeAll,
  };
}

const port = (host: string) => `to-${host}`;
const inSwitch = (command: string[]) => run(['ip', 'netns', 'exec', SWITCH, ...command]);

async function pids(host: string): Promise<number[]> {
  return (await run(['ip', 'netns', 'pids', PREFIX + host])).trim().split('\n').filter(Boolean).map(Number);
}

async function removeAll(): Promise<void> {
  const names = (await run(['ip', 'netns', 'list'])).split('\n').map((line) => line.split(' ')[0] ?? '');
  for (const name of names.filter((candidate) => candidate.startsWith(PREFIX))) {
    for (const pid of await pids(name.slice(PREFIX.length))) signalIfThere(pid, 'SIGKILL');
    await run(['ip', 'netns', 'del', name]);
  }
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The third field of /proc/PID/stat; it follows the name in parentheses, which may hold anything. */
function processState(pid: number): 'runs' | 'stopped' | 'gone' {
  try {
    const letter = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.[0];
    return letter === 'T' || letter === 't' ? 'stopped' : letter === 'Z' || letter === 'X' ? 'gone' : 'runs';
  } catch {
    return 'gone';
  }
}
