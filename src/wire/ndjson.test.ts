import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeJsonLine, LineDecoder, LineError, parseJsonLine } from './ndjson.ts';

test('gives the same lines however the bytes are cut', () => {
  const texts = fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(texts, fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (values, cuts) => {
      const bytes = Buffer.concat(values.map((value) => encodeJsonLine(value, 1000)));
      const decoder = new LineDecoder(1000);
      const lines: unknown[] = [];
      for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
        const size = cuts[turn % cuts.length] as number;
        decoder.push(bytes.subarray(offset, offset + size), (line) => lines.push(parseJsonLine(line)));
        offset += size;
      }
      assert.deepEqual(lines, values);
    }),
  );
});

test('refuses a line as soon as it is too long, in one chunk or in thousands', () => {
  const tooLong = { code: 'LINE_TOO_LONG' };
  assert.throws(() => new LineDecoder(10).push(Buffer.from('12345678901'), () => {}), tooLong);
  const decoder = new LineDecoder(10_000);
  for (let count = 0; count < 10_000; count++) decoder.push(Buffer.from('x'), () => {});
  assert.throws(() => decoder.push(Buffer.from('x'), () => {}), tooLong);
  assert.throws(() => encodeJsonLine('x'.repeat(100), 50), tooLong);
});

test('takes a line of exactly the longest length', () => {
  const lines: string[] = [];
  new LineDecoder(10).push(Buffer.from('1234567890\n\nabc\n'), (line) => lines.push(line));
  assert.deepEqual(lines, ['1234567890', 'abc']);
});

test('keeps nothing of a chunk that its owner writes over', () => {
  const decoder = new LineDecoder(100);
  const chunk = Buffer.from('"kept');
  decoder.push(chunk, () => {});
  chunk.fill(0);
  decoder.push(Buffer.from('"\n'), (line) => assert.equal(line, '"kept"'));
});

test('refuses bytes that are not UTF-8 and texts that are not JSON', () => {
  const decoder = new LineDecoder(100);
  assert.throws(() => decoder.push(Buffer.from([0xff, 0x0a]), () => {}), { code: 'LINE_NOT_UTF8' });
  assert.throws(() => parseJsonLine('{'), LineError);
});
