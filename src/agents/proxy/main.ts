/**
 * The proxy: reads its configuration, wires, runs until SIGTERM, drains. design.md section 7.
 *
 *   instance agents --stream--> PeerWatch --> Router --choose--> Session <-- ClientListener <-- clients
 *                                                \--- end at once ---^ |
 *                                                                      +--relay--> PostgreSQL (any node)
 */
import type { Server as HttpServer } from 'node:http';
import * as net from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import pino from 'pino';
import type { Peer, ProxyConfig } from '../../api/agent-config.ts';
import { createReloadableTls, type ReloadableTls } from '../../base/mutual-tls.ts';
import { delay } from '../../base/wait-until.ts';
import { watchFiles } from '../../base/watch-files.ts';
import type { Route } from '../../core/routing/routes.ts';
import type { EdgeExamination } from '../edge-examination.ts';
import { ChangedEndpoints, withPeer } from '../peer-stream/changed-endpoints.ts';
import { PeerWatch } from '../peer-stream/peer-watch.ts';
import { createCancelForwarder } from './cancel-forwarder.ts';
import { listenForClients } from './client-listener.ts';
import { startHealthServer } from '../health-server.ts';
import { watchLostNodes } from './lost-nodes.ts';
import { createProxyMetrics, type ProxyMetrics } from './metrics.ts';
import { readProxyConfig } from './proxy-config.ts';
import { proxyEdges } from './proxy-edges.ts';
import { createRefusalTls, type RefusalTls } from './refusal.ts';
import { Router, type RouterEvents } from './router.ts';

/** Runs until it is told to stop; the process's signals are its own. Throws ProxyConfigError, TlsFilesError or ListenError. */
export async function runProxy(configFile: string): Promise<void> {
  const log = pino({ base: { program: 'proxy' } }, pino.destination({ dest: 1, sync: true }));
  const proxy = await startProxy(configFile, log);
  process.on('SIGHUP', () => void proxy.reload());
  await new Promise<void>((resolve) => {
    let stopping = false;
    const stop = (signal: NodeJS.Signals): void => {
      // The second signal means it.
      if (stopping) process.exit(1);
      stopping = true;
      log.info({ signal }, 'draining');
      void proxy.drain().then(resolve);
    };
    process.on('SIGTERM', stop).on('SIGINT', stop);
  });
  log.info('stopped');
}

/** For tests and for runProxy: resolves when clients may come. */
export async function startProxy(configFile: string, log: pino.Logger): Promise<RunningProxy> {
  const config = await readProxyConfig(configFile);
  const proxy = new RunningProxy({ configFile, config, tls: await createReloadableTls(config.tls), log });
  try {
    await proxy.listen();
  } catch (error) {
    proxy.close();
    throw error;
  }
  log.info({ name: config.name, generation: config.generation, listen: config.listen }, 'proxy listens');
  return proxy;
}

export class RunningProxy {
  readonly #configFile: string;
  readonly #log: pino.Logger;
  readonly #tls: ReloadableTls;
  readonly #metrics: ProxyMetrics;
  readonly #router: Router;
  readonly #watch: PeerWatch;
  readonly #edges: EdgeExamination;
  readonly #files: { close(): void };
  readonly #lostNodes: { close(): void };
  readonly #servers: net.Server[] = [];
  #health: HttpServer | null = null;
  #config: ProxyConfig;
  /** Those of the configuration, under the names by which they are dialled now. */
  #peers: Peer[];
  readonly #changedEndpoints: ChangedEndpoints;
  #balancers: net.BlockList | null;
  #draining = false;

