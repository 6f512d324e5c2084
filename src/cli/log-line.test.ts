import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatLogLine } from './log-line.ts';

test('a line of an agent shows time, level, message and fields', () => {
  const line = '{"level":30,"time":1700000000123,"node":"leo-1","term":2,"won":true,"detail":"two words","msg":"swap"}';
  assert.equal(formatLogLine(line), '22:13:20.123 info  swap term=2 won=true detail=two words');
});

test('what is no line of an agent stays as it is', () => {
  for (const line of ['2026-11-21 LOG:  ready', '{broken', '{"a":1}', '[]', ''])
    assert.equal(formatLogLine(line), line);
});
