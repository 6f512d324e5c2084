/** Which folder a command means when it speaks of a local site. Loads next to nothing: every verb needs it. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UserError } from '../../base/user-error.ts';

/** True if a command that names no folder would find a site. */
export function hasDefaultSite(env: NodeJS.ProcessEnv = process.env): boolean {
  const isKnown = process.getuid?.() === 0 || Boolean(env.PGSPAN_STATE || env.XDG_STATE_HOME || env.HOME);
  return isKnown && existsSync(join(stateFolder(null, env), 'site.json'));
}

/**
 * The folder of the site that a command means.
 * @param requested `--state`, or null: `$PGSPAN_STATE`, else /var/lib/pgspan for root, else `$XDG_STATE_HOME/pgspan`.
 */
export function stateFolder(requested: string | null, env: NodeJS.ProcessEnv = process.env): string {
  const given = requested ?? env.PGSPAN_STATE;
  if (given !== undefined && given !== '') return resolve(given);
  if (process.getuid?.() === 0) return '/var/lib/pgspan';
  if (env.XDG_STATE_HOME) return join(env.XDG_STATE_HOME, 'pgspan');
  if (env.HOME) return join(env.HOME, '.local/state/pgspan');
  throw new UserError({
    code: 'STATE_FOLDER_UNKNOWN',
    kind: 'usage',
    message: "Cannot choose a folder for the site's state: neither XDG_STATE_HOME nor HOME is set",
    todo: 'Name a folder with --state.',
  });
}
