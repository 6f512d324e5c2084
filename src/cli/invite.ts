/** `pgspan invite`: prints a token with which one other group may join; lists those that were made, and withdraws one (docs/joining.md). */
import { Command, Option } from 'commander';
import { invitationIdSchema } from '../api/invitation.ts';
import { durationMs, durationSchema } from '../api/postgres-group-values.ts';
import { UserError } from '../base/user-error.ts';
import type { AccessFlags } from './cluster-access.ts';
import { outputOption, printValue } from './cluster-access.ts';

interface InviteFlags extends AccessFlags {
  readonly group?: string;
  readonly expires: string;
  readonly endpoint?: string;
  readonly list?: boolean;
  readonly withdraw?: string;
  readonly output?: 'json' | 'yaml';
}

const EXPIRES_MS_MIN = 60_000;
const EXPIRES_MS_MAX = 7 * 24 * 3_600_000;

const EXAMPLES = `
Examples:
  pgspan invite --context leo -n shop                      a token for one group, good for an hour
  pgspan invite --expires 15m --endpoint 203.0.113.7:5480  where others reach the group service by another way
  TOKEN=$(pgspan invite)                                   the token alone goes to stdout
  pgspan invite --list                                     those that were made: id, state, until when
  pgspan invite --withdraw 6f1c0b7d2a9e4853                its token opens nothing any more

Whoever has the token may join, once: give it away as you would a password. In the other cluster: pgspan join TOKEN -f MANIFEST.
docs/joining.md says what both sides do.`;

export function inviteCommand(): Command {
  return new Command('invite')
    .description(
      'Make an invitation, and print its token: one group of another Kubernetes cluster may join with it, once.',
    )
    .option('--group <name>', 'group that invites, where a namespace holds several')
    .option('--expires <time>', 'how long it is good, such as 30m; from 1m to 168h', '1h')
    .option(
      '--endpoint <host:port>',
      'where the new group reaches the group service (default: as the group tells others)',
    )
    .addOption(
      new Option('--list', 'list the invitations of the group instead of making one').conflicts([
        'withdraw',
        'expires',
        'endpoint',
      ]),
    )
    .addOption(
      new Option('--withdraw <id>', 'withdraw this invitation instead of making one').conflicts([
        'expires',
        'endpoint',
      ]),
    )
    .option('--kubeconfig <file>', 'this kubeconfig (default: $KUBECONFIG, else ~/.kube/config)')
    .option('--context <name>', 'this context of the kubeconfig (default: its current one)')
    .option('-n, --namespace <name>', "namespace of the group (default: the context's)")
    .addOption(outputOption(['json', 'yaml'], 'result in this form'))
    .addHelpText('after', EXAMPLES)
    .action(async (flags: InviteFlags) => {
      if (flags.list === true) await list(flags);
      else if (flags.withdraw !== undefined) await withdraw(flags, flags.withdraw);
      else await invite(flags);
    });
}

async function invite(flags: InviteFlags): Promise<void> {
  const wish = {
    group: flags.group,
    expiresMs: readExpiry(flags.expires),
    endpoint: flags.endpoint === undefined ? null : readEndpoint(flags.endpoint),
    now: new Date(),
  };
  const { createInvitation, withKubernetes } = await import('../platform/kubernetes/invitations.ts');
  const { encodeToken } = await import('../core/joining/token.ts');
  const invitation = await withKubernetes(flags, async (session) => await createInvitation(session, wish));
  const token = encodeToken(invitation);
  const { id, globalCluster, group, endpoint, caFingerprints } = invitation;
  const expiresAt = new Date(invitation.expiresAt * 1000).toISOString();
  if (flags.output !== undefined)
    return await printValue({ token, id, globalCluster, group, endpoint, caFingerprints, expiresAt }, flags.output);
  process.stdout.write(`${token}\n`);
  process.stderr.write(
    [
      '',
      `  invites to   global cluster "${globalCluster}", by way of group "${group}"`,
      `  endpoint     ${endpoint.host}:${endpoint.port}`,
      `  its CA       SHA-256 ${caFingerprints.join(', ')}`,
      `  good until   ${expiresAt}, for one group`,
      `  id           ${id} (pgspan invite --withdraw takes it back)`,
      '',
      'In the other cluster: pgspan join TOKEN -f MANIFEST, or in its manifest spec.globalCluster.join.tokenSecretRef.',
      '',
    ].join('\n'),
  );
}

async function list(flags: InviteFlags): Promise<void> {
  const { withKubernetes } = await import('../platform/kubernetes/invitations.ts');
  const { listInvitations } = await import('../platform/kubernetes/made-invitations.ts');
  const wish = { group: flags.group, now: new Date() };
  const made = await withKubernetes(flags, async (session) => await listInvitations(session, wish));
  if (flags.output !== undefined) return await printValue(made, flags.output);
  if (made.invitations.length === 0) {
    process.stderr.write(`Group "${made.group}" has no invitations\n`);
    return;
  }
  const rows = made.invitations.map(({ id, state, madeAt, expiresAt }) => [id, state, madeAt ?? '-', expiresAt]);
  const lines = [['ID', 'STATE', 'MADE', 'GOOD UNTIL'], ...rows].map(([id = '', state = '', madeAt = '', end = '']) =>
    [id.padEnd(16), state.padEnd(9), madeAt.padEnd(20), end].join('  '),
  );
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function withdraw(flags: InviteFlags, text: string): Promise<void> {
  const id = invitationIdSchema.safeParse(text);
  if (!id.success) {
    throw wrong(
      `Cannot read --withdraw "${text.slice(0, 40)}": an id has 16 hexadecimal digits`,
      'Copy it from `pgspan invite --list`.',
    );
  }
  const wish = { group: flags.group, id: id.data, now: new Date() };
  const { withKubernetes } = await import('../platform/kubernetes/invitations.ts');
  const { withdrawInvitation } = await import('../platform/kubernetes/made-invitations.ts');
  const withdrawn = await withKubernetes(flags, async (session) => await withdrawInvitation(session, wish));
  if (flags.output !== undefined) return await printValue(withdrawn, flags.output);
  process.stdout.write(
    `Invitation "${withdrawn.id}" of group "${withdrawn.group}" was withdrawn at ${withdrawn.withdrawnAt}: its token opens nothing any more\n`,
  );
}

function readExpiry(text: string): number {
  const ms = durationSchema.safeParse(text).success ? durationMs(text) : Number.NaN;
  if (ms >= EXPIRES_MS_MIN && ms <= EXPIRES_MS_MAX) return ms;
  throw wrong(
    `Cannot read --expires "${text.slice(0, 40)}": accepted are lengths of time from 1m to 168h`,
    'Give one such as 30m or 2h.',
  );
}

function readEndpoint(text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([a-z0-9][-a-z0-9.]*)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? 0);
  if (match !== null && port >= 1 && port <= 65_535) return { host: (match[1] ?? match[2]) as string, port };
  throw wrong(
    `Cannot read --endpoint "${text.slice(0, 100)}": it is no HOST:PORT`,
    'Give a host name or an address and a port, such as leo-group.example.com:5480.',
  );
}

function wrong(message: string, todo: string): UserError {
  return new UserError({ code: 'OPTION_INVALID', kind: 'usage', message, todo });
}
