/** `pgspan switchover`: hands the lead over, without a lost write and without a refused connection. */
import { Command } from 'commander';
import { type AccessFlags, addContextsOptions, outputOption, printValue, withCluster } from './cluster-access.ts';
import { findLeader, order } from './orders.ts';

/** agents/instance/switchover.ts gives up after 30 s by itself. */
const TIMEOUT_MS = 40_000;

const EXAMPLES = `
Examples:
  pgspan switchover                 to the best follower
  pgspan switchover --to ait-1      to this node`;

export function switchoverCommand(): Command {
  const command = new Command('switchover')
    .description('Hand the lead over to another node: no acknowledged write is lost, new connections wait.')
    .option('--to <node>', 'node that shall lead (default: the best)')
    .addOption(outputOption(['json', 'yaml'], 'result in this form'))
    .addHelpText('after', EXAMPLES)
    .action(async (flags: AccessFlags & { to?: string; output?: 'json' | 'yaml' }) => {
      const result = await withCluster(flags, async (access) => {
        const leader = await findLeader(access, 'switch over');
        const body = { to: flags.to ?? null };
        return await order(access, leader, {
          action: 'switch over',
          path: '/v1/switchover',
          body,
          timeoutMs: TIMEOUT_MS,
        });
      });
      if (flags.output !== undefined) return printValue(result, flags.output);
      const { from, to, term, heldMs } = result as { from: string; to: string; term: number; heldMs: number };
      process.stdout.write(`${to} leads in term ${term}; ${from} follows. Clients waited ${Math.round(heldMs)} ms.\n`);
    });
  return addContextsOptions(command);
}
