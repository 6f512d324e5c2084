/**
 * Leaving HTTP/1.1 for another protocol on a connection of our own programs: one request, one answer, then the stream.
 * Written by hand because loading `node:http` for it costs an agent 8 MiB of resident memory
 * (its module namespace loads Node's whole fetch implementation).
 * https://www.rfc-editor.org/rfc/rfc9110#section-7.8
 */

/** The longest answer that is read; ours are under 200 bytes. */
export const UPGRADE_ANSWER_BYTES_MAX = 8192;

export function encodeUpgradeRequest(options: {
  readonly host: string;
  readonly path: string;
  readonly protocol: string;
}): string {
  const { host, path, protocol } = options;
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`;
}

export type UpgradeAnswer =
  | { readonly kind: 'incomplete' }
  /** The first `byteLength` bytes were the answer; the protocol's own follow. */
  | { readonly kind: 'upgraded'; readonly byteLength: number }
  /** `found` is what was answered instead, cut to a line. */
  | { readonly kind: 'refused'; readonly found: string };

const END_OF_HEAD = '\r\n\r\n';

/** Reads the answer at the start of `bytes`. */
export function parseUpgradeAnswer(bytes: Buffer): UpgradeAnswer {
  const end = bytes.indexOf(END_OF_HEAD);
  const head = bytes.subarray(0, end === -1 ? UPGRADE_ANSWER_BYTES_MAX : end);
  const status = head.subarray(0, 80).toString('latin1').split('\r\n')[0] ?? '';
  if (end === -1) {
    const isStart = 'HTTP/1.1 '.startsWith(status.slice(0, 9)) || status.startsWith('HTTP/1.1 ');
    return isStart && bytes.length <= UPGRADE_ANSWER_BYTES_MAX
      ? { kind: 'incomplete' }
      : { kind: 'refused', found: status };
  }
  if (!/^HTTP\/1\.1 101(?: |$)/.test(status)) return { kind: 'refused', found: status };
  return { kind: 'upgraded', byteLength: end + END_OF_HEAD.length };
}
