/** `pgspan status`: who leads, who follows and how far behind, the last failover, and what the set-up survives now. */
import { setTimeout as delay } from 'node:timers/promises';
import { styleText } from 'node:util';
import { Command } from 'commander';
import type { ClusterStatus } from '../core/status/cluster-status.ts';
import { type AccessFlags, addContextsOptions, outputOption, printValue, withClusterSource } from './cluster-access.ts';
import { formatStatus } from './status-text.ts';

interface StatusFlags extends AccessFlags {
  readonly watch?: boolean;
  readonly output?: 'json' | 'yaml';
}

const WATCH_EVERY_MS = 500;
/** To the top, clear to the end; each line clears its own rest, so nothing flickers. */
const HOME = '\x1b[H';
const CLEAR_BELOW = '\x1b[J';
const CLEAR_LINE = '\x1b[K';

const EXAMPLES = `
Examples:
  pgspan status
  pgspan status --watch
  pgspan status -o json | jq -r .leader
  pgspan status --context prod -n shop   the groups of a namespace of a Kubernetes cluster
  pgspan status --all-contexts           through every cluster of the kubeconfig that holds groups of the database

Where no node of a group can be asked, what its operator wrote last is shown, with its age.`;

export function statusCommand(): Command {
  const command = new Command('status')
    .description('Show every node with role, timeline, position, lag and certificate, and what may be lost now.')
    .option('-w, --watch', 'go on until Ctrl-C')
    .addOption(outputOption(['json', 'yaml'], 'whole status in this form'))
    .addHelpText('after', EXAMPLES)
    .action(runStatus);
  return addContextsOptions(command);
}

async function runStatus(flags: StatusFlags): Promise<void> {
  const { observeCluster } = await import('../platform/observe-cluster.ts');
  await withClusterSource(flags, async (source) => {
    const observe = async (): Promise<ClusterStatus> => observeCluster(await source.open());
    if (!flags.watch) return print(await observe(), flags);
    process.stdout.on('error', () => process.exit(0));
    for (let isFirst = true; ; isFirst = false) {
      const status = await observe();
      if (flags.output !== undefined || !process.stdout.isTTY) await print(status, flags);
      else redraw(`${text(status)}\n`, isFirst);
      await delay(WATCH_EVERY_MS);
    }
  });
}

async function print(status: ClusterStatus, { output, watch }: StatusFlags): Promise<void> {
  if (output === undefined) process.stdout.write(`${text(status)}\n`);
  else if (output === 'json' && watch) process.stdout.write(`${JSON.stringify(status)}\n`);
  else await printValue(status, output);
}

function text(status: ClusterStatus): string {
  return formatStatus(status, {
    width: process.stdout.columns ?? 120,
    now: new Date(),
    // styleText looks at the stream and at NO_COLOR by itself.
    style: (kind, part) => styleText(STYLES[kind], part, { stream: process.stdout }),
  });
}

const STYLES = { good: 'green', bad: 'red', dim: 'dim', bold: 'bold' } as const;

function redraw(screen: string, isFirst: boolean): void {
  const lines = screen.replaceAll('\n', `${CLEAR_LINE}\n`);
  process.stdout.write(`${isFirst ? '\x1b[2J' : ''}${HOME}${lines}${CLEAR_BELOW}`);
}
