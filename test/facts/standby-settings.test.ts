/** A setting that was lowered keeps a standby from starting, and what pgspan writes then lets it start. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { readStandbyFloors } from '../../src/agents/instance/standby-floors.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { raisedForStandby } from '../../src/core/postgresql/standby-floors.ts';
import { PlainPostgresKit } from '../kit/plain-postgres.ts';
import { needs } from '../kit/requirement.ts';

suite('a standby whose max_connections was lowered', needs('postgres'), () => {
  let kit: PlainPostgresKit;
  before(() => {
    kit = new PlainPostgresKit();
  });
  after(async () => await kit.close());

  test('does not start below what its leader had, and starts with the floor from its control file', async () => {
    const leader = kit.create('leader', { max_connections: '40' });
    await leader.start();
    const lowered = { max_connections: '20' };
    const standby = kit.standbyOf(leader, 'standby', lowered);
    await assert.rejects(standby.start('standby'), /insufficient parameter settings/);

    const paths = { postgresBin: kit.bin, dataDirectory: standby.home };
    const floors = await readStandbyFloors(paths as Parameters<typeof readStandbyFloors>[0]);
    assert.equal(floors.max_connections, 40);
    standby.configure({ ...lowered, ...raisedForStandby(lowered, floors) });
    await standby.start('standby');
    await waitUntil('the standby streams', { timeoutMs: 10_000 }, async () => {
      const client = await leader.connect();
      const { rowCount } = await client.query('select from pg_stat_replication');
      await client.end();
      return rowCount === 1;
    });
  });
});
