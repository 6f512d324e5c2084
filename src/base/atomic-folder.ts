/**
 * Several files that change together, laid out as Kubernetes lays out a mounted Secret, so that programs find the same
 * on both platforms: a reader sees all of the old files or all of the new ones, also after a crash at any point.
 *
 *   <folder>/tls.crt -> ..data/tls.crt
 *   <folder>/tls.key -> ..data/tls.key
 *   <folder>/..data  -> ..4f1c09a2          replaced by rename(2), the moment of the change
 *   <folder>/..4f1c09a2/{tls.crt,tls.key}
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory, writeFileDurably } from './durable-file.ts';

export interface AtomicFolderOptions {
  /** Owner of the files (mode 0600); the folders and links stay this process', so that the owner cannot redirect them. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

const DATA_LINK = '..data';
/** The folder of a set of files: others than the owner of the process may pass through, and read what they own. */
const FOLDER_MODE = 0o711;

/** Makes `files` (name to content) all that there is in `folder`. Does nothing if it is already. @returns whether it changed anything. */
export async function writeAtomicFolder(
  folder: string,
  files: ReadonlyMap<string, string>,
  options: AtomicFolderOptions = {},
): Promise<boolean> {
  const present = await readAtomicFolder(folder);
  if (present.size === files.size && [...files].every(([name, content]) => present.get(name) === content)) return false;
  await mkdir(folder, { recursive: true, mode: FOLDER_MODE });
  const version = `..${randomBytes(8).toString('hex')}`;
  await mkdir(join(folder, version), { mode: FOLDER_MODE });
  for (const [name, content] of files) await writeFileDurably(join(folder, version, name), content, options);
  const before = await readlink(join(folder, DATA_LINK)).catch(() => null);
  await placeLink(folder, DATA_LINK, version);
  for (const name of files.keys()) await placeLink(folder, name, join(DATA_LINK, name));
  await syncDirectory(folder);
  await removeOthers(folder, new Set([DATA_LINK, version, ...files.keys()]), before);
  return true;
}

/** Name to content of the present set; empty if there is none. */
export async function readAtomicFolder(folder: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  // Through one link, read once: all names of one set.
  const version = await readlink(join(folder, DATA_LINK)).catch(() => null);
  if (version === null) return files;
  for (const name of await readdir(join(folder, version)).catch(() => [])) {
    files.set(name, await readFile(join(folder, version, name), 'latin1'));
  }
  return files;
}

/** Makes or replaces a symbolic link in one step. */
async function placeLink(folder: string, name: string, target: string): Promise<void> {
  const path = join(folder, name);
  if ((await readlink(path).catch(() => null)) === target) return;
  const temporary = join(folder, `..${randomBytes(8).toString('hex')}.link`);
  await symlink(target, temporary);
  await rename(temporary, path);
}

/** What is of no use any more. The set before stays until the next change: somebody may be reading it. */
async function removeOthers(folder: string, kept: ReadonlySet<string>, before: string | null): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!kept.has(name) && name !== before) await rm(join(folder, name), { recursive: true, force: true });
  }
}
