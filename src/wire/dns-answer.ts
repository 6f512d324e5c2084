/**
 * Answers: from what an upstream said, once, to what each client is sent, often. An `Answer` belongs to nobody's question:
 * it has no identity, no OPT, and TTLs of the moment at which it came. `encodeAnswer` makes a client's message from it: its
 * identity, its spelling of the name, TTLs that have run down, its EDNS, and cut to what it can take.
 */
import {
  DNS_TYPE,
  type DnsQuery,
  type DnsResponse,
  FLAG,
  HEADER_BYTES,
  MESSAGE_BYTES_MAX,
  type ParsedQuery,
  type Question,
  RCODE,
  UDP_BYTES_MIN,
} from './dns-message.ts';

export interface Answer {
  /** Header, question and records, without OPT. */
  readonly message: Buffer;
  readonly questionBytes: number;
  readonly rcode: number;
  readonly records: readonly AnswerRecord[];
  /** How long it may be kept, in seconds: of its own records, without anybody's bounds. 0: not at all. */
  readonly ttlSeconds: number;
  readonly isNegative: boolean;
}

export interface AnswerRecord {
  readonly section: 'answer' | 'authority' | 'additional';
  readonly ttl: number;
  readonly ttlOffset: number;
  readonly end: number;
}

/** An upstream's answer without its OPT. What stands behind the OPT goes too: pointers into it would be wrong. */
export function answerOf(response: DnsResponse): Answer {
  const optIndex = response.records.findIndex(({ type }) => type === DNS_TYPE.OPT);
  const records = optIndex === -1 ? response.records : response.records.slice(0, optIndex);
  const end = records.at(-1)?.end ?? HEADER_BYTES + response.question.bytes.length;
  const message = Buffer.from(response.message.subarray(0, end));
  setCounts(message, records);
  return {
    message,
    questionBytes: response.question.bytes.length,
    rcode: response.rcode,
    records,
    ...keeping(response),
  };
}

