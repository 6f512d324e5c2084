/**
 * From the file to the server: when synchronous_standby_names is what commits and senders go by.
 *
 * A reload is not the moment. New senders take the list from the postmaster; and from '' to a list it is the checkpointer that
 * makes commits wait, when it is done with the checkpoint that it may be at.
 */
import { waitUntil } from '../../base/wait-until.ts';
import { LocalSql } from './local-sql.ts';
import type { NodeContext } from './node-context.ts';

const RELOAD_LIMIT_MS = 5000;

/** A connection of its own: a new process shows what the postmaster has loaded by now, an old backend what it had. */
export function freshSql(node: NodeContext): LocalSql {
  return new LocalSql({
    socketDirectory: node.config.paths.runtimeDirectory,
    port: node.config.listen.postgresPort,
    applicationName: 'pgspan members',
  });
}

/** What the postmaster hands to new processes. */
export async function loadedSetting(node: NodeContext): Promise<string> {
  const sql = freshSql(node);
  try {
    const rows = await sql.query<{ setting: string }>(`select current_setting('synchronous_standby_names') as setting`);
    return rows[0]?.setting ?? '';
  } finally {
    await sql.close();
  }
}

/** Resolves once the server has loaded what the file says; `isGivenUp`: nobody waits for it any more. */
export async function untilLoaded(node: NodeContext, isGivenUp: () => boolean = () => false): Promise<void> {
  const { files } = node;
  await waitUntil(
    `PostgreSQL has loaded synchronous_standby_names = '${files.dynamic.synchronousStandbyNames}'`,
    { timeoutMs: RELOAD_LIMIT_MS, intervalMs: 20 },
    async () => {
      const wanted = files.dynamic.synchronousStandbyNames;
      if ((await loadedSetting(node)) !== wanted) return isGivenUp();
      files.setRequired(wanted, { isLoaded: true });
      return files.required.isLoaded;
    },
  );
}

/** Resolves once every commit from now on waits as the file says. A restartpoint on a standby, which may take its time. */
export async function untilArmed(node: NodeContext): Promise<void> {
  const { files } = node;
  if (!files.required.isLoaded) await untilLoaded(node);
  const setting = files.dynamic.synchronousStandbyNames;
  if (setting === '' || files.required.isArmed) return;
  await node.sql.run('CHECKPOINT', { timeoutMs: null });
  files.setRequired(setting, { isArmed: true });
}
