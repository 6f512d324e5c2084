/**
 * The launcher on a fresh clone, for real: an empty cache folder, an empty environment, the machine's own npm and registry.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import packageJson from '../../package.json' with { type: 'json' };
import { waitUntil } from '../../src/base/wait-until.ts';
import { needs } from '../kit/requirement.ts';
import { type FreshClone, finished, killGroup, makeFreshClone, namesIn, type Run, start } from './fresh-clone.ts';

const VERSION = `${packageJson.version}\n`;
const NOBODY = { uid: 65534, gid: 65534 };
/** Requirement of issue A: a warm start, as a person waits for it. */
const WARM_MS_MAX = 300;

suite('first run', needs('root', 'registry', 'netns', 'mount'), () => {
  let first: FreshClone;
  let together: Run[];
  const made: FreshClone[] = [];
  const fresh = () => {
    const clone = makeFreshClone();
    made.push(clone);
    return clone;
  };

  before(async () => {
    first = fresh();
    // Through a chain of links, one of them relative, from another folder, twice at once, without even a PATH.
    symlinkSync(join(first.clone, 'pgspan'), join(first.folder, 'link'));
    symlinkSync('link', join(first.folder, 'pgspan'));
    const script = `umask 077; exec env -i PGSPAN_CACHE="${first.cache}" "${join(first.folder, 'pgspan')}" --version`;
    const run = () => first.run('/bin/sh', ['-c', script], { PATH: '/usr/bin:/bin' });
    together = await Promise.all([run(), run()]);
  });
  after(() => {
    for (const clone of made) clone.remove();
  });

  test('two at once, through a symlink and without an environment, both end well', () => {
    for (const { status, stdout, stderr } of together)
      assert.deepEqual({ status, stdout }, { status: 0, stdout: VERSION }, stderr);
  });

  test('only one of the two installs, and the other says whom it waits for', () => {
    const waits = together.filter(({ stderr }) => /waiting for process \d+/.test(stderr));
    const installs = together.filter(({ stderr }) => stderr.includes('getting Node.js'));
    assert.deepEqual([waits.length, installs.length], [1, 1], together.map(({ stderr }) => stderr).join('\n'));
  });

  test('nothing temporary is left', () => {
    const hidden = [join(first.cache), join(first.cache, 'node'), join(first.clone, '.cache')].flatMap(namesIn);
    assert.deepEqual(
      hidden.filter((name) => name.startsWith('.') || name.includes('lock')),
      [],
    );
  });

  test('the second time works without a network', async () => {
    const { status, stdout, stderr } = await first.run('unshare', ['-n', join(first.clone, 'pgspan'), '--version'], {
      PATH: '/usr/bin:/bin',
    });
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: VERSION, stderr: '' });
  });

  test(`a warm start takes less than ${WARM_MS_MAX} ms`, async () => {
    const times: number[] = [];
    // The best of some: others use this machine too.
    for (let i = 0; i < 30 && Math.min(...times) >= WARM_MS_MAX; i++) {
      times.push((await first.run(join(first.clone, 'pgspan'), ['--help'])).ms);
    }
    assert.ok(Math.min(...times) < WARM_MS_MAX, `took ${times.map(Math.round).join(', ')} ms`);
  });

  test("what root installs can be run by another user, whatever root's umask is", () => {
    const node = nodeOf(first);
    assert.match(execFileSync(node, ['--version'], { ...NOBODY, encoding: 'utf8' }), /^v2\d\./);
  });

  test('goes on after it was killed half way, and takes over the lock that it left', async () => {
    const clone = fresh();
    clone.takeFrom(first, { node: true });
    const child = start(join(clone.clone, 'pgspan'), ['--version'], { PGSPAN_CACHE: clone.cache });
    const temporary = () => namesIn(join(clone.clone, '.cache')).filter((name) => name.startsWith('.installing-'));
    await waitUntil('npm has begun in a temporary folder', { timeoutMs: 20_000 }, () => temporary().length > 0);
    killGroup(child);
    await finished(child);
    assert.ok(existsSync(join(clone.clone, '.cache', 'install.lock')), 'the killed one left its lock');

    const { status, stdout, stderr } = await clone.run(join(clone.clone, 'pgspan'), ['--version']);
    assert.deepEqual({ status, stdout }, { status: 0, stdout: VERSION }, stderr);
    assert.deepEqual(namesIn(join(clone.clone, '.cache')), []);
  });

  test('a spoiled Node is fetched again; a download that breaks off leaves nothing, says what to do, and works the next time', async () => {
    const clone = fresh();
    clone.takeFrom(first, { packages: true, node: true });
    const node = nodeOf(clone);
    // A new file, because the old one is linked to the first clone's.
    rmSync(node);
    writeFileSync(node, '', { mode: 0o755 });
    const registry = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': '50000000' });
      response.write(Buffer.alloc(100_000), () => response.destroy());
    });
    await new Promise<void>((listening) => registry.listen(0, '127.60.0.1', listening));
    const { port } = registry.address() as AddressInfo;
    const broken = await clone.run(join(clone.clone, 'pgspan'), ['--version'], {
      npm_config_registry: `http://127.60.0.1:${port}/`,
      npm_config_cache: join(clone.folder, 'npm'),
      npm_config_fetch_retries: '0',
    });
    registry.close();
    assert.equal(broken.status, 5, broken.stderr);
    assert.match(broken.stderr, /^pgspan: Cannot get Node\.js .*\n(.*\n)* {2}What to do: .*\n {2}\(NPM_FAILED, see /m);
    assert.deepEqual(
      namesIn(join(clone.cache, 'node')).filter((name) => name.startsWith('.')),
      [],
    );

    const { status, stdout, stderr } = await clone.run(join(clone.clone, 'pgspan'), ['--version']);
    assert.deepEqual({ status, stdout }, { status: 0, stdout: VERSION }, stderr);
    assert.ok(statSync(node).size > 50_000_000);
  });

  test('a changed lock file is noticed, and costs an installation only if packages differ', async () => {
    const clone = fresh();
    clone.takeFrom(first, { packages: true, node: true });
    const lock = join(clone.clone, 'package-lock.json');
    const later = new Date(Date.now() + 60_000);
    utimesSync(lock, later, later);
    const touched = await clone.run(join(clone.clone, 'pgspan'), ['--version']);
    assert.deepEqual([touched.status, touched.stderr], [0, '']);

    const { packages } = JSON.parse(readFileSync(join(clone.clone, 'node_modules', '.package-lock.json'), 'utf8'));
    packages['node_modules/yaml'].integrity = 'sha512-other';
    rmSync(join(clone.clone, 'node_modules', '.package-lock.json'));
    writeFileSync(join(clone.clone, 'node_modules', '.package-lock.json'), JSON.stringify({ packages }));
    const changed = await clone.run(join(clone.clone, 'pgspan'), ['--version']);
    assert.equal(changed.status, 0, changed.stderr);
    assert.match(changed.stderr, /installing dependencies: done/);
  });

  test('an unprivileged user without a home and without libatomic gets Node 24, all inside the clone', async () => {
    const clone = fresh();
    mkdirSync(join(clone.clone, '.cache'));
    clone.takeFrom(first, { packages: true });
    execFileSync('cp', ['-al', join(first.cache, 'node'), join(clone.clone, '.cache', 'node')]);
    execFileSync('chown', ['-R', 'nobody', clone.clone]);
    // The loader finds an empty file where the library was, in a mount namespace of this test.
    const script = `for f in $(ldconfig -p | sed -n 's/.*libatomic.so.1 .*=> //p'); do mount --bind /dev/null "$f"; done
      exec setpriv --reuid=${NOBODY.uid} --regid=${NOBODY.gid} --clear-groups env -i "${join(clone.clone, 'pgspan')}" --version`;
    const { status, stdout, stderr } = await clone.run('unshare', ['-m', 'sh', '-c', script], {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    });
    // What root linked in above goes back before the folder is looked at.
    chownSync(clone.clone, 0, 0);
    assert.deepEqual({ status, stdout }, { status: 0, stdout: VERSION }, stderr);
    assert.match(
      readFileSync(join(clone.clone, 'node_modules', '.pgspan-user'), 'utf8'),
      /\/clone\/\.cache\/node\/24\./,
    );
  });

  test('a user who may not write into the clone is told whose turn it is', async () => {
    const clone = fresh();
    clone.takeFrom(first, { node: true });
    execFileSync('chown', ['-R', 'nobody', clone.cache]);
    const words = [
      `--reuid=${NOBODY.uid}`,
      `--regid=${NOBODY.gid}`,
      '--clear-groups',
      join(clone.clone, 'pgspan'),
      '--version',
    ];
    const { status, stderr } = await clone.run('setpriv', words, { PATH: '/usr/bin:/bin' });
    assert.equal(status, 5, stderr);
    assert.match(stderr, /may not write there\n {2}What to do: .*\n {2}\(CLONE_NOT_WRITABLE/);
  });

  test('a machine without npm is told how to get it', async () => {
    const clone = fresh();
    const bin = join(clone.folder, 'bin');
    mkdirSync(bin);
    for (const name of ['sh', 'id', 'readlink']) symlinkSync(`/usr/bin/${name}`, join(bin, name));
    const words = [
      `--reuid=${NOBODY.uid}`,
      `--regid=${NOBODY.gid}`,
      '--clear-groups',
      'env',
      `PATH=${bin}`,
      join(clone.clone, 'pgspan'),
    ];
    const { status, stdout, stderr } = await clone.run('setpriv', words, { PATH: '/usr/bin:/bin' });
    assert.deepEqual({ status, stdout }, { status: 5, stdout: '' }, stderr);
    assert.match(stderr, /there is no npm .*\n {2}What to do: .*apt-get install npm[^]*\(NPM_MISSING/);
  });
});

/** The one Node in a clone's cache folder. */
function nodeOf({ cache }: FreshClone): string {
  const [release = 'none'] = namesIn(join(cache, 'node'));
  return join(cache, 'node', release, 'bin', 'node');
}
