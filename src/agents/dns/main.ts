/**
 * The resolver beside each server under `internodeTrafficStrategy: SplitDNS` (docs/dns.md): names of this Kubernetes cluster's
 * nodes lead to their pods, everything else is asked upstream.
 *
 *   client --UDP, TCP--> listeners --> Resolver --kept?--> AnswerCache
 *                                         |------rule?--> core/dns/split-rules
 *                                         \------else---> Forwarder --> Upstream (the cluster's resolver)
 */
import type * as dgram from 'node:dgram';
import type * as http from 'node:http';
import type * as net from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import pino from 'pino';
import type { DnsConfig } from '../../api/dns-config.ts';
import { createReloadableTls, type ReloadableTls } from '../../base/mutual-tls.ts';
import { watchFiles } from '../../base/watch-files.ts';
import { startHealthServer } from '../health-server.ts';
import { type LoadedDnsConfig, loadDnsConfig } from './dns-config.ts';
import { listenByTcp, listenByUdp } from './listeners.ts';
import { createDnsMetrics, type DnsMetrics } from './metrics.ts';
import { Resolver } from './resolver.ts';

/** Runs until it is told to stop. Throws DnsConfigError, TlsFilesError or ListenError. */
export async function runDns(configFile: string): Promise<void> {
  const log = pino({ base: { program: 'dns' } }, pino.destination({ dest: 1, sync: true }));
  const dns = await startDns(configFile, log);
  process.on('SIGHUP', () => void dns.reload());
  const { promise: told, resolve } = Promise.withResolvers<NodeJS.Signals>();
  process.on('SIGTERM', resolve).on('SIGINT', resolve);
  log.info({ signal: await told }, 'stopped');
  dns.close();
}

/** For tests and for runDns: resolves when questions may come. */
export async function startDns(configFile: string, log: pino.Logger): Promise<RunningDns> {
  const loaded = await loadDnsConfig(configFile);
  const tls = loaded.config.tls === null ? null : await createReloadableTls(loaded.config.tls);
  const dns = new RunningDns({ configFile, loaded, tls, log });
  try {
    await dns.listen();
  } catch (error) {
    dns.close();
    throw error;
  }
  const { config, upstreams } = loaded;
  log.info(
    { generation: config.generation, listen: config.listen, upstreams, rules: config.rules.length },
    'resolver listens',
  );
  return dns;
}

export class RunningDns {
  readonly #configFile: string;
  readonly #log: pino.Logger;
  readonly #tls: ReloadableTls | null;
  readonly #metrics: DnsMetrics;
  readonly #resolver: Resolver;
  readonly #files: { close(): void };
  readonly #open: (dgram.Socket | net.Server)[] = [];
  #health: http.Server | null = null;
  #loaded: LoadedDnsConfig;

  constructor(options: {
    readonly configFile: string;
    readonly loaded: LoadedDnsConfig;
    readonly tls: ReloadableTls | null;
    readonly log: pino.Logger;
  }) {
    const { configFile, loaded, tls, log } = options;
    this.#configFile = configFile;
    this.#loaded = loaded;
    this.#tls = tls;
    this.#log = log;
    this.#metrics = createDnsMetrics(
      () => this.#resolver,
      () => this.#loaded.config.generation,
    );
    this.#resolver = new Resolver(loaded, {
      ...this.#metrics.events,
      onBrokenRule: (reason) => {
        this.#metrics.brokenRules.inc();
        log.debug({ reason }, 'rule not carried out');
      },
    });
    const { tls: tlsFiles, resolvConf, upstreams } = loaded.config;
    this.#files = watchFiles(
      [configFile, ...Object.values(tlsFiles ?? {}), ...(upstreams === null ? [resolvConf] : [])],
      () => void this.reload(),
    );
  }

  /** Throws ListenError; then `close` is the caller's. */
  async listen(): Promise<void> {
    const { listen, limits } = this.#loaded.config;
    const options = {
      where: listen.dns,
      resolver: this.#resolver,
      udpBytesMax: () => this.#loaded.config.limits.udpBytesMax,
      tcpConnectionsMax: limits.tcpConnectionsMax,
      onQuery: this.#metrics.onQuery,
    };
    this.#open.push(await listenByUdp(options));
    this.#open.push(await listenByTcp(options));
    if (listen.health === null) return;
    this.#health = await startHealthServer({
      ...listen.health,
      tls: this.#tls,
      unready: () => null,
      metrics: () => this.#metrics.registry.metrics(),
    });
  }

  /** Takes the configuration and the certificates from their files again; what does not fit is logged, and the old one stays. */
  async reload(): Promise<void> {
    const log = this.#log;
    try {
      const next = await loadDnsConfig(this.#configFile);
      await this.#tls?.reload();
      const before = this.#loaded;
      const isSame =
        isDeepStrictEqual(next.config, before.config) && isDeepStrictEqual(next.upstreams, before.upstreams);
      if (isSame) return;
      if (!isDeepStrictEqual(startOnly(next.config), startOnly(before.config)))
        log.warn('addresses, ports and the paths of certificates change with a restart only');
      this.#loaded = next;
      this.#resolver.configure(next);
      const { generation, rules } = next.config;
      log.info({ generation, rules: rules.length, upstreams: next.upstreams }, 'configuration loaded');
    } catch (error) {
      log.error({ err: (error as Error).message }, 'configuration not loaded, the one before stays');
    }
  }

  close(): void {
    this.#files.close();
    for (const one of this.#open) one.close();
    this.#resolver.close();
    this.#health?.close();
    this.#health?.closeAllConnections();
  }
}

/** What a running resolver cannot change. */
function startOnly({ listen, tls, limits }: DnsConfig): unknown[] {
  return [listen, tls, limits.tcpConnectionsMax];
}
