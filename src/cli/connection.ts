/** `pgspan connection [GROUP]`: how an application reaches the database, ready to paste (core/connection has the forms). */
import { Command, Option } from 'commander';
import { UserError } from '../base/user-error.ts';
import {
  connectionObject,
  type ConnectionSpec,
  formatEnv,
  formatJdbc,
  formatPgpass,
  formatUri,
} from '../core/connection/formats.ts';
import { type ConnectionChoice, selectConnection } from '../core/connection/select.ts';
import type { ClusterAccess, ConnectionWay } from '../platform/ports.ts';
import { type AccessFlags, addContextsOptions, outputOption, withCluster } from './cluster-access.ts';

export interface ConnectionFlags extends AccessFlags {
  readonly read?: boolean;
  readonly node?: string;
  readonly multiHost?: boolean;
  readonly directTls?: boolean;
  readonly byAddress?: boolean;
  /** Where the client stands; default: the way that is best from here. */
  readonly from?: 'inside' | 'outside';
  /** `--no-password` makes it false. */
  readonly password?: boolean;
  readonly output?: 'uri' | 'env' | 'jdbc' | 'pgpass' | 'json' | 'yaml';
}

/** On stderr: what is printed for scripts stays as it is. */
const INSIDE_NOTE = `There is no load balancer: this is for pods of the Kubernetes cluster. From here: pgspan psql, or a port-forward
(docs/connecting.md), or .spec.connectivity.loadBalancer.
`;

const EXAMPLES = `
Examples:
  psql "$(pgspan connection)"                  the leader, by the name that survives the loss of a group
  psql "$(pgspan connection --read)"           a read node
  eval "$(pgspan connection -o env)"; psql     the same, without a password on a command line
  pgspan connection --multi-host               every node; the client finds the leader itself (target_session_attrs)
  pgspan connection ait -o jdbc                through group ait, for Java
  pgspan connection --by-address               for clients that know no hostaddr
  pgspan connection --from inside              for an application in the Kubernetes cluster

The URI holds the password, as the Secret's does (any client can use it as it is). --no-password leaves it out and names
a password file for libpq instead where there is one. On Kubernetes the default is the load balancer if there is one
(--from outside), else the names that pods use (--from inside); docs/connecting.md has both, and port-forward.`;

export function connectionCommand(): Command {
  const command = new Command('connection')
    .description('Print how to connect: by the global names, or by those of a group or a node.')
    .argument('[group]', "a group's own names instead of the global ones")
    .option('--read', 'to a read node instead of the leader')
    .option('--node <node>', 'to this node itself')
    .option('--multi-host', 'every node, with target_session_attrs, without the proxies')
    .option('--direct-tls', 'TLS from the first byte (PostgreSQL 17 and libpq 17 or later)')
    .option('--by-address', 'addresses instead of names')
    .addOption(
      new Option(
        '--from <place>',
        'Kubernetes: where the client is (default: outside if a load balancer is there)',
      ).choices(['inside', 'outside']),
    )
    .option('--no-password', 'leave the password out')
    .addOption(outputOption(['uri', 'env', 'jdbc', 'pgpass', 'json', 'yaml'], 'form (default: uri)'))
    .addHelpText('after', EXAMPLES)
    .action(async (group: string | undefined, flags: ConnectionFlags) => {
      await withCluster(flags, async (access) => {
        const spec = await connectionSpec(access, group ?? null, flags);
        process.stdout.write(`${await formatConnection(spec, flags)}\n`);
        const isGuess = flags.from === undefined && connectionWay(access, flags).from === 'inside';
        if (isGuess) process.stderr.write(INSIDE_NOTE);
      });
    });
  return addContextsOptions(command);
}

/** The way that was asked for, else the best one. Throws UserError CONNECTION_UNKNOWN. */
function connectionWay({ ways }: ClusterAccess, { from }: ConnectionFlags): ConnectionWay {
  const way = from === undefined ? ways[0] : ways.find((one) => one.from === from);
  if (way !== undefined) return way;
  throw new UserError({
    code: 'CONNECTION_UNKNOWN',
    kind: 'not-found',
    message: `Cannot say how to connect from ${from}: there ${from === 'outside' ? 'is no load balancer with an address' : 'are no pods to be inside of'}`,
    todo:
      from === 'outside'
        ? 'Set .spec.connectivity.loadBalancer.enabled and wait for its address, or use a port-forward (docs/connecting.md).'
        : 'Leave --from out: a local site has one way, from here.',
  });
}

/** Throws UserError CONNECTION_UNKNOWN, DIRECT_TLS_UNSUPPORTED. */
export async function connectionSpec(
  access: ClusterAccess,
  group: string | null,
  flags: ConnectionFlags,
): Promise<ConnectionSpec> {
  const way = connectionWay(access, flags);
  const selection = selectConnection(way.places, choiceOf(group, flags), flags.read ?? false);
  if (selection.kind === 'missing') {
    const groups = access.plan.groups.map(({ name }) => name).join(', ');
    throw new UserError({
      code: 'CONNECTION_UNKNOWN',
      kind: 'not-found',
      message: `Cannot say how to connect: ${selection.why}`,
      todo: `Groups are ${groups}; nodes are ${access.nodes.map(({ name }) => name).join(', ')}.`,
    });
  }
  if (flags.directTls && access.postgresMajor < 17) throw directTlsUnsupported(access.postgresMajor);
  const { database, owner } = access.application;
  return {
    hosts: selection.hosts,
    database,
    user: owner,
    password: flags.password === false ? null : await access.applicationPassword(),
    passfile: way.passfile,
    sslRootCert: way.sslRootCert,
    targetSessionAttrs: selection.targetSessionAttrs,
    directTls: flags.directTls ?? false,
  };
}

function choiceOf(group: string | null, flags: ConnectionFlags): ConnectionChoice {
  if (flags.node !== undefined) return { kind: 'node', node: flags.node };
  if (flags.multiHost) return { kind: 'multi-host' };
  return group === null ? { kind: 'global' } : { kind: 'group', group };
}

async function formatConnection(
  spec: ConnectionSpec,
  { output = 'uri', byAddress = false }: ConnectionFlags,
): Promise<string> {
  switch (output) {
    case 'uri':
      return formatUri(spec, { byAddress });
    case 'env':
      return formatEnv(spec);
    case 'jdbc':
      return formatJdbc(spec);
    case 'pgpass':
      return formatPgpass(spec);
    case 'json':
      return JSON.stringify(connectionObject(spec), null, 2);
    case 'yaml':
      return (await import('yaml')).stringify(connectionObject(spec), { lineWidth: 0 }).trimEnd();
  }
}

function directTlsUnsupported(major: number): UserError {
  return new UserError({
    code: 'DIRECT_TLS_UNSUPPORTED',
    kind: 'usage',
    message: `Cannot connect by direct TLS: PostgreSQL ${major} runs, direct TLS came with 17`,
    todo: 'Leave --direct-tls out, or run a newer PostgreSQL.',
  });
}
