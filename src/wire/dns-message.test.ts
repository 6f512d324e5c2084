import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { type Answer, answerOf, encodeAnswer, encodeQuestion, encodeRefusal, questionFor } from './dns-answer.ts';
import { DNS_TYPE, type DnsQuery, parseQuery, parseResponse, RCODE } from './dns-message.ts';
import { encodeName, nameText, readName } from './dns-names.ts';
import { addressAnswer, failureAnswer, noDataAnswer, renamedAnswer } from './dns-own-answer.ts';

/** As another implementation writes it. */
function queryBytes(name: string, type: dnsPacket.RecordType, more: Partial<dnsPacket.Packet> = {}): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: 7,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ name, type }],
    ...more,
  });
}

function query(name: string, type: dnsPacket.RecordType, more: Partial<dnsPacket.Packet> = {}): DnsQuery {
  const parsed = parseQuery(queryBytes(name, type, more));
  assert.equal(parsed.kind, 'query');
  return (parsed as { query: DnsQuery }).query;
}

function responseTo(name: string, type: dnsPacket.RecordType, more: Partial<dnsPacket.Packet>) {
  const bytes = dnsPacket.encode({ type: 'response', id: 7, questions: [{ name, type }], ...more });
  const response = parseResponse(bytes);
  assert.ok(response !== null);
  return response;
}

const EDNS: Partial<dnsPacket.Packet> = {
  additionals: [
    {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 1400,
      extendedRcode: 0,
      ednsVersion: 0,
      flags: 0x8000,
      flag_do: true,
      options: [],
    },
  ],
};
const ALL = { ageSeconds: 0, ttlSecondsMax: 86_400, bytesMax: 65_535 };
const soa = (minimum: number, ttl: number): dnsPacket.Answer => ({
  type: 'SOA',
  name: 'example',
  ttl,
  data: { mname: 'ns.example', rname: 'hostmaster.example', serial: 1, refresh: 2, retry: 3, expire: 4, minimum },
});

suite('queries', () => {
  test('are read with name, type, flags and EDNS', () => {
    const { id, question, edns } = query('Leo-1.Example.com', 'AAAA', EDNS);
    assert.deepEqual(
      [id, nameText(question.key), question.type, question.class, edns],
      [7, 'leo-1.example.com', DNS_TYPE.AAAA, 1, { payloadBytesMax: 1400, dnssecOk: true }],
    );
    assert.match(question.bytes.toString('latin1'), /Leo-1/);
    assert.equal(query('a', 'A').edns, null);
  });

  test('that are none are refused with a reason, or dropped', () => {
    const good = queryBytes('a.example', 'A');
    const changed = (offset: number, value: number) => {
      const copy = Buffer.from(good);
      copy.writeUInt16BE(value, offset);
      const parsed = parseQuery(copy);
      return parsed.kind === 'refused' ? parsed.rcode : parsed.kind;
    };
    assert.equal(changed(2, 0x8000), 'dropped');
    assert.equal(changed(2, 0x2800), RCODE.NOTIMP);
    assert.equal(changed(4, 2), RCODE.FORMERR);
    assert.equal(changed(4, 0), RCODE.FORMERR);
    assert.equal(changed(10, 3), RCODE.FORMERR);
    assert.equal(changed(good.length - 4, DNS_TYPE.AXFR), RCODE.REFUSED);
    assert.equal(changed(12, 0xc00c), RCODE.FORMERR, 'a pointer to itself');
    const version = parseQuery(
      queryBytes('a', 'A', { additionals: [{ ...(EDNS.additionals?.[0] as dnsPacket.OptAnswer), ednsVersion: 1 }] }),
    );
    assert.equal(version.kind === 'refused' && version.rcode, RCODE.BADVERS);
    const told = dnsPacket.decode(encodeRefusal(version as Extract<typeof version, { kind: 'refused' }>));
    assert.partialDeepStrictEqual(told.additionals?.[0], { extendedRcode: 1 });
  });

  test('of any bytes never throw, and every refusal is a message', () => {
    const hostile = fc.oneof(
      fc.uint8Array({ maxLength: 600 }),
      // Good ones with a few bytes changed reach further.
      fc.tuple(fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 6 }), fc.nat(60)).map(([changes, cut]) => {
        const bytes = queryBytes('www.example.com', 'A', EDNS);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        return bytes.subarray(0, Math.max(0, bytes.length - (cut > 50 ? cut - 50 : 0)));
      }),
    );
    fc.assert(
      fc.property(hostile, (bytes) => {
        const parsed = parseQuery(Buffer.from(bytes));
        if (parsed.kind === 'refused') assert.doesNotThrow(() => dnsPacket.decode(encodeRefusal(parsed)));
        if (parsed.kind !== 'query') return;
        const answer = encodeAnswer(addressAnswer(parsed.query.question, ['192.0.2.1'], 5), parsed.query, {
          ...ALL,
          bytesMax: 512,
        });
        assert.ok(answer.length <= 512 && parseResponse(answer) !== null);
      }),
      { numRuns: 3000 },
    );
  });
});

