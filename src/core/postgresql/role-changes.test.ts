import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { decideRoleChanges, type FoundRole, type WantedRole } from './role-changes.ts';
import { isPasswordOf, scramVerifier } from './scram.ts';

const SALT = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64');
const salt = () => SALT;
const wanted = (change: Partial<WantedRole> = {}): WantedRole => ({
  name: 'anna',
  attributes: ['LOGIN'],
  password: { kind: 'none' },
  ...change,
});
const found = (change: Partial<FoundRole> = {}): FoundRole => ({
  name: 'anna',
  attributes: ['INHERIT', 'LOGIN'],
  password: null,
  ...change,
});
const statements = (one: WantedRole, before: readonly FoundRole[]) =>
  decideRoleChanges([one], before, salt).map(({ sql }) => sql);

suite('changes of roles', () => {
  test('a role that is not there is made', () => {
    assert.deepEqual(statements(wanted(), []), ['CREATE ROLE "anna" WITH LOGIN']);
    assert.deepEqual(statements(wanted({ attributes: [] }), []), ['CREATE ROLE "anna"']);
    assert.deepEqual(statements(wanted({ attributes: ['NOINHERIT', 'CREATEDB'] }), []), [
      'CREATE ROLE "anna" WITH CREATEDB NOINHERIT',
    ]);
  });

  test('one that is as it should be is left alone', () => {
    assert.deepEqual(statements(wanted(), [found()]), []);
    assert.deepEqual(statements(wanted({ attributes: null }), [found({ attributes: ['SUPERUSER'] })]), []);
  });

  test('attributes that are no longer asked for are taken away', () => {
    const before = found({ attributes: ['CREATEDB', 'INHERIT', 'LOGIN', 'SUPERUSER'] });
    assert.deepEqual(statements(wanted(), [before]), ['ALTER ROLE "anna" WITH NOSUPERUSER NOCREATEDB']);
  });

  test('a password is set once, and never stands in a statement or a log', () => {
    const one = wanted({ password: { kind: 'is', text: "se'cret" } });
    const [change] = decideRoleChanges([one], [found()], salt);
    assert.match(change?.sql ?? '', /^ALTER ROLE "anna" WITH PASSWORD 'SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$/);
    assert.doesNotMatch(change?.sql ?? '', /cret/);
    assert.equal(change?.summary, 'ALTER ROLE anna PASSWORD');
    const password = scramVerifier("se'cret", Buffer.from('another salt'), 10);
    assert.deepEqual(statements(one, [found({ password })]), []);
  });

  test('a password is taken away where none is asked for, and kept where it is not known', () => {
    const before = [found({ password: scramVerifier('old', SALT) })];
    assert.deepEqual(statements(wanted(), before), ['ALTER ROLE "anna" WITH PASSWORD NULL']);
    assert.deepEqual(statements(wanted({ password: { kind: 'keep' } }), before), []);
  });

  test('the verifier is that of RFC 7677, section 3', () => {
    const proof = scramVerifier('pencil', SALT, 4096);
    assert.equal(
      proof,
      'SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=',
    );
    assert.equal(isPasswordOf(proof, 'pencil'), true);
    assert.equal(isPasswordOf(proof, 'Pencil'), false);
    assert.equal(isPasswordOf('md5d3b07384d113edec49eaa6238ad5ff00', 'pencil'), false);
  });
});
