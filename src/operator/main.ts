/**
 * `pgspan operator`: turns PostgresGroups of one Kubernetes cluster into objects, and says in their status how they are.
 * It is needed for no failover. Two replicas may run: the holder of a Lease acts, the other waits.
 *
 *   SIGTERM, SIGINT   gives the Lease back and ends
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import pino from 'pino';
import { type OperatorConfig, OPERATOR_NAME, operatorConfigSchema } from '../api/operator-config.ts';
import { delay } from '../base/wait-until.ts';
import { createKubeClient } from '../platform/kubernetes/kube-client.ts';
import { clusterDnsOf } from '../core/dns/pod-dns.ts';
import { parseResolvConf } from '../core/dns/resolv-conf.ts';
import { CLUSTER_DOMAIN_DEFAULT } from '../core/topology/plan.ts';
import { openKubeContext } from '../platform/kubernetes/kubeconfig.ts';
import { electLeader } from './leader-election.ts';
import { Operator } from './operator.ts';
import { createOperatorMetrics } from './metrics.ts';
import { startHealthServer } from './health-server.ts';

/** Code OPERATOR_CONFIG_INVALID. */
export class OperatorConfigError extends Error {
  override name = 'OperatorConfigError';
  readonly code = 'OPERATOR_CONFIG_INVALID';
}

export interface OperatorArguments {
  readonly configFile: string;
  /** Null: KUBECONFIG, or the pod's own account. */
  readonly kubeconfig: string | null;
}

/** Runs until it is told to stop, or has lost its Lease: then the process ends, and is started again. */
export async function runOperator({ configFile, kubeconfig }: OperatorArguments): Promise<void> {
  const log = pino({ level: process.env.PGSPAN_LOG_LEVEL ?? 'info', base: { program: 'operator' } });
  const config = await readConfig(configFile);
  const context = await openKubeContext(kubeconfig === null ? {} : { file: kubeconfig });
  const clusterDns = clusterDnsOf(
    await readResolvConf(config.resolvConf ?? '/etc/resolv.conf'),
    CLUSTER_DOMAIN_DEFAULT,
  );
  const identity = `${process.env.POD_NAME ?? hostname()}_${randomBytes(4).toString('hex')}`;
  const state: { operator: Operator | null } = { operator: null };
  const metrics = createOperatorMetrics(() => state.operator);
  const client = createKubeClient(context.dial, { onRequest: metrics.onRequest });
  const health = await startHealthServer(config.healthPort, async () => await metrics.registry.metrics());
  const { promise: ended, resolve: end } = Promise.withResolvers<string>();
  process.on('SIGTERM', () => end('told to stop')).on('SIGINT', () => end('told to stop'));
  log.info({ identity, server: context.dial.server.origin, image: config.programImage }, 'operator runs');
  const election = electLeader({
    client,
    namespace: config.namespace,
    name: OPERATOR_NAME,
    identity,
    onStarted: () => {
      log.info('holds the Lease, acts');
      state.operator = new Operator({ config, client, clusterDns, identity, log });
    },
    onLost: (reason) => {
      // Whatever is under way must not go on beside another's work.
      log.fatal({ reason }, 'lost the Lease');
      process.exit(1);
    },
    onError: (error) => log.warn({ error: error.message }, 'Lease not renewed'),
  });
  log.info({ reason: await ended }, 'stopping');
  // What takes longer goes on with the next operator; waiting for it would let the Lease run out instead of giving it back.
  await Promise.race([state.operator?.close(), delay(CLOSE_LIMIT_MS)]);
  await election.close();
  client.close();
  health.close();
  process.exit(0);
}

/** Kubernetes gives ten seconds (install/operator-deployment.ts). */
const CLOSE_LIMIT_MS = 3000;

/** Only SplitDNS needs it, so an operator without the file does everything else. */
async function readResolvConf(path: string) {
  return parseResolvConf(await readFile(path, 'utf8').catch(() => ''));
}

async function readConfig(path: string): Promise<OperatorConfig> {
  try {
    return operatorConfigSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (cause) {
    throw new OperatorConfigError(`Cannot read the configuration "${path}": ${(cause as Error).message}`, { cause });
  }
}
