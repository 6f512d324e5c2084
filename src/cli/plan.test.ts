import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';

const ROOT = resolve(import.meta.dirname, '../..');
const EXAMPLE = join(ROOT, 'examples/three-groups-local.yaml');

function pgspan(words: readonly string[], input = ''): { code: number | null; out: string; err: string } {
  const done = spawnSync(process.execPath, [join(ROOT, 'src/cli/main.ts'), ...words], { encoding: 'utf8', input });
  return { code: done.status, out: done.stdout, err: done.stderr };
}

describe('pgspan plan', () => {
  it('prints tables without colours into a pipe', () => {
    const { code, out } = pgspan(['plan', '-f', EXAMPLE]);
    assert.equal(code, 0);
    assert.match(out, /^orders: 3 groups, 3 nodes, PostgreSQL 18\n/);
    assert.equal(out.includes('\u001b'), false);
    assert.deepEqual(
      out.split('\n').filter((line) => line.length > 120),
      [],
    );
  });

  it('prints the same plan as JSON and as YAML', () => {
    const json = JSON.parse(pgspan(['plan', '-f', EXAMPLE, '-o', 'json']).out);
    const yaml = parse(pgspan(['plan', '-f', EXAMPLE, '-o', 'yaml']).out);
    assert.equal(json.groups[1].nodes[0].name, 'ait-1');
    assert.deepEqual(yaml, json);
  });

  it('shows one group only', () => {
    const { groups } = JSON.parse(pgspan(['plan', '-f', EXAMPLE, '--group', 'pit', '-o', 'json']).out);
    assert.deepEqual(
      groups.map((group: { name: string }) => group.name),
      ['pit'],
    );
    const { code, err } = pgspan(['plan', '-f', EXAMPLE, '--group', 'pitt']);
    assert.equal(code, 3);
    assert.match(err, /Cannot show group "pitt": .*\n.*Did you mean "pit"\?/);
  });

  it('plans for the version of PostgreSQL that it is told', () => {
    const { postgresMajor } = JSON.parse(pgspan(['plan', '-f', EXAMPLE, '--postgres-version', '15', '-o', 'json']).out);
    assert.equal(postgresMajor, 15);
    assert.equal(pgspan(['plan', '-f', EXAMPLE, '--postgres-version', '9']).code, 2);
  });

  it('reads stdin, and refuses what is wrong there with code 2 and everything that is wrong', () => {
    const manifest = `
apiVersion: pgspan.io/v1alpha1
kind: PostgresGroup
metadata: { name: leo }
spec:
  connectivity: { dns: { domain: db.example.com } }
`;
    assert.match(pgspan(['plan', '-f', '-'], manifest).out, /^leo-global: 1 group, 3 nodes/);
    const { code, err } = pgspan(['plan', '-f', '-'], manifest.replace('dns:', 'dnz:'));
    assert.equal(code, 2);
    assert.match(err, /leo: spec.connectivity.dns: it is missing/);
    assert.match(err, /leo: spec.connectivity.dnz: there is no such field; did you mean "dns"\?/);
    assert.match(err, /What to do: .*postgresgroup.md/);
  });

  it('needs a file or a cluster that runs', () => {
    const none = pgspan(['plan', '--state', '/nowhere']);
    assert.equal(none.code, 3);
    assert.match(none.err, /NO_SITE/);
    assert.equal(pgspan(['plan', '-f', '/nowhere.yaml']).code, 3);
  });
});
