/** Reading the proxy's configuration file. */
import { readFile } from 'node:fs/promises';
import * as net from 'node:net';
import { type ProxyConfig, proxyConfigSchema } from '../../api/agent-config.ts';

/** Code PROXY_CONFIG_INVALID or PROXY_CONFIG_UNREADABLE. */
export class ProxyConfigError extends Error {
  override name = 'ProxyConfigError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export async function readProxyConfig(file: string): Promise<ProxyConfig> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new ProxyConfigError('PROXY_CONFIG_UNREADABLE', `Cannot read "${file}": ${(error as Error).message}`, {
      cause: error,
    });
  }
  const parsed = proxyConfigSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue?.path.join('.') ?? '';
    throw new ProxyConfigError(
      'PROXY_CONFIG_INVALID',
      `Cannot use "${file}": ${where}: ${issue?.message ?? 'invalid'}`,
    );
  }
  checkCidrs(file, parsed.data.listen.proxyProtocolFrom);
  return parsed.data;
}

function checkCidrs(file: string, cidrs: readonly string[]): void {
  for (const cidr of cidrs) {
    const [address = '', prefix = '0', ...rest] = cidr.split('/');
    const family = net.isIP(address);
    const fits = /^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 6 ? 128 : 32);
    if (family !== 0 && fits && rest.length === 0) continue;
    throw new ProxyConfigError(
      'PROXY_CONFIG_INVALID',
      `Cannot use "${file}": listen.proxyProtocolFrom: "${cidr}" is no address or CIDR`,
    );
  }
}