suite('responses', () => {
  test('of any bytes never throw, and what is made of them is whole', () => {
    const good = dnsPacket.encode({
      type: 'response',
      id: 7,
      questions: [{ name: 'www.example', type: 'A' }],
      answers: [
        { type: 'CNAME', name: 'www.example', ttl: 30, data: 'a.example' },
        { type: 'A', name: 'a.example', ttl: 60, data: '192.0.2.1' },
        { type: 'SRV', name: 'a.example', ttl: 60, data: { port: 1, target: 'b.example', priority: 1, weight: 1 } },
      ],
      authorities: [soa(5, 60)],
      ...EDNS,
    });
    const question = query('other.example', 'A');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
        fc.nat(good.length),
        (changes, cut) => {
          const bytes = Buffer.from(good.subarray(0, cut < 20 ? good.length - cut : good.length));
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          const response = parseResponse(bytes);
          if (response === null) return;
          for (const answer of [answerOf(response), renamedAnswer(response, question.question)]) {
            if (answer === null) continue;
            const sent = encodeAnswer(answer, question, ALL);
            assert.ok(sent.length <= 65_535);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  test('are kept without their OPT, and given with the identity, spelling and EDNS of each client', () => {
    const response = responseTo('a.example', 'A', {
      answers: [{ type: 'A', name: 'a.example', ttl: 60, data: '192.0.2.1' }],
      ...EDNS,
    });
    const answer = answerOf(response);
    assert.deepEqual([answer.ttlSeconds, answer.isNegative], [60, false]);
    const plain = dnsPacket.decode(
      encodeAnswer(answer, { ...query('A.eXample', 'A'), id: 99 }, { ...ALL, ageSeconds: 10 }),
    );
    assert.deepEqual([plain.id, plain.questions?.[0]?.name, plain.additionals], [99, 'A.eXample', []]);
    assert.deepEqual(
      plain.answers?.map((one) => (one as dnsPacket.StringAnswer).ttl),
      [50],
    );
    const withEdns = dnsPacket.decode(encodeAnswer(answer, query('a.example', 'A', EDNS), ALL));
    assert.partialDeepStrictEqual(withEdns.additionals?.[0], { flag_do: true });
  });

  test('are kept as long as their shortest TTL, negative ones as their SOA says, failures not at all', () => {
    const a = (ttl: number): dnsPacket.Answer => ({ type: 'A', name: 'x', ttl, data: '192.0.2.1' });
    const ttl = (more: Partial<dnsPacket.Packet>) => answerOf(responseTo('x', 'A', more)).ttlSeconds;
    assert.equal(ttl({ answers: [a(60), a(20)] }), 20);
    assert.equal(ttl({ answers: [a(0x8000_0000)] }), 0, 'the highest bit is no time');
    assert.equal(ttl({ authorities: [soa(5, 60)] }), 5);
    assert.equal(ttl({ authorities: [soa(50, 6)], flags: RCODE.NXDOMAIN }), 6);
    assert.equal(ttl({}), 0);
    assert.equal(ttl({ authorities: [soa(5, 60)], flags: RCODE.SERVFAIL }), 0);
  });

  test('that are longer than the client takes are cut between records, and say so', () => {
    const answers = Array.from(
      { length: 100 },
      (_, index): dnsPacket.Answer => ({ type: 'A', name: 'x.example', ttl: 9, data: `192.0.2.${index}` }),
    );
    const answer = answerOf(responseTo('x.example', 'A', { answers }));
    const cut = encodeAnswer(answer, query('x.example', 'A', EDNS), { ...ALL, bytesMax: 512 });
    assert.ok(cut.length <= 512);
    const decoded = dnsPacket.decode(cut);
    assert.equal(decoded.flag_tc, true);
    assert.ok((decoded.answers?.length ?? 0) > 10);
    assert.equal(dnsPacket.decode(encodeAnswer(answer, query('x.example', 'A'), ALL)).answers?.length, 100);
  });
});

suite('own answers', () => {
  const decoded = (answer: Answer, asked: DnsQuery) => dnsPacket.decode(encodeAnswer(answer, asked, ALL));

  test('give an address to its own type, and no data with an SOA to every other', () => {
    for (const [type, address] of [
      ['A', '192.0.2.1'],
      ['AAAA', '2001:db8::7'],
      ['AAAA', '::ffff:192.0.2.1'],
      ['AAAA', '::'],
      ['AAAA', '1:2:3:4:5:6:7:8'],
    ] as const) {
      const asked = query('x.example', type);
      const [first] = decoded(addressAnswer(asked.question, [address], 5), asked).answers as dnsPacket.StringAnswer[];
      assert.equal(first?.ttl, 5);
      assert.equal(
        new URL(`http://[${type === 'A' ? `::ffff:${first?.data}` : first?.data}]`).host,
        new URL(`http://[${type === 'A' ? `::ffff:${address}` : address}]`).host,
      );
    }
    const mx = query('x.example', 'MX');
    const nothing = decoded(addressAnswer(mx.question, ['192.0.2.1'], 5), mx);
    assert.deepEqual(
      [(nothing.flags ?? 0) & 0x0f, nothing.answers, nothing.authorities?.[0]?.type, nothing.authorities?.[0]?.name],
      [RCODE.NOERROR, [], 'SOA', 'x.example'],
    );
    assert.equal(noDataAnswer(mx.question, 5).ttlSeconds, 5);
    assert.equal((decoded(failureAnswer(mx.question, RCODE.SERVFAIL), mx).flags ?? 0) & 0x0f, RCODE.SERVFAIL);
  });

  test('for another name keep the name that was asked for, and the rest of a chain', () => {
    const asked = query('Leo-1.example', 'A');
    const other = questionFor(asked.question, encodeName('leo-1-0.leo-pods.shop.svc') as Buffer);
    assert.equal(nameText(other.key), 'leo-1-0.leo-pods.shop.svc');
    assert.equal(
      dnsPacket.decode(encodeQuestion(other, { flags: 0x100, edns: { dnssecOk: false } })).questions?.[0]?.name,
      'leo-1-0.leo-pods.shop.svc',
    );
    const response = responseTo('leo-1-0.leo-pods.shop.svc', 'A', {
      answers: [
        { type: 'CNAME', name: 'leo-1-0.leo-pods.shop.svc', ttl: 30, data: 'pod.shop.svc' },
        { type: 'A', name: 'pod.shop.svc', ttl: 30, data: '10.0.0.1' },
      ],
    });
    const renamed = decoded(renamedAnswer(response, asked.question) as Answer, asked);
    assert.deepEqual(
      renamed.answers?.map((one) => [one.name, (one as dnsPacket.StringAnswer).data]),
      [
        ['Leo-1.example', 'pod.shop.svc'],
        ['pod.shop.svc', '10.0.0.1'],
      ],
    );
  });
});

suite('names', () => {
  test('end although pointers lead in circles', () => {
    const circle = Buffer.from([1, 0x61, 0xc0, 4, 1, 0x62, 0xc0, 0]);
    assert.equal(readName(circle, 0), null);
    assert.equal(readName(circle, 4), null);
    const back = Buffer.from([1, 0x41, 0, 1, 0x62, 0xc0, 0]);
    assert.deepEqual(readName(back, 3), { key: '\x01b\x01a\0', end: 7 });
  });

  test('have a text if they are plain', () => {
    assert.equal(encodeName(`${'a'.repeat(64)}.example`), null);
    assert.equal(encodeName(Array(130).fill('a').join('.')), null);
    assert.equal(encodeName('a..b'), null);
    assert.equal(nameText('\x03a.b\x00'), null);
    assert.equal(encodeName('A.b.')?.toString('latin1'), '\x01A\x01b\0');
  });
});
