import assert from 'node:assert/strict';
import { test } from 'node:test';
import { summarize } from './statistics.ts';

test('takes the 19th of 20 values as p95 and the mean of the middle two as median', () => {
  const values = Array.from({ length: 20 }, (_, index) => 20 - index);
  assert.deepEqual(summarize(values), { count: 20, min: 1, median: 10.5, p95: 19, max: 20 });
});

test('takes the largest as p95 of five values', () => {
  assert.deepEqual(summarize([3, 1, 2, 9, 4]), { count: 5, min: 1, median: 3, p95: 9, max: 9 });
});

test('summarizes a single value', () => {
  assert.deepEqual(summarize([7]), { count: 1, min: 7, median: 7, p95: 7, max: 7 });
});
