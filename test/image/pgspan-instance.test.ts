/**
 * The image's start scripts, without an image: pgspan-instance as PID 1 of a PID namespace, with a shell script in the place of
 * the agent. What a real agent does under it is shown on a cluster (test/kubernetes).
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { waitUntil } from '../../src/base/wait-until.ts';
import { needs } from '../kit/requirement.ts';

const SCRIPTS = join(import.meta.dirname, '../../scripts/image/bin');

describe('pgspan-instance, PID 1 of a node', needs('root', 'netns'), () => {
  const containers: Container[] = [];
  const start = (agent: string): Container => {
    const container = startContainer(agent);
    containers.push(container);
    return container;
  };
  afterEach(() => {
    for (const container of containers.splice(0)) container.remove();
  });

  test('gives the agent its configuration, forwards SIGTERM, and ends with the status of the agent', async () => {
    const container = start(`echo "$@" >"$work/words"; trap 'echo told >"$work/told"; exit 3' TERM; ${FOREVER}`);
    await container.until('words');
    assert.equal(container.read('words'), 'instance --config /etc/x.json\n');
    container.signal('SIGTERM');
    assert.equal(await container.ended, 3);
    assert.equal(container.read('told'), 'told\n');
  });

  test('starts an agent that died again, at once and with what it left behind still running', async () => {
    const container = start(`echo start >>"$work/starts"
      if [ ! -f "$work/left" ]; then setsid sleep 1000 & echo $! >"$work/left"; kill -9 $$; fi
      kill -0 "$(cat "$work/left")" && echo adopted >"$work/adopted"
      ${FOREVER}`);
    await container.until('adopted', 900);
    assert.equal(container.read('starts'), 'start\nstart\n');
  });

  test('reaps what dies without a parent', async () => {
    const container = start(`( setsid sh -c 'sleep 0.1' & ) ; sleep 0.5; ps -eo stat= >"$work/states"; ${FOREVER}`);
    await container.until('states');
    assert.doesNotMatch(container.read('states'), /Z/);
  });

  test('gives up to Kubernetes when the agent cannot start and there is no PostgreSQL to keep', async () => {
    const container = start(`echo start >>"$work/starts"; exit 7`);
    assert.equal(await container.ended, 7);
    assert.equal(container.read('starts').split('\n').length - 1, 5);
  });

  test('goes on as long as there is a PostgreSQL to keep, and a SIGTERM in a pause ends it', async () => {
    const container = start(`echo start >>"$work/starts"
      if [ ! -f "$work/left" ]; then setsid "$work/postgres" 1000 & echo $! >"$work/left"; fi
      exit 7`);
    await waitUntil('it has been started six times', { timeoutMs: 30_000 }, () =>
      container.has('starts') ? container.read('starts').split('\n').length > 6 : false,
    );
    container.signal('SIGTERM');
    await container.ended;
  });
});

describe('install-program', () => {
  test('puts all of the program and a name for its user into the volume, once', () => {
    const folder = mkdtempSync(join(tmpdir(), 'pgspan-install-'));
    try {
      const [root, target, path] = [join(folder, 'root'), join(folder, 'target'), join(folder, 'path')];
      for (const part of ['lib', 'flags', 'program']) {
        mkdirSync(join(root, part), { recursive: true });
        writeFileSync(join(root, part, 'file'), part);
      }
      for (const made of [target, path]) mkdirSync(made);
      cpSync(SCRIPTS, join(root, 'bin'), { recursive: true });
      writeFileSync(join(root, 'stamp'), 'one\n');
      writeFileSync(join(path, 'node'), '#!/bin/sh\n', { mode: 0o755 });
      const install = (): void => {
        execFileSync(join(root, 'bin/install-program'), [target], {
          env: { PATH: `${path}:${process.env.PATH ?? ''}` },
        });
      };
      // What an interrupted run left.
      mkdirSync(join(target, '.incoming/program'), { recursive: true });
      install();
      for (const file of ['bin/node', 'bin/pgspan-instance', 'lib/file', 'flags/file', 'program/file', 'stamp']) {
        assert.ok(existsSync(join(target, file)), file);
      }
      assert.match(
        readFileSync(join(target, 'etc/passwd'), 'utf8'),
        new RegExp(`^postgres:x:${process.getuid?.()}:`, 'm'),
      );
      writeFileSync(join(target, 'program/file'), 'in use');
      install();
      assert.equal(readFileSync(join(target, 'program/file'), 'utf8'), 'in use');
      writeFileSync(join(root, 'stamp'), 'two\n');
      install();
      assert.equal(readFileSync(join(target, 'program/file'), 'utf8'), 'program');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

/** Killable at any moment, with traps heard at once. */
const FOREVER = 'while :; do sleep 0.02; done';

interface Container {
  has(file: string): boolean;
  /** What the agent wrote. */
  read(file: string): string;
  until(file: string, timeoutMs?: number): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** Exit status. */
  readonly ended: Promise<number | null>;
  remove(): void;
}

/** @param agent text of a shell script; `$work` is a folder for it */
function startContainer(agent: string): Container {
  const work = mkdtempSync(join(tmpdir(), 'pgspan-pid1-'));
  const bin = join(work, 'bin');
  mkdirSync(bin);
  cpSync(join(SCRIPTS, 'pgspan-instance'), join(bin, 'pgspan-instance'));
  // Known by its name alone.
  cpSync('/usr/bin/sleep', join(work, 'postgres'));
  writeFileSync(join(bin, 'pgspan'), `#!/bin/sh\nwork='${work}'\n${agent}\n`);
  chmodSync(join(bin, 'pgspan'), 0o755);
  const child: ChildProcess = spawn(
    'unshare',
    ['--pid', '--fork', '--mount-proc', '--kill-child', join(bin, 'pgspan-instance'), '/etc/x.json'],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let errors = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ended = once(child, 'exit').then(([status]) => status as number | null);
  const has = (file: string): boolean => existsSync(join(work, file));
  return {
    ended,
    has,
    read: (file) => readFileSync(join(work, file), 'utf8'),
    until: async (file, timeoutMs = 5000) => {
      try {
        await waitUntil(`the agent has written ${file}`, { timeoutMs }, () => has(file));
      } catch (error) {
        throw new Error(`${(error as Error).message}: ${errors}`, { cause: error });
      }
    },
    // unshare ignores SIGTERM while it waits: PID 1 is its child.
    signal: (signal) => {
      const pid = execFileSync('ps', ['-o', 'pid=', '--ppid', String(child.pid)], { encoding: 'utf8' }).trim();
      process.kill(Number(pid), signal);
    },
    remove() {
      child.kill('SIGKILL');
      rmSync(work, { recursive: true, force: true });
    },
  };
}
