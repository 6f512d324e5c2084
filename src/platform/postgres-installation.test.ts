import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, suite, test } from 'node:test';
import { needs } from '../../test/kit/requirement.ts';
import { findPostgres, findPostgresInstallations } from './postgres-installation.ts';

const PROGRAMS = ['postgres', 'initdb', 'pg_basebackup', 'pg_rewind', 'pg_controldata'];

suite('the PostgreSQL of this machine', () => {
  let folder: string;
  let environment: NodeJS.ProcessEnv;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'pgspan-postgres-'));
    environment = { ...process.env };
    delete process.env.PGSPAN_POSTGRES_BIN;
  });
  afterEach(() => {
    process.env = environment;
    rmSync(folder, { recursive: true, force: true });
  });

  /** Programs that only say their version: an installation that this machine does not have. */
  const pretend = (name: string, says: string, programs = PROGRAMS): string => {
    const bin = join(folder, name);
    mkdirSync(bin);
    for (const program of programs) {
      writeFileSync(join(bin, program), `#!/bin/sh\necho '${says}'\n`);
      chmodSync(join(bin, program), 0o755);
    }
    return bin;
  };

  test('is found, the highest major first', needs('postgres'), () => {
    const found = findPostgresInstallations();
    assert.ok(found.length > 0);
    for (const { major, version } of found) {
      assert.ok(major >= 15 && major <= 18);
      assert.ok(version.startsWith(`${major}.`));
    }
    const majors = found.map(({ major }) => major);
    assert.deepEqual(
      majors,
      majors.toSorted((a, b) => b - a),
    );
    assert.deepEqual(findPostgres(), found[0]);
  });

  test('is found in PATH, also where PATH has only a link to it', () => {
    const bin = pretend('eighteen', 'postgres (PostgreSQL) 18.99 (Vendor 18.99-1)');
    const links = join(folder, 'links');
    mkdirSync(links);
    symlinkSync(join(bin, 'postgres'), join(links, 'postgres'));
    process.env.PATH = links;
    // The machine may have an 18 of its own.
    const found = findPostgresInstallations().filter((each) => each.bin === bin);
    assert.deepEqual(found, [{ bin, major: 18, version: '18.99' }]);
  });

  test('the folder that is named wins over what is found', () => {
    const bin = pretend('named', 'postgres (PostgreSQL) 16.1');
    assert.deepEqual(findPostgres(bin), { bin, major: 16, version: '16.1' });
    process.env.PGSPAN_POSTGRES_BIN = bin;
    assert.deepEqual(findPostgres(), { bin, major: 16, version: '16.1' });
  });

  const refused: Record<string, { bin: () => string; found: RegExp }> = {
    'an older major': {
      bin: () => pretend('old', 'postgres (PostgreSQL) 14.9'),
      found: /it is PostgreSQL 14\.9, and pgspan supports 15 to 18/,
    },
    'a newer major': { bin: () => pretend('new', 'postgres (PostgreSQL) 19beta1'), found: /it is PostgreSQL 19beta1/ },
    'a client alone': {
      bin: () => pretend('client', 'x', ['pg_basebackup']),
      found: /postgres, initdb, pg_rewind, pg_controldata are missing/,
    },
    'something else': {
      bin: () => pretend('else', 'EDB Something 17'),
      found: /says "EDB Something 17", which is no PostgreSQL version/,
    },
    'no folder': { bin: () => join(folder, 'nothing'), found: /are missing/ },
  };
  for (const [name, { bin, found }] of Object.entries(refused)) {
    test(`${name} is refused with what was found`, () => {
      assert.throws(() => findPostgres(bin()), { code: 'POSTGRES_BIN_INVALID', kind: 'usage', message: found });
    });
  }
});
