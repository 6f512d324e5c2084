/**
 * What leadership.md believes of PostgreSQL's synchronous replication, on the server that the suite runs on: when a commit waits,
 * who counts, and how a wait ends.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import type pg from 'pg';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import { applicationName, formatSynchronousStandbyNames } from '../../src/core/leadership/quorum.ts';
import { needs } from '../kit/requirement.ts';
import { type PlainPostgres, PlainPostgresKit } from '../kit/plain-postgres.ts';

const LIMIT = { timeoutMs: 10_000 };
/** Long for a commit on a local socket, and short for a test. */
const WAITS_MS = 300;
const NOBODY = 'ANY 1 ("nobody")';

describe('synchronous commits of a real PostgreSQL', needs('postgres'), () => {
  let kit: PlainPostgresKit;
  let primary: PlainPostgres;
  const receivers: ChildProcess[] = [];
  before(async () => {
    kit = new PlainPostgresKit();
    primary = kit.create('primary');
    await primary.start();
    await primary.sql('create table t (n int)');
  });
  afterEach(async () => {
    for (const receiver of receivers.splice(0)) await ended(receiver);
    await primary.reload({ synchronous_standby_names: '' });
    await primary.sql('checkpoint');
  });
  after(() => kit?.close());

  /** Loads the setting and makes it hold for every commit, as the agent does. */
  async function require(setting: string): Promise<void> {
    await primary.reload({ synchronous_standby_names: setting });
    await primary.sql('checkpoint');
  }

  /** Starts an insert in a session of its own. */
  async function commit(): Promise<Commit> {
    const client = await primary.connect();
    const { rows } = await client.query('select pg_backend_pid() as pid');
    const commit: Commit = { client, pid: rows[0].pid, end: null, notices: [] };
    client.on('notice', (notice) => commit.notices.push(notice.message ?? ''));
    client.query('insert into t values (1)').then(
      () => (commit.end = 'acknowledged'),
      (error: Error) => (commit.end = error.message),
    );
    return commit;
  }

  const isWaiting = async ({ pid }: Commit): Promise<boolean> =>
    (await primary.value(`select wait_event = 'SyncRep' from pg_stat_activity where pid = $1`, [pid])) === true;
  const waits = (one: Commit): Promise<boolean> =>
    waitUntil('the commit waits for a standby', LIMIT, () => isWaiting(one));
  const returns = (one: Commit): Promise<string> => waitUntil('the commit returns', LIMIT, () => one.end);

  /** A standby that flushes at once and keeps nothing else: pg_receivewal under this application_name. */
  async function startReceiver(name: string): Promise<ChildProcess> {
    const before = await receiversNamed(name);
    const folder = kit.makeFolder(join(kit.folder, `wal-${receivers.length}`));
    const conninfo = primary.conninfo(name);
    const receiver = spawn(
      join(kit.bin, 'pg_receivewal'),
      ['--synchronous', '--no-loop', '-D', folder, '-d', conninfo],
      {
        ...kit.owner,
        stdio: 'ignore',
      },
    );
    receivers.push(receiver);
    await waitUntil(`"${name}" streams`, LIMIT, async () => (await receiversNamed(name)) > before);
    return receiver;
  }

  const receiversNamed = async (name: string): Promise<number> =>
    Number(
      await primary.value(
        `select count(*) from pg_stat_replication where application_name = $1 and state = 'streaming'`,
        [name.slice(0, 63)],
      ),
    );

  async function ended(receiver: ChildProcess): Promise<void> {
    if (receiver.exitCode !== null || receiver.signalCode !== null) return;
    const exit = once(receiver, 'exit');
    receiver.kill('SIGKILL');
    await exit;
  }

  test("ANY 0 is refused, so that no standby at all is ''", async () => {
    await assert.rejects(
      primary.sql(`alter system set synchronous_standby_names = 'ANY 0 ("a")'`),
      /number of synchronous standbys \(0\) must be greater than zero/,
    );
    assert.equal(formatSynchronousStandbyNames(0, [{ node: 'a', incarnation: '0123456789ab' }]), '');
    const one = await commit();
    assert.equal(await returns(one), 'acknowledged');
  });

  test('a commit waits until the quorum has flushed it, and then returns', async () => {
    await require('ANY 1 ("a", "b")');
    const one = await commit();
    await waits(one);
    await startReceiver('b');
    assert.equal(await returns(one), 'acknowledged');
  });

  test("from '' to a list, commits return unprotected while the checkpointer is busy; a CHECKPOINT after the reload ends that", async () => {
    const [checkpointer] = primary.childPids('checkpointer');
    assert.ok(checkpointer !== undefined);
    // As in the middle of a long write: it does not get to reading its settings.
    process.kill(checkpointer, 'SIGSTOP');
    try {
      await primary.reload({ synchronous_standby_names: NOBODY });
      for (let count = 0; count < 4; count++) assert.equal(await returns(await commit()), 'acknowledged');
    } finally {
      process.kill(checkpointer, 'SIGCONT');
    }
    await primary.sql('checkpoint');
    await waits(await commit());
  });

  test('from a list to another, new commits go by the new one at once', async () => {
    await require('ANY 1 ("a")');
    await startReceiver('a');
    assert.equal(await returns(await commit()), 'acknowledged');
    const [checkpointer] = primary.childPids('checkpointer');
    process.kill(checkpointer as number, 'SIGSTOP');
    try {
      await primary.reload({ synchronous_standby_names: 'ANY 1 ("b")' });
      await waitUntil('the sender has the new list', LIMIT, async () => {
        const state = await primary.value(`select sync_state from pg_stat_replication where application_name = 'a'`);
        return state === 'async';
      });
      const one = await commit();
      await waits(one);
      await delay(WAITS_MS);
      assert.equal(one.end, null);
    } finally {
      process.kill(checkpointer as number, 'SIGCONT');
    }
  });

  test('an application_name is cut to 63 bytes, and a longer one in the list never counts', async () => {
    const long = 'n'.repeat(70);
    await startReceiver(long);
    assert.equal(await primary.value('select application_name from pg_stat_replication'), 'n'.repeat(63));
    await require(`ANY 1 ("${long}")`);
    const one = await commit();
    await waits(one);
    await delay(WAITS_MS);
    assert.equal(one.end, null, 'the receiver has it flushed long since');
    await require(`ANY 1 ("${long.slice(0, 63)}")`);
    assert.equal(await returns(one), 'acknowledged');
    const ours = applicationName({ node: 'x'.repeat(63), incarnation: '0123456789ab' });
    assert.equal(Buffer.byteLength(ours), 63);
  });

  test('two connections of one application_name count twice', async () => {
    await require('ANY 2 ("twin", "other")');
    await startReceiver('twin');
    const alone = await commit();
    await waits(alone);
    await delay(WAITS_MS);
    assert.equal(alone.end, null);
    const second = await startReceiver('twin');
    assert.equal(await returns(alone), 'acknowledged', 'one standby, connected twice, was taken for two');
    await ended(second);
    await waitUntil('one is left', LIMIT, async () => (await receiversNamed('twin')) === 1);
    await waits(await commit());
  });

  test('a cancelled wait for a standby reports success for a commit that no standby has', async () => {
    await require(NOBODY);
    const before = await countRows();
    const one = await commit();
    await waits(one);
    await primary.sql('select pg_cancel_backend($1)', [one.pid]);
    assert.equal(await returns(one), 'acknowledged');
    assert.match(one.notices.join(), /canceling wait for synchronous replication/);
    assert.equal(await countRows(), before + 1);
  });

  test('a statement_timeout in CALL … COMMIT ends the wait too', async () => {
    await require(NOBODY);
    const before = await countRows();
    await primary.sql(`set synchronous_commit = local`);
    await primary.sql(
      `create or replace procedure p() language plpgsql as $$ begin insert into t values (2); commit; end $$`,
    );
    const client = await primary.connect();
    await client.query(`set statement_timeout = '${WAITS_MS}ms'`);
    const notices: string[] = [];
    client.on('notice', (notice) => notices.push(notice.message ?? ''));
    await client.query('call p()').catch(() => {});
    await waitUntil('the wait was cancelled', LIMIT, () =>
      /canceling wait for synchronous replication/.test(notices.join()),
    );
    assert.equal(await countRows(), before + 1);
  });

  test('a session that lowers synchronous_commit does not wait', async () => {
    await require(NOBODY);
    const client = await primary.connect();
    await client.query('set synchronous_commit = local');
    await client.query('insert into t values (3)');
  });

  const countRows = async (): Promise<number> => Number(await primary.value('select count(*) from t'));
});

interface Commit {
  readonly client: pg.Client;
  readonly pid: number;
  end: string | null;
  readonly notices: string[];
}
