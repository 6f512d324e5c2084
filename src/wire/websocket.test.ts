import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  acceptOfKey,
  encodeClientFrame,
  OPCODE,
  WebSocketDecoder,
  WebSocketError,
  type WebSocketMessage,
} from './websocket.ts';

const MAX = 200_000;

function decode(chunks: readonly Buffer[], messageBytesMax = MAX): WebSocketMessage[] {
  const decoder = new WebSocketDecoder({ messageBytesMax });
  const messages: WebSocketMessage[] = [];
  for (const chunk of chunks) decoder.push(chunk, (message) => messages.push(message));
  return messages;
}

/** As a server would have sent it: the same frame without its mask. */
function unmasked(frame: Buffer): Buffer {
  const short = (frame[1] as number) & 0x7f;
  const lengthEnd = short === 126 ? 4 : short === 127 ? 10 : 2;
  const mask = frame.subarray(lengthEnd, lengthEnd + 4);
  const payload = Buffer.from(frame.subarray(lengthEnd + 4)).map((byte, at) => byte ^ (mask[at & 3] as number));
  const head = Buffer.from(frame.subarray(0, lengthEnd));
  head[1] = short;
  return Buffer.concat([head, payload]);
}

suite('WebSocket frames', () => {
  test("the RFC's own examples read and write as it says (section 5.7)", () => {
    const mask = Buffer.from('37fa213d', 'hex');
    assert.equal(encodeClientFrame(OPCODE.text, Buffer.from('Hello'), mask).toString('hex'), '818537fa213d7f9f4d5158');
    assert.deepEqual(decode([Buffer.from('810548656c6c6f', 'hex')]), [{ opcode: 1, payload: Buffer.from('Hello') }]);
    assert.deepEqual(decode([Buffer.from('010348656c80026c6f', 'hex')]), [
      { opcode: 1, payload: Buffer.from('Hello') },
    ]);
    assert.equal(acceptOfKey('dGhlIHNhbXBsZSBub25jZQ=='), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  });

  test('any payload comes back whole, however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.uint8Array({ maxLength: 300 }),
            fc.constantFrom(126, 65_535, 65_536).map((n) => new Uint8Array(n)),
          ),
          { maxLength: 5 },
        ),
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.integer({ min: 1, max: 5000 }),
        (payloads, mask, step) => {
          const bytes = Buffer.concat(
            payloads.map((payload) =>
              unmasked(encodeClientFrame(OPCODE.binary, Buffer.from(payload), Buffer.from(mask))),
            ),
          );
          const chunks = Array.from({ length: Math.ceil(bytes.length / step) }, (_, at) =>
            bytes.subarray(at * step, (at + 1) * step),
          );
          assert.deepEqual(
            decode(chunks).map(({ payload }) => Buffer.from(payload)),
            payloads.map((payload) => Buffer.from(payload)),
          );
        },
      ),
      { numRuns: 25 },
    );
  });

  test('a control frame may come between fragments', () => {
    const messages = decode([Buffer.from('0201aa', 'hex'), Buffer.from('890170', 'hex'), Buffer.from('8001bb', 'hex')]);
    assert.deepEqual(
      messages.map(({ opcode, payload }) => [opcode, payload.toString('hex')]),
      [
        [9, '70'],
        [2, 'aabb'],
      ],
    );
  });

  test('what breaks the rules or exceeds the limit is refused', () => {
    const broken = {
      'reserved bits': 'c100',
      'masked by a server': '8180aaaaaaaa',
      'an end without a beginning': '8000',
      'a beginning within a message': '01000100',
      'a fragmented ping': '0900',
      'a long ping': '897e0080',
      'a frame beyond the limit': '827f00000000ffffffff',
      'fragments beyond the limit': `0204${'00'.repeat(4)}8004${'00'.repeat(4)}`,
    };
    for (const [what, hex] of Object.entries(broken)) {
      const limit = what === 'fragments beyond the limit' ? 6 : MAX;
      const frame = Buffer.from(hex, 'hex');
      const bytes = what === 'a long ping' ? Buffer.concat([frame, Buffer.alloc(128)]) : frame;
      assert.throws(() => decode([bytes], limit), WebSocketError, what);
    }
  });

  test('random bytes are read or refused, never anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        try {
          decode([Buffer.from(bytes)], 1000);
        } catch (error) {
          assert.ok(error instanceof WebSocketError);
        }
      }),
    );
  });
});
