/**
 * Answers that no upstream gave: an address, "the name is there and has nothing of this type", "it failed", and an upstream's
 * answer for one name as the answer for another.
 */
import { isIP } from 'node:net';
import { type Answer, answerOf } from './dns-answer.ts';
import {
  DNS_CLASS_IN,
  DNS_TYPE,
  type DnsRecord,
  type DnsResponse,
  FLAG,
  HEADER_BYTES,
  parseResponse,
  type Question,
  RCODE,
} from './dns-message.ts';
import { readName } from './dns-names.ts';

/** Every name of ours is the question's: a pointer to it. */
const QUESTION_NAME = Buffer.from([0xc0, HEADER_BYTES]);

/** The addresses that fit the type asked for; none of them: no data. */
export function addressAnswer(question: Question, addresses: readonly string[], ttlSeconds: number): Answer {
  const data = addresses.flatMap((address) => {
    const type = isIP(address) === 4 ? DNS_TYPE.A : DNS_TYPE.AAAA;
    return question.type === type || question.type === DNS_TYPE.ANY ? [{ type, data: addressBytes(address) }] : [];
  });
  if (data.length === 0) return noDataAnswer(question, ttlSeconds);
  const records = data.map((one) => recordBytes(QUESTION_NAME, { ...one, class: DNS_CLASS_IN, ttl: ttlSeconds }));
  return assemble(question, { flags: FLAG.AA, rcode: RCODE.NOERROR, answer: records, authority: [] });
}

/** The name exists without a record of this type. */
export function noDataAnswer(question: Question, ttlSeconds: number): Answer {
  const numbers = Buffer.alloc(20);
  // Serial, refresh, retry, expire: nobody transfers this zone. Minimum: how long "nothing" is kept.
  for (const [index, value] of [1, 7200, 1800, 86_400, ttlSeconds].entries()) numbers.writeUInt32BE(value, index * 4);
  const data = Buffer.concat([QUESTION_NAME, QUESTION_NAME, numbers]);
  const soa = recordBytes(QUESTION_NAME, { type: DNS_TYPE.SOA, class: DNS_CLASS_IN, ttl: ttlSeconds, data });
  return assemble(question, { flags: FLAG.AA, rcode: RCODE.NOERROR, answer: [], authority: [soa] });
}

export function failureAnswer(question: Question, rcode: number): Answer {
  return assemble(question, { flags: 0, rcode, answer: [], authority: [] });
}

/**
 * The answer to a question for another name, as the answer to `question`: records of that name become the question's, all
 * others stay. Signatures go, since they are for the other name. Null: a name in it cannot be read.
 */
export function renamedAnswer(response: DnsResponse, question: Question): Answer | null {
  const { message, records } = response;
  const parts: Record<'answer' | 'authority', Buffer[]> = { answer: [], authority: [] };
  for (const record of records) {
    // Additional records are of names that the others lead to; whoever wants them asks.
    if (record.section === 'additional' || SIGNATURES.has(record.type)) continue;
    const owner = readName(message, record.start);
    const data = expandData(message, record);
    if (owner === null || data === null) return null;
    const name = owner.key === response.question.key ? QUESTION_NAME : Buffer.from(owner.key, 'latin1');
    parts[record.section].push(recordBytes(name, { ...record, data }));
  }
  return assemble(question, { flags: 0, rcode: response.rcode, ...parts });
}

const SIGNATURES: ReadonlySet<number> = new Set([DNS_TYPE.RRSIG, DNS_TYPE.NSEC, DNS_TYPE.NSEC3]);

/** Types whose data may hold pointers: so many bytes, then so many names, then the rest (RFC 3597 section 4). */
const NAMES_IN_DATA: Readonly<Record<number, { readonly before: number; readonly names: number }>> = {
  [DNS_TYPE.NS]: { before: 0, names: 1 },
  [DNS_TYPE.CNAME]: { before: 0, names: 1 },
  [DNS_TYPE.PTR]: { before: 0, names: 1 },
  [DNS_TYPE.DNAME]: { before: 0, names: 1 },
  [DNS_TYPE.SOA]: { before: 0, names: 2 },
  [DNS_TYPE.MX]: { before: 2, names: 1 },
  [DNS_TYPE.SRV]: { before: 6, names: 1 },
};

/** The data without pointers: where they led is no longer there. */
function expandData(message: Buffer, { type, dataStart, end }: DnsRecord): Buffer | null {
  const shape = NAMES_IN_DATA[type];
  if (shape === undefined) return message.subarray(dataStart, end);
  let at = dataStart + shape.before;
  const parts = [message.subarray(dataStart, at)];
  for (let left = shape.names; left > 0; left--) {
    const name = readName(message, at);
    if (name === null || name.end > end) return null;
    parts.push(Buffer.from(name.key, 'latin1'));
    at = name.end;
  }
  return at > end ? null : Buffer.concat([...parts, message.subarray(at, end)]);
}

function recordBytes(
  name: Buffer,
  {
    type,
    class: klass,
    ttl,
    data,
  }: { readonly type: number; readonly class: number; readonly ttl: number; readonly data: Buffer },
): Buffer {
  const head = Buffer.alloc(10);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(klass, 2);
  head.writeUInt32BE(ttl, 4);
  head.writeUInt16BE(data.length, 8);
  return Buffer.concat([name, head, data]);
}

function assemble(
  question: Question,
  parts: {
    readonly flags: number;
    readonly rcode: number;
    readonly answer: readonly Buffer[];
    readonly authority: readonly Buffer[];
  },
): Answer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(FLAG.QR | FLAG.RA | parts.flags | (parts.rcode & 0x0f), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(parts.answer.length, 6);
  header.writeUInt16BE(parts.authority.length, 8);
  const message = Buffer.concat([header, question.bytes, ...parts.answer, ...parts.authority]);
  const response = parseResponse(message);
  // Only a message of more than 64 KiB cannot be read again: names of an upstream's answer, written out, can become so long.
  if (response === null) return failureAnswer(question, RCODE.SERVFAIL);
  return { ...answerOf(response), rcode: parts.rcode };
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = embeddedToHex(address).split('::');
  const words = (text: string) => (text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16)));
  const before = words(head);
  const after = tail === undefined ? [] : words(tail);
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((word) => [word >> 8, word & 0xff]));
}

/** `::ffff:192.0.2.1` as `::ffff:c000:201`. */
function embeddedToHex(address: string): string {
  return address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, ...bytes: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = bytes.slice(0, 4).map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
}
