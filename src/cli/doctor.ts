/** `pgspan doctor`: every edge, and at which step it fails: name, reachability, handshake, certificate, authentication. */
import { styleText } from 'node:util';
import { Command } from 'commander';
import { formatTable } from '../base/text-table.ts';
import type { EdgeReport } from '../platform/examine-edges.ts';
import { type AccessFlags, addClusterOptions, outputOption, printValue, withCluster } from './cluster-access.ts';
import { EXIT_CODE } from './exit-codes.ts';

const EXAMPLES = `
Examples:
  pgspan doctor                 what fails, and how many edges are well
  pgspan doctor --all           every edge with its round-trip time
  pgspan doctor -o json

The exit code is 1 if an edge fails.`;

export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('Examine every edge: names, reachability, handshake, certificate, authentication.')
    .option('-a, --all', 'show the edges that are well, too')
    .addOption(outputOption(['json', 'yaml'], 'every edge and step in this form'))
    .addHelpText('after', EXAMPLES)
    .action(async (flags: AccessFlags & { all?: boolean; output?: 'json' | 'yaml' }) => {
      const { examineEdges } = await import('../platform/examine-edges.ts');
      const edges = await withCluster(flags, examineEdges);
      if (edges.some(({ ok }) => !ok)) process.exitCode = EXIT_CODE.failed;
      if (flags.output !== undefined) return printValue({ ok: edges.every(({ ok }) => ok), edges }, flags.output);
      process.stdout.write(`${formatEdges(edges, flags.all ?? false)}\n`);
    });
  return addClusterOptions(command);
}

function formatEdges(edges: readonly EdgeReport[], all: boolean): string {
  const failed = edges.filter(({ ok }) => !ok);
  const style = (kind: 'dim' | 'red' | 'green', text: string) => styleText(kind, text, { stream: process.stdout });
  const verdict =
    failed.length === 0
      ? style('green', `All ${edges.length} edges are well.`)
      : style('red', `${failed.length} of ${edges.length} edges fail.`);
  const shown = all ? edges : failed;
  if (shown.length === 0) return verdict;
  const rows = shown.map((edge) => [
    edge.ok ? 'ok' : 'FAILS',
    edge.from,
    edge.to,
    edge.name,
    edge.address ?? '',
    edge.roundTripMs === null ? '' : `${edge.roundTripMs} ms`,
    edge.result,
  ]);
  const header = ['', 'FROM', 'TO', 'NAME', 'ADDRESS', 'CONNECT', 'RESULT'];
  const width = process.stdout.columns ?? 140;
  return `${formatTable(header, rows, { width, indent: 0, styleHeader: (text) => style('dim', text) })}\n\n${verdict}`;
}
