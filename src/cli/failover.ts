/** `pgspan failover --accept-loss`: a person's word where no election can be safe. What may be gone is said before and after. */
import { Command } from 'commander';
import { UserError } from '../base/user-error.ts';
import type { ClusterAccess } from '../platform/ports.ts';
import { type AccessFlags, addClusterOptions, outputOption, printValue, withCluster } from './cluster-access.ts';
import { bestFollower, order } from './orders.ts';

const TIMEOUT_MS = 30_000;

const EXAMPLES = `
Examples:
  pgspan failover --accept-loss                 the best node that answers leads
  pgspan failover --accept-loss --to pit-1      this one

A safe failover needs no command: it happens by itself. This one is for the loss of so many nodes that nobody can tell
whether the last acknowledged writes are among those that are left. It is refused while a leader is alive.`;

export function failoverCommand(): Command {
  const command = new Command('failover')
    .description('Make a node the leader although acknowledged writes may be lost.')
    .option('--accept-loss', 'say that you accept the loss of acknowledged writes')
    .option('--to <node>', 'node that shall lead (default: the most advanced that answers)')
    .addOption(outputOption(['json', 'yaml'], 'result in this form'))
    .addHelpText('after', EXAMPLES)
    .action((flags: FailoverFlags) => withCluster(flags, (access) => runFailover(access, flags)));
  return addClusterOptions(command);
}

interface FailoverFlags extends AccessFlags {
  readonly acceptLoss?: boolean;
  readonly to?: string;
  readonly output?: 'json' | 'yaml';
}

async function runFailover(access: ClusterAccess, flags: FailoverFlags): Promise<void> {
  const { status, node } = await bestFollower(access, flags.to ?? null);
  if (status.phase === 'published') throw leaderIsAlive(status.leader ?? '');
  const unheard = status.members.filter((name) => !status.nodes.some((line) => line.name === name && line.reachable));
  const risk = `what only ${unheard.length === 0 ? 'the former leader' : unheard.join(' and ')} had is gone`;
  if (!flags.acceptLoss) {
    throw new UserError({
      code: 'LOSS_NOT_ACCEPTED',
      kind: 'unsafe',
      message: `Cannot fail over to "${node.name}" without your word: ${risk}`,
      todo: 'Bring lost nodes back if you can: then a leader is elected safely, by itself. Else say --accept-loss.',
    });
  }
  const result = await order(access, node.name, {
    action: 'fail over',
    path: '/v1/failover',
    body: {},
    timeoutMs: TIMEOUT_MS,
  });
  if (flags.output !== undefined) return printValue({ leader: node.name, ...(result as object) }, flags.output);
  const { term, unheard: lost } = result as { term: number; unheard: readonly string[] };
  const said =
    lost.length === 0
      ? 'every vote was there, nothing is lost'
      : `not heard: ${lost.join(', ')}; writes that only they had are gone`;
  process.stdout.write(`${node.name} leads in term ${term}; ${said}.\n`);
}

function leaderIsAlive(leader: string): UserError {
  return new UserError({
    code: 'LEADER_ALIVE',
    kind: 'unsafe',
    message: `Cannot fail over by force: the leader "${leader}" is alive`,
    todo: 'Hand the lead over with `pgspan switchover`: that loses nothing.',
  });
}
