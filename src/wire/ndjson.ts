/**
 * JSON texts, one a line, over a byte stream: how agents talk to each other (src/api/peer-stream.ts).
 * The bound on a line's length is what keeps a broken or hostile sender from filling memory.
 */

/** Code LINE_TOO_LONG, LINE_NOT_UTF8 or LINE_NOT_JSON. The stream cannot be used any more. */
export class LineError extends Error {
  override name = 'LineError';
  readonly code: 'LINE_TOO_LONG' | 'LINE_NOT_UTF8' | 'LINE_NOT_JSON';
  constructor(code: LineError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const NEWLINE = 0x0a;

/** Cuts a byte stream into lines. Keeps at most `lineBytesMax` bytes. */
export class LineDecoder {
  readonly #lineBytesMax: number;
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true });
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(lineBytesMax: number) {
    this.#lineBytesMax = lineBytesMax;
  }

  /**
   * Takes the next bytes; calls `onLine` once for each line that they complete, without its newline, empty lines left out.
   * `chunk` is not kept beyond the call. Throws LineError; what was called back before stays valid.
   */
  push(chunk: Buffer, onLine: (line: string) => void): void {
    let start = 0;
    while (start < chunk.length) {
      const end = chunk.indexOf(NEWLINE, start);
      if (this.#bytes + (end === -1 ? chunk.length : end) - start > this.#lineBytesMax) {
        throw new LineError('LINE_TOO_LONG', `Cannot read a line: it is longer than ${this.#lineBytesMax} bytes`);
      }
      if (end === -1) {
        this.#keep(chunk.subarray(start));
        return;
      }
      const line = this.#complete(chunk.subarray(start, end));
      start = end + 1;
      if (line !== '') onLine(line);
    }
  }

  #keep(piece: Buffer): void {
    this.#pieces.push(Buffer.from(piece));
    this.#bytes += piece.length;
    // Many tiny pieces would cost far more memory than their bytes.
    if (this.#pieces.length >= 64) this.#pieces = [Buffer.concat(this.#pieces)];
  }

  #complete(last: Buffer): string {
    const bytes = this.#pieces.length === 0 ? last : Buffer.concat([...this.#pieces, last]);
    this.#pieces = [];
    this.#bytes = 0;
    try {
      return this.#utf8.decode(bytes);
    } catch (error) {
      throw new LineError('LINE_NOT_UTF8', 'Cannot read a line: it is not UTF-8', { cause: error });
    }
  }
}

/** JSON.parse with a LineError. */
export function parseJsonLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new LineError('LINE_NOT_JSON', `Cannot read "${line.slice(0, 40)}": it is not JSON`, { cause: error });
  }
}

/** One value as one line. Throws LineError when it would be longer than the other side accepts. */
export function encodeJsonLine(value: unknown, lineBytesMax: number): Buffer {
  const line = Buffer.from(`${JSON.stringify(value)}\n`);
  if (line.length - 1 > lineBytesMax) {
    throw new LineError('LINE_TOO_LONG', `Cannot send a line: it is longer than ${lineBytesMax} bytes`);
  }
  return line;
}
