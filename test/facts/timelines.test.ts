/**
 * "Timeline id = term of the promotion": what PostgreSQL does with reserved timeline ids, and what pg_rewind makes of the
 * histories that are left. Uses the agent's own functions for the placeholders.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { waitUntil } from '../../src/base/wait-until.ts';
import {
  historyFileName,
  readLineage,
  removeReservedTimelines,
  reserveTimelines,
} from '../../src/agents/instance/timelines.ts';
import { needs } from '../kit/requirement.ts';
import { type PlainPostgres, PlainPostgresKit } from '../kit/plain-postgres.ts';

const LIMIT = { timeoutMs: 20_000 };
/** A standby is up within a tenth of this. */
const NOT_UP_MS = 2500;
/** From PostgreSQL 16 on pg_rewind looks at more of the source's control file than its last checkpoint. */
const SEES_FRESH_PROMOTION = 16;

describe('timelines of a real PostgreSQL', needs('postgres'), () => {
  let kit: PlainPostgresKit;
  let first: PlainPostgres;
  before(async () => {
    kit = new PlainPostgresKit();
    first = kit.create('first');
    await first.start();
    await first.sql('create table t (n int)');
  });
  after(() => kit?.close());

  /** A standby of `first` that is level with it. */
  async function aStandby(name: string): Promise<PlainPostgres> {
    const standby = kit.standbyOf(first, name);
    await standby.start('standby');
    await level(standby, first);
    return standby;
  }

  async function level(standby: PlainPostgres, leader: PlainPostgres): Promise<void> {
    const end = await leader.value('select pg_current_wal_flush_lsn()::text');
    await waitUntil(`"${standby.name}" has replayed what "${leader.name}" has`, LIMIT, () =>
      standby.value<boolean>('select pg_last_wal_replay_lsn() >= $1::pg_lsn', [end]),
    );
  }

  async function promote(standby: PlainPostgres): Promise<void> {
    await standby.sql('select pg_promote(false)');
    await waitUntil(
      `"${standby.name}" is promoted`,
      LIMIT,
      async () => !(await standby.value('select pg_is_in_recovery()')),
    );
  }

  async function reserve(server: PlainPostgres, wanted: number): Promise<void> {
    await reserveTimelines(server.home, 1, wanted);
    server.takeOver();
  }

  const timelineOf = async (server: PlainPostgres): Promise<number> =>
    Number.parseInt((await server.value<string>('select pg_walfile_name(pg_current_wal_lsn())')).slice(0, 8), 16);

  test('a promotion takes the id after the reserved ones, and a standby follows from 1 to 7', async () => {
    const leader = await aStandby('leader-7');
    const follower = await aStandby('follower-7');
    await reserve(leader, 7);
    await promote(leader);
    assert.equal(await timelineOf(leader), 7);
    const lineage = await readLineage(leader.home, 7);
    assert.deepEqual(
      lineage?.history.map(({ timeline }) => timeline),
      [1],
      'the reserved ids are no ancestors',
    );
    await follower.reload({ primary_conninfo: leader.conninfo('follower-7') });
    await leader.sql('insert into t values (7)');
    await level(follower, leader);
    assert.equal(await follower.value('select received_tli from pg_stat_wal_receiver'), 7);
    await leader.stop('immediate');
    await follower.stop('immediate');
  });

  test('a standby of the first timeline follows a leader whose own leader had reserved ids', async () => {
    const leader = await aStandby('leader-4');
    const next = await aStandby('next-6');
    const old = await aStandby('old-1');
    await old.reload({ primary_conninfo: '' });
    await reserve(leader, 4);
    await promote(leader);
    await next.reload({ primary_conninfo: leader.conninfo('next-6') });
    await leader.sql('insert into t values (4)');
    await level(next, leader);
    await next.reload({ primary_conninfo: '' });
    // As an agent does before its node follows.
    await removeReservedTimelines(next.home);
    await leader.stop('immediate');
    await reserveTimelines(next.home, 4, 6);
    next.takeOver();
    await promote(next);
    assert.equal(await timelineOf(next), 6);
    await old.reload({ primary_conninfo: next.conninfo('old-1') });
    await next.sql('insert into t values (6)');
    await level(old, next);
    assert.equal(await old.value('select received_tli from pg_stat_wal_receiver'), 6);
    await next.stop('immediate');
    await old.stop('immediate');
  });

  test('two promotions that never saw each other share an id, unless it is reserved', async () => {
    const one = await aStandby('one');
    const two = await aStandby('two');
    const three = await aStandby('three');
    await promote(one);
    await promote(two);
    await reserve(three, 3);
    await promote(three);
    assert.deepEqual([await timelineOf(one), await timelineOf(two), await timelineOf(three)], [2, 2, 3]);
    for (const server of [one, two, three]) await server.stop('immediate');
  });

  test('a server does not come up on reserved ids without their history, and does when they are removed', async () => {
    const standby = await aStandby('reserved');
    const doesNotComeUp = async (): Promise<void> => {
      await standby.stop();
      const before = standby.log.length;
      await assert.rejects(standby.start('standby', NOT_UP_MS));
      assert.match(
        standby.log.slice(before),
        /unexpected timeline ID 1 in (?:log|WAL) segment|requested timeline \d+ /,
      );
      await standby.stop('immediate');
    };
    await standby.stop();
    await reserve(standby, 4);
    await doesNotComeUp();
    await removeReservedTimelines(standby.home);
    await standby.start('standby');
    // A half-made one, as a crash leaves it, is no better.
    standby.write(join('pg_wal', historyFileName(2)), '');
    await doesNotComeUp();
    await removeReservedTimelines(standby.home);
    await standby.start('standby');
    await standby.stop('immediate');
  });

  test('placeholders that name a parent are believed: a standby takes them for its future, and pg_rewind for its past', async () => {
    const leader = await aStandby('bogus');
    const old = kit.standbyOf(first, 'bogus-old');
    await old.start('standby');
    await level(old, first);
    for (let timeline = 2; timeline < 7; timeline++)
      leader.write(join('pg_wal', historyFileName(timeline)), '1\tFFFFFFFF/FFFFFFFF\treserved\n');
    // A receiver that ends makes the startup process look for newer timelines.
    await leader.reload({ primary_conninfo: '' });
    await waitUntil('the standby follows a history that nobody wrote', LIMIT, () =>
      /new target timeline is 6/.test(leader.log),
    );
    await promote(leader);
    assert.equal(await timelineOf(leader), 7);
    assert.ok((await readLineage(leader.home, 7))?.history.some(({ timeline }) => timeline === 6));
    await diverge(old, leader);
    const { output } = rewind(old, leader);
    assert.match(output, /no rewind required/);
    await leader.stop('immediate');
  });

  test('with ours, pg_rewind finds the fork and takes back what the old leader has beyond it', async () => {
    const leader = await aStandby('plain');
    const old = kit.standbyOf(first, 'plain-old');
    await old.start('standby');
    await level(old, first);
    await reserve(leader, 7);
    await promote(leader);
    await leader.sql('checkpoint');
    await diverge(old, leader);
    const { status, output } = rewind(old, leader);
    assert.equal(status, 0, output);
    assert.match(output, /servers diverged at WAL location .* on timeline 1[^]*Done!/);
    await removeReservedTimelines(old.home);
    old.configure({ primary_conninfo: leader.conninfo('plain-old') });
    await old.start('standby');
    await leader.sql('insert into t values (70)');
    await level(old, leader);
    assert.equal(Number(await old.value('select count(*) from t where n = -1')), 0, 'the diverged row is gone');
    assert.equal(Number(await old.value('select count(*) from t where n = 70')), 1);
    await old.stop('immediate');
    await leader.stop('immediate');
  });

  test('before the checkpoint of a new leader pg_rewind may say that no rewind is required; after it, it rewinds', async () => {
    const leader = await aStandby('early');
    const old = kit.standbyOf(first, 'early-old');
    await old.start('standby');
    await level(old, first);
    // The checkpoint that PostgreSQL itself asks for at the end of recovery does not get to run.
    const [checkpointer] = leader.childPids('checkpointer');
    assert.ok(checkpointer !== undefined);
    process.kill(checkpointer, 'SIGSTOP');
    try {
      await promote(leader);
      await diverge(old, leader);
      const { output } = rewind(old, leader, ['--dry-run']);
      if (kit.major < SEES_FRESH_PROMOTION) assert.match(output, /no rewind required/);
      else assert.match(output, /servers diverged at WAL location/);
    } finally {
      process.kill(checkpointer, 'SIGCONT');
    }
    await leader.sql('checkpoint');
    const { status, output } = rewind(old, leader);
    assert.equal(status, 0, output);
    assert.match(output, /servers diverged at WAL location/);
    await leader.stop('immediate');
  });

  /** The old leader goes on alone and is then stopped; the new one writes as well. */
  async function diverge(old: PlainPostgres, leader: PlainPostgres): Promise<void> {
    await leader.sql('insert into t values (1)');
    await old.stop();
    rmSync(join(old.home, 'standby.signal'), { force: true });
    await old.start('primary');
    await old.sql('insert into t values (-1)');
    await old.stop();
  }

  function rewind(target: PlainPostgres, source: PlainPostgres, more: string[] = []) {
    const words = ['--target-pgdata', target.home, '--source-server', `${source.conninfo()} dbname=postgres`];
    return kit.run('pg_rewind', [...words, '--no-sync', ...more]);
  }
});
