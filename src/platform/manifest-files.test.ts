import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { stringify } from 'yaml';
import { groupManifest } from '../../test/kit/manifests.ts';
import { UserError } from '../base/user-error.ts';
import { loadManifests } from './manifest-files.ts';

const yamlOf = (name: string, spec: Record<string, unknown> = { instances: 1 }) =>
  stringify(groupManifest({ name, spec }));

describe('loadManifests', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pgspan-manifests-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const write = async (name: string, text: string): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, text);
    return path;
  };
  const namesIn = async (path: string) => (await loadManifests(path)).map((group) => group.metadata.name);
  const refusal = async (source: string): Promise<UserError> => {
    const error = await loadManifests(source).catch((caught: unknown) => caught);
    assert(error instanceof UserError, String(error));
    return error;
  };

  it('passes over objects of other APIs, and refuses a slip in our own names', async () => {
    const other = stringify({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'application' }, spec: {} });
    assert.deepEqual(await namesIn(await write('mixed.yaml', `${other}---\n${yamlOf('leo')}`)), ['leo']);
    const slip = yamlOf('leo').replace('kind: PostgresGroup', 'kind: PostgressGroup');
    const { message } = await refusal(await write('slip.yaml', slip));
    assert.match(message, /kind: found "PostgressGroup"; accepted: "PostgresGroup"/);
  });

  it('reads several groups from one file, in order, and passes over empty documents', async () => {
    const path = await write(
      'three.yaml',
      `# first\n---\n${yamlOf('leo')}---\n${yamlOf('ait')}---\n---\n${yamlOf('pit')}---\n`,
    );
    assert.deepEqual(await namesIn(path), ['leo', 'ait', 'pit']);
  });

  it('reads JSON as well', async () => {
    assert.deepEqual(await namesIn(await write('one.json', JSON.stringify(groupManifest()))), ['leo']);
  });

  it('reads the manifests of a folder by name, and nothing else in it', async () => {
    const inner = await mkdtemp(join(folder, 'inner-'));
    await writeFile(join(inner, 'b.yml'), yamlOf('leo'));
    await writeFile(join(inner, 'a.yaml'), yamlOf('ait'));
    await writeFile(join(inner, 'README.md'), '# not a manifest');
    assert.deepEqual(await namesIn(inner), ['ait', 'leo']);
  });

  it('names what is not there', async () => {
    const error = await refusal(join(folder, 'nowhere.yaml'));
    assert.deepEqual([error.code, error.kind], ['MANIFEST_NOT_FOUND', 'not-found']);
  });

  it('says where YAML is broken', async () => {
    const error = await refusal(await write('broken.yaml', 'a: [1\nb: 2\n'));
    assert.equal(error.code, 'MANIFEST_UNREADABLE');
    assert.match(error.message, /broken.yaml.*line 2, column 1/s);
  });

  it('refuses a key that is there twice', async () => {
    const error = await refusal(await write('twice.yaml', 'apiVersion: a\napiVersion: b\n'));
    assert.match(error.message, /Map keys must be unique/);
  });

  it('refuses aliases that multiply', async () => {
    const bomb = [
      'a: &a [x, x, x, x, x, x, x, x, x]',
      'b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]',
      'c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]',
      'd: [*c, *c, *c, *c, *c, *c, *c, *c, *c]',
    ];
    const error = await refusal(await write('bomb.yaml', `${bomb.join('\n')}\n`));
    assert.deepEqual([error.code, error.kind], ['MANIFEST_UNREADABLE', 'usage']);
  });

  it('refuses files without any group, and files that are too large', async () => {
    assert.equal((await refusal(await write('empty.yaml', '# nothing\n'))).code, 'MANIFEST_EMPTY');
    assert.match(
      (await refusal(await write('large.yaml', '#'.repeat(5 * 1024 * 1024)))).message,
      /more than 4194304 bytes/,
    );
    assert.match((await refusal(await write('many.yaml', '---\na: 1\n'.repeat(65)))).message, /more than 64 documents/);
  });

  it('names group, path and file of every problem, also of those between groups', async () => {
    const path = await write(
      'bad.yaml',
      `${yamlOf('leo', { instnces: 1 })}---\n${yamlOf('ait', { storage: { size: 'big' } })}`,
    );
    const { message } = await refusal(path);
    assert.match(message, /bad.yaml": 2 problems\n {2}- leo: spec.instnces: .*\n {2}- ait: spec.storage.size: /);
    const collision = await refusal(await write('collision.yaml', `${yamlOf('leo')}---\n${yamlOf('leo-1')}`));
    assert.match(
      collision.message,
      /^Cannot accept ".*collision.yaml": leo-1: metadata.name: "leo-1" is also a node of group "leo"/,
    );
  });

  it('calls a document without a name by its place', async () => {
    const { message } = await refusal(await write('nameless.yaml', `${yamlOf('leo')}---\nkind: PostgresGroup\n`));
    assert.match(message, /document 2 of .*nameless.yaml: apiVersion: it is missing/);
  });
});
