/**
 * DNS messages as a forwarder needs them: what is asked, and where the records of an answer lie. What is in a record is not
 * its business, so records of every type pass unchanged. RFC 1035 section 4, RFC 6891 (EDNS), RFC 2308 (negative answers).
 *
 *   header 12 bytes | question: name type class | records: name type class ttl length data ...
 */
import { readName, skipName } from './dns-names.ts';

export const DNS_TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  RRSIG: 46,
  NSEC: 47,
  NSEC3: 50,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

export const DNS_CLASS_IN = 1;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

export const FLAG = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, AD: 0x0020, CD: 0x0010 } as const;
const OPCODE_MASK = 0x7800;

export const HEADER_BYTES = 12;
/** What every client takes over UDP (RFC 1035 section 4.2.1). */
export const UDP_BYTES_MIN = 512;
export const MESSAGE_BYTES_MAX = 65_535;
/** OPT and a signature are what queries carry. */
const QUERY_ADDITIONAL_MAX = 4;

export interface Question {
  /** The name in lower case (dns-names.ts). */
  readonly key: string;
  readonly type: number;
  readonly class: number;
  /** Name, type and class as they were sent: an answer repeats them, also in their case. */
  readonly bytes: Buffer;
}

export interface DnsQuery {
  readonly id: number;
  /** RD, AD and CD of the header; no other bits. */
  readonly flags: number;
  readonly question: Question;
  /** Null: the client does not know EDNS, so the answer must not have it. */
  readonly edns: { readonly payloadBytesMax: number; readonly dnssecOk: boolean } | null;
}

export type ParsedQuery =
  | { readonly kind: 'query'; readonly query: DnsQuery }
  /** To be told why it is not answered. */
  | {
      readonly kind: 'refused';
      readonly id: number;
      readonly flags: number;
      readonly opcode: number;
      readonly rcode: number;
      readonly question: Question | null;
      readonly hasEdns: boolean;
    }
  /** Not to be answered: two servers would send each other errors for ever. */
  | { readonly kind: 'dropped'; readonly reason: 'short' | 'response' };

export function parseQuery(message: Buffer): ParsedQuery {
  if (message.length < HEADER_BYTES) return { kind: 'dropped', reason: 'short' };
  const id = message.readUInt16BE(0);
  const header = message.readUInt16BE(2);
  if ((header & FLAG.QR) !== 0) return { kind: 'dropped', reason: 'response' };
  const flags = header & (FLAG.RD | FLAG.AD | FLAG.CD);
  const opcode = (header & OPCODE_MASK) >> 11;
  const refused = (rcode: number, question: Question | null = null, hasEdns = false): ParsedQuery => ({
    kind: 'refused',
    id,
    flags,
    opcode,
    rcode,
    question,
    hasEdns,
  });
  if (opcode !== 0) return refused(RCODE.NOTIMP);
  const additional = message.readUInt16BE(10);
  if (message.readUInt16BE(4) !== 1 || message.readUInt32BE(6) !== 0 || additional > QUERY_ADDITIONAL_MAX)
    return refused(RCODE.FORMERR);
  const question = readQuestion(message);
  if (question === null) return refused(RCODE.FORMERR);
  const records = readRecords(message, HEADER_BYTES + question.bytes.length, [0, 0, additional]);
  if (records === null) return refused(RCODE.FORMERR, question);
  const opts = records.filter(({ type }) => type === DNS_TYPE.OPT);
  const [opt] = opts;
  if (opts.length > 1 || (opt !== undefined && message[opt.start] !== 0)) return refused(RCODE.FORMERR, question);
  if (opt !== undefined && ((opt.ttl >>> 16) & 0xff) !== 0) return refused(RCODE.BADVERS, question, true);
  if (question.type === DNS_TYPE.AXFR || question.type === DNS_TYPE.IXFR)
    return refused(RCODE.REFUSED, question, opt !== undefined);
  const edns =
    opt === undefined
      ? null
      : { payloadBytesMax: Math.max(opt.class, UDP_BYTES_MIN), dnssecOk: (opt.ttl & 0x8000) !== 0 };
  return { kind: 'query', query: { id, flags, question, edns } };
}

/** One record of a message, by its offsets. */
export interface DnsRecord {
  readonly section: 'answer' | 'authority' | 'additional';
  readonly type: number;
  readonly class: number;
  /** Seconds; of an OPT its flags. */
  readonly ttl: number;
  readonly start: number;
  readonly ttlOffset: number;
  readonly dataStart: number;
  readonly end: number;
}

export interface DnsResponse {
  readonly id: number;
  readonly flags: number;
  /** With the upper bits of EDNS. */
  readonly rcode: number;
  readonly isTruncated: boolean;
  readonly question: Question;
  readonly records: readonly DnsRecord[];
  readonly message: Buffer;
}

/** Null: it is no whole answer to one question. */
export function parseResponse(message: Buffer): DnsResponse | null {
  if (message.length < HEADER_BYTES || message.length > MESSAGE_BYTES_MAX) return null;
  const flags = message.readUInt16BE(2);
  if ((flags & FLAG.QR) === 0 || (flags & OPCODE_MASK) !== 0 || message.readUInt16BE(4) !== 1) return null;
  const question = readQuestion(message);
  if (question === null) return null;
  const counts = [message.readUInt16BE(6), message.readUInt16BE(8), message.readUInt16BE(10)] as const;
  const isTruncated = (flags & FLAG.TC) !== 0;
  const records = readRecords(message, HEADER_BYTES + question.bytes.length, counts);
  // Some servers cut in the middle of a record; what they sent is asked for again over TCP.
  if (records === null && !isTruncated) return null;
  const opt = records?.find(({ type }) => type === DNS_TYPE.OPT);
  return {
    id: message.readUInt16BE(0),
    flags,
    rcode: (flags & 0x0f) | (opt === undefined ? 0 : (opt.ttl >>> 24) << 4),
    isTruncated,
    question,
    records: records ?? [],
    message,
  };
}

/** The only question; no pointer, since nothing stands before it. */
function readQuestion(message: Buffer): Question | null {
  const name = readName(message, HEADER_BYTES);
  if (name === null || name.end + 4 > message.length) return null;
  return {
    key: name.key,
    type: message.readUInt16BE(name.end),
    class: message.readUInt16BE(name.end + 2),
    bytes: message.subarray(HEADER_BYTES, name.end + 4),
  };
}

const SECTIONS = ['answer', 'authority', 'additional'] as const;
/** Name, type, class, TTL, length of an empty record of the root. */
const RECORD_BYTES_MIN = 11;

/** @param counts of answer, authority, additional. Null: a record is cut, or bytes are left over. */
function readRecords(message: Buffer, start: number, counts: readonly [number, number, number]): DnsRecord[] | null {
  const total = counts[0] + counts[1] + counts[2];
  if (total * RECORD_BYTES_MIN > message.length - start) return null;
  const records: DnsRecord[] = [];
  let at = start;
  for (const [index, section] of SECTIONS.entries()) {
    for (let left = counts[index] as number; left > 0; left--) {
      const afterName = skipName(message, at);
      if (afterName === -1 || afterName + 10 > message.length) return null;
      const dataStart = afterName + 10;
      const end = dataStart + message.readUInt16BE(afterName + 8);
      if (end > message.length) return null;
      records.push({
        section,
        type: message.readUInt16BE(afterName),
        class: message.readUInt16BE(afterName + 2),
        ttl: message.readUInt32BE(afterName + 4),
        start: at,
        ttlOffset: afterName + 4,
        dataStart,
        end,
      });
      at = end;
    }
  }
  return at === message.length ? records : null;
}
