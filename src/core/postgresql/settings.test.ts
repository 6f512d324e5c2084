import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planHba, planIdent } from './hba.ts';
import { OWNED_SETTINGS } from './owned-settings.ts';
import { settingProblem } from './setting-values.ts';
import { settingProblems } from './setting-problems.ts';
import { planSettings, type Setting, type SettingsInput } from './settings.ts';

const GIB = 2 ** 30;
const GLOBAL = { nodeCount: 3, detectionMs: 1000, postgresMajor: 18 };

function groupOf(
  parameters: Record<string, string> = {},
  memoryBytes: number | null = 4 * GIB,
  group = 'leo',
): SettingsInput {
  return { group, size: { memoryBytes, cpus: 2, volumeBytes: 10 * GIB }, parameters };
}

function settingsOf(parameters: Record<string, string>): Map<string, Setting> {
  const [settings] = planSettings([groupOf(parameters)], GLOBAL);
  return new Map(settings?.map((setting) => [setting.name, setting]));
}

function problemsOf(parameters: Record<string, string>): string[] {
  return settingProblems(groupOf(parameters), GLOBAL).map(
    ({ name, found, accepted }) => `${name}: ${found}; ${accepted}`,
  );
}

describe('the plan of settings', () => {
  it('says of each where it comes from, why, and how a change takes effect', () => {
    for (const setting of settingsOf({ jit: 'off' }).values()) {
      assert.notEqual(setting.reason, '', setting.name);
      assert.doesNotMatch(setting.reason, /\.$/, setting.name);
    }
    const settings = settingsOf({});
    assert.deepEqual(settings.get('fsync'), {
      name: 'fsync',
      value: 'on',
      origin: 'owned',
      reason: 'an acknowledged commit must survive a crash',
      appliesBy: 'reload',
    });
    assert.equal(settings.get('shared_buffers')?.origin, 'tuned');
    assert.equal(settings.get('shared_buffers')?.appliesBy, 'restart');
    assert.equal(settings.get('huge_pages')?.origin, 'default');
  });

  it('has each setting once, in a value that PostgreSQL takes, for every major', () => {
    for (const postgresMajor of [15, 16, 17, 18]) {
      const [settings = []] = planSettings([groupOf()], { ...GLOBAL, postgresMajor });
      assert.equal(new Set(settings.map(({ name }) => name)).size, settings.length);
      for (const { name, value } of settings) {
        if (value !== null)
          assert.equal(settingProblem(name, value, postgresMajor), null, `${name} = ${value} on ${postgresMajor}`);
      }
      assert.equal(
        settings.some(({ name }) => name === 'allow_alter_system'),
        postgresMajor >= 17,
      );
    }
  });

  it("lets the user's value win over what is tuned and over a default", () => {
    const settings = settingsOf({ SHARED_BUFFERS: '1GB', hot_standby_feedback: 'off' });
    assert.equal(settings.get('shared_buffers')?.value, '1GB');
    assert.equal(settings.get('shared_buffers')?.origin, 'user');
    assert.equal(settings.get('hot_standby_feedback')?.value, 'off');
  });

  it('has the settings that a standby needs at least as high as its leader equal in all groups', () => {
    const groups = [
      groupOf({ max_connections: '300' }),
      groupOf({ max_connections: '900' }, GIB, 'ait'),
      groupOf({}, null, 'pit'),
    ];
    const planned = planSettings(groups, GLOBAL);
    for (const name of [
      'max_connections',
      'max_worker_processes',
      'max_wal_senders',
      'max_prepared_transactions',
      'max_locks_per_transaction',
    ]) {
      const values = planned.map((settings) => settings.find((setting) => setting.name === name)?.value);
      assert.equal(new Set(values).size, 1, `${name}: ${values}`);
    }
    assert.equal(planned[2]?.find(({ name }) => name === 'max_connections')?.value, '900');
  });

  it('tunes work_mem for the connections that there will be', () => {
    assert.notEqual(
      settingsOf({}).get('work_mem')?.value,
      settingsOf({ max_connections: '1000' }).get('work_mem')?.value,
    );
  });

  it('has room for more nodes, so that scaling needs no restart', () => {
    const restarting = (nodeCount: number) =>
      planSettings([groupOf()], { nodeCount, detectionMs: 1000, postgresMajor: 18 })[0]
        ?.filter(({ appliesBy }) => appliesBy === 'restart')
        .map(({ name, value }) => `${name}=${value}`);
    for (const nodeCount of [2, 3, 4, 9]) assert.deepEqual(restarting(nodeCount), restarting(1), `${nodeCount} nodes`);
    assert.notDeepEqual(restarting(10), restarting(1));
  });

  it('follows the number of nodes and the detection of failures', () => {
    const [settings = []] = planSettings([groupOf()], { nodeCount: 9, detectionMs: 3000, postgresMajor: 18 });
    const value = (name: string) => settings.find((setting) => setting.name === name)?.value;
    assert.deepEqual(
      [value('max_wal_senders'), value('max_replication_slots'), value('wal_sender_timeout')],
      ['20', '16', '15000ms'],
    );
  });
});

