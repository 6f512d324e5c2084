import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Latch } from './latch.ts';

test('a latch ends the present wait, and the next one if it was set in between', async () => {
  const latch = new Latch();
  const rounds: number[] = [];
  const loop = async (): Promise<void> => {
    for (let round = 0; round < 3; round++) {
      latch.clear();
      rounds.push(round);
      if (round === 1) latch.set();
      await latch.wait();
    }
  };
  const done = loop();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(rounds, [0]);
  latch.set();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(rounds, [0, 1, 2]);
  latch.set();
  await done;
});
