/**
 * The resolver as it runs, asked by the resolver that Node has (c-ares) and over plain sockets. Its upstreams are resolvers of
 * the same kind, whose rules are their zone, and, where one must misbehave, sockets of this file.
 */
import assert from 'node:assert/strict';
import * as dgram from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import * as net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import dnsPacket from 'dns-packet';
import pino from 'pino';
import type { z } from 'zod';
import type { dnsConfigSchema } from '../../api/dns-config.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { type RunningDns, startDns } from './main.ts';

type ConfigText = z.input<typeof dnsConfigSchema>;

const PORT = 5353;
const folder = await mkdtemp(join(tmpdir(), 'pgspan-dns-'));
const open = new Set<{ close(): unknown }>();
after(async () => {
  for (const one of open) one.close();
  await rm(folder, { recursive: true, force: true });
});

/** Addresses of this file: 127.67.1.x. */
const at = (host: number) => `127.67.1.${host}`;

async function writeConfig(host: number, config: Partial<ConfigText>): Promise<string> {
  const path = join(folder, `${host}.json`);
  const whole: ConfigText = {
    listen: { dns: { address: at(host), port: PORT }, health: { address: at(host), port: 5380 } },
    ...config,
  };
  // As Kubernetes does it: whole or not at all.
  await writeFile(`${path}.new`, JSON.stringify(whole));
  await rename(`${path}.new`, path);
  return path;
}

async function start(host: number, config: Partial<ConfigText>): Promise<RunningDns> {
  const dns = await startDns(await writeConfig(host, config), pino({ level: 'silent' }));
  open.add(dns);
  return dns;
}

/** Nobody listens there. */
const NOBODY = { address: at(250), port: PORT };

/** A resolver that knows these names only. */
async function startZone(host: number, names: Readonly<Record<string, string>>) {
  const rules = Object.entries(names).map(([name, result]) => ({ host: name, result }));
  await start(host, { rules, upstreams: [NOBODY], limits: { ruleTtlSeconds: 60 } });
  return { address: at(host), port: PORT };
}

function resolver(host: number): Resolver {
  const one = new Resolver({ timeout: 5000, tries: 1 });
  one.setServers([`${at(host)}:${PORT}`]);
  return one;
}

