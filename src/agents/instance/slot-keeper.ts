/**
 * Physical replication slots: every node keeps one for each other node, so that whoever leads next still has the WAL that
 * the others need. On standbys nothing streams from a slot, so the agent moves it along with what its owner has flushed.
 */
import type { Lsn } from '../../base/lsn.ts';
import { formatLsn, parseLsn } from '../../base/lsn.ts';
import { slotName } from '../../core/topology/names.ts';
import type { NodeContext } from './node-context.ts';

/** WAL is held for at most this much longer than needed; 10 s of writing is little beside max_slot_wal_keep_size. */
const KEEP_INTERVAL_MS = 10_000;

interface SlotRow extends Record<string, unknown> {
  readonly slot_name: string;
  readonly active: boolean;
  readonly restart_lsn: string | null;
}

export class SlotKeeper {
  readonly #node: NodeContext;
  #keptAtMs = Number.NEGATIVE_INFINITY;
  #keptFor = '';

  constructor(node: NodeContext) {
    this.#node = node;
  }

  /** @param replayLsn of a standby, beyond which it cannot move a slot; null on the leader, whose senders move them */
  async keep(replayLsn: Lsn | null): Promise<void> {
    const node = this.#node;
    const others = node.config.peers.map((peer) => peer.node).filter((name) => name !== node.config.node);
    const key = `${node.postmaster.pid} ${others.join()}`;
    if (key === this.#keptFor && performance.now() - this.#keptAtMs < KEEP_INTERVAL_MS) return;
    const slots = await node.sql.query<SlotRow>(
      `select slot_name, active, restart_lsn::text from pg_replication_slots where slot_type = 'physical' and not temporary`,
    );
    for (const name of others) {
      const slot = slots.find((one) => one.slot_name === slotName(name));
      if (slot === undefined)
        await node.sql.query('select pg_create_physical_replication_slot($1, true)', [slotName(name)]);
      else if (replayLsn !== null) await this.#advance(slot, name, replayLsn);
    }
    for (const slot of slots) {
      const isWanted = others.some((name) => slotName(name) === slot.slot_name);
      if (!isWanted && !slot.active && slot.slot_name.startsWith('pgspan_'))
        await node.sql.query('select pg_drop_replication_slot($1)', [slot.slot_name]);
    }
    this.#keptAtMs = performance.now();
    this.#keptFor = key;
  }

  async #advance(slot: SlotRow, owner: string, replayLsn: Lsn): Promise<void> {
    const told = this.#node.links.get(owner)?.view.state?.flushLsn ?? null;
    if (told === null || slot.active) return;
    const wanted = parseLsn(told) < replayLsn ? parseLsn(told) : replayLsn;
    if (slot.restart_lsn !== null && parseLsn(slot.restart_lsn) >= wanted) return;
    await this.#node.sql.query('select pg_replication_slot_advance($1, $2::pg_lsn)', [
      slot.slot_name,
      formatLsn(wanted),
    ]);
  }
}