  constructor(options: { configFile: string; config: ProxyConfig; tls: ReloadableTls; log: pino.Logger }) {
    const { configFile, config, tls, log } = options;
    this.#configFile = configFile;
    this.#config = config;
    this.#peers = config.peers;
    this.#tls = tls;
    this.#log = log;
    this.#balancers = balancerList(config);
    this.#metrics = createProxyMetrics(
      () => this.#router,
      () => [...this.#watch.sights.values()].filter((sight) => sight.live).length,
    );
    const cancels = createCancelForwarder({
      tls,
      sourceAddress: () => this.#config.sourceAddress,
      onResult: (route, node, result, error) => {
        this.#metrics.cancels.inc({ route, node, result });
        if (error !== null) log.warn({ node, route, err: error.message }, 'cancel request not delivered');
      },
    });
    this.#router = new Router(config, routerEvents(log, this.#metrics), cancels);
    this.#router.refusalTls = refusalTlsFor(tls, config);
    this.#watch = new PeerWatch({
      globalCluster: config.globalCluster,
      tls,
      sourceAddress: config.sourceAddress,
      onChange: () => this.#router.observe(this.#watch.sights),
      onStatus: (node, open, error) => {
        if (open) log.info({ node }, 'stream opened');
        else log.debug({ node, err: error?.message }, 'stream lost');
      },
    });
    this.#edges = proxyEdges(() => this.#config, tls);
    this.#changedEndpoints = new ChangedEndpoints({
      globalCluster: config.globalCluster,
      tls,
      sourceAddress: config.sourceAddress,
      onReached: (peer) => {
        this.#dial(withPeer(this.#peers, peer));
        log.info({ node: peer.node, host: peer.agent.host }, 'node reached by its new name');
      },
      onTrial: (peer, error) => {
        const { host } = peer.agent;
        if (error === null) log.info({ node: peer.node, host }, 'node has a new name, tried beside the former one');
        else log.warn({ node: peer.node, host, err: error.message }, 'node not reached by its new name yet');
      },
    });
    this.#lostNodes = watchLostNodes({
      silentNodes: () => this.#router.silentNodes(),
      sourceAddress: () => this.#config.sourceAddress,
      connectTimeoutMs: () => this.#config.limits.connectTimeoutMs,
      onLost: (node) => this.#router.endSessionsOf(node, 'lost'),
    });
    this.#files = watchFiles([configFile, ...Object.values(config.tls)], () => void this.reload());
  }

  /** Opens the streams and the ports. Throws ListenError; then `close` is the caller's. */
  async listen(): Promise<void> {
    const { listen, peers } = this.#config;
    this.#watch.follow(peers);
    await this.#listenFor('write', listen.write);
    if (listen.read !== null) await this.#listenFor('read', listen.read);
    this.#health = await startHealthServer({
      ...listen.health,
      tls: this.#tls,
      unready: () => this.#unready(),
      metrics: () => this.#metrics.registry.metrics(),
      edges: {
        globalCluster: this.#config.globalCluster,
        examine: () => this.#edges.examine(),
      },
    });
  }

  /** Takes the configuration and the certificates from their files again; what does not fit is logged, and the old one stays. */
  async reload(): Promise<void> {
    const log = this.#log;
    try {
      const next = await readProxyConfig(this.#configFile);
      const changedTls = await this.#tls.reload();
      const before = this.#config;
      if (!isDeepStrictEqual(startOnly(next), startOnly(before))) {
        log.warn('addresses, ports and the paths of certificates change with a restart only');
      }
      const isNew = !isDeepStrictEqual(next, before);
      this.#config = next;
      this.#balancers = balancerList(next);
      this.#router.refusalTls = refusalTlsFor(this.#tls, next);
      if (isNew) {
        const isReached = (node: string): boolean => this.#watch.sights.get(node)?.live === true;
        this.#dial(this.#changedEndpoints.settle(next.peers, this.#peers, isReached));
      }
      if (isNew || changedTls) log.info({ generation: next.generation, changedTls }, 'configuration loaded');
    } catch (error) {
      log.error({ err: (error as Error).message }, 'configuration not loaded, the one before stays');
    }
  }

  #dial(peers: Peer[]): void {
    this.#peers = peers;
    this.#router.configure({ ...this.#config, peers });
    this.#watch.follow(peers);
  }

  /** Stops listening, lets sessions end by themselves for `limits.drainMs`, and ends the rest. */
  async drain(): Promise<void> {
    this.#draining = true;
    for (const server of this.#servers) server.close();
    const deadline = performance.now() + this.#config.limits.drainMs;
    while (this.#router.sessions.size > 0 && performance.now() < deadline) await delay(DRAIN_CHECK_MS);
    this.#log.info({ sessions: this.#router.sessions.size }, 'ending what is left');
    this.close();
  }

  /** Ends everything at once. */
  close(): void {
    this.#files.close();
    this.#changedEndpoints.close();
    this.#lostNodes.close();
    this.#watch.close();
    for (const server of this.#servers) server.close();
    for (const session of [...this.#router.sessions]) session.end('drained');
    this.#health?.close();
    this.#health?.closeAllConnections();
  }

  async #listenFor(route: Route, where: { address: string | null; port: number }): Promise<void> {
    const server = await listenForClients({
      route,
      ...where,
      router: this.#router,
      proxyProtocolFrom: () => this.#balancers,
      onDropped: (reason, detail) => {
        this.#metrics.dropped.inc({ route, reason });
        this.#log.debug({ route, reason, detail }, 'connection dropped');
      },
    });
    this.#servers.push(server);
  }

  #unready(): string | null {
    if (this.#draining) return 'draining';
    return this.#router.view.leader.term === 0 ? 'nothing is known of the cluster yet' : null;
  }
}

const DRAIN_CHECK_MS = 50;

/** What a running proxy cannot change. */
function startOnly({ listen, tls }: ProxyConfig): unknown[] {
  return [listen.write, listen.read, listen.health, tls];
}

function routerEvents(log: pino.Logger, metrics: ProxyMetrics): RouterEvents {
  return {
    onLeader: (leader) => log.info(leader, 'leader'),
    onEndedNode: (node, reason, sessions) => log.info({ node, reason, sessions }, 'sessions ended'),
    onSessionOpen: (session, waitedMs) => {
      metrics.opened.inc({ route: session.route, node: session.node as string });
      metrics.openSeconds.observe({ route: session.route }, waitedMs / 1000);
    },
    onSessionEnd: (session, reason) => {
      metrics.countBytes(session);
      metrics.ended.inc({ route: session.route, reason });
    },
    onRefused: (session, reason, error) => {
      metrics.refused.inc({ route: session.route, reason });
      log.info({ route: session.route, source: session.source, reason, message: error?.message }, 'connection refused');
    },
    onAttempted: (node, result) => {
      if (result.kind === 'open') return;
      metrics.attemptsFailed.inc({ node, failure: result.failure });
      log.debug({ node, failure: result.failure, err: result.message }, 'backend attempt failed');
    },
  };
}

function refusalTlsFor(tls: ReloadableTls, config: ProxyConfig): RefusalTls {
  const { cert, key } = tls.serverOptions();
  return createRefusalTls({ cert, key }, [config.group, config.globalCluster]);
}

function balancerList(config: ProxyConfig): net.BlockList | null {
  if (config.listen.proxyProtocolFrom.length === 0) return null;
  const list = new net.BlockList();
  for (const cidr of config.listen.proxyProtocolFrom) {
    const [address = '', prefix] = cidr.split('/');
    const family = net.isIP(address) === 6 ? 'ipv6' : 'ipv4';
    list.addSubnet(address, prefix === undefined ? (family === 'ipv6' ? 128 : 32) : Number(prefix), family);
  }
  return list;
}
