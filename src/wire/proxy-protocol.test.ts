import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { wireGolden } from '../../test/kit/wire-goldens.ts';
import { parseProxyHeader } from './proxy-protocol.ts';

const ipv4 = wireGolden('proxy-v2-haproxy', 'client');

test('reads the header that HAProxy sends', () => {
  const header = parseProxyHeader(ipv4);
  assert.ok(header.kind === 'proxied');
  assert.equal(header.byteLength, 28);
  assert.equal(header.source?.address, '127.62.8.77');
});

test('reads IPv6, passes over TLVs, and leaves the rest to the caller', () => {
  const header = Buffer.alloc(16 + 36 + 7);
  ipv4.copy(header, 0, 0, 13);
  header.writeUInt8(0x21, 13);
  header.writeUInt16BE(36 + 7, 14);
  Buffer.from('20010db8000000000000000000000001', 'hex').copy(header, 16);
  header.writeUInt16BE(40000, 48);
  assert.deepEqual(parseProxyHeader(Buffer.concat([header, Buffer.from('rest')])), {
    kind: 'proxied',
    byteLength: header.length,
    source: { address: '2001:db8:0:0:0:0:0:1', port: 40000 },
  });
});

test("takes a balancer's own health check (LOCAL) and other families without a source", () => {
  const local = Buffer.from(ipv4);
  local.writeUInt8(0x20, 12);
  assert.deepEqual(parseProxyHeader(local), { kind: 'proxied', byteLength: 28, source: null });
  const unix = Buffer.from(ipv4);
  unix.writeUInt8(0x31, 13);
  assert.deepEqual(parseProxyHeader(unix), { kind: 'proxied', byteLength: 28, source: null });
});

test('refuses version 1, other versions and commands, cut addresses and a header without bound', () => {
  const change = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(ipv4);
    bytes.writeUInt8(value, at);
    return bytes;
  };
  const cases = {
    'version 1': Buffer.from('PROXY TCP4 1.2.3.4 '),
    'version 3': change(12, 0x31),
    'an unknown command': change(12, 0x22),
    'short addresses': change(15, 4),
    'a huge header': change(14, 0xff),
    'a client that sends none': Buffer.from([0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f]),
  };
  for (const [name, bytes] of Object.entries(cases)) assert.equal(parseProxyHeader(bytes).kind, 'invalid', name);
});

test('waits for more at every cut, and answers any bytes', () => {
  for (let cut = 0; cut < ipv4.length; cut++) assert.equal(parseProxyHeader(ipv4.subarray(0, cut)).kind, 'incomplete');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(27), (rest, keep) => {
      const header = parseProxyHeader(Buffer.concat([ipv4.subarray(0, keep), rest]));
      assert.ok(['incomplete', 'invalid', 'proxied'].includes(header.kind));
    }),
    { numRuns: 3000 },
  );
});
