import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { InstanceConfig } from '../../api/agent-config.ts';
import { findPostgres } from '../../platform/postgres-installation.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { ConfigurationFiles, type DynamicSettings, formatConninfo, renderPostgresqlConf } from './configuration.ts';
import { replicationConninfo } from './conninfo.ts';

/** What people and file systems come up with. A line break is refused by the API, and must not do harm here either. */
const HOSTILE = [
  "it's",
  "'",
  "''; fsync = off; '",
  'C:\\new\\table',
  '\\',
  "\\'",
  'ends with \\',
  '# no comment',
  '%m [%p] %q%u@%d ',
  "a'\nfsync = off\n#",
  '\ttab and\rreturn',
  'ünïcode 数据库',
  "include '/etc/passwd'",
  '${HOME} `id` $(id)',
  ' spaces at both ends ',
];

const quiet: DynamicSettings = {
  synchronousStandbyNames: '',
  primaryConninfo: '',
  primarySlotName: '',
  isPrimary: false,
};

function aConfig(
  parameters: Record<string, string>,
  given: { paths?: Partial<InstanceConfig['paths']> } = {},
): InstanceConfig {
  const endpoint = { host: 'leo-1', address: '127.66.3.1', port: 5432 };
  return {
    globalCluster: 'orders',
    group: 'leo',
    node: 'leo-1',
    generation: 1,
    bootstraps: true,
    paths: {
      postgresBin: '/usr/lib/postgresql/15/bin',
      dataDirectory: '/data',
      stateDirectory: '/state',
      runtimeDirectory: '/run/leo-1',
      postgresLog: null,
      ...given.paths,
    },
    listen: { address: '127.66.3.1', postgresPort: 5432, agentPort: 7440, pathPort: 7441 },
    tls: { certFile: 'c', keyFile: 'k', caFile: 'a', replicationCertFile: 'rc', replicationKeyFile: 'rk' },
    sslMode: 'verify-full',
    peers: [{ node: 'leo-1', group: 'leo', postgres: endpoint, agent: endpoint, priority: 100, votes: true }],
    store: { kind: 'local', endpoint },
    timing: { detectionMs: 1000, fenceMs: 3000, memberTimeoutMs: 30_000 },
    replication: { minCopies: 2, siteMembersMax: 0, scope: 'global', maximumLagBytes: 0 },
    postgresql: { parameters, hba: ['hostssl all all all scram-sha-256'], ident: [] },
    bootstrap: { database: 'app', owner: 'app', ownerPasswordFile: 'p', superuserPasswordFile: null },
    roles: [],
  };
}

const NEEDED = needs('postgres');

describe('postgresql.conf', NEEDED, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-conf-'));
  const owner = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {};
  chmodSync(folder, 0o755);
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** The value as the server itself reads it from the file, or what it says about the file. */
  function readBack(text: string, name: string): string {
    const file = join(folder, 'postgresql.conf');
    writeFileSync(file, text, { mode: 0o644 });
    const { bin } = findPostgres();
    const done = spawnSync(join(bin, 'postgres'), ['-D', folder, '-c', `config_file=${file}`, '-C', name], {
      ...owner,
      encoding: 'utf8',
      env: { LC_ALL: 'C.UTF-8' },
    });
    assert.equal(done.status, 0, done.stderr);
    return done.stdout.slice(0, -1);
  }

  test('gives the server every value as it was set, and nothing more', () => {
    for (const value of HOSTILE) {
      const text = renderPostgresqlConf(aConfig({ log_line_prefix: value, fsync: 'on' }), quiet, '/state/postgresql');
      assert.equal(readBack(text, 'log_line_prefix'), value, JSON.stringify(value));
      assert.equal(readBack(text, 'fsync'), 'on', JSON.stringify(value));
    }
  });

  test('gives the server a conninfo, with quotes within quotes, as it was written', () => {
    const primaryConninfo = formatConninfo({ host: "it's a\\host", sslkey: "/keys/a b'c" });
    const text = renderPostgresqlConf(aConfig({}), { ...quiet, primaryConninfo }, '/state/postgresql');
    assert.equal(readBack(text, 'primary_conninfo'), primaryConninfo);
  });

  test('sets what the agent owns, whatever the plan says of it', () => {
    const config = aConfig({
      port: '1',
      primary_conninfo: 'host=elsewhere',
      synchronous_standby_names: '',
      ssl: 'off',
    });
    const text = renderPostgresqlConf(config, { ...quiet, synchronousStandbyNames: 'ANY 1 ("ait-1_0123")' }, '/state');
    assert.equal(readBack(text, 'port'), '5432');
    assert.equal(readBack(text, 'primary_conninfo'), '');
    assert.equal(readBack(text, 'ssl'), 'on');
    assert.equal(readBack(text, 'synchronous_standby_names'), 'ANY 1 ("ait-1_0123")');
  });

  test('listens on all addresses where none is given', () => {
    const config = aConfig({});
    const text = renderPostgresqlConf({ ...config, listen: { ...config.listen, address: null } }, quiet, '/state');
    assert.equal(readBack(text, 'listen_addresses'), '*');
  });
});

