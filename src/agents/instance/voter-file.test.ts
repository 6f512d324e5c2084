import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { freshVoter, type StoredVoter, VoterFile } from './voter-file.ts';

const identity = { globalCluster: 'orders', node: 'leo-1' };

const stored: StoredVoter = {
  systemIdentifier: '7300000000000000001',
  voter: {
    incarnation: '0123456789ab',
    promisedTerm: 7,
    seen: { term: 6, version: 12 },
    lineage: {
      timeline: 6,
      history: [
        { timeline: 1, endLsn: 0x16b3748n },
        { timeline: 3, endLsn: 0xffffffff_ffffffffn },
      ],
    },
    followedTerm: 6,
    rewinding: true,
  },
};

describe('the promise file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-voter-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  let count = 0;
  /** A state directory that does not exist yet. */
  const newPlace = (): { state: string; path: string } => {
    const state = join(folder, String(++count), 'state');
    return { state, path: join(state, 'voter.json') };
  };

  test('gives back what was saved, to another process of the same node', async () => {
    const { state, path } = newPlace();
    await new VoterFile(state, identity).save(stored);
    assert.deepEqual(await new VoterFile(state, identity).load(), { ...stored, isNew: false });
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  test('keeps the word that was given last', async () => {
    const { state } = newPlace();
    const file = new VoterFile(state, identity);
    await file.save(stored);
    await file.save({ ...stored, voter: { ...stored.voter, promisedTerm: 8, lineage: null } });
    const { voter } = await file.load();
    assert.equal(voter.promisedTerm, 8);
    assert.equal(voter.lineage, null);
  });

  test('that is not there means a new incarnation that has promised nothing, and nothing is written yet', async () => {
    const { state } = newPlace();
    const first = await new VoterFile(state, identity).load();
    const second = await new VoterFile(state, identity).load();
    assert.ok(first.isNew);
    assert.match(first.voter.incarnation, /^[0-9a-f]{12}$/);
    assert.notEqual(first.voter.incarnation, second.voter.incarnation);
    assert.deepEqual(first.voter, { ...freshVoter(), incarnation: first.voter.incarnation });
    assert.throws(() => readdirSync(state), { code: 'ENOENT' });
  });

  test('is the old one when a crash came between write and rename', async () => {
    const { state, path } = newPlace();
    const file = new VoterFile(state, identity);
    await file.save(stored);
    const next = readFileSync(path, 'utf8').replace('"promisedTerm": 7', '"promisedTerm": 9');
    for (const part of ['', next.slice(0, next.length / 2), next]) {
      writeFileSync(join(state, '.voter.json.new'), part);
      assert.deepEqual(await new VoterFile(state, identity).load(), { ...stored, isNew: false });
    }
    await file.save(stored);
    assert.deepEqual(readdirSync(state), ['voter.json']);
  });

  test('that is damaged is refused with what to do, not taken for a new node', async () => {
    const { state, path } = newPlace();
    const file = new VoterFile(state, identity);
    await file.save(stored);
    const good = readFileSync(path, 'utf8');
    const damaged = {
      empty: '',
      'cut short': good.slice(0, -20),
      'zeros, as after a power cut': '\0'.repeat(good.length),
      'another format': good.replace('"format": 1', '"format": 2'),
      'a negative term': good.replace('"promisedTerm": 7', '"promisedTerm": -7'),
      'a term that is no number': good.replace('"promisedTerm": 7', '"promisedTerm": "7"'),
      'a term beyond what numbers can tell apart': good.replace(
        '"promisedTerm": 7',
        '"promisedTerm": 9007199254740993',
      ),
      'a field too few': good.replace(/ *"promisedTerm": 7,\n/, ''),
      'a field too many': good.replace('"format": 1', '"format": 1, "termPromised": 9'),
      'an LSN that is none': good.replace('0/16B3748', '0/16b3748; drop'),
      'another thing': '[]',
    };
    for (const [what, text] of Object.entries(damaged)) {
      assert.notEqual(text, good, what);
      writeFileSync(path, text);
      await assert.rejects(file.load(), (error: Error & { code: string }) => {
        assert.equal(error.code, 'VOTER_FILE_INVALID', what);
        assert.match(error.message, /voter\.json.*it is damaged; remove the file and the data directory/, what);
        return true;
      });
      assert.equal(readFileSync(path, 'utf8'), text, 'the damaged file is left for whoever looks into it');
    }
  });

  test("of another node or global cluster is refused: its word is not this node's", async () => {
    for (const other of [
      { globalCluster: 'orders', node: 'leo-2' },
      { globalCluster: 'billing', node: 'leo-1' },
    ]) {
      const { state } = newPlace();
      await new VoterFile(state, other).save(stored);
      await assert.rejects(new VoterFile(state, identity).load(), (error: Error & { code: string }) => {
        assert.equal(error.code, 'VOTER_FILE_FOREIGN');
        assert.match(error.message, new RegExp(`of node "${other.node}" in "${other.globalCluster}".*its own volume`));
        return true;
      });
    }
  });
});