describe('settings of a user', () => {
  it('that pgspan owns are refused with the reason', () => {
    for (const [name, { reason }] of Object.entries(OWNED_SETTINGS)) {
      assert.deepEqual(problemsOf({ [name]: 'x' }), [
        `${name}: this setting belongs to pgspan; leave it out: ${reason}`,
      ]);
    }
    assert.deepEqual(
      problemsOf({ Synchronous_Commit: 'off' })[0]?.split(';')[0],
      'synchronous_commit: this setting belongs to pgspan',
    );
  });

  it('that would break replication, TLS or the server are refused', () => {
    assert.deepEqual(problemsOf({ wal_level: 'minimal' }), [
      'wal_level: found "minimal"; accepted: replica, logical, since replication needs it',
    ]);
    assert.deepEqual(problemsOf({ ssl_min_protocol_version: 'TLSv1' }), [
      'ssl_min_protocol_version: found "TLSv1"; accepted: TLSv1.2, TLSv1.3, since older versions are broken',
    ]);
    assert.deepEqual(problemsOf({ max_wal_senders: '3' }), [
      'max_wal_senders: found 3; accepted: at least 10 (two for each of 2 other nodes, since a dead connection may linger beside a new one, and four for clones and tools)',
    ]);
    assert.deepEqual(problemsOf({ shared_buffers: '4GB' }), [
      'shared_buffers: found 4GB; accepted: less than 3968MB, which the memory of the pod leaves PostgreSQL',
    ]);
    assert.deepEqual(problemsOf({ include_dir: 'x' }), [
      'include_dir: no other file is read; write the settings themselves',
    ]);
    assert.deepEqual(problemsOf({ search_path: "a'\nfsync = off" }), [
      'search_path: found a line break; accepted: a value on one line',
    ]);
  });

  it('are let through otherwise', () => {
    assert.deepEqual(
      problemsOf({
        wal_level: 'logical',
        max_wal_senders: '20',
        shared_buffers: '2GB',
        'auto_explain.log_min_duration': '1s',
      }),
      [],
    );
  });
});

describe('access rules', () => {
  it("put ours first, then the user's, then everybody by SCRAM over TLS", () => {
    const lines = planHba({ userLines: ['hostssl app guest all cert'], enableSuperuserAccess: false });
    assert.deepEqual(lines.at(0)?.split(/\s+/), ['local', 'all', 'postgres', 'peer', 'map=pgspan']);
    assert.deepEqual(lines.at(-1)?.split(/\s+/), ['hostssl', 'all', 'all', 'all', 'scram-sha-256']);
    assert.equal(lines.indexOf('hostssl app guest all cert'), lines.length - 3);
  });

  it('let the superuser in from remote only if asked, and over TLS only', () => {
    const remote = (enableSuperuserAccess: boolean) =>
      planHba({ userLines: [], enableSuperuserAccess })
        .map((line) => line.split(/\s+/))
        .filter(([type, , user]) => type !== 'local' && user === 'postgres')
        .map(([type, , , , method]) => `${type} ${method}`);
    assert.deepEqual(remote(false), ['host reject']);
    assert.deepEqual(remote(true), ['hostssl scram-sha-256', 'host reject']);
  });

  it('map the system user of the agent to the superuser', () => {
    assert.deepEqual(planIdent(['people anna anna'], 'pg'), ['pgspan pg postgres', 'people anna anna']);
  });
});
