/**
 * A standby that others stream from (a relay) takes up another timeline without ending their connections, unlike a primary that
 * becomes a standby; and what the agent's own functions do about it: a slot for each timeline, dropped before.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { dropRelaySlots } from '../../src/agents/instance/relay-slots.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { relaySlotName } from '../../src/core/topology/names.ts';
import { type PlainPostgres, PlainPostgresKit } from '../kit/plain-postgres.ts';
import { needs } from '../kit/requirement.ts';

const LIMIT = { timeoutMs: 20_000 };
/** A receiver that is let in is there within a tenth of this. */
const NOT_LET_IN_MS = 2000;

describe('a standby that others stream from', needs('postgres'), () => {
  let kit: PlainPostgresKit;
  let first: PlainPostgres;
  before(async () => {
    kit = new PlainPostgresKit();
    first = kit.create('first');
    await first.start();
    await first.sql('create table t (n int)');
  });
  after(() => kit?.close());

  /** first -> relay -> behind, through the slot of timeline 1. */
  async function cascade(name: string): Promise<{ relay: PlainPostgres; behind: PlainPostgres }> {
    const relay = kit.standbyOf(first, `relay-${name}`);
    await relay.start('standby');
    await relay.sql('select pg_create_physical_replication_slot($1)', [relaySlotName(1, 'behind')]);
    const behind = kit.standbyOf(first, `behind-${name}`, {
      primary_conninfo: relay.conninfo('behind'),
      primary_slot_name: relaySlotName(1, 'behind'),
    });
    await behind.start('standby');
    await waitUntil('the cascade streams', LIMIT, () => isFrom(behind, 1));
    return { relay, behind };
  }

  const isFrom = (behind: PlainPostgres, timeline: number): Promise<boolean> =>
    behind.value('select exists (select from pg_stat_wal_receiver where received_tli = $1)', [timeline]);

  async function promote(relay: PlainPostgres): Promise<void> {
    await relay.sql('select pg_promote(true)');
    await relay.sql('insert into t values (1)');
  }

  test('passes another timeline on over connections that stood before', async () => {
    const { relay, behind } = await cascade('unguarded');
    const [sender] = await relay.sql('select pid from pg_stat_replication');
    await promote(relay);
    await waitUntil('timeline 2 has come', LIMIT, () => isFrom(behind, 2));
    assert.deepEqual(await relay.sql('select pid from pg_stat_replication'), [sender]);
  });

  test('passes nothing on once the slots of its timeline are dropped, however often it is asked', async () => {
    const { relay, behind } = await cascade('guarded');
    await dropRelaySlots(asNode(relay));
    assert.deepEqual(await relay.sql('select slot_name from pg_replication_slots'), []);
    await promote(relay);
    await waitUntil('it was asked again', LIMIT, () =>
      behind.log.includes(`replication slot "${relaySlotName(1, 'behind')}" does not exist`),
    );
    await new Promise((resolve) => setTimeout(resolve, NOT_LET_IN_MS));
    assert.equal(await isFrom(behind, 2), false);
    assert.equal(await behind.value('select count(*)::int from t'), 0);
  });

  test('has no slot of its timeline left after it was stopped and they were dropped', async () => {
    const { relay, behind } = await cascade('stopped');
    await behind.stop();
    await relay.stop();
    await dropRelaySlots(asNode(relay));
    await relay.start('standby');
    assert.deepEqual(await relay.sql('select slot_name from pg_replication_slots'), []);
  });
});

/** What dropRelaySlots needs of an agent, over a server without one. */
function asNode(server: PlainPostgres): Parameters<typeof dropRelaySlots>[0] {
  const parts = {
    config: { paths: { dataDirectory: server.home } },
    sql: { query: (text: string, values?: unknown[]) => server.sql(text, values) },
    postmaster: { pid: server.isRunning ? server.pid : null },
    log: { debug: () => {} },
  };
  return parts as unknown as Parameters<typeof dropRelaySlots>[0];
}
