/**
 * The slots through which other nodes stream from this one while it is their relay. Each belongs to one timeline, by its name, and
 * its absence is a gate that PostgreSQL itself keeps:
 *
 *   a receiver that was let in for timeline t asks for slot relay_t_<node>;
 *   all are dropped, their senders ended, before this node's WAL may go on with another timeline (follow, promotion, rewind).
 *
 * So nobody behind a relay gets WAL of a timeline that its promise file does not name, however late its connection begins: a
 * standby that takes up another timeline, unlike a primary that becomes a standby, does not end the connections that it serves.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { delay } from '../../base/wait-until.ts';
import { isOnTimeline } from '../../core/leadership/relay.ts';
import { RELAY_SLOT_PREFIX, relaySlotName } from '../../core/topology/names.ts';
import type { NodeContext } from './node-context.ts';
import type { PostgresObserver } from './postgres-view.ts';

/** A sender that was told to end does so in milliseconds, unless PostgreSQL stands still. */
const DROP_LIMIT_MS = 2000;
const DROP_RETRY_MS = 5;
const SERVES_TIMEOUT_MS = 800;

type RelayNode = Pick<NodeContext, 'config' | 'sql' | 'postmaster' | 'log'>;

/**
 * Ends the cascade: no relay slot is left when it resolves. Call under the voter's mutex, with no WAL coming in. Throws when a
 * sender does not end; then nothing may be changed.
 */
export async function dropRelaySlots({ config, sql, postmaster, log }: RelayNode): Promise<void> {
  const folder = join(config.paths.dataDirectory, 'pg_replslot');
  const present = async (): Promise<string[]> =>
    (await readdir(folder)).filter((name) => name.startsWith(RELAY_SLOT_PREFIX));
  const deadline = performance.now() + DROP_LIMIT_MS;
  for (let slots = await present(); slots.length > 0; slots = await present()) {
    if (postmaster.pid === null) {
      for (const name of slots) await rm(join(folder, name), { recursive: true, force: true });
      continue;
    }
    const ended = 'select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active';
    for (const name of slots) {
      await sql.query(ended, [name]);
      await sql
        .query('select pg_drop_replication_slot($1)', [name])
        .catch((error: Error) => log.debug({ slot: name, error: error.message }, 'relay slot not dropped yet'));
    }
    if (performance.now() > deadline)
      throw new Error(`Cannot take up another timeline: ${slots.map((name) => `"${name}"`).join(', ')} still in use`);
    await delay(DROP_RETRY_MS);
  }
}

/** Drops those that nobody uses: each holds WAL. Whoever comes back gets a new one. */
export async function dropIdleRelaySlots({ sql }: NodeContext, idle: readonly string[]): Promise<void> {
  // It may have come into use since.
  for (const name of idle) await sql.query('select pg_drop_replication_slot($1)', [name]).catch(() => undefined);
}

/** Whether `from` may stream from this standby on `timeline`; if so, its slot is there. Under the voter's mutex. */
export async function serveAsRelay(
  node: NodeContext,
  observer: PostgresObserver,
  request: { readonly from: string; readonly timeline: number },
): Promise<boolean> {
  const { from, timeline } = request;
  const { lineage } = node.voter;
  if (lineage?.timeline !== timeline || !node.config.peers.some((peer) => peer.node === from)) return false;
  const { state } = await observer.observe(SERVES_TIMEOUT_MS);
  if (state.kind !== 'standby' || !isOnTimeline(node.voter, lineage, state.flushLsn)) return false;
  const slot = relaySlotName(timeline, from);
  const slots = await node.sql.query('select 1 from pg_replication_slots where slot_name = $1', [slot]);
  if (slots.length === 0) await node.sql.query('select pg_create_physical_replication_slot($1)', [slot]);
  return true;
}
