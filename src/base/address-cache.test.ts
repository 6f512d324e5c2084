import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressCache } from './address-cache.ts';
import { waitUntil } from './wait-until.ts';

const SOON = { timeoutMs: 5000 } as const;

test('gives what it knows at once, and learns a new address behind it', async () => {
  let address = '10.0.0.1';
  const cache = new AddressCache({ resolve: async () => address, freshMs: 20 });
  assert.equal(cache.peek('leo-1'), null);
  await waitUntil('the first answer', SOON, () => cache.peek('leo-1') === '10.0.0.1');
  address = '10.0.0.2';
  await waitUntil('the next answer', SOON, () => cache.peek('leo-1') === '10.0.0.2');
});

test('keeps what it knows while the resolver fails, or does not answer, and asks once at a time', async () => {
  let mode: 'answer' | 'fail' | 'hang' = 'answer';
  let asked = 0;
  const resolve = (): Promise<string> => {
    asked += 1;
    if (mode === 'answer') return Promise.resolve('10.0.0.1');
    return mode === 'fail' ? Promise.reject(new Error('SERVFAIL')) : new Promise(() => {});
  };
  const cache = new AddressCache({ resolve, freshMs: 0 });
  await waitUntil('the first answer', SOON, () => cache.peek('leo-1') !== null);
  mode = 'fail';
  await waitUntil('it was asked again', SOON, () => cache.peek('leo-1') === '10.0.0.1' && asked > 3);
  mode = 'hang';
  await waitUntil('the hanging question is asked', SOON, () => {
    const before = asked;
    cache.peek('leo-1');
    return asked === before;
  });
  assert.equal(cache.peek('leo-1'), '10.0.0.1');
});

test('does not grow without end', async () => {
  let asked = 0;
  const cache = new AddressCache({
    resolve: async () => {
      asked += 1;
      return '10.0.0.1';
    },
  });
  for (let index = 0; index < 1000; index++) {
    cache.peek(`name-${index}`);
    await Promise.resolve();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(asked, 256);
});
