import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeUpgradeRequest, parseUpgradeAnswer, UPGRADE_ANSWER_BYTES_MAX } from './http-upgrade.ts';

const ANSWER = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x/1\r\n\r\n';

test('writes a request of one head', () => {
  const request = encodeUpgradeRequest({ host: 'leo-1', path: '/v1/stream', protocol: 'x/1' });
  assert.equal(request, 'GET /v1/stream HTTP/1.1\r\nHost: leo-1\r\nConnection: Upgrade\r\nUpgrade: x/1\r\n\r\n');
});

test('finds the end of the answer, and waits for it at every cut', () => {
  const bytes = Buffer.from(`${ANSWER}{"type":"state"}\n`);
  assert.deepEqual(parseUpgradeAnswer(bytes), { kind: 'upgraded', byteLength: ANSWER.length });
  for (let cut = 0; cut < ANSWER.length; cut++) {
    assert.deepEqual(parseUpgradeAnswer(bytes.subarray(0, cut)), { kind: 'incomplete' }, `at ${cut}`);
  }
});

test('gives the status of any other answer', () => {
  const refused = parseUpgradeAnswer(Buffer.from('HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n'));
  assert.deepEqual(refused, { kind: 'refused', found: 'HTTP/1.1 403 Forbidden' });
  assert.equal(parseUpgradeAnswer(Buffer.from('SSH-2.0-OpenSSH_10')).kind, 'refused');
});

test('does not read without end', () => {
  const endless = Buffer.concat([Buffer.from('HTTP/1.1 101 x\r\n'), Buffer.alloc(UPGRADE_ANSWER_BYTES_MAX, 'a')]);
  assert.equal(parseUpgradeAnswer(endless).kind, 'refused');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.ok(['incomplete', 'upgraded', 'refused'].includes(parseUpgradeAnswer(Buffer.from(bytes)).kind));
    }),
  );
});
