import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wireGolden } from '../../test/kit/wire-goldens.ts';
import { encodeFatalError, SQLSTATE } from './postgres-error.ts';

function decode(bytes: Buffer): Record<string, string> {
  assert.equal(String.fromCharCode(bytes[0] as number), 'E');
  assert.equal(bytes.readUInt32BE(1), bytes.length - 1);
  assert.equal(bytes.at(-1), 0);
  const fields = bytes
    .toString('utf8', 5, bytes.length - 1)
    .split('\0')
    .slice(0, -1);
  return Object.fromEntries(fields.map((field) => [field[0], field.slice(1)]));
}

test('has the same form, code and text as the error of a real server', () => {
  const real = decode(wireGolden('startup-plain-15', 'server'));
  const { S, V, C, M } = real;
  const ours = decode(encodeFatalError({ code: SQLSTATE.invalidAuthorization, message: M as string }));
  assert.deepEqual(ours, { S, V, C, M });
});

test('carries detail and hint, and lets no text end its field early', () => {
  const bytes = encodeFatalError({ code: SQLSTATE.cannotConnectNow, message: 'a\0b', detail: 'ü', hint: 'h' });
  assert.deepEqual(decode(bytes), { S: 'FATAL', V: 'FATAL', C: '57P03', M: 'ab', D: 'ü', H: 'h' });
});
