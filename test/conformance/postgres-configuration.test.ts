/**
 * What the plan says about PostgreSQL, shown to a real server: it knows every setting, takes every value, and its access
 * rules let in whom they should and nobody else.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { SERVER_SETTINGS } from '../../src/core/postgresql/setting-values.ts';
import { REPLICATION_USER } from '../../src/core/topology/names.ts';
import { planGlobalCluster } from '../../src/core/topology/plan.ts';
import { findPostgres } from '../../src/platform/postgres-installation.ts';
import { createTestPki, type TestPki } from '../kit/certificates.ts';
import { groupsOf } from '../kit/manifests.ts';
import { needs } from '../kit/requirement.ts';
import { createTlsPostgresKit, type TlsPostgresKit } from '../kit/tls-postgres.ts';

const ADDRESS = '127.61.7.1';
const PORT = 5461;
const NEEDED = needs('postgres', 'psql', 'loopback');

suite('the planned configuration on a real PostgreSQL', NEEDED, () => {
  let pki: TestPki;
  let kit: TlsPostgresKit;
  const major = NEEDED.skip === false ? findPostgres().major : 0;
  const planned = planGlobalCluster(
    groupsOf([1, 1, 1], {
      resources: { limits: { cpu: '2', memory: '512Mi' } },
      storage: { size: '1Gi' },
      enableSuperuserAccess: false,
      postgresql: {
        parameters: { work_mem: '3MB', wal_level: 'logical' },
        pg_hba: ['hostssl app guest samehost trust'],
      },
    }),
    major === 0 ? {} : { postgresMajor: major },
  ).groups[0];
  assert(planned !== undefined);

  before(async () => {
    pki = await createTestPki();
    kit = createTlsPostgresKit(pki);
    // The server's user may not enter the folder of the certificates.
    const caFile = join(kit.folder, 'ca.crt');
    copyFileSync(pki.caFile, caFile);
    const settings = Object.fromEntries(
      planned.settings.flatMap(({ name, value }) => (value === null ? [] : [[name, value]])),
    );
    await kit.start({
      name: 'leo-1',
      address: ADDRESS,
      port: PORT,
      dnsNames: [],
      settings: { ...settings, ssl_ca_file: caFile, fsync: 'off' },
    });
    for (const [user, options] of [
      ['app', "password 'secret'"],
      ['guest', ''],
      [REPLICATION_USER, "replication password 'secret'"],
    ]) {
      asSuperuser(`create role ${user} login ${options}`);
    }
    asSuperuser("alter role postgres password 'secret'");
    asSuperuser('create database app owner app');
    // The map lets in the user of this test, who is the agent here.
    const ident = planned.ident.map((line) =>
      line.replace('pgspan postgres', `pgspan ${process.getuid?.() === 0 ? 'root' : process.env.USER}`),
    );
    writeFileSync(join(kit.folder, 'leo-1', 'pg_ident.conf'), `${ident.join('\n')}\n`);
    writeFileSync(join(kit.folder, 'leo-1', 'pg_hba.conf'), `${planned.hba.join('\n')}\n`);
    asSuperuser('select pg_reload_conf()');
  });

  after(async () => {
    kit?.close();
    await pki?.[Symbol.asyncDispose]();
  });

  const psql = (conninfo: string, sql: string) => {
    const done = spawnSync(join(kit.bin, 'psql'), ['-XAtw', '-c', sql, conninfo], {
      encoding: 'utf8',
      env: { LC_ALL: 'C' },
    });
    return { isOk: done.status === 0, out: done.stdout.trim(), error: done.stderr.trim() };
  };
  const asSuperuser = (sql: string): string => {
    const { isOk, out, error } = psql(
      `host=${join(kit.folder, 'leo-1')} port=${PORT} user=postgres dbname=postgres`,
      sql,
    );
    assert(isOk, error);
    return out;
  };
  const remote = (words: string) => `host=leo-1 hostaddr=${ADDRESS} port=${PORT} sslrootcert=${pki.caFile} ${words}`;
  const tls = 'sslmode=verify-full';

  test('the server takes every setting, in the planned value', () => {
    const rows: { name: string; setting: string; unit: string | null; boot: string }[] = JSON.parse(
      asSuperuser(
        "select json_agg(json_build_object('name', name, 'setting', setting, 'unit', unit)) from pg_settings",
      ),
    );
    const known = new Map(rows.map((row) => [row.name, row]));
    const missing = planned.settings.filter(({ name }) => !known.has(name)).map(({ name }) => name);
    assert.deepEqual(missing, []);
    assert.equal(asSuperuser('show work_mem'), '3MB');
    assert.equal(asSuperuser('show wal_level'), 'logical');
    assert.equal(asSuperuser('show wal_sender_timeout'), '5s');
    assert.equal(asSuperuser('show shared_buffers'), '96MB');
  });

  test('the table of settings agrees with this server', () => {
    const rows: {
      name: string;
      context: string;
      type: string;
      unit: string | null;
      min: string | null;
      max: string | null;
      values: string[] | null;
    }[] = JSON.parse(
      asSuperuser(`select json_agg(json_build_object('name', lower(name), 'context', context, 'type', vartype, 'unit', unit,
        'min', min_val, 'max', max_val, 'values', enumvals)) from pg_settings
        where context <> 'internal' and name not like '%.%' and name <> 'extension_destdir'`),
    );
    const wrong = rows.flatMap((row) => {
      const ours = SERVER_SETTINGS.get(row.name);
      // A minor release may bring a setting; what the table says of those it knows must be right.
      if (ours === undefined) return [];
      const isSame =
        (ours.type === row.type || ours.type === 'string') &&
        ours.unit === row.unit &&
        (row.min === null || (ours.min ?? -Infinity) <= Number(row.min)) &&
        (row.max === null || (ours.max ?? Infinity) >= Number(row.max)) &&
        (row.values ?? []).every((value) => ours.values.includes(value)) &&
        (ours.appliesBy === 'restart' || row.context !== 'postmaster') &&
        ours.firstMajor <= major &&
        ours.lastMajor >= major;
      return isSame ? [] : [`${row.name}: ${JSON.stringify(row)} and ${JSON.stringify(ours)}`];
    });
    assert.deepEqual(wrong, []);
    const names = new Set(rows.map((row) => row.name));
    const lacking = [...SERVER_SETTINGS.values()].filter(
      ({ name, firstMajor, lastMajor }) => firstMajor <= major && lastMajor >= major && !names.has(name),
    );
    assert.deepEqual(
      lacking.map(({ name }) => name).filter((name) => !UNLISTED_SETTINGS.includes(name)),
      [],
    );
  });

  test('the server understands every access rule', () => {
    assert.equal(asSuperuser("select coalesce(string_agg(error, '; '), 'none') from pg_hba_file_rules"), 'none');
    assert.equal(asSuperuser('select count(*) from pg_hba_file_rules'), String(planned.hba.length));
  });

  test('the replication user gets in with its certificate, for replication and for pg_rewind', async () => {
    const { certFile, keyFile } = await pki.issue(REPLICATION_USER);
    const certificate = `${tls} user=${REPLICATION_USER} sslcert=${certFile} sslkey=${keyFile}`;
    const streaming = psql(remote(`${certificate} replication=true`), 'IDENTIFY_SYSTEM');
    assert(streaming.isOk, streaming.error);
    const rewinding = psql(remote(`${certificate} dbname=postgres`), 'select 1');
    assert(rewinding.isOk, rewinding.error);
    const elsewhere = psql(remote(`${certificate} dbname=app`), 'select 1');
    assert.match(elsewhere.error, /rejects connection/);
  });

  test('nobody is the replication user by a password, or by the certificate of another', async () => {
    const byPassword = psql(
      remote(`${tls} user=${REPLICATION_USER} password=secret replication=true`),
      'IDENTIFY_SYSTEM',
    );
    assert.match(byPassword.error, /requires a valid client certificate/);
    const { certFile, keyFile } = await pki.issue('leo-2');
    const asNode = psql(
      remote(`${tls} user=${REPLICATION_USER} sslcert=${certFile} sslkey=${keyFile} replication=true`),
      'IDENTIFY_SYSTEM',
    );
    assert.match(asNode.error, /certificate authentication failed/);
  });

  test('users get in over TLS with their password, and not without TLS', () => {
    const app = psql(
      remote(`${tls} user=app password=secret dbname=app`),
      'select ssl from pg_stat_ssl where pid = pg_backend_pid()',
    );
    assert.deepEqual([app.isOk, app.out], [true, 't'], app.error);
    const plain = psql(remote('sslmode=disable user=app password=secret dbname=app'), 'select 1');
    assert.match(plain.error, /no encryption/);
    const wrong = psql(remote(`${tls} user=app password=wrong dbname=app`), 'select 1');
    assert.match(wrong.error, /password authentication failed/);
  });

  test("the user's own rules count before the last one", () => {
    const guest = psql(remote(`${tls} user=guest dbname=app`), 'select 1');
    assert(guest.isOk, guest.error);
  });

  test('the superuser gets in over the local socket only', () => {
    const { error } = psql(remote(`${tls} user=postgres password=secret dbname=postgres`), 'select 1');
    assert.match(error, /rejects connection/);
    assert.equal(asSuperuser('select 1'), '1');
  });
});

/** Not in pg_settings of every server that takes them: new with a minor release, or the old name of a renamed setting. */
const UNLISTED_SETTINGS: readonly string[] = [
  'file_extend_method',
  'force_parallel_mode',
  'output_plugin_libraries',
  'ssl_ecdh_curve',
];
