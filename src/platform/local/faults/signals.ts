/**
 * kill, freeze and thaw: signals to all processes of a target.
 *
 * A process tree changes while it is walked, so each verb looks again until it finds nothing left to do. PostgreSQL's
 * parent is taken first: stopped or dead, it forks no more.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { UserError } from '../../../base/user-error.ts';
import { type SiteProcess, signalProcess, ticksSinceBoot } from '../processes.ts';

/** Gives the target's living processes, as they are now. */
export type FindProcesses = () => readonly SiteProcess[];

/** Looks at most this often; a tree that still changes after that is reported, not chased for ever. */
const ROUNDS_MAX = 200;
const ROUND_MS = 10;

/**
 * SIGKILL to every process of the target, as a lost machine does.
 * Only processes that were there at the beginning count: a PostgreSQL that its living agent starts again meanwhile
 * is a new one, and not part of this fault.
 * @returns how many were killed.
 */
export async function killProcesses(find: FindProcesses): Promise<number> {
  const first = find();
  signalAll(first, 'SIGKILL');
  // What was forked between the look and the signals is as old as that, or a child of what was there.
  const newest = ticksSinceBoot();
  const roots = new Set(first.map(({ pid }) => pid));
  const leftOver = () => find().filter(({ parentPid, startTicks }) => startTicks <= newest || roots.has(parentPid));
  let count = first.length;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const rest = leftOver();
    if (rest.length === 0) return count;
    const fresh = rest.filter(({ pid }) => !roots.has(pid));
    for (const { pid } of fresh) roots.add(pid);
    count += fresh.length;
    signalAll(rest, 'SIGKILL');
    await delay(ROUND_MS);
  }
  throw stubborn('kill', leftOver());
}

/** SIGSTOP to every process of the target; returns when all of them have stopped. @returns how many there are. */
export async function freezeProcesses(find: FindProcesses): Promise<number> {
  return settle('freeze', find, 'SIGSTOP', (process) => !isStopped(process));
}

/** SIGCONT to every process of the target that is stopped. @returns how many were. */
export async function thawProcesses(find: FindProcesses): Promise<number> {
  const frozen = find().filter(isStopped).length;
  await settle('thaw', find, 'SIGCONT', isStopped);
  return frozen;
}

export function isStopped(process: SiteProcess): boolean {
  return process.state === 'T' || process.state === 't';
}

async function settle(
  verb: string,
  find: FindProcesses,
  signal: NodeJS.Signals,
  needsSignal: (process: SiteProcess) => boolean,
): Promise<number> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const all = find();
    const pending = all.filter(needsSignal);
    if (pending.length === 0) return all.length;
    signalAll(pending, signal);
    // The kernel stops a process when it next returns to user mode, so the state lags behind the signal.
    if (round > 0) await delay(ROUND_MS);
  }
  throw stubborn(verb, find().filter(needsSignal));
}

/** Parents before children: a process whose parent is not in the list comes first. */
function signalAll(processes: readonly SiteProcess[], signal: NodeJS.Signals): void {
  const pids = new Set(processes.map(({ pid }) => pid));
  const isRoot = (process: SiteProcess) => !pids.has(process.parentPid);
  for (const process of [...processes].sort((a, b) => Number(isRoot(b)) - Number(isRoot(a)) || a.pid - b.pid)) {
    signalProcess(process, signal);
  }
}

function stubborn(verb: string, left: readonly SiteProcess[]): UserError {
  const names = left.map(({ part, pid, state }) => `${part} (process ${pid}, state ${state})`).join(', ');
  return new UserError({
    code: 'PROCESS_STUBBORN',
    message: `Cannot ${verb} every process: ${names} did not obey`,
    todo: 'State D means that it waits for a disk: undo slow-disk first (`pgspan local heal`), then try again.',
  });
}
