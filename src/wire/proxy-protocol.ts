/**
 * The header of PROXY protocol version 2, with which a load balancer says who its client is.
 * https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt section 2.2
 *
 *   signature (12)  version 2 << 4 | command (1)  family << 4 | transport (1)  length (2)  addresses, then TLVs
 * Version 1 (text) is not taken: its length is not known from its start.
 */

/** 16 bytes, addresses and TLVs. Cloud load balancers send under 200; the protocol allows 64 KiB. */
export const PROXY_HEADER_BYTES_MAX = 4096;

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

export type ProxyHeader =
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'invalid'; readonly reason: string }
  | {
      readonly kind: 'proxied';
      readonly byteLength: number;
      /** Null for a health check of the load balancer itself (LOCAL) and for what is neither IPv4 nor IPv6. */
      readonly source: { readonly address: string; readonly port: number } | null;
    };

/** Reads the header at the start of `bytes`; the connection's own bytes follow `byteLength`. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  const compared = Math.min(bytes.length, SIGNATURE.length);
  if (bytes.compare(SIGNATURE, 0, compared, 0, compared) !== 0) {
    return { kind: 'invalid', reason: 'no PROXY protocol version 2 signature' };
  }
  if (bytes.length < 16) return { kind: 'incomplete' };
  const version = bytes.readUInt8(12) >> 4;
  const command = bytes.readUInt8(12) & 0xf;
  if (version !== 2 || command > 1) return { kind: 'invalid', reason: `version ${version}, command ${command}` };
  const byteLength = 16 + bytes.readUInt16BE(14);
  if (byteLength > PROXY_HEADER_BYTES_MAX) return { kind: 'invalid', reason: `a header of ${byteLength} bytes` };
  if (bytes.length < byteLength) return { kind: 'incomplete' };
  if (command === 0) return { kind: 'proxied', byteLength, source: null };
  return readAddresses(bytes, byteLength, bytes.readUInt8(13));
}

function readAddresses(bytes: Buffer, byteLength: number, family: number): ProxyHeader {
  const cutShort: ProxyHeader = { kind: 'invalid', reason: 'its addresses are cut short' };
  switch (family) {
    case 0x11:
      if (byteLength < 16 + 12) return cutShort;
      return {
        kind: 'proxied',
        byteLength,
        source: { address: bytes.subarray(16, 20).join('.'), port: bytes.readUInt16BE(24) },
      };
    case 0x21:
      if (byteLength < 16 + 36) return cutShort;
      return {
        kind: 'proxied',
        byteLength,
        source: { address: formatIpv6(bytes.subarray(16, 32)), port: bytes.readUInt16BE(48) },
      };
    default:
      return { kind: 'proxied', byteLength, source: null };
  }
}

/** Without the `::` form: it is for metrics, logs and as a key, not for people to type. */
function formatIpv6(bytes: Buffer): string {
  return Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(':');
}
