/** The real shell loop against stand-ins for PostgreSQL: processes that end on SIGQUIT. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import { delay, waitUntil } from '../../base/wait-until.ts';
import { isAlive } from './postmaster.ts';
import { FEEDS_PER_FENCE, Watchdog } from './watchdog.ts';

/** Short, so that the tests are; beyond what a loaded machine needs to run `sleep`. */
const FENCE_MS = 600;
/** A machine under load starts `sleep` late. */
const WITHIN_FENCE = { timeoutMs: FENCE_MS + 3000 };

/** The tests mostly wait for `sleep`: all at one time. */
describe('the watchdog', { concurrency: true }, () => {
  const root = mkdtempSync(join(tmpdir(), 'pgspan-watchdog-'));
  after(() => rmSync(root, { recursive: true, force: true }));
  let count = 0;

  /** One node: its runtime folder and its data directory. */
  function aNode(context: TestContext) {
    const runtime = join(root, String(++count), "run it's");
    const data = join(root, String(count), 'data');
    mkdirSync(runtime, { recursive: true });
    mkdirSync(data);
    return {
      runtime,
      data,
      ownerPid: () => Number(readFileSync(join(runtime, 'watchdog.pid'), 'utf8')),
      startServer() {
        const child = spawn('sleep', ['600'], { stdio: 'ignore' });
        context.after(() => child.kill('SIGKILL'));
        writeFileSync(join(data, 'postmaster.pid'), `${child.pid}\n${data}\n`);
        return { end: () => child.signalCode };
      },
      async startWatchdog() {
        const watchdog = new Watchdog(runtime);
        await watchdog.start({ dataDirectory: data, fenceMs: FENCE_MS });
        context.after(() => watchdog.stop());
        return watchdog;
      },
    };
  }

  /** As main.ts does it. */
  async function feedFor(watchdog: Watchdog, ms: number, isPrimary: boolean): Promise<void> {
    const until = performance.now() + ms;
    while (performance.now() < until) {
      await watchdog.feed(isPrimary);
      await delay(FENCE_MS / FEEDS_PER_FENCE);
    }
  }

  test('lets a leader run that is fed, and stops it within the fence when the feeding stops', async (context) => {
    const node = aNode(context);
    const server = node.startServer();
    const watchdog = await node.startWatchdog();
    await feedFor(watchdog, 3 * FENCE_MS, true);
    assert.equal(server.end(), null);
    await watchdog.feed(true);
    const silentSinceMs = performance.now();
    await waitUntil('PostgreSQL is stopped', WITHIN_FENCE, server.end);
    assert.equal(server.end(), 'SIGQUIT', 'immediate: a client learns at once');
    assert.ok(performance.now() - silentSinceMs > FENCE_MS / 2, 'one late feed is no silence');
  });

  test('stops again the server that somebody starts without an agent', async (context) => {
    const node = aNode(context);
    const watchdog = await node.startWatchdog();
    const first = node.startServer();
    await watchdog.feed(true);
    await waitUntil('the first is stopped', WITHIN_FENCE, first.end);
    const second = node.startServer();
    await waitUntil('the second is stopped', WITHIN_FENCE, second.end);
  });

  test('lets a server run that is no primary any more, however silent its agent', async (context) => {
    const node = aNode(context);
    const server = node.startServer();
    const watchdog = await node.startWatchdog();
    await feedFor(watchdog, FENCE_MS, true);
    await watchdog.feed(false);
    await delay(3 * FENCE_MS);
    assert.equal(server.end(), null);
  });

  test('stands by while there is no server, and outlives a data directory that is replaced', async (context) => {
    const node = aNode(context);
    const watchdog = await node.startWatchdog();
    await watchdog.feed(true);
    renameSync(node.data, `${node.data}.old`);
    await delay(2 * FENCE_MS);
    assert.ok(isAlive(node.ownerPid()));
    mkdirSync(node.data);
    const server = node.startServer();
    await waitUntil('the new server is stopped', WITHIN_FENCE, server.end);
  });

  test('that is released guards on, and gives the next agent its time to come', async (context) => {
    const node = aNode(context);
    const server = node.startServer();
    const watchdog = await node.startWatchdog();
    await watchdog.feed(true);
    const releasedAtMs = performance.now();
    await watchdog.release(2 * FENCE_MS);
    await waitUntil('nobody came: PostgreSQL is stopped', { timeoutMs: 3 * FENCE_MS + 3000 }, server.end);
    assert.ok(performance.now() - releasedAtMs > 2 * FENCE_MS);
  });

  test('is started again when it was killed, and guards on', async (context) => {
    const node = aNode(context);
    const watchdog = await node.startWatchdog();
    const first = node.ownerPid();
    process.kill(first, 'SIGKILL');
    await waitUntil('another guards', { timeoutMs: 5000 }, () => node.ownerPid() !== first);
    const server = node.startServer();
    await watchdog.feed(true);
    await waitUntil('PostgreSQL is stopped', WITHIN_FENCE, server.end);
  });

  test('guards on for the next agent until that one knows whether PostgreSQL is a primary', async (context) => {
    const node = aNode(context);
    const server = node.startServer();
    await (await node.startWatchdog()).feed(true);
    const first = node.ownerPid();
    const second = await node.startWatchdog();
    await waitUntil('the first has made way', WITHIN_FENCE, () => !isAlive(first));
    // The second agent dies before it knows.
    await waitUntil('PostgreSQL is stopped', WITHIN_FENCE, server.end);
    const standby = node.startServer();
    await second.feed(false);
    await delay(2 * FENCE_MS);
    assert.equal(standby.end(), null);
  });

  test('there is one a node: of several that are started the last stays', async (context) => {
    const node = aNode(context);
    const all: number[] = [];
    for (let round = 0; round < 3; round++) {
      await node.startWatchdog();
      all.push(node.ownerPid());
    }
    await waitUntil('one is left', WITHIN_FENCE, () => all.filter(isAlive).length === 1);
    assert.ok(isAlive(all.at(-1) as number));
  });

  test('ends with its agent, and with its folder', async (context) => {
    const node = aNode(context);
    const first = await node.startWatchdog();
    const firstPid = node.ownerPid();
    await first.stop();
    await waitUntil('it has ended', WITHIN_FENCE, () => !isAlive(firstPid));
    await node.startWatchdog();
    const secondPid = node.ownerPid();
    rmSync(node.runtime, { recursive: true });
    await waitUntil('it has ended', WITHIN_FENCE, () => !isAlive(secondPid));
  });
});
