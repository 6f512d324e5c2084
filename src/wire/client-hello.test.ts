import assert from 'node:assert/strict';
import * as net from 'node:net';
import { test } from 'node:test';
import * as tls from 'node:tls';
import fc from 'fast-check';
import { wireGolden } from '../../test/kit/wire-goldens.ts';
import { CLIENT_HELLO_BYTES_MAX, parseClientHello } from './client-hello.ts';

const direct18 = wireGolden('direct-tls-18', 'client');

test('reads name and ALPN of psql 18 that dials TLS directly', () => {
  assert.deepEqual(parseClientHello(direct18), {
    kind: 'client-hello',
    serverName: 'leo',
    alpnProtocols: ['postgresql'],
  });
});

test('reads the hello that psql sends after its SSLRequest was answered', () => {
  assert.deepEqual(parseClientHello(wireGolden('ssl-request-15', 'client', 1)), {
    kind: 'client-hello',
    serverName: 'leo',
    alpnProtocols: [],
  });
});

test("reads Node's hello, with several protocols and without a name", async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.62.9.1', resolve));
  const received = new Promise<Buffer>((resolve) =>
    server.once('connection', (socket) =>
      socket.once('data', (chunk: Buffer) => {
        resolve(chunk);
        socket.destroy();
      }),
    ),
  );
  const { port } = server.address() as net.AddressInfo;
  tls.connect({ port, host: '127.62.9.1', ALPNProtocols: ['h2', 'postgresql'] }).on('error', () => {});
  const hello = parseClientHello(await received);
  server.close();
  assert.deepEqual(hello, { kind: 'client-hello', serverName: null, alpnProtocols: ['h2', 'postgresql'] });
});

test('puts a hello together that is cut into several records', () => {
  const message = direct18.subarray(5, 5 + direct18.readUInt16BE(3));
  const records = [message.subarray(0, 3), message.subarray(3, 700), message.subarray(700)].map((part) => {
    const head = Buffer.from([22, 3, 1, 0, 0]);
    head.writeUInt16BE(part.length, 3);
    return Buffer.concat([head, part]);
  });
  assert.deepEqual(parseClientHello(Buffer.concat(records)), parseClientHello(direct18));
});

test('waits for more at every cut', () => {
  for (let cut = 0; cut < direct18.length; cut++) {
    assert.equal(parseClientHello(direct18.subarray(0, cut)).kind, 'incomplete', `at ${cut}`);
  }
});

test('refuses other records, other messages and hellos that are too long, before waiting for them', () => {
  const cases: Record<string, Buffer> = {
    'an alert': Buffer.from([21, 3, 1, 0, 2, 2, 40]),
    'no TLS version': Buffer.from([22, 9]),
    'a server hello': Buffer.from([22, 3, 3, 0, 10, 2]),
    'an empty record': Buffer.from([22, 3, 1, 0, 0]),
    'a huge record': Buffer.from([22, 3, 1, 0xff, 0xff]),
    'a huge message': Buffer.from([22, 3, 1, 0x10, 0, 1, 0, 0xff, 0xff]),
    'many tiny records': Buffer.from(Array.from({ length: 40 }, () => [22, 3, 1, 0, 1, 1]).flat()),
  };
  for (const [name, bytes] of Object.entries(cases)) assert.equal(parseClientHello(bytes).kind, 'invalid', name);
});

test('answers a damaged hello without throwing, and never waits for more than the largest one', () => {
  const damaged = fc
    .tuple(fc.array(fc.tuple(fc.nat(direct18.length - 1), fc.nat(255)), { maxLength: 8 }), fc.nat(direct18.length))
    .map(([changes, cut]) => {
      const bytes = Buffer.from(direct18);
      for (const [at, value] of changes) bytes[at] = value;
      return bytes.subarray(0, cut);
    });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 80 }).map(Buffer.from)), (bytes) => {
      assert.ok(['incomplete', 'invalid', 'client-hello'].includes(parseClientHello(bytes).kind));
    }),
    { numRuns: 5000 },
  );
  const endless = Buffer.alloc(CLIENT_HELLO_BYTES_MAX + 16 * 5 + 5, 0x16);
  assert.notEqual(parseClientHello(endless).kind, 'incomplete');
});
