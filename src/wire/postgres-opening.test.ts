import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { wireGolden } from '../../test/kit/wire-goldens.ts';
import { encodeSslRequest, OPENING_BYTES_MAX, parseOpening } from './postgres-opening.ts';

test('reads what psql 15 and 18 send to ask for TLS, and writes the same', () => {
  for (const name of ['ssl-request-15', 'ssl-request-18'] as const) {
    assert.deepEqual(parseOpening(wireGolden(name, 'client')), { kind: 'ssl-request', byteLength: 8 });
    assert.deepEqual(encodeSslRequest(), wireGolden(name, 'client'));
  }
});

test('takes the first byte of psql 18 with sslnegotiation=direct for TLS', () => {
  assert.deepEqual(parseOpening(wireGolden('direct-tls-18', 'client')), { kind: 'direct-tls' });
});

test('reads a StartupMessage of protocol 3.0 and of 3.2', () => {
  const old = parseOpening(wireGolden('startup-plain-15', 'client'));
  assert.ok(old.kind === 'startup');
  assert.deepEqual([old.major, old.minor], [3, 0]);
  assert.deepEqual(Object.fromEntries(old.parameters), {
    user: 'postgres',
    database: 'postgres',
    application_name: 'golden',
  });
  const latest = parseOpening(wireGolden('startup-plain-18', 'client'));
  assert.ok(latest.kind === 'startup');
  assert.deepEqual([latest.major, latest.minor], [3, 2]);
});

test('reads a cancel request with the 4-byte key of 3.0 and the 32-byte key of 3.2', () => {
  const old = parseOpening(wireGolden('cancel-15', 'client'));
  assert.ok(old.kind === 'cancel-request');
  assert.equal(old.byteLength, 16);
  const latest = parseOpening(wireGolden('cancel-18', 'client'));
  assert.ok(latest.kind === 'cancel-request');
  assert.equal(latest.byteLength, 12 + 32);
});

test('takes cancel keys of 4 to 256 bytes and no others', () => {
  const kindOf = (keyBytes: number): string => {
    const bytes = Buffer.alloc(12 + keyBytes);
    bytes.writeUInt32BE(bytes.length, 0);
    bytes.writeUInt32BE(80877102, 4);
    return parseOpening(bytes).kind;
  };
  assert.deepEqual([3, 4, 256, 257].map(kindOf), ['invalid', 'cancel-request', 'cancel-request', 'invalid']);
});

test('reads a GSSENCRequest', () => {
  assert.deepEqual(parseOpening(Buffer.from('0000000804d21630', 'hex')), { kind: 'gssenc-request', byteLength: 8 });
});

test('keeps another major version apart from its parameters', () => {
  const version2 = Buffer.from('0000000c00020000ffffffff', 'hex');
  const opening = parseOpening(version2);
  assert.ok(opening.kind === 'startup');
  assert.deepEqual([opening.major, opening.parameters.size], [2, 0]);
});

test('leaves what stands behind the packet to the caller', () => {
  const pipelined = Buffer.concat([encodeSslRequest(), wireGolden('direct-tls-18', 'client')]);
  assert.deepEqual(parseOpening(pipelined), { kind: 'ssl-request', byteLength: 8 });
});

test('refuses what is no PostgreSQL client at its first byte', () => {
  for (const text of ['GET / HTTP/1.1\r\n', 'SSH-2.0-', '\r\n\r\n', '\xff\xff']) {
    assert.equal(parseOpening(Buffer.from(text, 'latin1')).kind, 'invalid', text);
  }
});

test('refuses a length that no server would take, before waiting for it', () => {
  for (const length of [0, 7, OPENING_BYTES_MAX + 1, 0x00ffffff]) {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(length, 0);
    assert.equal(parseOpening(bytes).kind, 'invalid', String(length));
  }
});

test('waits for more at every cut of a valid packet', () => {
  for (const name of ['ssl-request-15', 'startup-plain-15', 'startup-plain-18', 'cancel-18'] as const) {
    const bytes = wireGolden(name, 'client');
    for (let cut = 0; cut < bytes.length; cut++) {
      assert.deepEqual(parseOpening(bytes.subarray(0, cut)), { kind: 'incomplete' }, `${name} at ${cut}`);
    }
  }
});

test('answers any bytes with one of its kinds, and never waits beyond the largest packet', () => {
  const length = fc.integer({ min: 0, max: 400 });
  const code = fc.constantFrom(80877102, 80877103, 80877104, 196608, 196610, 0, 0xffffffff);
  const packet = fc.tuple(length, code, fc.uint8Array({ maxLength: 400 })).map(([declared, word, rest]) => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(declared, 0);
    head.writeUInt32BE(word, 4);
    return Buffer.concat([head, rest]);
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }).map(Buffer.from), packet), (bytes) => {
      const opening = parseOpening(bytes);
      if ('byteLength' in opening) assert.ok(opening.byteLength <= bytes.length);
      if (bytes.length >= OPENING_BYTES_MAX) assert.notEqual(opening.kind, 'incomplete');
    }),
    { numRuns: 3000 },
  );
});