/** RFC 2308 section 5: a negative answer is kept as long as its SOA says, and not at all without one. */
function keeping({ records, rcode, message }: DnsResponse): Pick<Answer, 'ttlSeconds' | 'isNegative'> {
  const answers = records.filter(({ section }) => section === 'answer');
  if (rcode === RCODE.NOERROR && answers.length > 0)
    return { isNegative: false, ttlSeconds: Math.min(...answers.map(({ ttl }) => sane(ttl))) };
  if (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return { isNegative: true, ttlSeconds: 0 };
  const soa = records.find(({ section, type }) => section === 'authority' && type === DNS_TYPE.SOA);
  // The last field of an SOA is the TTL of what is not there.
  const isWhole = soa !== undefined && soa.end - soa.dataStart >= 22;
  return {
    isNegative: true,
    ttlSeconds: isWhole ? Math.min(sane(soa.ttl), sane(message.readUInt32BE(soa.end - 4))) : 0,
  };
}

/** RFC 2181 section 8: with the highest bit set it counts as 0. */
function sane(ttl: number): number {
  return ttl > 0x7fff_ffff ? 0 : ttl;
}

export interface AnswerLimits {
  /** Time since the answer came, in seconds. */
  readonly ageSeconds: number;
  /** TTLs are cut to so many seconds. */
  readonly ttlSecondsMax: number;
  /** Longest message in bytes that may be sent: over UDP what the client and we take, over TCP all. */
  readonly bytesMax: number;
}

const OPT_BYTES = 11;

export function encodeAnswer(answer: Answer, query: DnsQuery, limits: AnswerLimits): Buffer {
  const optBytes = query.edns === null ? 0 : OPT_BYTES;
  const whole = answer.message.length + optBytes <= limits.bytesMax;
  const records = whole ? answer.records : recordsThatFit(answer, limits.bytesMax - optBytes);
  const end = whole ? answer.message.length : (records.at(-1)?.end ?? HEADER_BYTES + answer.questionBytes);
  const message = Buffer.allocUnsafe(end + optBytes);
  answer.message.copy(message, 0, 0, end);
  const kept = answer.message.readUInt16BE(2) & (FLAG.AA | FLAG.AD);
  message.writeUInt16BE(query.id, 0);
  message.writeUInt16BE(
    FLAG.QR | FLAG.RA | kept | (query.flags & (FLAG.RD | FLAG.CD)) | (whole ? 0 : FLAG.TC) | (answer.rcode & 0x0f),
    2,
  );
  if (!whole) setCounts(message, records);
  query.question.bytes.copy(message, HEADER_BYTES);
  for (const { ttl, ttlOffset } of records)
    message.writeUInt32BE(Math.min(Math.max(sane(ttl) - limits.ageSeconds, 0), limits.ttlSecondsMax), ttlOffset);
  if (query.edns !== null) writeOpt(message, end, { rcode: answer.rcode, dnssecOk: query.edns.dnssecOk });
  return message;
}

/** Answers only: whoever sees TC asks again over TCP, and who cannot has at least these. */
function recordsThatFit({ records }: Answer, bytesMax: number): AnswerRecord[] {
  return records.filter(({ section, end }) => section === 'answer' && end <= bytesMax);
}

function setCounts(message: Buffer, records: readonly Pick<AnswerRecord, 'section'>[]): void {
  const counts = { answer: 0, authority: 0, additional: 0 };
  for (const { section } of records) counts[section]++;
  message.writeUInt16BE(counts.answer, 6);
  message.writeUInt16BE(counts.authority, 8);
  message.writeUInt16BE(counts.additional, 10);
}

/** What we take over UDP ourselves: fits into every path's packets (the DNS flag day of 2020). */
export const OUR_PAYLOAD_BYTES = 1232;

/** Adds the additional record OPT at `offset`, and counts it. */
function writeOpt(
  message: Buffer,
  offset: number,
  { rcode, dnssecOk }: { readonly rcode: number; readonly dnssecOk: boolean },
): void {
  message.writeUInt8(0, offset);
  message.writeUInt16BE(DNS_TYPE.OPT, offset + 1);
  message.writeUInt16BE(OUR_PAYLOAD_BYTES, offset + 3);
  message.writeUInt32BE((((rcode >>> 4) << 24) >>> 0) + (dnssecOk ? 0x8000 : 0), offset + 5);
  message.writeUInt16BE(0, offset + 9);
  message.writeUInt16BE(message.readUInt16BE(10) + 1, 10);
}

/** A question for an upstream. Its identity is written later (`writeUInt16BE(id, 0)`). */
export function encodeQuestion(
  question: Question,
  { flags, edns }: { readonly flags: number; readonly edns: { readonly dnssecOk: boolean } | null },
): Buffer {
  const end = HEADER_BYTES + question.bytes.length;
  const message = Buffer.alloc(end + (edns === null ? 0 : OPT_BYTES));
  message.writeUInt16BE(flags, 2);
  message.writeUInt16BE(1, 4);
  question.bytes.copy(message, HEADER_BYTES);
  if (edns !== null) writeOpt(message, end, { rcode: 0, dnssecOk: edns.dnssecOk });
  return message;
}

/** The same question for another name. @param name its bytes (encodeName). */
export function questionFor(question: Question, name: Buffer): Question {
  const bytes = Buffer.concat([name, question.bytes.subarray(-4)]);
  return { ...question, key: name.toString('latin1').toLowerCase(), bytes };
}

/** Why a query is not answered. */
export function encodeRefusal(refusal: Extract<ParsedQuery, { kind: 'refused' }>): Buffer {
  const questionBytes = refusal.question?.bytes ?? Buffer.alloc(0);
  const end = HEADER_BYTES + questionBytes.length;
  const message = Buffer.alloc(end + (refusal.hasEdns ? OPT_BYTES : 0));
  message.writeUInt16BE(refusal.id, 0);
  message.writeUInt16BE(
    FLAG.QR | (refusal.opcode << 11) | FLAG.RA | (refusal.flags & (FLAG.RD | FLAG.CD)) | (refusal.rcode & 0x0f),
    2,
  );
  message.writeUInt16BE(refusal.question === null ? 0 : 1, 4);
  questionBytes.copy(message, HEADER_BYTES);
  if (refusal.hasEdns) writeOpt(message, end, { rcode: refusal.rcode, dnssecOk: false });
  return message;
}

/** The largest message that a client takes over UDP. */
export function udpBytesMax(query: DnsQuery, ownMax: number): number {
  return Math.min(query.edns?.payloadBytesMax ?? UDP_BYTES_MIN, ownMax);
}

export const TCP_BYTES_MAX = MESSAGE_BYTES_MAX;
