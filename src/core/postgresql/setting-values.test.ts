import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { settingNumber, settingProblem } from './setting-values.ts';

describe('settingProblem', () => {
  it('lets through what PostgreSQL takes', () => {
    const taken: [string, string][] = [
      ['work_mem', '64MB'],
      ['work_mem', '0.5GB'],
      ['work_mem', '65536'],
      ['Work_Mem', ' 64 MB '],
      ['jit', 'off'],
      ['jit', 'FALSE'],
      ['wal_level', 'LOGICAL'],
      ['random_page_cost', '1.1'],
      ['random_page_cost', '1e2'],
      ['statement_timeout', '1min'],
      ['log_min_messages', 'debug'],
      ['search_path', 'a, b'],
      ['pg_stat_statements.max', 'anything'],
      ['a_setting_of_tomorrow', 'x'],
    ];
    for (const [name, value] of taken) assert.equal(settingProblem(name, value, 18), null, `${name} = ${value}`);
  });

  it('says what is wrong with the rest', () => {
    const refused: [string, string, string, string][] = [
      ['work_mem', '64Mb', 'found "64Mb"', 'accepted: a number with one of B, kB, MB, GB, TB (capitals count)'],
      ['work_mem', '64s', 'found "64s"', 'accepted: a number with one of B, kB, MB, GB, TB (capitals count)'],
      ['work_mem', '1kB', 'found "1kB"', 'accepted: 64 to 2147483647 (in kB)'],
      ['jit', 'maybe', 'found "maybe"', 'accepted: on or off'],
      ['wal_compression', 'gzip', 'found "gzip"', 'accepted: pglz, lz4, zstd, on, off'],
      ['random_page_cost', 'cheap', 'found "cheap"', 'accepted: at least 0'],
      ['shared_bufers', '1GB', 'PostgreSQL has no such setting', 'did you mean "shared_buffers"?'],
    ];
    for (const [name, value, found, accepted] of refused) {
      const problem = settingProblem(name, value, 18);
      assert.equal(problem?.found, found, `${name} = ${value}`);
      assert.equal(problem?.accepted, accepted, `${name} = ${value}`);
    }
  });

  it('knows which majors have a setting', () => {
    assert.deepEqual(settingProblem('transaction_timeout', '1s', 15), {
      found: 'PostgreSQL 15 has no such setting',
      accepted: 'it came with 17',
    });
    assert.equal(settingProblem('transaction_timeout', '1s', 17), null);
    assert.deepEqual(settingProblem('old_snapshot_threshold', '1min', 18), {
      found: 'PostgreSQL 18 has no such setting',
      accepted: 'it went after 16',
    });
  });
});

describe('settingNumber', () => {
  it('counts in bytes and milliseconds', () => {
    assert.equal(settingNumber('shared_buffers', '1GB'), 2 ** 30);
    assert.equal(settingNumber('shared_buffers', '16384'), 2 ** 27);
    assert.equal(settingNumber('statement_timeout', '1min'), 60_000);
    assert.equal(settingNumber('max_connections', '100'), 100);
    assert.equal(settingNumber('max_connections', 'many'), null);
  });
});
