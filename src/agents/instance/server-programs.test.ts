import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { InstanceConfig } from '../../api/agent-config.ts';
import { findServerPrograms } from './server-programs.ts';

describe('the programs of PostgreSQL in an image', () => {
  let folder: string;
  const PROGRAMS = ['initdb', 'pg_basebackup', 'pg_rewind', 'pg_controldata'];
  const original = { path: process.env.PATH, bin: process.env.PGSPAN_POSTGRES_BIN };
  const config = (postgresBin: string): InstanceConfig =>
    ({ paths: { postgresBin, dataDirectory: join(folder, 'data') } }) as InstanceConfig;

  /** A folder of programs that says it is of this version. */
  async function installation(version: string, { head = '' } = {}): Promise<string> {
    const bin = join(folder, `bin-${version}`);
    await mkdir(bin, { recursive: true });
    const script = `#!/bin/sh\n# ${head}\necho 'postgres (PostgreSQL) ${version}'\n`;
    for (const name of ['postgres', ...PROGRAMS]) await writeFile(join(bin, name), script, { mode: 0o755 });
    return bin;
  }

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pgspan-programs-'));
  });
  beforeEach(() => {
    delete process.env.PGSPAN_POSTGRES_BIN;
    process.env.PATH = original.path;
  });
  after(async () => {
    process.env.PATH = original.path;
    if (original.bin !== undefined) process.env.PGSPAN_POSTGRES_BIN = original.bin;
    await rm(folder, { recursive: true, force: true });
  });

  it('are those of the configuration, if it names a folder', async () => {
    assert.deepEqual(await findServerPrograms(config('/somewhere/bin')), { bin: '/somewhere/bin', problem: null });
  });

  it('are found, and those of the data go before newer ones', async () => {
    const [old, recent] = [await installation('15.4'), await installation('18.1')];
    process.env.PATH = `${recent}:${old}:${original.path}`;
    await mkdir(join(folder, 'data'), { recursive: true });
    await writeFile(join(folder, 'data', 'PG_VERSION'), '15\n');
    // This machine may have a PostgreSQL 15 of its own, which is as good.
    const found = await findServerPrograms(config('auto'));
    assert.equal(found.problem, null);
    assert.match(found.bin, /15/);
    await rm(join(folder, 'data'), { recursive: true });
  });

  it('that are built for musl are refused', async () => {
    process.env.PGSPAN_POSTGRES_BIN = await installation('17.2', { head: '/lib/ld-musl-x86_64.so.1' });
    const { bin, problem } = await findServerPrograms(config('auto'));
    assert.equal(bin, '');
    assert.equal(problem?.code, 'ImageUnusable');
    assert.match(problem.message, /built for musl.*nothing was touched; set spec\.imageName/);
  });

  it('that are not all there, or of a version that is not supported, are refused with what is wrong', async () => {
    const incomplete = await installation('16.1');
    await rm(join(incomplete, 'pg_rewind'));
    process.env.PGSPAN_POSTGRES_BIN = incomplete;
    assert.match((await findServerPrograms(config('auto'))).problem?.message ?? '', /pg_rewind is missing/);
    process.env.PGSPAN_POSTGRES_BIN = await installation('13.9');
    assert.match((await findServerPrograms(config('auto'))).problem?.message ?? '', /it is PostgreSQL 13\.9/);
  });
});
