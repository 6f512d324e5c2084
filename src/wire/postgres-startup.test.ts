import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { encodeFatalError } from './postgres-error.ts';
import { parseOpening } from './postgres-opening.ts';
import { encodeStartup, readStartupAnswer } from './postgres-startup.ts';

suite('start-up of PostgreSQL, the client side', () => {
  test('what is sent is a StartupMessage with these parameters', () => {
    const opening = parseOpening(encodeStartup({ user: 'streaming_replica', replication: 'true' }));
    assert.equal(opening.kind, 'startup');
  });

  test('an answer in pieces is incomplete until its last byte', () => {
    const whole = encodeFatalError({ code: '28000', message: 'no pg_hba.conf entry' });
    for (let length = 0; length < whole.length; length++)
      assert.deepEqual(readStartupAnswer(whole.subarray(0, length)), { kind: 'incomplete' });
    assert.deepEqual(readStartupAnswer(whole), { kind: 'refused', code: '28000', message: 'no pg_hba.conf entry' });
  });

  test('a request for a password is no acceptance', () => {
    assert.deepEqual(readStartupAnswer(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0])), { kind: 'accepted' });
    assert.deepEqual(readStartupAnswer(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 10])), { kind: 'asks' });
  });

  test('hostile bytes are answered with a value', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        assert.ok(readStartupAnswer(Buffer.from(bytes)).kind.length > 0);
      }),
    );
  });
});
