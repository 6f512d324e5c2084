/**
 * Files that must survive a crash whole: written beside, fsynced, renamed, and the folder fsynced, so that a reader sees the
 * old content or the new one and never a part. `rename` alone is not durable on ext4 and xfs until the folder is synced.
 */
import { open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export interface DurableFileOptions {
  /** Permission bits; owner-only by default. */
  readonly mode?: number;
  /** Default: this process'. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/** When it throws (disk full), the old content stands and nothing is left over. */
export async function writeFileDurably(path: string, content: string, options: DurableFileOptions = {}): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.new`);
  try {
    await writeAndSync(temporary, content, options);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

async function writeAndSync(path: string, content: string, options: DurableFileOptions): Promise<void> {
  const file = await open(path, 'w', options.mode ?? 0o600);
  try {
    await file.writeFile(content);
    if (options.owner !== undefined) await file.chown(options.owner.uid, options.owner.gid);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Whole or not at all for every reader, but not certain to survive a power loss: for what is written again at the next start. */
export async function writeFileAtomically(
  path: string,
  content: string,
  options: DurableFileOptions = {},
): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.new`);
  await writeFile(temporary, content, { mode: options.mode ?? 0o600 });
  await rename(temporary, path);
}

export async function removeFileDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncDirectory(dirname(path));
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Content, or null if the file does not exist; any other failure throws. */
export async function readFileIfPresent(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
