/**
 * Physical replication slots: every node keeps one for each other node, so that whoever leads next still has the WAL that
 * the others need. On standbys nothing streams from a slot, so the agent moves it along with what its owner has flushed.
 */
import type { Lsn } from '../../base/lsn.ts';
import { formatLsn, parseLsn } from '../../base/lsn.ts';
import { RELAY_SLOT_PREFIX, slotName } from '../../core/topology/names.ts';
import type { NodeContext } from './node-context.ts';
import { dropIdleRelaySlots } from './relay-slots.ts';

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

  /**
   * @param replayLsn of a standby, beyond which it cannot move a slot; null on the leader, whose senders move them, but for nodes
   *   that stream from a relay
   */
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
      else if (this.#isRelayed(name)) await this.#advance(slot, name, null);
    }
    for (const slot of slots) {
      const isWanted = others.some((name) => slotName(name) === slot.slot_name);
      if (!isWanted && !slot.active && slot.slot_name.startsWith('pgspan_'))
        await node.sql.query('select pg_drop_replication_slot($1)', [slot.slot_name]);
    }
    const relaySlots = slots.filter((slot) => slot.slot_name.startsWith(RELAY_SLOT_PREFIX));
    await dropIdleRelaySlots(
      node,
      relaySlots.filter(({ active }) => !active).map((slot) => slot.slot_name),
    );
    this.#keptAtMs = performance.now();
    this.#keptFor = key;
  }

  /** It follows on this node's timeline, in a group with a relay: what it has told is what it needs no more. */
  #isRelayed(name: string): boolean {
    const view = this.#node.links.get(name)?.view;
    const isLevel = view?.state?.activity === 'following' && view.state.timeline === this.#node.voter.lineage?.timeline;
    return view?.peer.relay === true && isLevel;
  }

  /** @param limit as far as this server can move it; null: to the end of its WAL */
  async #advance(slot: SlotRow, owner: string, limit: Lsn | null): Promise<void> {
    const told = this.#node.links.get(owner)?.view.state?.flushLsn ?? null;
    if (told === null || slot.active) return;
    const wanted = limit === null || parseLsn(told) < limit ? parseLsn(told) : limit;
    if (slot.restart_lsn !== null && parseLsn(slot.restart_lsn) >= wanted) return;
    await this.#node.sql.query('select pg_replication_slot_advance($1, $2::pg_lsn)', [
      slot.slot_name,
      formatLsn(wanted),
    ]);
  }
}
