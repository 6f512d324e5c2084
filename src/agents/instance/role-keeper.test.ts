import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { join } from 'node:path';
import pino from 'pino';
import { type PlainPostgres, PlainPostgresKit } from '../../../test/kit/plain-postgres.ts';
import { needs } from '../../../test/kit/requirement.ts';
import type { InstanceConfig } from '../../api/agent-config.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { isPasswordOf } from '../../core/postgresql/scram.ts';
import { LocalSql } from './local-sql.ts';
import { RoleKeeper } from './role-keeper.ts';

describe('roles of the manifest', needs('postgres'), () => {
  let kit: PlainPostgresKit;
  let server: PlainPostgres;
  let sql: LocalSql;
  let keeper: RoleKeeper;
  const logged: string[] = [];
  const log = pino({}, { write: (line: string) => void logged.push(line) });
  const node = { sql: undefined as unknown as LocalSql, log, config: undefined as unknown as InstanceConfig };

  before(async () => {
    kit = new PlainPostgresKit();
    server = kit.create('roles');
    await server.start();
    sql = new LocalSql({ socketDirectory: kit.folder, port: server.port, applicationName: 'test' });
    Object.assign(node, { sql });
    keeper = new RoleKeeper(node, () => true);
    await sql.run(`create role app login password 'first'`);
  });
  after(async () => {
    keeper?.stop();
    await sql?.close();
    await kit?.close();
  });

  const file = (name: string): string => join(kit.folder, name);
  const keep = (change: { roles?: InstanceConfig['roles']; superuser?: boolean }): void => {
    const bootstrap = {
      database: 'app',
      owner: 'app',
      ownerPasswordFile: file('app'),
      superuserPasswordFile: change.superuser === true ? file('superuser') : null,
    };
    node.config = { bootstrap, roles: change.roles ?? [] } as unknown as InstanceConfig;
    keeper.keep();
  };
  const roleOf = async (name: string) =>
    (
      await sql.query<{ password: string | null; rolcreatedb: boolean; rolcanlogin: boolean }>(
        'select rolpassword as password, rolcreatedb, rolcanlogin from pg_authid where rolname = $1',
        [name],
      )
    )[0];
  const hasPassword = async (name: string, password: string) =>
    await waitUntil(`${name} has the password of its file`, { timeoutMs: 20_000 }, async () =>
      isPasswordOf((await roleOf(name))?.password ?? '', password),
    );

  test('what PostgreSQL itself stores is recognised', async () => {
    assert.equal(isPasswordOf((await roleOf('app'))?.password ?? '', 'first'), true);
  });

  test('are made, changed and kept, passwords from their files', async () => {
    kit.write(file('app'), 'second\n');
    kit.write(file('anna'), 'pass\'word "x" $1');
    const anna = { name: 'anna', attributes: ['LOGIN', 'CREATEDB'], passwordFile: file('anna') };
    keep({ roles: [anna, { name: 'later', attributes: ['LOGIN'], passwordFile: file('later') }] });
    await hasPassword('app', 'second');
    await hasPassword('anna', 'pass\'word "x" $1');
    assert.equal((await roleOf('anna'))?.rolcreatedb, true);
    await waitUntil('a role whose password is not there yet is made', { timeoutMs: 20_000 }, async () =>
      Boolean((await roleOf('later'))?.rolcanlogin),
    );
    keep({ roles: [{ ...anna, attributes: ['LOGIN'] }] });
    await waitUntil('CREATEDB is taken away', { timeoutMs: 20_000 }, async () => !(await roleOf('anna'))?.rolcreatedb);
    assert.notEqual(await roleOf('later'), undefined);
  });

  test('the superuser has a password only while that is asked for', async () => {
    kit.write(file('superuser'), 'super');
    keep({ superuser: true });
    await hasPassword('postgres', 'super');
    keep({});
    await waitUntil('it is gone', { timeoutMs: 20_000 }, async () => (await roleOf('postgres'))?.password === null);
  });

  test('no password is in the log', () => {
    assert.ok(logged.some((line) => line.includes('ALTER ROLE anna')));
    assert.doesNotMatch(logged.join(''), /second|pass'word|SCRAM/);
  });
});
