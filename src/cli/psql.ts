/** `pgspan psql GROUP [ARG...]`: psql with everything set: names, addresses, trust bundle, password file. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { UserError } from '../base/user-error.ts';
import { connectionVariables } from '../core/connection/formats.ts';
import type { ClusterAccess } from '../platform/ports.ts';
import { type AccessFlags, addClusterOptions, withCluster } from './cluster-access.ts';
import { connectionSpec } from './connection.ts';
import type { PsqlTarget } from './psql-kubernetes.ts';

const EXAMPLES = `
Examples:
  pgspan psql orders                          the leader, by the global name
  pgspan psql leo -c 'select now()'           through the proxies of group leo
  pgspan psql ait-1 -c 'table t'              node ait-1 itself, whatever its role
  pgspan psql orders --read                   a read node
  pgspan psql orders --via exec <changes.sql  on Kubernetes: with the psql of PostgreSQL's image, in a pod

On Kubernetes the psql of this machine is used if there is one, through a port-forward, else that of a pod.`;

export function psqlCommand(): Command {
  const command = new Command('psql')
    .description("Open psql as the application's user; what follows the target is psql's.")
    .argument('<target>', 'a group, the global cluster, or a node')
    .argument('[arguments...]', "psql's own options and arguments")
    .option('--read', 'a read node instead of the leader')
    .addOption(
      new Option('--via <way>', 'Kubernetes: the psql of this machine, or that of a pod').choices([
        'port-forward',
        'exec',
      ]),
    )
    .allowUnknownOption()
    .addHelpText('after', EXAMPLES)
    .action((target: string, args: string[], flags: PsqlFlags) =>
      withCluster(flags, (access) => runPsql(access, target, args, flags)),
    );
  return addClusterOptions(command);
}

interface PsqlFlags extends AccessFlags {
  readonly read?: boolean;
  readonly via?: 'port-forward' | 'exec';
}

async function runPsql(access: ClusterAccess, target: string, args: string[], flags: PsqlFlags): Promise<void> {
  const isNode = access.nodes.some(({ name }) => name === target);
  const group = isNode || target === access.plan.globalCluster ? null : target;
  if (access.platform === 'kubernetes') {
    const place = { group, node: isNode ? target : null, read: flags.read ?? false };
    process.exitCode = await inKubernetes(access, place, args, flags.via);
    return;
  }
  const spec = await connectionSpec(access, group, { read: flags.read ?? false, ...(isNode ? { node: target } : {}) });
  const env = { ...withoutPostgresVariables(process.env), ...connectionVariables(spec) };
  const child = spawn(psqlProgram(access), args, { stdio: 'inherit', env });
  // Ctrl-C cancels psql's query: it is for psql, not for us.
  const ignore = () => {};
  process.on('SIGINT', ignore);
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', (error) => reject(psqlMissing(error)));
    child.once('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM']));
  });
  process.off('SIGINT', ignore);
}

async function inKubernetes(
  access: ClusterAccess,
  target: PsqlTarget,
  args: readonly string[],
  via: PsqlFlags['via'],
): Promise<number> {
  const [{ isKubernetesAccess }, { hasPsql, psqlByExec, psqlByPortForward }] = await Promise.all([
    import('../platform/kubernetes/access.ts'),
    import('./psql-kubernetes.ts'),
  ]);
  assert(isKubernetesAccess(access));
  const way = via ?? (hasPsql() ? 'port-forward' : 'exec');
  const ignore = () => {};
  process.on('SIGINT', ignore);
  try {
    if (way === 'exec') return await psqlByExec(access, target, args);
    return await psqlByPortForward(access, target, args, withoutPostgresVariables(process.env));
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === 'ENOENT' ? psqlMissing(error as Error) : error;
  } finally {
    process.off('SIGINT', ignore);
  }
}

/** A PGSERVICE or PGHOST of the person's own environment would mean another server. */
function withoutPostgresVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = new Set([
    'PGHOST',
    'PGHOSTADDR',
    'PGPORT',
    'PGDATABASE',
    'PGUSER',
    'PGPASSWORD',
    'PGPASSFILE',
    'PGSERVICE',
  ]);
  return Object.fromEntries(Object.entries(env).filter(([name]) => !own.has(name) && !name.startsWith('PGSSL')));
}

function psqlProgram({ postgresBin }: ClusterAccess): string {
  const beside = postgresBin === null ? '' : join(postgresBin, 'psql');
  return existsSync(beside) ? beside : 'psql';
}

function psqlMissing(cause: Error): UserError {
  return new UserError({
    code: 'PSQL_MISSING',
    kind: 'missing',
    message: `Cannot start psql: ${cause.message}`,
    todo: 'Install the client package of PostgreSQL (Debian: postgresql-client), or use `pgspan connection`.',
    cause,
  });
}
