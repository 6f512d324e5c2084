/**
 * A node's disk. As root on Linux it is a file system of its own: ext4 in a sparse file, mounted through a loop device,
 * so that it can be filled and stalled without harm to anything else. Otherwise it is a plain folder.
 * Making one takes about 20 ms, and it costs about 0.1 ms for each fsync.
 */
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { UserError } from '../../base/user-error.ts';
import { isInstalled, runTool } from './system-tool.ts';
import { makeFolderFor, type RunAs } from './users.ts';

export type VolumeKind = 'image' | 'folder';

export interface Volume {
  readonly kind: VolumeKind;
  /** Where it is mounted, or the folder itself. */
  readonly path: string;
  /** The file that holds the file system; unused for a folder. */
  readonly image: string;
}

/** Journal: 1,024 blocks are the least that ext4 takes; 16 MiB is enough for a database of a demo and quick to make. */
const MKFS = [
  '-q',
  '-F',
  '-m',
  '0',
  '-J',
  'size=16',
  '-E',
  'lazy_itable_init=1,lazy_journal_init=1,nodiscard',
] as const;
/** Smaller ones have no room for the journal and PostgreSQL's first WAL. */
const IMAGE_BYTES_MIN = 256 * 1024 * 1024;
/** A sparse file; but mkfs writes tables in proportion, and nobody needs more on one machine. */
const IMAGE_BYTES_MAX = 64 * 1024 * 1024 * 1024;

/** `image` if this process may mount one here, else `folder`. Does not try it: `openVolume` does, and falls back. */
export function preferredVolumeKind(): VolumeKind {
  const canMount = process.getuid?.() === 0 && existsSync('/dev/loop-control');
  return canMount && ['mkfs.ext4', 'mount'].every(isInstalled) ? 'image' : 'folder';
}

/**
 * Makes the volume if it does not exist and mounts it if it is not mounted; the user owns its root.
 * @returns the kind that it is: a new `image` that cannot be mounted here (a container) becomes a `folder`.
 * Throws UserError VOLUME_NOT_MOUNTED for an existing one.
 */
export function openVolume(volume: Volume, sizeBytes: number, user: RunAs | null): VolumeKind {
  makeFolderFor(volume.kind === 'folder' ? user : null, volume.path, 0o700);
  if (volume.kind === 'folder' || isMounted(volume.path)) return volume.kind;
  const isNew = !existsSync(volume.image);
  if (isNew) makeImage(volume.image, Math.min(Math.max(sizeBytes, IMAGE_BYTES_MIN), IMAGE_BYTES_MAX));
  const mount = runTool('mount', ['-t', 'ext4', '-o', 'loop,noatime,nosuid,nodev', volume.image, volume.path]);
  if (mount.ok) {
    makeFolderFor(user, volume.path, 0o700);
    rmSync(`${volume.path}/lost+found`, { recursive: true, force: true });
    return 'image';
  }
  if (isNew) {
    rmSync(volume.image, { force: true });
    makeFolderFor(user, volume.path, 0o700);
    return 'folder';
  }
  throw new UserError({
    code: 'VOLUME_NOT_MOUNTED',
    message: `Cannot mount the volume "${volume.image}": ${mount.complaint}`,
    todo: 'Check that root runs this command and that loop devices are there (`losetup -f`), then run it again.',
  });
}

/** Lets go of the volume; its content stays in its image or folder. Does nothing if it is not mounted. */
export function closeVolume(volume: Volume): void {
  if (volume.kind === 'folder' || !isMounted(volume.path)) return;
  unfreezeFileSystem(volume.path);
  if (runTool('umount', [volume.path]).ok) return;
  // Somebody's shell stands in it: the mount vanishes from the tree now, and its loop device with the last user.
  const lazily = runTool('umount', ['-l', volume.path]);
  if (lazily.ok) return;
  throw new UserError({
    code: 'VOLUME_BUSY',
    message: `Cannot unmount the volume "${volume.path}": ${lazily.complaint}`,
    todo: `Find out who uses it (\`fuser -vm ${volume.path}\`), end that, and run this command again.`,
  });
}

/** Lifts a freeze of fsfreeze(8), however deep it is nested. True if there was one. */
export function unfreezeFileSystem(path: string): boolean {
  return runTool('fsfreeze', ['-u', path]).ok;
}

export function isMounted(path: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => decodeMountPath(line.split(' ')[4] ?? '') === path);
}

function makeImage(path: string, sizeBytes: number): void {
  writeFileSync(path, '', { mode: 0o600 });
  truncateSync(path, sizeBytes);
  const mkfs = runTool('mkfs.ext4', [...MKFS, path]);
  if (mkfs.ok) return;
  rmSync(path, { force: true });
  throw new UserError({
    code: 'VOLUME_NOT_MADE',
    message: `Cannot make the volume "${path}": ${mkfs.complaint}`,
    todo: 'Check the free space there, or start the site with --no-disks, which uses plain folders.',
  });
}

/** mountinfo writes blanks, tabs, line feeds and backslashes as octal numbers (proc_pid_mountinfo(5)). */
function decodeMountPath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
