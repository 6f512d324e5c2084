/**
 * Noticing that files of a configuration changed: a person's edit, a renewed certificate, a ConfigMap or Secret that Kubernetes
 * mounts. Tells no more than that something may be different; the reader compares.
 */
import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';

/** A renewal writes several files; this long after the last change all of them are there. */
const SETTLE_MS = 200;

/**
 * Calls back a moment after something in the folders of `files` changed. The folders, because a mounted ConfigMap or
 * Secret changes by a symbolic link beside its files.
 */
export function watchFiles(files: readonly string[], onChange: () => void): { close(): void } {
  let timer: NodeJS.Timeout | null = null;
  const notice = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = setTimeout(onChange, SETTLE_MS);
  };
  // A folder that may be entered but not listed cannot be watched, nor one that is not there: then SIGHUP tells of changes.
  const watchers = [...new Set(files.map((file) => dirname(file)))].flatMap((folder): FSWatcher[] => {
    try {
      return [watch(folder, notice).on('error', () => {})];
    } catch (error) {
      if (!['EACCES', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
      return [];
    }
  });
  return {
    close() {
      if (timer !== null) clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
    },
  };
}