describe('a conninfo', NEEDED, () => {
  test('gives libpq every value as it was set', () => {
    const { bin } = findPostgres();
    for (const value of HOSTILE.filter((one) => !/[\n\r\t]/.test(one))) {
      const host = value.replaceAll(',', '');
      const conninfo = formatConninfo({ port: '1', host: `/${host}`, connect_timeout: '1' });
      const { stdout } = spawnSync(join(bin, 'pg_isready'), ['-d', conninfo], {
        encoding: 'utf8',
        env: { LC_ALL: 'C' },
      });
      assert.ok(stdout.startsWith(`/${host}:1 - `), `${JSON.stringify(value)}: ${stdout}`);
    }
  });

  test('of a receiver verifies the peer by name and dials the path, with limits on every wait', () => {
    const config = aConfig({});
    const [peer] = config.peers;
    assert.ok(peer !== undefined);
    const member = { node: 'leo-1', incarnation: '0123456789ab' };
    const words = replicationConninfo(config, { peer, port: 7441, applicationName: null, member }).split(' ');
    for (const word of [
      "host='leo-1'",
      "hostaddr='127.66.3.1'",
      "port='7441'",
      "user='streaming_replica'",
      "application_name='leo-1_01234567'",
      "sslmode='verify-full'",
      "connect_timeout='2'",
      "tcp_user_timeout='5000'",
    ])
      assert.ok(words.includes(word), word);
    assert.ok(!words.some((word) => word.startsWith('password')));
  });
});

describe('the configuration files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-conf-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const read = (name: string): string => readFileSync(join(folder, 'postgresql', name), 'utf8');

  test('are written once, and again only when something in them changes', async () => {
    const files = new ConfigurationFiles(folder);
    const config = aConfig({ work_mem: '4MB' });
    assert.equal(await files.write(config, quiet), true);
    assert.equal(await files.write(config, quiet), false);
    assert.equal(await files.write(aConfig({ work_mem: '5MB' }), quiet), true);
    assert.equal(await files.write(aConfig({ work_mem: '5MB' }), { ...quiet, primarySlotName: 'pgspan_leo_1' }), true);
    assert.equal(read('pg_hba.conf'), 'hostssl all all all scram-sha-256\n');
    assert.deepEqual(readdirSync(join(folder, 'postgresql')).sort(), [
      'pg_hba.conf',
      'pg_ident.conf',
      'postgresql.conf',
    ]);
    for (const name of ['pg_hba.conf', 'postgresql.conf'])
      assert.equal(statSync(join(folder, 'postgresql', name)).mode & 0o077, 0, 'for the owner only');
  });

  test('are whole, and what was asked for last, when several parts of the agent write them at one time', async () => {
    const files = new ConfigurationFiles(folder);
    const writes = Array.from({ length: 20 }, (_, n) =>
      files.write(aConfig({ work_mem: `${n + 1}MB` }), { ...quiet, primarySlotName: `slot_${n}` }),
    );
    await Promise.all(writes);
    assert.match(read('postgresql.conf'), /work_mem = '20MB'[^]*primary_slot_name = 'slot_19'/);
    assert.equal(files.dynamic.primarySlotName, 'slot_19');
  });

  test('tell the next agent what the running server was told', async () => {
    const dynamic = {
      synchronousStandbyNames: 'ANY 1 ("ait-1_01234567", "pit-1_89abcdef")',
      primaryConninfo: formatConninfo({ host: "it's", sslkey: 'C:\\keys' }),
      primarySlotName: 'pgspan_leo_1',
      isPrimary: false,
    };
    await new ConfigurationFiles(folder).write(
      aConfig({ work_mem: '4MB', log_line_prefix: "x\nprimary_slot_name = 'no'" }),
      dynamic,
    );
    const next = new ConfigurationFiles(folder);
    await next.restore();
    assert.deepEqual(next.dynamic, dynamic);
  });

  test('let a server look seldom for WAL while it has no leader, but not one that is to be promoted', async () => {
    const files = new ConfigurationFiles(mkdtempSync(join(folder, 'seldom-')));
    const look = (): string =>
      /wal_retrieve_retry_interval = '(.*)'/.exec(readFileSync(files.configFile, 'utf8'))?.[1] ?? '';
    const config = aConfig({ wal_retrieve_retry_interval: '100ms' });
    await files.write(config, quiet);
    assert.equal(look(), '5s');
    assert.equal(await files.write(config, { isPrimary: true }), true, 'it must reload');
    assert.equal(look(), '100ms');
    await files.restore();
    assert.equal(files.dynamic.isPrimary, true);
    await files.write(config, { isPrimary: false, primaryConninfo: "host='x'" });
    assert.equal(look(), '100ms');
  });

  test('know that a list is in force only from a start on, or once it was loaded and the checkpointer has seen it', async () => {
    const files = new ConfigurationFiles(mkdtempSync(join(folder, 'required-')));
    const config = aConfig({});
    const require = (synchronousStandbyNames: string): Promise<boolean> =>
      files.write(config, { ...quiet, synchronousStandbyNames });
    await require('');
    files.serverStarts();
    assert.deepEqual(files.required, { isLoaded: true, isArmed: true });
    await require('ANY 1 (a)');
    assert.deepEqual(files.required, { isLoaded: false, isArmed: false }, "from '' the wait is not armed");
    files.setRequired('ANY 1 (b)', { isLoaded: true });
    assert.equal(files.required.isLoaded, false, 'that was of another value');
    files.setRequired('ANY 1 (a)', { isLoaded: true, isArmed: true });
    await require('ANY 2 (a, b)');
    assert.deepEqual(files.required, { isLoaded: false, isArmed: true }, 'from one list to another it stays armed');
    await files.restore();
    assert.deepEqual(files.required, { isLoaded: false, isArmed: false }, 'another agent knows nothing of it');
  });

  test('that are not there tell nothing', async () => {
    mkdirSync(join(folder, 'empty'));
    const files = new ConfigurationFiles(join(folder, 'empty'));
    await files.restore();
    assert.deepEqual(files.dynamic, quiet);
  });
});

function idOf(which: '-u' | '-g'): number {
  return Number(execFileSync('id', [which, 'postgres']));
}
