/**
 * Whose processes a site's programs are. PostgreSQL refuses to run as root, so a site that root starts runs as an
 * unprivileged user, who must be able to reach everything that those programs read and to own what they write.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from '../../base/user-error.ts';
import type { SiteEtcdMember } from './site-state.ts';
import { runTool } from './system-tool.ts';

export interface RunAs {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const DEFAULT_USERS = ['postgres', 'nobody'] as const;

/**
 * The user for a site's programs.
 * @param requested `--user`, or null.
 * @returns null when they run as ourselves (we are not root).
 * Throws UserError USER_UNKNOWN, USER_IS_ROOT, USER_NEEDS_ROOT.
 */
export function chooseRunAs(requested: string | null): RunAs | null {
  const isRoot = process.getuid?.() === 0;
  if (!isRoot) {
    if (requested === null || findUser(requested)?.uid === process.getuid?.()) return null;
    throw new UserError({
      code: 'USER_NEEDS_ROOT',
      kind: 'missing',
      message: `Cannot run the site's programs as user "${requested}": only root may start processes of another user`,
      todo: 'Leave --user out, then they run as yourself; or run this command as root.',
    });
  }
  for (const name of requested === null ? DEFAULT_USERS : [requested]) {
    const user = findUser(name);
    if (user === null) continue;
    if (user.uid !== 0) return user;
    throw new UserError({
      code: 'USER_IS_ROOT',
      kind: 'usage',
      message: `Cannot run PostgreSQL as user "${name}": PostgreSQL refuses to run as root`,
      todo: 'Name an unprivileged user with --user.',
    });
  }
  throw new UserError({
    code: 'USER_UNKNOWN',
    kind: 'not-found',
    message: `Cannot run the site's programs as user "${requested ?? DEFAULT_USERS.join('" or "')}": there is no such user here`,
    todo: 'Make one (`useradd --system pgspan`) and name it with --user.',
  });
}

/** Makes a folder (and its parents) that belongs to the site's user; sets owner and mode also if it exists. */
export function makeFolderFor(user: RunAs | null, path: string, mode: number): void {
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
  if (user !== null) chownSync(path, user.uid, user.gid);
}

/**
 * Throws UserError STATE_UNREACHABLE if the user may not enter `folder`, and names the ancestor that bars the way.
 * The question is put to the kernel, by a process of that user: mode bits do not tell of ACLs and mount options.
 */
export function assertUserMayEnter(user: RunAs | null, folder: string): void {
  if (user === null || mayEnter(user, folder)) return;
  let barrier = folder;
  while (dirname(barrier) !== barrier && !mayEnter(user, dirname(barrier))) barrier = dirname(barrier);
  throw new UserError({
    code: 'STATE_UNREACHABLE',
    message: `Cannot keep the site's state in "${folder}": user "${user.name}", who runs PostgreSQL, may not enter "${barrier}"`,
    todo: 'Name another folder with --state, such as /var/lib/pgspan, or another user with --user.',
  });
}

function mayEnter(user: RunAs, folder: string): boolean {
  return (
    spawnSync('/bin/sh', ['-c', 'cd "$0"', folder], { uid: user.uid, gid: user.gid, env: {}, stdio: 'ignore' })
      .status === 0
  );
}

/** From /etc/passwd; `getent` also asks directories such as LDAP, where it is installed. */
function findUser(name: string): RunAs | null {
  const local = existsSync('/etc/passwd') ? readFileSync('/etc/passwd', 'utf8') : '';
  const line =
    local.split('\n').find((entry) => entry.startsWith(`${name}:`)) ?? runTool('getent', ['passwd', name]).stdout;
  const [, , uid, gid] = line.trim().split(':');
  return uid === undefined || gid === undefined ? null : { name, uid: Number(uid), gid: Number(gid) };
}

/** Debian, systemd and others give these to services for the time of a run; ours own two folders and a socket for as long. */
const DYNAMIC_UID_FIRST = 61_184;
const DYNAMIC_UID_COUNT = 4000;

/** A user for each member of the site's etcd, so that their packets can be told apart (faults/packets.ts). */
export function firstEtcdUid(siteId: string): number {
  return DYNAMIC_UID_FIRST + (Number.parseInt(siteId, 16) % DYNAMIC_UID_COUNT);
}

export function etcdRunAs(user: RunAs | null, member: SiteEtcdMember): RunAs | null {
  return member.uid === null ? user : { name: member.name, uid: member.uid, gid: member.uid };
}
