/**
 * Frames of a WebSocket, as a client sends and reads them: what the Kubernetes API server speaks for exec and port-forward.
 * No extensions, no text messages of ours. https://www.rfc-editor.org/rfc/rfc6455#section-5.2
 *
 *   byte 0  FIN · 3 reserved bits · opcode        byte 1  MASK · length (126: 16 bits follow, 127: 64 bits follow)
 *   then the length, the 4 bytes of the mask (from clients only), and the payload
 */
import { createHash } from 'node:crypto';

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** A whole message, its fragments put together; or a control frame. */
export interface WebSocketMessage {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** Code: WEBSOCKET_BROKEN. The other side does not follow the RFC, or sends more than is taken. */
export class WebSocketError extends Error {
  override name = 'WebSocketError';
  readonly code = 'WEBSOCKET_BROKEN';
}

/** Control frames have at most so much (section 5.5). */
const CONTROL_BYTES_MAX = 125;
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** One unfragmented frame of a client. @param mask 4 random bytes. */
export function encodeClientFrame(opcode: number, payload: Buffer, mask: Buffer): Buffer {
  const { length } = payload;
  const head =
    length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | length])
      : length < 65_536
        ? Buffer.from([0x80 | opcode, 0x80 | 126, length >> 8, length & 0xff])
        : longHead(opcode, length);
  const masked = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at++) masked[at] = (payload[at] as number) ^ (mask[at & 3] as number);
  return Buffer.concat([head, mask, masked]);
}

function longHead(opcode: number, length: number): Buffer {
  const head = Buffer.alloc(10);
  head[0] = 0x80 | opcode;
  head[1] = 0x80 | 127;
  head.writeBigUInt64BE(BigInt(length), 2);
  return head;
}

/** What a server must answer to `Sec-WebSocket-Key: key`. */
export function acceptOfKey(key: string): string {
  return createHash('sha1')
    .update(key + GUID)
    .digest('base64');
}

/** Bytes of a server to messages. */
export class WebSocketDecoder {
  readonly #messageBytesMax: number;
  #rest: Buffer = Buffer.alloc(0);
  #fragments: Buffer[] = [];
  #fragmentsOpcode: number | null = null;
  #fragmentsBytes = 0;

  constructor(options: { readonly messageBytesMax: number }) {
    this.#messageBytesMax = options.messageBytesMax;
  }

  /** Throws WebSocketError; nothing may be pushed after that. */
  push(chunk: Buffer, onMessage: (message: WebSocketMessage) => void): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let frame = this.#takeFrame(); frame !== null; frame = this.#takeFrame()) this.#onFrame(frame, onMessage);
  }

  #takeFrame(): Frame | null {
    const bytes = this.#rest;
    if (bytes.length < 2) return null;
    const [first, second] = [bytes[0] as number, bytes[1] as number];
    if ((first & 0x70) !== 0) throw new WebSocketError('Cannot read a frame: reserved bits are set');
    if ((second & 0x80) !== 0) throw new WebSocketError('Cannot read a frame: a server may not mask');
    const short = second & 0x7f;
    const headBytes = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (bytes.length < headBytes) return null;
    const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? Number(bytes.readBigUInt64BE(2)) : short;
    if (length > this.#messageBytesMax)
      throw new WebSocketError(
        `Cannot read a frame: it has ${length} bytes, at most ${this.#messageBytesMax} are read`,
      );
    if (bytes.length < headBytes + length) return null;
    this.#rest = bytes.subarray(headBytes + length);
    return {
      isLast: (first & 0x80) !== 0,
      opcode: first & 0x0f,
      payload: bytes.subarray(headBytes, headBytes + length),
    };
  }

  #onFrame({ isLast, opcode, payload }: Frame, onMessage: (message: WebSocketMessage) => void): void {
    if (opcode >= OPCODE.close) {
      if (!isLast || payload.length > CONTROL_BYTES_MAX)
        throw new WebSocketError('Cannot read a control frame: it is fragmented or too long');
      return onMessage({ opcode, payload });
    }
    const isContinuation = opcode === OPCODE.continuation;
    if (isContinuation !== (this.#fragmentsOpcode !== null))
      throw new WebSocketError('Cannot read a frame: a fragment is missing its beginning or its end');
    if (isLast && !isContinuation) return onMessage({ opcode, payload });
    this.#fragmentsOpcode ??= opcode;
    this.#fragmentsBytes += payload.length;
    if (this.#fragmentsBytes > this.#messageBytesMax)
      throw new WebSocketError(`Cannot read a message: it has more than ${this.#messageBytesMax} bytes`);
    this.#fragments.push(payload);
    if (!isLast) return;
    const message = { opcode: this.#fragmentsOpcode, payload: Buffer.concat(this.#fragments) };
    this.#fragments = [];
    this.#fragmentsOpcode = null;
    this.#fragmentsBytes = 0;
    onMessage(message);
  }
}

interface Frame {
  readonly isLast: boolean;
  readonly opcode: number;
  readonly payload: Buffer;
}