/** An upstream of the test's own. `answer` null: silence. */
async function startUpstream(
  host: number,
  answer: (query: dnsPacket.Packet, message: Buffer) => Buffer | Buffer[] | null,
) {
  const socket = dgram.createSocket('udp4');
  const seen: dnsPacket.Packet[] = [];
  socket.on('message', (message, from) => {
    const query = dnsPacket.decode(message);
    seen.push(query);
    const answers = answer(query, message);
    for (const one of answers === null ? [] : [answers].flat()) socket.send(one, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(PORT, at(host), resolve));
  open.add(socket);
  return { address: at(host), port: PORT, seen, close: () => open.delete(socket) && socket.close() };
}

function reply(query: dnsPacket.Packet, more: Partial<dnsPacket.Packet>): Buffer {
  return dnsPacket.encode({ type: 'response', id: query.id ?? 0, questions: query.questions ?? [], ...more });
}

async function metric(host: number, line: string): Promise<number> {
  const text = await (await fetch(`http://${at(host)}:5380/metrics`)).text();
  const found = text.split('\n').find((one) => one.startsWith(`${line} `));
  return found === undefined ? 0 : Number(found.slice(line.length));
}

/** Sends bytes by UDP; null: nothing came back within a moment. */
async function sendUdp(host: number, message: Buffer, patienceMs = 1000): Promise<Buffer | null> {
  const socket = dgram.createSocket('udp4');
  const { promise, resolve } = Promise.withResolvers<Buffer | null>();
  socket.on('message', resolve);
  socket.send(message, PORT, at(host));
  const timer = setTimeout(() => resolve(null), patienceMs);
  const result = await promise;
  clearTimeout(timer);
  socket.close();
  return result;
}

const code = (error: NodeJS.ErrnoException): string => error.code ?? error.message;

suite('dns agent', needs('loopback'), () => {
  test('answers names of the rules by pod and address, and asks upstream for everything else', async () => {
    const zone = await startZone(2, {
      'leo-1-0.leo-pods.shop.svc.cluster.local': '10.0.0.1',
      'other.example': '192.0.2.9',
    });
    await start(1, {
      rules: [
        { host: 'leo-1.example.com', result: 'leo-1-0.leo-pods.shop.svc.cluster.local' },
        { host: '(.+)\\.peer\\.example', result: '10.9.0.1', regex: true },
      ],
      upstreams: [zone],
    });
    const asked = resolver(1);
    assert.deepEqual(await asked.resolve4('leo-1.example.com', { ttl: true }), [{ address: '10.0.0.1', ttl: 5 }]);
    assert.deepEqual(await asked.resolve4('LEO-1.Example.com'), ['10.0.0.1']);
    assert.equal(await asked.resolve6('leo-1.example.com').catch(code), 'ENODATA');
    assert.deepEqual(await asked.resolve4('x.peer.example'), ['10.9.0.1']);
    assert.equal(await asked.resolveMx('x.peer.example').catch(code), 'ENODATA');
    assert.deepEqual(
      await asked.resolve4('other.example', { ttl: true }),
      [{ address: '192.0.2.9', ttl: 30 }],
      'at most 30 s',
    );
    assert.deepEqual(await asked.resolve4('other.example'), ['192.0.2.9']);
    assert.equal(await metric(1, 'pgspan_dns_answers_total{source="cache",rcode="noerror"}'), 2);
    assert.equal(await metric(1, 'pgspan_dns_upstream_up{upstream="127.67.1.2:5353"}'), 1);
    assert.equal(await (await fetch(`http://${at(1)}:5380/readyz`)).text(), 'ok\n');
  });

  test('passes on records of every type, NXDOMAIN and its SOA, and sends EDNS itself', async () => {
    const upstream = await startUpstream(4, (query) => {
      const [question] = query.questions ?? [];
      if (question?.type === 'SRV')
        return reply(query, {
          answers: [
            {
              type: 'SRV',
              name: question.name,
              ttl: 9,
              data: { port: 5432, target: 'leo-1.example', priority: 1, weight: 2 },
            },
          ],
        });
      if (question?.type === 'TXT')
        return reply(query, { answers: [{ type: 'TXT', name: question.name, ttl: 9, data: ['some', 'text'] }] });
      return reply(query, {
        flags: 3,
        authorities: [
          {
            type: 'SOA',
            name: 'example',
            ttl: 60,
            data: { mname: 'ns', rname: 'h', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 60 },
          },
        ],
      });
    });
    await start(3, { upstreams: [upstream] });
    const asked = resolver(3);
    assert.deepEqual(await asked.resolveSrv('_pg._tcp.example'), [
      { name: 'leo-1.example', port: 5432, priority: 1, weight: 2, type: 'SRV' },
    ]);
    assert.deepEqual(await asked.resolveTxt('t.example'), [['some', 'text']]);
    const before = upstream.seen.length;
    for (let times = 0; times < 3; times++) assert.equal(await asked.resolve4('nix.example').catch(code), 'ENOTFOUND');
    assert.equal(upstream.seen.length, before + 1, 'a negative answer is kept');
    const raw = dnsPacket.decode(
      (await sendUdp(
        3,
        dnsPacket.encode({ type: 'query', id: 5, flags: 0x100, questions: [{ name: 'nix.example', type: 'A' }] }),
      )) as Buffer,
    );
    assert.deepEqual(
      [raw.authorities?.[0]?.type, (raw.authorities?.[0] as dnsPacket.SoaAnswer | undefined)?.ttl],
      ['SOA', 10],
      'at most 10 s',
    );
    assert.deepEqual(raw.additionals, []);
    const opt = upstream.seen.at(-1)?.additionals?.[0] as dnsPacket.OptAnswer;
    assert.deepEqual([opt.type, opt.udpPayloadSize], ['OPT', 1232]);
  });

  test('asks the next upstream when one is dead, silent or broken, and the dead one last from then on', async () => {
    const good = await startZone(6, {
      'a.example': '192.0.2.1',
      'b.example': '192.0.2.2',
      'c.example': '192.0.2.3',
      'd.example': '192.0.2.4',
    });
    const silent = await startUpstream(7, () => null);
    const broken = await startUpstream(8, (query) => reply(query, { flags: 2 }));
    await start(5, { upstreams: [NOBODY, silent, broken, good], limits: { attemptTimeoutMs: 300 } });
    const asked = resolver(5);
    for (const [index, name] of ['a.example', 'b.example', 'c.example'].entries())
      assert.deepEqual(await asked.resolve4(name), [`192.0.2.${index + 1}`]);
    const before = silent.seen.length;
    assert.deepEqual(await asked.resolve4('d.example'), ['192.0.2.4']);
    assert.equal(silent.seen.length, before, 'a silent one is asked last');
    assert.equal(await metric(5, 'pgspan_dns_upstream_up{upstream="127.67.1.7:5353"}'), 0);
  });

  test('takes only the answer to what it asked', async () => {
    const wrong = await startUpstream(10, (query) => {
      const [question] = query.questions as [dnsPacket.Question];
      const answers = (data: string, name = question.name): dnsPacket.Answer[] => [{ type: 'A', name, ttl: 9, data }];
      return [
        Buffer.from('no message'),
        reply({ ...query, id: ((query.id ?? 0) + 1) % 65_536 }, { answers: answers('192.0.2.66') }),
        reply(
          { ...query, questions: [{ ...question, name: 'evil.example' }] },
          { answers: answers('192.0.2.67', 'evil.example') },
        ),
        reply(query, { answers: answers('192.0.2.1') }).subarray(0, -3),
        reply(query, { answers: answers('192.0.2.1') }),
      ];
    });
    await start(9, { upstreams: [wrong] });
    assert.deepEqual(await resolver(9).resolve4('a.example'), ['192.0.2.1']);
  });

  test('goes to TCP for what is cut, and cuts for UDP clients what they cannot take', async () => {
    const many = Array.from({ length: 60 }, (_, index) => `192.0.2.${index + 1}`);
    const answers = many.map((data): dnsPacket.Answer => ({ type: 'A', name: 'many.example', ttl: 9, data }));
    const upstream = await startUpstream(12, (query) => reply(query, { flags: dnsPacket.TRUNCATED_RESPONSE }));
    const tcp = net.createServer((socket) => {
      // In two pieces, as networks do it.
      socket.once('data', (chunk: Buffer) => {
        const whole = dnsPacket.streamEncode({
          type: 'response',
          id: dnsPacket.decode(chunk.subarray(2)).id ?? 0,
          questions: [{ name: 'many.example', type: 'A' }],
          answers,
        });
        socket.write(whole.subarray(0, 100));
        setImmediate(() => socket.write(whole.subarray(100)));
      });
      socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => tcp.listen(PORT, at(12), resolve));
    open.add(tcp);
    await start(11, { upstreams: [upstream] });
    assert.equal((await resolver(11).resolve4('many.example')).length, 60, 'c-ares asks again over TCP');
    const plain = await sendUdp(
      11,
      dnsPacket.encode({ type: 'query', id: 1, flags: 0x100, questions: [{ name: 'many.example', type: 'A' }] }),
    );
    assert.ok(plain !== null && plain.length <= 512);
    assert.equal(dnsPacket.decode(plain).flag_tc, true);
    assert.ok(await metric(11, 'pgspan_dns_queries_total{protocol="tcp"}'));
  });

  test('serves many questions on one TCP connection, cut anywhere', async () => {
    await startZone(13, { 'a.example': '192.0.2.1', 'b.example': '192.0.2.2' });
    const socket = net.connect(PORT, at(13));
    const questions = Array.from({ length: 50 }, (_, id) =>
      dnsPacket.streamEncode({
        type: 'query',
        id,
        questions: [{ name: id % 2 ? 'a.example' : 'b.example', type: 'A' }],
      }),
    );
    let received = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
    });
    const bytes = Buffer.concat(questions);
    for (let from = 0; from < bytes.length; from += 37) {
      socket.write(bytes.subarray(from, from + 37));
      await new Promise(setImmediate);
    }
    const ids = (): number[] => {
      const found: number[] = [];
      for (let from = 0; from + 2 <= received.length; from += 2 + received.readUInt16BE(from))
        found.push(received.readUInt16BE(from + 2));
      return found;
    };
    await waitUntil('all 50 are answered', { timeoutMs: 10_000 }, () => new Set(ids()).size === 50);
    socket.destroy();
  });

  test('asks once for what many ask at the same time, and no more than its limit at once', async () => {
    const waiting: (() => void)[] = [];
    const slow = dgram.createSocket('udp4');
    slow.on('message', (message, from) => {
      const query = dnsPacket.decode(message);
      const [question] = query.questions as [dnsPacket.Question];
      waiting.push(() =>
        slow.send(
          reply(query, { answers: [{ type: 'A', name: question.name, ttl: 9, data: '192.0.2.1' }] }),
          from.port,
          from.address,
        ),
      );
    });
    await new Promise<void>((resolve) => slow.bind(PORT, at(15), resolve));
    open.add(slow);
    await start(14, {
      upstreams: [{ address: at(15), port: PORT }],
      limits: { queriesInFlightMax: 2, attemptTimeoutMs: 5000 },
    });
    const asked = resolver(14);
    const same = Array.from({ length: 20 }, () => asked.resolve4('same.example'));
    const other = asked.resolve4('other.example');
    await waitUntil('two questions came', { timeoutMs: 4000 }, () => waiting.length === 2);
    assert.equal(await asked.resolve4('third.example').catch(code), 'ESERVFAIL');
    for (const answer of waiting) answer();
    for (const answer of [...(await Promise.all(same)), await other]) assert.deepEqual(answer, ['192.0.2.1']);
    assert.equal(waiting.length, 2);
  });

  test('gives an old answer when no upstream answers any more', async () => {
    const upstream = await startUpstream(17, (query) =>
      reply(query, { answers: [{ type: 'A', name: 'a.example', ttl: 1, data: '192.0.2.1' }] }),
    );
    await start(16, { upstreams: [upstream], limits: { attemptTimeoutMs: 100, deadlineMs: 500 } });
    const asked = resolver(16);
    assert.deepEqual(await asked.resolve4('a.example'), ['192.0.2.1']);
    upstream.close();
    await waitUntil('an old answer is given', { timeoutMs: 10_000, intervalMs: 100 }, async () => {
      assert.deepEqual(await asked.resolve4('a.example'), ['192.0.2.1']);
      return (await metric(16, 'pgspan_dns_answers_total{source="stale",rcode="noerror"}')) > 0;
    });
    assert.equal(await asked.resolve4('unknown.example').catch(code), 'ESERVFAIL');
  });

  test('takes a changed configuration without a restart, and keeps the old one if the new one is wrong', async () => {
    const upstreams = [NOBODY];
    await start(18, { generation: 1, upstreams, rules: [{ host: 'a.example', result: '192.0.2.1' }] });
    const asked = resolver(18);
    assert.deepEqual(await asked.resolve4('a.example'), ['192.0.2.1']);
    await writeConfig(18, { generation: 2, upstreams, rules: [{ host: 'a.example', result: '192.0.2.2' }] });
    await waitUntil(
      'the new rule counts',
      { timeoutMs: 10_000, intervalMs: 50 },
      async () => (await asked.resolve4('a.example'))[0] === '192.0.2.2',
    );
    await writeConfig(18, { generation: 3, upstreams, rules: [{ host: '(a)\\1', result: '192.0.2.3', regex: true }] });
    await writeConfig(18, { generation: 4, upstreams, rules: [{ host: 'a+', result: '192.0.2.4', regex: true }] });
    await waitUntil(
      'generation 4 runs',
      { timeoutMs: 10_000, intervalMs: 50 },
      async () => (await metric(18, 'pgspan_dns_config_generation')) === 4,
    );
    assert.deepEqual(await asked.resolve4('aaaa'), ['192.0.2.4']);
  });

  test('answers circles in its rules with SERVFAIL, and an expression that would take for ever at once', async () => {
    await start(19, {
      upstreams: [NOBODY],
      rules: [
        { host: 'a.example', result: 'b.example' },
        { host: 'b.example', result: 'a.example' },
        { host: '(x+x+)+y', result: '192.0.2.1', regex: true },
      ],
    });
    const asked = resolver(19);
    assert.equal(await asked.resolve4('a.example').catch(code), 'ESERVFAIL');
    const beganMs = performance.now();
    assert.equal(await asked.resolve4('x'.repeat(60)).catch(code), 'ESERVFAIL');
    assert.ok(performance.now() - beganMs < 2000);
  });

  test('never asks itself, also by resolv.conf', async () => {
    const resolvConf = join(folder, 'resolv.conf');
    await writeFile(resolvConf, `nameserver ${at(20)}\nsearch shop.svc.cluster.local\noptions ndots:5\n`);
    const listen = { dns: { address: at(20), port: 53 }, health: null };
    const path = await writeConfig(20, { listen, resolvConf });
    await assert.rejects(startDns(path, pino({ level: 'silent' })), { code: 'DNS_NO_UPSTREAM' });
    await assert.rejects(
      startDns(await writeConfig(20, { listen, resolvConf: '/nowhere' }), pino({ level: 'silent' })),
      { code: 'DNS_NO_UPSTREAM' },
    );
  });

  test('survives packets that are none', async () => {
    const zone = await startZone(22, { 'a.example': '192.0.2.1' });
    await start(21, { upstreams: [zone] });
    const good = dnsPacket.encode({
      type: 'query',
      id: 1,
      flags: 0x100,
      questions: [{ name: 'a.example', type: 'A' }],
    });
    const noise = [
      Buffer.alloc(0),
      Buffer.from([1, 2, 3]),
      Buffer.alloc(12),
      Buffer.alloc(4096, 0xff),
      good.subarray(0, 20),
      Buffer.concat([good, Buffer.from('more')]),
      reply(dnsPacket.decode(good), {}),
    ];
    for (const bytes of noise) await sendUdp(21, bytes, 50);
    const socket = net.connect(PORT, at(21));
    socket.on('error', () => {});
    socket.write(Buffer.concat([Buffer.from([0xff, 0xff]), ...noise]));
    assert.deepEqual(await resolver(21).resolve4('a.example'), ['192.0.2.1']);
    socket.destroy();
    const refused = dnsPacket.decode((await sendUdp(21, good.subarray(0, 20))) as Buffer);
    assert.deepEqual([(refused.flags ?? 0) & 0x0f, refused.id], [1, 1]);
  });
});
