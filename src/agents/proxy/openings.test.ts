/** Every way in which a client may open a connection, good and bad, against real PostgreSQL. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as net from 'node:net';
import { Duplex } from 'node:stream';
import { after, before, suite, test } from 'node:test';
import * as tls from 'node:tls';
import { createProxyRig, type ProxyRig } from '../../../test/kit/proxy-rig.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { wireGolden } from '../../../test/kit/wire-goldens.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { encodeSslRequest } from '../../wire/postgres-opening.ts';

const READ = 5433;
const SOON = { timeoutMs: 10_000 } as const;
const GSSENC_REQUEST = Buffer.from('0000000804d21630', 'hex');
/** PROXY v2 from 203.0.113.9, and from nobody (a balancer's own check). */
const PROXY_HEADER = Buffer.from(`0d0a0d0a000d0a515549540a2111000ccb007109c0000201${'9c401538'}`, 'hex');

suite('openings', needs('postgres', 'psql', 'loopback'), () => {
  let rig: ProxyRig;
  before(async () => {
    rig = await createProxyRig({
      net: 3,
      nodes: 3,
      change: { limits: { firstBytesTimeoutMs: 500 }, listen: { proxyProtocolFrom: ['127.62.3.200/30'] } },
    });
    await waitUntil('the proxy routes', SOON, async () => (await rig.query('select 1')) === '1');
  });
  after(() => rig?.[Symbol.asyncDispose]());

  /** Connects, sends, and gives what comes back until the proxy ends the connection. */
  async function exchange(bytes: Buffer, localAddress = '127.0.0.1'): Promise<string> {
    const socket = net.connect({ port: 5432, host: rig.address, localAddress });
    socket.on('error', () => {}).write(bytes);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(socket, 'close');
    return Buffer.concat(chunks).toString('latin1');
  }

  /** A TLS client whose hello goes out with its SSLRequest, in one packet. */
  function pipelined(): tls.TLSSocket {
    const socket = net.connect(5432, rig.address);
    let isFirstWrite = true;
    let isFirstRead = true;
    const transport = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, done) => {
        socket.write(isFirstWrite ? Buffer.concat([encodeSslRequest(), chunk]) : chunk, () => done());
        isFirstWrite = false;
      },
    });
    socket.on('data', (chunk: Buffer) => {
      if (isFirstRead) assert.equal(String.fromCharCode(chunk[0] as number), 'S');
      transport.push(isFirstRead ? chunk.subarray(1) : chunk);
      isFirstRead = false;
    });
    socket.on('close', () => transport.destroy());
    return tls.connect({ socket: transport, ca: rig.pki.ca.authorityPem, servername: 'leo' });
  }

  test('takes a ClientHello that comes with its SSLRequest', async () => {
    const client = pipelined();
    await once(client, 'secureConnect');
    assert.equal(client.authorized, true);
    client.write(wireGolden('startup-plain-15', 'client'));
    const [answer] = (await once(client, 'data')) as [Buffer];
    assert.equal(String.fromCharCode(answer[0] as number), 'R');
    client.destroy();
  });

  test('answers a GSSENCRequest with no and goes on', async () => {
    const socket = net.connect(5432, rig.address);
    socket.write(GSSENC_REQUEST);
    assert.equal(String((await once(socket, 'data'))[0]), 'N');
    socket.write(encodeSslRequest());
    assert.equal(String((await once(socket, 'data'))[0]), 'S');
    socket.destroy();
  });

  test('refuses plain text behind a request for encryption, as PostgreSQL does', async () => {
    const startup = wireGolden('startup-plain-15', 'client');
    const forSsl = await exchange(Buffer.concat([encodeSslRequest(), startup]));
    assert.match(forSsl, /^E.*08P01.*received unencrypted data after SSL request/s);
    const forGss = await exchange(Buffer.concat([GSSENC_REQUEST, startup]));
    assert.match(forGss, /^E.*08P01.*received unencrypted data after GSSAPI encryption request/s);
  });

  test('refuses other protocols and lengths that no client sends', async () => {
    assert.match(await exchange(Buffer.from('GET / HTTP/1.1\r\n\r\n')), /^E.*08P01.*this is no PostgreSQL client/s);
    assert.match(
      await exchange(Buffer.from('00002711000300', 'hex')),
      /08P01.*invalid length of startup packet: 10001/s,
    );
    assert.match(
      await exchange(Buffer.from('0000000900020000' + '00', 'hex')),
      /0A000.*unsupported frontend protocol 2\.0/s,
    );
  });

  test('ends a client that sends its first packet byte by byte without end', async () => {
    const socket = net.connect(5432, rig.address).on('error', () => {});
    const opened = performance.now();
    socket.write(Buffer.from('00002000', 'hex'));
    const drip = setInterval(() => socket.write(Buffer.from([0])), 100);
    socket.on('data', () => {});
    await once(socket, 'close');
    clearInterval(drip);
    const lastedMs = performance.now() - opened;
    assert.ok(lastedMs > 400 && lastedMs < 5000, `it lasted ${lastedMs} ms`);
  });

  test('refuses direct TLS without the ALPN of PostgreSQL', async () => {
    const client = tls.connect({ port: 5432, host: rig.address, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
    const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
    assert.match(error.message, /no application protocol/i);
  });

  test('refuses damaged TLS', async () => {
    const damaged = Buffer.from(wireGolden('direct-tls-18', 'client'));
    damaged.fill(0xff, 60, 200);
    assert.equal(Buffer.from(await exchange(damaged), 'latin1').toString('hex'), '15030100020232');
  });

  test('refuses direct TLS to a server before 17 with its version', async () => {
    for (const agent of rig.agents) agent.say({ serverVersion: 160009 });
    const options = { rejectUnauthorized: false, ALPNProtocols: ['postgresql'] };
    const client = tls.connect({ port: 5432, host: rig.address, ...options });
    client.write(wireGolden('startup-plain-15', 'client'));
    const [answer] = (await once(client, 'data')) as [Buffer];
    assert.match(answer.toString(), /^E.*0A000.*direct TLS needs PostgreSQL 17 or later, and this server is 16\.9/s);
    client.destroy();
    for (const agent of rig.agents) agent.say({ serverVersion: rig.kit.major * 10000 + 1 });
  });

  test('carries direct TLS to a server that takes it', needs('postgres>=17'), async () => {
    assert.equal(await rig.query('show cluster_name', 'sslnegotiation=direct'), 'leo-1');
  });

  test('cancels over TLS, on both ports and with the long keys of protocol 3.2', needs('postgres>=18'), async () => {
    for (const [port, settings] of [
      [5432, ''],
      [5432, 'max_protocol_version=3.2'],
      [READ, 'max_protocol_version=3.2'],
    ] as const) {
      const session = rig.session(settings, port);
      session.send("select 'open'; select pg_sleep(60);");
      await waitUntil('the session is open', SOON, () => session.output.includes('open'));
      await waitUntil(`the query on ${port} is cancelled`, { timeoutMs: 10_000, intervalMs: 100 }, () => {
        session.interrupt();
        return session.output.includes('canceling statement due to user request');
      });
      session.end();
      await session.ended;
    }
  });

  test('knows a client behind a load balancer by its PROXY header, and demands one from there', async () => {
    const startup = wireGolden('startup-plain-15', 'client');
    const proxied = await exchange(Buffer.concat([PROXY_HEADER, startup]), '127.62.3.201');
    assert.match(proxied, /no pg_hba.conf entry for host "203\.0\.113\.9"/);
    assert.equal(await exchange(startup, '127.62.3.201'), '');
    // From elsewhere a header is no opening at all.
    assert.match(await exchange(Buffer.concat([PROXY_HEADER, startup])), /^E.*08P01/s);
  });

  test('outlives garbage on every port, in any pieces', async () => {
    const seeds = [
      '0000000804d2162f',
      '0000000804d21630',
      '16030100',
      '0000',
      '0000002804d2162e',
      '00000050000300',
      '',
    ];
    const poke = async (index: number): Promise<void> => {
      const port = [5432, READ, 8443][index % 3] as number;
      const socket = net.connect(port, rig.address).on('error', () => {});
      await once(socket, 'connect');
      const start = Buffer.from(seeds[index % seeds.length] as string, 'hex');
      socket.on('data', () => {}).write(Buffer.concat([start, randomBytes(1 + (index % 300))]));
      if (index % 2 === 0) socket.write(randomBytes(index * 50));
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (index % 5 === 0) socket.resetAndDestroy();
      else socket.end();
    };
    for (let index = 0; index < 210; index += 10) {
      await Promise.all(Array.from({ length: 10 }, (_, offset) => poke(index + offset)));
    }
    assert.equal(await rig.query('show cluster_name'), 'leo-1');
  });

  test('moves large results and large inputs unchanged', async () => {
    const rows = 30_000;
    const copied = await rig.query(
      `copy (select i, repeat(md5(i::text), 30) from generate_series(1, ${rows}) i) to stdout`,
    );
    const hash = createHash('md5').update(copied).digest('hex');
    const direct = await rig.query(
      `select md5(string_agg(i || E'\\t' || repeat(md5(i::text), 30), E'\\n' order by i)) from generate_series(1, ${rows}) i`,
    );
    assert.equal(hash, direct);
    const text = 'x'.repeat(100_000);
    assert.equal(await rig.query(`select length('${text}')`), String(text.length));
  });
});
