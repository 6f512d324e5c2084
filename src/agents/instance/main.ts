/**
 * Reads the configuration, wires the parts of one instance agent together, and runs until a signal.
 *
 *   SIGTERM, SIGINT   hand over if leading, stop PostgreSQL, end
 *   SIGUSR2           end, and leave PostgreSQL running for the next agent to adopt
 *   SIGHUP            read configuration and certificates again; so does a change of their files
 */
import { mkdir, readFile } from 'node:fs/promises';
import pino, { type Logger } from 'pino';
import { type InstanceConfig, instanceConfigSchema } from '../../api/agent-config.ts';
import { createReloadableTls } from '../../base/mutual-tls.ts';
import { watchFiles } from '../../base/watch-files.ts';
import { loadStoreTls, openRecordStore } from '../../coordination/open-store.ts';
import { InstanceAgent } from './agent.ts';
import { ForcedFailoverError } from './forced-failover.ts';
import { RecordRestoreError, restoreRecord } from './record-restore.ts';
import { openCardRoutes } from './card-routes.ts';
import { createJoinRoutes } from './join-routes.ts';
import { ConfigurationFiles } from './configuration.ts';
import { instanceEdges } from './instance-edges.ts';
import { LocalSql } from './local-sql.ts';
import { NodeContext } from './node-context.ts';
import { PathForwarder } from './path-forwarder.ts';
import { type OrderResult, PeerServer } from './peer-server.ts';
import { Postmaster } from './postmaster.ts';
import { findServerPrograms } from './server-programs.ts';
import { instanceMetrics, instanceStatus } from './status.ts';
import { SwitchoverError } from './switchover.ts';
import { VoterFile } from './voter-file.ts';
import { assertLeases } from './lease-keeper.ts';
import { FEEDS_PER_FENCE, Watchdog } from './watchdog.ts';

/** After SIGUSR2 another agent is expected within this; a PostgreSQL that nobody comes for is stopped by the watchdog. */
const RESTART_GRACE_MS = 5000;

/** Code INSTANCE_CONFIG_INVALID. */
export class InstanceConfigError extends Error {
  override name = 'InstanceConfigError';
  readonly code = 'INSTANCE_CONFIG_INVALID';
}

