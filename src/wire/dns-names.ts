/**
 * Domain names as bytes. RFC 1035 section 3.1 and 4.1.4, RFC 4343 (case).
 *
 *   wire   03 'l' 'e' 'o' 07 'e' 'x' 'a' 'm' 'p' 'l' 'e' 00      at most 255 bytes, labels at most 63
 *   key    the same as a latin1 text, A to Z in lower case: two names are equal if their keys are, whatever their bytes
 *   text   `leo.example`: only for names of letters, digits, "-" and "_"; everything else has none
 */

/** A name of a message and where it ends there. */
export interface ReadName {
  readonly key: string;
  /** Offset of the first byte after it; after the pointer if it ends in one. */
  readonly end: number;
}

export const NAME_BYTES_MAX = 255;
const LABEL_BYTES_MAX = 63;
const POINTER = 0xc0;

/** Follows pointers, which may only lead backwards, so that no name has an end that is not found. Null: it is no name. */
export function readName(message: Buffer, start: number): ReadName | null {
  const parts: string[] = [];
  let bytes = 0;
  let end = -1;
  let at = start;
  // A pointer must lead before the place where the part that it ends began.
  let limit = start;
  for (;;) {
    const length = message[at];
    if (length === undefined) return null;
    if ((length & POINTER) === POINTER) {
      const low = message[at + 1];
      if (low === undefined) return null;
      const target = ((length & ~POINTER) << 8) | low;
      if (target >= limit) return null;
      if (end === -1) end = at + 2;
      limit = target;
      at = target;
      continue;
    }
    if (length > LABEL_BYTES_MAX) return null;
    const next = at + 1 + length;
    bytes += 1 + length;
    if (next > message.length || bytes > NAME_BYTES_MAX) return null;
    parts.push(message.toString('latin1', at, next));
    at = next;
    if (length === 0) return { key: lowerCase(parts.join('')), end: end === -1 ? at : end };
  }
}

/** Offset after the name at `start`, without looking where a pointer leads; -1: it is no name. */
export function skipName(message: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const length = message[at];
    if (length === undefined) return -1;
    if ((length & POINTER) === POINTER) {
      const low = message[at + 1];
      if (low === undefined) return -1;
      return (((length & ~POINTER) << 8) | low) < start ? at + 2 : -1;
    }
    if (length > LABEL_BYTES_MAX) return -1;
    at += 1 + length;
    if (at > message.length || at - start > NAME_BYTES_MAX) return -1;
    if (length === 0) return at;
  }
}

/** `leo.example`, in lower case; null if it holds other bytes than letters, digits, "-" and "_". The root is ''. */
export function nameText(key: string): string | null {
  const labels: string[] = [];
  for (let at = 0; at < key.length; ) {
    const length = key.charCodeAt(at);
    if (length === 0) break;
    const label = key.slice(at + 1, at + 1 + length);
    if (!PLAIN_LABEL.test(label)) return null;
    labels.push(label);
    at += 1 + length;
  }
  return labels.join('.');
}

/** Bytes of `leo.example` or `leo.example.`; null if it is no plain name. */
export function encodeName(text: string): Buffer | null {
  const labels = text.replace(/\.$/, '').split('.');
  if (!labels.every((label) => PLAIN_LABEL.test(label.toLowerCase()))) return null;
  const bytes = labels.map((label) => String.fromCharCode(label.length) + label).join('');
  return bytes.length + 1 > NAME_BYTES_MAX ? null : Buffer.from(`${bytes}\0`, 'latin1');
}

const PLAIN_LABEL = /^[-a-z0-9_]{1,63}$/;

/** A to Z only. No length byte of a label is one of them: 65 is more than 63. */
function lowerCase(text: string): string {
  return /[A-Z]/.test(text) ? text.replace(/[A-Z]/g, (letter) => letter.toLowerCase()) : text;
}
