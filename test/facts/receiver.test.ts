/**
 * What leadership.md believes of a standby's WAL receiver and of the functions that tell its position: why the path is closed by
 * the agent and not by a setting, and when a position is not known.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { PathForwarder } from '../../src/agents/instance/path-forwarder.ts';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import { needs } from '../kit/requirement.ts';
import { type PlainPostgres, PlainPostgresKit } from '../kit/plain-postgres.ts';

const ADDRESS = '127.66.6.1';
const LIMIT = { timeoutMs: 20_000 };
/** A receiver that is asked for starts within this, if it starts at all: many times its retry interval. */
const RECEIVER_MS = 700;

describe('the receiver of a real standby', needs('postgres', 'loopback'), () => {
  let kit: PlainPostgresKit;
  let leader: PlainPostgres;
  let standby: PlainPostgres;
  let path: PathForwarder;
  before(async () => {
    kit = new PlainPostgresKit();
    leader = kit.create('leader', { listen_addresses: ADDRESS });
    await leader.start();
    await leader.sql('create table t (n int)');
    path = await PathForwarder.listen({ address: ADDRESS, port: 0, sourceAddress: null });
    standby = kit.standbyOf(leader, 'standby', { primary_conninfo: throughPath(path.port) });
    openPath();
    await standby.start('standby');
    await level();
  });
  after(async () => {
    await kit?.close();
    await path?.stop();
  });

  const throughPath = (port: number): string => `host=${ADDRESS} port=${port} user=postgres application_name=standby`;
  const openPath = (): void =>
    path.open({
      node: 'leader',
      term: 1,
      endpoint: { host: 'leader', address: ADDRESS, port: leader.port },
      verify: async () => true,
    });

  async function level(): Promise<void> {
    const end = await leader.value('select pg_current_wal_flush_lsn()::text');
    await waitUntil('the standby has what the leader has', LIMIT, () =>
      standby.value<boolean>('select pg_last_wal_replay_lsn() >= $1::pg_lsn', [end]),
    );
  }

  const received = async (): Promise<string> => await standby.value<string>('select pg_last_wal_receive_lsn()::text');
  const hasReceiver = async (): Promise<boolean> =>
    (await standby.value('select pid is not null from pg_stat_get_wal_receiver()')) === true;
  const connectionsAtLeader = async (): Promise<number> =>
    Number(await leader.value('select count(*) from pg_stat_replication'));

  /** The postmaster is slow to start a receiver that the startup process has asked for; meanwhile `close` closes the way. */
  async function receiverIsAskedForWhile(close: () => Promise<void>): Promise<{ positionTold: string }> {
    const postmaster = standby.pid;
    const [startup] = standby.childPids('startup');
    const [receiver] = standby.childPids('walreceiver');
    assert.ok(startup !== undefined && receiver !== undefined);
    process.kill(postmaster, 'SIGSTOP');
    process.kill(receiver, 'SIGTERM');
    await waitUntil('the receiver has ended', LIMIT, async () => !(await hasReceiver()));
    // Long enough for the startup process to ask for another.
    await delay(RECEIVER_MS);
    await close();
    const positionTold = await received();
    await leader.sql('insert into t values (1)');
    // Busy with replay, so it does not read its settings for a while.
    process.kill(startup, 'SIGSTOP');
    process.kill(postmaster, 'SIGCONT');
    await delay(RECEIVER_MS);
    return { positionTold };
  }

  async function goOn(): Promise<void> {
    for (const pid of standby.childPids('startup')) process.kill(pid, 'SIGCONT');
    openPath();
    await standby.reload({ primary_conninfo: throughPath(path.port) });
    await level();
  }

  test('may start with the old primary_conninfo after an empty one was loaded, and receive beyond the position that was told', async () => {
    const { positionTold } = await receiverIsAskedForWhile(async () => {
      standby.configure({ primary_conninfo: '' });
      process.kill(standby.pid, 'SIGHUP');
    });
    await waitUntil('it receives', LIMIT, async () => (await received()) !== positionTold);
    assert.equal(await connectionsAtLeader(), 1);
    await goOn();
  });

  test('receives nothing beyond the position that was told when the path is closed', async () => {
    const { positionTold } = await receiverIsAskedForWhile(async () => path.close());
    assert.equal(await received(), positionTold);
    assert.equal(await connectionsAtLeader(), 0);
    await goOn();
  });

  test('that is connected ends when the path is closed, and its position stands', async () => {
    assert.ok(await hasReceiver());
    path.close();
    await waitUntil('it has ended', LIMIT, async () => !(await hasReceiver()));
    const before = await received();
    await leader.sql('insert into t values (2)');
    await delay(RECEIVER_MS);
    assert.equal(await received(), before);
    assert.equal(await hasReceiver(), false);
    await goOn();
  });

  test('after a restart the functions show less than the node holds until it has replayed its own WAL', async () => {
    await standby.sql('select pg_wal_replay_pause()');
    await leader.sql('insert into t select generate_series(1, 20000)');
    const end = await leader.value<string>('select pg_current_wal_flush_lsn()::text');
    await waitUntil('the standby has flushed it', LIMIT, () =>
      standby.value<boolean>('select pg_last_wal_receive_lsn() >= $1::pg_lsn', [end]),
    );
    await standby.stop('immediate');
    path.close();
    // Replay of commits is put off, so what lies on the disk is replayed late.
    standby.configure({ recovery_min_apply_delay: '1h' });
    await standby.start('standby');
    const shown = await standby.value<boolean>(
      `select coalesce(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), '0/0') >= $1::pg_lsn`,
      [end],
    );
    assert.equal(shown, false, 'it holds everything up to the end, and does not show it');
    await standby.reload({ recovery_min_apply_delay: '0' });
    await waitUntil('it has replayed its own WAL, with no leader to ask', LIMIT, () =>
      standby.value<boolean>('select pg_last_wal_replay_lsn() >= $1::pg_lsn', [end]),
    );
    const atEnd = await waitUntil('its startup process waits for more', LIMIT, () =>
      standby.value<boolean>(
        `select bool_or(wait_event in ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval'))
           from pg_stat_activity where backend_type = 'startup'`,
      ),
    );
    assert.ok(atEnd);
    await goOn();
  });
});
