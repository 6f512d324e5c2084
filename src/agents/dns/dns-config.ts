/** Reading the resolver's configuration, and the name servers of the machine it runs on. */
import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { type DnsConfig, dnsConfigSchema } from '../../api/dns-config.ts';
import { type DnsEndpoint, parseResolvConf, upstreamsWithout } from '../../core/dns/resolv-conf.ts';
import { compileRules, type RuleSet } from '../../core/dns/split-rules.ts';

/** Code DNS_CONFIG_INVALID, DNS_CONFIG_UNREADABLE or DNS_NO_UPSTREAM. */
export class DnsConfigError extends Error {
  override name = 'DnsConfigError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface LoadedDnsConfig {
  readonly config: DnsConfig;
  readonly rules: RuleSet;
  readonly upstreams: readonly DnsEndpoint[];
}

// V8's engine without backtracking, for expressions with the flag `l`: no name can stop the resolver.
setFlagsFromString('--enable-experimental-regexp-engine');

const DNS_PORT = 53;

export async function loadDnsConfig(file: string): Promise<LoadedDnsConfig> {
  const config = await readDnsConfig(file);
  return { config, rules: rulesOf(file, config), upstreams: await findUpstreams(file, config) };
}

async function readDnsConfig(file: string): Promise<DnsConfig> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new DnsConfigError('DNS_CONFIG_UNREADABLE', `Cannot read "${file}": ${(error as Error).message}`, {
      cause: error,
    });
  }
  const parsed = dnsConfigSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw invalid(file, issue?.path.join('.') ?? '', issue?.message ?? 'invalid');
}

function rulesOf(file: string, { rules }: DnsConfig): RuleSet {
  for (const [index, rule] of rules.entries()) {
    try {
      compileRules([rule], 'l');
    } catch (error) {
      throw invalid(file, `rules.${index}.host`, (error as Error).message);
    }
  }
  return compileRules(rules, 'l');
}

async function findUpstreams(file: string, { upstreams, resolvConf, listen }: DnsConfig): Promise<DnsEndpoint[]> {
  const found = upstreams ?? (await resolvConfServers(resolvConf));
  const addresses = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
  const others = upstreamsWithout(found, { listen: listen.dns, addresses });
  if (others.length > 0) return others;
  throw new DnsConfigError(
    'DNS_NO_UPSTREAM',
    `Cannot resolve for others with "${file}": ${upstreams === null ? `"${resolvConf}"` : 'upstreams'} names no server but this resolver itself`,
  );
}

async function resolvConfServers(path: string): Promise<DnsEndpoint[]> {
  try {
    return parseResolvConf(await readFile(path, 'utf8')).nameservers.map((address) => ({ address, port: DNS_PORT }));
  } catch (error) {
    throw new DnsConfigError('DNS_NO_UPSTREAM', `Cannot read "${path}": ${(error as Error).message}`, { cause: error });
  }
}

function invalid(file: string, where: string, what: string): DnsConfigError {
  return new DnsConfigError('DNS_CONFIG_INVALID', `Cannot use "${file}": ${where}: ${what}`);
}
