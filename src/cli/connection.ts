/** `pgspan connection [GROUP]`: how an application reaches the database, ready to paste (core/connection has the forms). */
import { Command } from 'commander';
import { UserError } from '../base/user-error.ts';
import {
  connectionObject,
  type ConnectionSpec,
  formatEnv,
  formatJdbc,
  formatPgpass,
  formatUri,
} from '../core/connection/formats.ts';
import { type ConnectionChoice, type ConnectionPlaces, selectConnection } from '../core/connection/select.ts';
import type { ClusterAccess } from '../platform/ports.ts';
import { type AccessFlags, openClusterAccess, outputOption, stateOption } from './cluster-access.ts';

export interface ConnectionFlags extends AccessFlags {
  readonly read?: boolean;
  readonly node?: string;
  readonly multiHost?: boolean;
  readonly directTls?: boolean;
  readonly byAddress?: boolean;
  /** `--no-password` makes it false. */
  readonly password?: boolean;
  readonly output?: 'uri' | 'env' | 'jdbc' | 'pgpass' | 'json' | 'yaml';
}

const EXAMPLES = `
Examples:
  psql "$(pgspan connection)"                  the leader, by the name that survives the loss of a group
  psql "$(pgspan connection --read)"           a read node
  eval "$(pgspan connection -o env)"; psql     the same, without a password on a command line
  pgspan connection --multi-host               every node; the client finds the leader itself (target_session_attrs)
  pgspan connection ait -o jdbc                through group ait, for Java
  pgspan connection --by-address               for clients that know no hostaddr

The URI holds the password, as the Secret's does (any client can use it as it is). --no-password leaves it out and names
a password file for libpq instead.`;

export function connectionCommand(): Command {
  return new Command('connection')
    .description('Print how to connect: by the global names, or by those of a group or a node.')
    .argument('[group]', "a group's own names instead of the global ones")
    .option('--read', 'to a read node instead of the leader')
    .option('--node <node>', 'to this node itself')
    .option('--multi-host', 'every node, with target_session_attrs, without the proxies')
    .option('--direct-tls', 'TLS from the first byte (PostgreSQL 17 and libpq 17 or later)')
    .option('--by-address', 'addresses instead of names')
    .option('--no-password', 'leave the password out')
    .addOption(outputOption(['uri', 'env', 'jdbc', 'pgpass', 'json', 'yaml'], 'form (default: uri)'))
    .addOption(stateOption())
    .addHelpText('after', EXAMPLES)
    .action(async (group: string | undefined, flags: ConnectionFlags) => {
      const access = await openClusterAccess(flags);
      const spec = await connectionSpec(access, group ?? null, flags);
      process.stdout.write(`${await formatConnection(spec, flags)}\n`);
    });
}

/** Throws UserError CONNECTION_UNKNOWN, DIRECT_TLS_UNSUPPORTED. */
export async function connectionSpec(
  access: ClusterAccess,
  group: string | null,
  flags: ConnectionFlags,
): Promise<ConnectionSpec> {
  const selection = selectConnection(placesOf(access), choiceOf(group, flags), flags.read ?? false);
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
    passfile: access.passfile,
    sslRootCert: access.trustBundle,
    targetSessionAttrs: selection.targetSessionAttrs,
    directTls: flags.directTls ?? false,
  };
}

function choiceOf(group: string | null, flags: ConnectionFlags): ConnectionChoice {
  if (flags.node !== undefined) return { kind: 'node', node: flags.node };
  if (flags.multiHost) return { kind: 'multi-host' };
  return group === null ? { kind: 'global' } : { kind: 'group', group };
}

function placesOf(access: ClusterAccess): ConnectionPlaces {
  return {
    plan: access.plan,
    nodes: access.nodes.map(({ name, group, postgres }) => ({ name, group, address: postgres.address })),
    proxies: access.proxies.map(({ group, write, read }) => ({ group, write: write.address, read: read?.address })),
  };
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
    message: `Cannot connect by direct TLS: the site runs PostgreSQL ${major}, direct TLS came with 17`,
    todo: 'Leave --direct-tls out, or start the site with a newer PostgreSQL (`pgspan local up --postgres-bin DIR`).',
  });
}
