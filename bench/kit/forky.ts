/** The Debian forky root that peers come from, as a prefix for commands. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { CLONE, run, start, waitUntilNothingMissing } from './processes.ts';

const SCRIPT = join(CLONE, 'test/kit/forky-root.sh');

/** Makes the root if it is not there (a minute or two), and returns the versions of the packages in it. */
export async function prepareForky(): Promise<Record<string, string>> {
  const lines = (await run([SCRIPT], { timeoutMs: 1_800_000 })).trim().split('\n');
  return Object.fromEntries(lines.map((line) => line.split(' ') as [string, string]));
}

/** Prefix of a command that shall run in the root, with `folders` at the same paths as outside. */
export function inForky(...folders: string[]): string[] {
  return [SCRIPT, 'run', ...folders.flatMap((folder) => ['-b', folder]), '--'];
}

/**
 * The root held open: commands with the prefix `inside` share their mounts, which a command that makes mounts for later
 * ones (a node's disk) needs. This program's Node can run in it too. Ends with `child`.
 */
export async function openForkyRoom(folder: string): Promise<{ inside: string[]; child: ChildProcess }> {
  const child = start(
    [...inForky(folder, join(process.execPath, '../..')), 'sleep', 'infinity'],
    join(folder, 'room.log'),
  );
  const inside = ['nsenter', '--target', String(child.pid), '--mount', '--root', '--wd', '--'];
  await waitUntilNothingMissing('the forky root', async () => {
    const system = await run([...inside, 'cat', '/etc/os-release']);
    return system.includes('VERSION_CODENAME=forky') ? null : 'still outside of it';
  });
  return { inside, child };
}

/** Prefix that gives up root: PostgreSQL refuses to run as root. The numbers of `postgres` are the same in the root. */
export const AS_POSTGRES = ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups', '--'];
