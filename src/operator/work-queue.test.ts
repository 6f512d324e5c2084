import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { delay, waitUntil } from '../base/wait-until.ts';
import { WorkQueue } from './work-queue.ts';

const SOON = { timeoutMs: 5000 } as const;

suite('the queue of groups', () => {
  test('works on one key at a time, and again when it came meanwhile', async () => {
    let [running, runningMost, runs] = [0, 0, 0];
    const queue = new WorkQueue({
      async work() {
        running += 1;
        runningMost = Math.max(runningMost, running);
        if (runs === 0) queue.add('a');
        runs += 1;
        await delay(20);
        running -= 1;
        return null;
      },
      onFailure: (_key, error) => assert.fail(error),
    });
    queue.add('a');
    queue.add('a');
    await waitUntil('two runs', SOON, () => runs === 2 && running === 0);
    await delay(50);
    assert.deepEqual([runs, runningMost], [2, 1]);
    await queue.close();
  });

  test('works on several keys at once, up to its limit', async () => {
    let [running, runningMost] = [0, 0];
    const done = new Set<string>();
    const queue = new WorkQueue({
      async work(key) {
        running += 1;
        runningMost = Math.max(runningMost, running);
        await delay(20);
        running -= 1;
        done.add(key);
        return null;
      },
      onFailure: (_key, error) => assert.fail(error),
      workersMax: 3,
    });
    for (let index = 0; index < 10; index++) queue.add(`key-${index}`);
    await waitUntil('all are done', SOON, () => done.size === 10);
    assert.equal(runningMost, 3);
    await queue.close();
  });

  test('tries a failed key again after pauses that double, and forgets them after a success', async () => {
    const pauses: number[] = [];
    let runs = 0;
    const queue = new WorkQueue({
      async work() {
        runs += 1;
        if (runs <= 2) throw new Error('no');
        return null;
      },
      onFailure: (_key, _error, retryMs) => pauses.push(retryMs),
    });
    queue.add('a');
    await waitUntil('the third run', SOON, () => runs === 3);
    assert.deepEqual(pauses, [500, 1000]);
    await queue.close();
  });

  test('the earlier of two times counts', async () => {
    let runs = 0;
    const queue = new WorkQueue({
      work: async () => {
        runs += 1;
        return runs === 1 ? 60_000 : null;
      },
      onFailure: (_key, error) => assert.fail(error),
    });
    queue.add('a', 60_000);
    queue.add('a');
    await waitUntil('it ran', SOON, () => runs === 1);
    queue.add('a', 10);
    await waitUntil('it ran again', SOON, () => runs === 2);
    await queue.close();
  });
});