export async function readInstanceConfig(path: string): Promise<InstanceConfig> {
  try {
    return instanceConfigSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (cause) {
    throw new InstanceConfigError(`Cannot read the configuration "${path}": ${(cause as Error).message}`, { cause });
  }
}

export async function runInstance(configPath: string): Promise<void> {
  // A platform may tell a process to reload that has just been started; unheard, the signal would end it.
  let isReloadAsked = false;
  const remember = (): void => {
    isReloadAsked = true;
  };
  process.on('SIGHUP', remember);
  const given = await readInstanceConfig(configPath);
  const programs = await findServerPrograms(given);
  const withPrograms = (one: InstanceConfig): InstanceConfig => ({
    ...one,
    paths: { ...one.paths, postgresBin: programs.bin },
  });
  const config = withPrograms(given);
  const log = pino({ level: process.env.PGSPAN_LOG_LEVEL ?? 'info', base: { node: config.node } });
  const { paths } = config;
  await mkdir(paths.stateDirectory, { recursive: true, mode: 0o700 });
  await mkdir(paths.runtimeDirectory, { recursive: true, mode: 0o700 });

  const credentials = await createReloadableTls(config.tls);
  const storeTls = await loadStoreTls(config.store, credentials);
  const store = openRecordStore(config.store, storeTls, { sourceAddress: config.listen.address });
  if (config.replication.scope === 'group') assertLeases(store);
  const voterFile = new VoterFile(paths.stateDirectory, config);
  const stored = await voterFile.load();
  const files = new ConfigurationFiles(paths.stateDirectory);
  const postmaster = new Postmaster({
    postgresBin: paths.postgresBin,
    dataDirectory: paths.dataDirectory,
    configFile: files.configFile,
    logFile: paths.postgresLog,
  });
  const sql = new LocalSql(
    { socketDirectory: paths.runtimeDirectory, port: config.listen.postgresPort, applicationName: 'pgspan agent' },
    () => node.wake(),
  );
  const path = await PathForwarder.listen({
    address: config.listen.address ?? '127.0.0.1',
    port: config.listen.pathPort,
    sourceAddress: config.listen.address,
  });
  const node = new NodeContext({
    config,
    log,
    store,
    credentials,
    voterFile,
    stored,
    postmaster,
    sql,
    path,
    files,
    programsProblem: programs.problem,
  });
  const cards = await openCardRoutes({ group: config.group, stateDirectory: paths.stateDirectory });
  const joining = createJoinRoutes({ group: config.group, caBundle: () => readFile(config.tls.caFile, 'utf8') });
  const server = new PeerServer({
    globalCluster: config.globalCluster,
    credentials,
    handlers: {
      state: () => agent.state(),
      onEcho: (from, echo) => agent.onEcho(from, echo),
      onRequest: (from, request) => agent.onRequest(from, request),
      isLive: () => true,
      isReady: () => agent.isReady(),
      status: () => instanceStatus(agent),
      edges: () => edges.examine(),
      metrics: async () => ({ contentType: metrics.contentType, body: await metrics.metrics() }),
      order: (orderPath, body) => carryOut(agent, orderPath, body),
      cards: (request) => cards.answer(request),
      joining,
      onError: (error, context) => log.warn({ error: error.message, context }, 'request failed'),
    },
  });
  const agent = new InstanceAgent(node, server);
  const edges = instanceEdges(node, storeTls);
  const metrics = instanceMetrics(agent);
  if (stored.isNew) await voterFile.save(stored);

  const watchdog = new Watchdog(paths.runtimeDirectory);
  await watchdog.start({ dataDirectory: paths.dataDirectory, fenceMs: config.timing.fenceMs });
  await server.listen(config.listen.address, config.listen.agentPort);
  agent.beforeOpening = () => watchdog.feed(true);
  await agent.start();
  const endFeeding = node.pulse.every(config.timing.fenceMs / FEEDS_PER_FENCE, () => {
    // A leader that cannot renew its lease is as good as frozen: the watchdog is left to act, beside the agent's own fence.
    if (agent.lease.isNeeded && agent.mayWrite() && !agent.lease.isFresh) return;
    watchdog.feed(agent.mayWrite()).catch((error: Error) => log.warn({ error: error.message }, 'watchdog not fed'));
  });
  log.info({ agentPort: config.listen.agentPort, incarnation: node.voter.incarnation }, 'agent runs');

  const actions = handleSignals(log, {
    reload: async () => {
      const next = withPrograms(await readInstanceConfig(configPath));
      await agent.reconfigure(next);
      if (storeTls !== credentials) await storeTls.reload();
      watching.close();
      watching = watchFiles(filesOf(configPath, next), () => actions.reload());
    },
    end: async (mode) => {
      endFeeding();
      // Not fed any more, it would stop PostgreSQL in the middle of its clean shutdown.
      if (mode === 'stop') await watchdog.feed(false);
      await agent.shutdown(mode);
      // A lease leaves no time for a grace.
      const graceMs = agent.lease.isNeeded ? 0 : RESTART_GRACE_MS;
      await (mode === 'release' ? watchdog.release(graceMs) : watchdog.stop());
    },
  });
  let watching = watchFiles(filesOf(configPath, config), () => actions.reload());
  process.removeListener('SIGHUP', remember);
  if (isReloadAsked) process.emit('SIGHUP', 'SIGHUP');
}

/** Those that may change while the agent runs. */
function filesOf(configPath: string, { tls, bootstrap, roles }: InstanceConfig): string[] {
  const passwords = [
    bootstrap.ownerPasswordFile,
    bootstrap.superuserPasswordFile,
    ...roles.map(({ passwordFile }) => passwordFile),
  ];
  return [configPath, ...Object.values(tls), ...passwords.filter((file) => file !== null)];
}

function handleSignals(
  log: Logger,
  actions: { reload(): Promise<void>; end(mode: 'stop' | 'release'): Promise<void> },
): { reload(): void } {
  let isEnding = false;
  const end = (mode: 'stop' | 'release') => (): void => {
    if (isEnding) return;
    isEnding = true;
    log.info({ mode }, 'agent ends');
    actions.end(mode).then(
      () => process.exit(0),
      (error: Error) => {
        log.error({ error: error.message }, 'agent did not end cleanly');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', end('stop')).on('SIGINT', end('stop')).on('SIGUSR2', end('release'));
  const reload = (): void => {
    actions.reload().then(
      () => log.info('configuration read again'),
      (error: Error) => log.error({ error: error.message }, 'configuration not taken'),
    );
  };
  process.on('SIGHUP', reload);
  return { reload };
}

/** POST orders. Refusals for a reason that the caller can act on are 409 with its code. */
async function carryOut(agent: InstanceAgent, path: string, body: unknown): Promise<OrderResult | null> {
  const orders: Record<string, () => Promise<unknown>> = {
    '/v1/switchover': async () => await agent.switchover.run(readTarget(body)),
    '/v1/failover': async () => await agent.election.force(),
    '/v1/record/restore': async () => await restoreRecord(agent.node, readWanted(body)),
    '/v1/restart': async () => {
      await agent.restartPostgres();
      return {};
    },
  };
  const order = orders[path];
  if (order === undefined) return null;
  try {
    return { status: 200, body: await order() };
  } catch (error) {
    const isRefusal =
      error instanceof SwitchoverError ||
      error instanceof ForcedFailoverError ||
      error instanceof RecordRestoreError ||
      error instanceof OrderError;
    if (!isRefusal) throw error;
    return { status: 409, body: { error: error.message, code: error.code } };
  }
}

/** `code` is ORDER_INVALID. */
class OrderError extends Error {
  override name = 'OrderError';
  readonly code = 'ORDER_INVALID';
}

function readTarget(body: unknown): string | null {
  const to = (body as { to?: unknown } | null)?.to ?? null;
  if (to === null || (typeof to === 'string' && to.length <= 63)) return to;
  throw new OrderError('Cannot switch over: "to" must be the name of a node, or null for the best');
}

function readWanted(body: unknown): { term: number; version: number } {
  const { term, version } = (body ?? {}) as { term?: unknown; version?: unknown };
  if (Number.isInteger(term) && Number.isInteger(version)) return { term: term as number, version: version as number };
  throw new OrderError('Cannot put the record back: "term" and "version" must be those of the record that is meant');
}
