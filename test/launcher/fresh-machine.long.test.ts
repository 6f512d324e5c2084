/**
 * The first run on a machine that has nothing but a package manager: no Node, no npm, no libatomic, no PostgreSQL.
 * The machine is a root of Debian 12 under an overlay that is thrown away. `npm run test:chaos -- fresh-machine` runs it.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, suite, test } from 'node:test';
import packageJson from '../../package.json' with { type: 'json' };
import { needs } from '../kit/requirement.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const BASE = '/var/cache/pgspan-test/bookworm';
const LIMIT_MS = 10 * 60_000;
const CLONE = '/root/pgspan';
const NOBODY = 'setpriv --reuid=65534 --regid=65534 --clear-groups';

suite('a fresh machine', { ...needs('root', 'mount', 'debootstrap'), timeout: 3 * LIMIT_MS }, () => {
  let folder: string;
  const inMachine = (script: string) => {
    // Each call mounts the machine in a mount namespace of its own; what it changed stays in the upper folder.
    const mounts = `mount -t overlay overlay -o "lowerdir=${BASE},upperdir=${folder}/upper,workdir=${folder}/work" "${folder}/machine"
      for d in proc sys dev; do mount --rbind /$d "${folder}/machine/$d"; done
      exec chroot "${folder}/machine" env -i NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt /bin/sh -c "$0"`;
    const words = ['--mount', '--propagation', 'private', 'sh', '-ec', mounts, script];
    return spawnSync('unshare', words, { encoding: 'utf8', timeout: LIMIT_MS });
  };

  before(() => {
    mkdirSync(join(BASE, '..'), { recursive: true });
    execFileSync('sh', [join(import.meta.dirname, 'debian-root.sh'), 'bookworm', BASE], { timeout: LIMIT_MS });
    folder = mkdtempSync(join(tmpdir(), 'pgspan-machine-'));
    const clone = join(folder, 'upper', CLONE);
    for (const name of ['work', 'machine']) mkdirSync(join(folder, name));
    mkdirSync(clone, { recursive: true });
    for (const name of ['pgspan', 'package.json', 'package-lock.json', 'scripts', 'src', 'examples']) {
      cpSync(join(ROOT, name), join(clone, name), { recursive: true });
    }
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('root gets npm, libatomic, Node and the packages without a question', () => {
    const { status, stdout, stderr } = inMachine(`${CLONE}/pgspan --version`);
    assert.deepEqual({ status, stdout }, { status: 0, stdout: `${packageJson.version}\n` }, stderr);
    for (const line of [
      /installing npm with apt-get/,
      /installing libatomic with apt-get: done/,
      /getting Node.js 26\..*: done/,
    ]) {
      assert.match(stderr, line);
    }
  });

  test('another user without a terminal is told that PostgreSQL is missing, and nothing is installed', () => {
    const { status, stderr } = inMachine(`cp -r ${CLONE} /tmp/clone && chown -R nobody /tmp/clone &&
      cd /tmp && ${NOBODY} /tmp/clone/pgspan local up -f /tmp/clone/examples/three-groups-local.yaml --state /tmp/site </dev/null`);
    assert.equal(status, 5, stderr);
    assert.match(
      stderr,
      /Cannot find PostgreSQL 15 to 18.*\n {2}What to do: .*apt-get install postgresql.*\n {2}\(POSTGRES_MISSING/,
    );
    assert.notEqual(inMachine('ls /usr/lib/postgresql').status, 0);
  });

  test('root gets the server package, and neither a cluster nor a service of the distribution', () => {
    const up =
      inMachine(`cd ${CLONE} && ./pgspan local up -f examples/three-groups-local.yaml --state /var/tmp/site --no-disks &&
      ./pgspan local down --state /var/tmp/site`);
    assert.equal(up.status, 0, up.stderr);
    assert.match(up.stderr, /installing PostgreSQL with apt-get/);
    assert.equal(inMachine('ls /usr/lib/postgresql').stdout, '15\n');
    assert.equal(
      inMachine('ls /etc/postgresql /var/lib/postgresql').stdout,
      '/etc/postgresql:\n\n/var/lib/postgresql:\n',
    );
  });
});
