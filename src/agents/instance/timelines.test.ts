import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import {
  historyFileName,
  parseHistory,
  readLineage,
  readNewestLineage,
  removeReservedTimelines,
  RESERVED_TIMELINES_MAX,
  reserveTimelines,
} from './timelines.ts';

/** As PostgreSQL 15 wrote it at the promotion of a promoted standby. */
const REAL_HISTORY = '1\t0/3000148\tno recovery target specified\n\n3\t0/5000028\tno recovery target specified\n';

const root = mkdtempSync(join(tmpdir(), 'pgspan-timelines-'));
after(() => rmSync(root, { recursive: true, force: true }));
let count = 0;

/** A data directory with these files in pg_wal. */
function aDataDirectory(files: Record<string, string> = {}): { data: string; wal: string } {
  const data = join(root, String(++count));
  const wal = join(data, 'pg_wal');
  mkdirSync(wal, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(wal, name), text);
  return { data, wal };
}

describe('a history file', () => {
  test('has the name that PostgreSQL gives it', () => {
    assert.equal(historyFileName(7), '00000007.history');
    assert.equal(historyFileName(0x1abc), '00001ABC.history');
  });

  test('lists the ancestors and where each ended, whatever the reasons say', () => {
    assert.deepEqual(parseHistory(REAL_HISTORY), [
      { timeline: 1, endLsn: 0x3000148n },
      { timeline: 3, endLsn: 0x5000028n },
    ]);
    assert.deepEqual(parseHistory('1 A/FFFFFFFF\tat restore point "7 0/1"\n'), [{ timeline: 1, endLsn: 0xaffffffffn }]);
  });

  test('of comments, of nothing or of noise lists none', () => {
    for (const text of ['', '\n\n', '# 1\t0/3000148\n', 'history\n', '1\n', '1\t3000148\n', '\0\0\0\0'])
      assert.deepEqual(parseHistory(text), [], JSON.stringify(text));
  });
});

describe('a lineage', () => {
  test('of the first timeline needs no file', async () => {
    const { data } = aDataDirectory();
    assert.deepEqual(await readLineage(data, 1), { timeline: 1, history: [] });
  });

  test('of a later one is its history; null for one that is absent or only reserved', async () => {
    const { data } = aDataDirectory({ '00000005.history': REAL_HISTORY });
    assert.deepEqual(await readLineage(data, 5), { timeline: 5, history: parseHistory(REAL_HISTORY) });
    await reserveTimelines(data, 5, 8);
    assert.equal(await readLineage(data, 6), null);
    assert.equal(await readLineage(data, 9), null);
  });
});

describe('the newest lineage', () => {
  test('is that of the highest timeline with a real history above the known one: a promotion that was not written down', async () => {
    const { data } = aDataDirectory({ '00000003.history': REAL_HISTORY, '00000005.history': REAL_HISTORY });
    await reserveTimelines(data, 5, 9);
    assert.deepEqual(await readNewestLineage(data, 1), { timeline: 5, history: parseHistory(REAL_HISTORY) });
    assert.equal(await readNewestLineage(data, 5), null);
    assert.equal(await readNewestLineage(data, 9), null);
  });
});

describe('reserved timelines', () => {
  test('are all the missing ones below the wanted, and hold no parent', async () => {
    const { data, wal } = aDataDirectory({ '00000003.history': REAL_HISTORY });
    await reserveTimelines(data, 1, 6);
    assert.deepEqual(readdirSync(wal).sort(), [2, 3, 4, 5].map(historyFileName));
    assert.equal(readFileSync(join(wal, '00000003.history'), 'utf8'), REAL_HISTORY);
    for (const timeline of [2, 4, 5]) {
      const path = join(wal, historyFileName(timeline));
      assert.deepEqual(parseHistory(readFileSync(path, 'utf8')), []);
      assert.equal(statSync(path).mode & 0o777, 0o600);
    }
  });

  test('are those of earlier elections as well: a standby of an older timeline asks for each', async () => {
    const { data, wal } = aDataDirectory({ '00000004.history': REAL_HISTORY });
    await reserveTimelines(data, 4, 5);
    assert.deepEqual(readdirSync(wal).sort(), [2, 3, 4].map(historyFileName));
    await reserveTimelines(data, 5, 5);
    assert.deepEqual(readdirSync(wal).sort(), [2, 3, 4].map(historyFileName));
  });

  test('are none on the first and the second timeline', async () => {
    const { data, wal } = aDataDirectory();
    await reserveTimelines(data, 1, 1);
    await reserveTimelines(data, 1, 2);
    assert.deepEqual(readdirSync(wal), []);
  });

  test('may be reserved again after an interruption, and go without a trace; real histories stay', async () => {
    const { data, wal } = aDataDirectory({
      '00000003.history': REAL_HISTORY,
      '000000010000000000000003': 'wal',
      '00000002.history.backup': '# Reserved by pgspan',
    });
    const before = readdirSync(wal).sort();
    await reserveTimelines(data, 3, 6);
    await reserveTimelines(data, 3, 8);
    await removeReservedTimelines(data);
    await removeReservedTimelines(data);
    assert.deepEqual(readdirSync(wal).sort(), before);
  });

  test('go as well when a crash came between making and filling one: an empty history hinders a start as much', async () => {
    const { data, wal } = aDataDirectory({ '00000004.history': '', '00000003.history': REAL_HISTORY });
    await removeReservedTimelines(data);
    assert.deepEqual(readdirSync(wal), ['00000003.history']);
  });

  test('are refused beyond what a busy cluster could need', async () => {
    const { data, wal } = aDataDirectory();
    await assert.rejects(reserveTimelines(data, 1, RESERVED_TIMELINES_MAX + 2), RangeError);
    assert.deepEqual(readdirSync(wal), []);
  });
});
