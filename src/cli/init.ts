/**
 * `pgspan init`: writes the manifests of a topology, from options or, at a terminal, a few questions. Nothing is written that the
 * plan refuses.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { ManifestError } from '../api/manifest-error.ts';
import { UserError } from '../base/user-error.ts';
import type { Topology } from '../core/topology/topology-manifests.ts';
import { askForTopology } from './init-questions.ts';
import { type InitFlags, readTopology } from './init-topology.ts';

const EXAMPLES = `
Without --groups it asks, if it runs at a terminal.

Examples:
  pgspan init --groups leo --domain db.example.com > leo.yaml
        three nodes in one Kubernetes cluster
  pgspan init --groups leo,ait,pit --domain db.example.com --store etcd --preset wan --load-balancers node --external-dns -d manifests
        three Kubernetes clusters, a file for each; any one of them may be lost
  pgspan init --groups leo,ait --witness pit --domain leo.example.com,ait.example.com,pit.example.com --store etcd -d manifests
        two clusters with data and a third that only completes the record's quorum
  pgspan init --groups leo,ait,pit --nodes 1 --domain db.example.com --local > site.yaml && pgspan local up -f site.yaml
        the same on this machine, to try

What the manifests lead to: pgspan plan -f FILE.`;

export function initCommand(): Command {
  return new Command('init')
    .description('Write the manifests of a topology: one PostgresGroup for each Kubernetes cluster.')
    .option('--groups <names>', 'names of the groups, separated by commas; the first makes the database')
    .option('--name <name>', 'name of the global cluster', 'orders')
    .option('--domain <domains>', 'domain of all names; or one for each group, separated by commas')
    .option('--nodes <counts>', 'PostgreSQL nodes of each group; or one number for each', '3')
    .option('--witness <name>', 'a further group without data, which completes the quorum of the record')
    .addOption(
      new Option(
        '--internode <strategy>',
        'how servers dial each other (default: ServiceName; FQDN for several groups)',
      ).choices(['ServiceName', 'FQDN', 'SplitDNS']),
    )
    .addOption(
      new Option('--clients <strategy>', 'names that clients are told')
        .choices(['ServiceName', 'FQDN'])
        .default('FQDN'),
    )
    .addOption(
      new Option('--load-balancers <scope>', 'for the proxies, or for each node as well')
        .choices(['none', 'group', 'node'])
        .default('none'),
    )
    .option('--external-dns', 'annotate load balancers with the names that external-dns is to publish')
    .addOption(
      new Option(
        '--store <store>',
        'where the record of the leader is kept (default: lease; etcd for several groups)',
      ).choices(['lease', 'etcd']),
    )
    .option('--etcd-endpoints <urls>', "URLs of an etcd of yours, separated by commas (default: pgspan's own members)")
    .addOption(
      new Option('--preset <preset>', 'detection and fence: 1 s and 3 s, or 3 s and 9 s')
        .choices(['lan', 'wan'])
        .default('lan'),
    )
    .addOption(
      new Option(
        '--join <way>',
        'how groups of several clusters find each other: peers in the manifests, or invite and join',
      )
        .choices(['manifests', 'invitation'])
        .default('manifests'),
    )
    .option('--storage <size>', 'volume of each node', '10Gi')
    .option('--cpu <amount>', 'processors that each node is guaranteed, such as 500m')
    .option('--memory <amount>', 'memory of each node, such as 4Gi; PostgreSQL is tuned for it')
    .option('--image <name>', 'image of PostgreSQL (default: postgres:18)')
    .option('--reads', 'a read name beside the write name, on the proxies')
    .option('-n, --namespace <name>', 'namespace of the groups')
    .option('--local', 'for `pgspan local up`: the record is kept on this machine, no load balancers, one proxy')
    .option('-d, --directory <folder>', 'write one file for each group into this folder (default: all to stdout)')
    .option('--force', 'replace files that are there')
    .addHelpText('after', EXAMPLES)
    .action(runInit);
}

async function runInit(flags: InitFlags): Promise<void> {
  const topology = flags.groups === undefined ? await askForTopology(flags) : readTopology(flags);
  const { files, notes } = await renderTopology(topology, flags.local ?? false);
  for (const note of notes) process.stderr.write(`${note}\n`);
  if (flags.directory === undefined) {
    process.stdout.write(files.map(({ text }) => text).join('---\n'));
    return;
  }
  const folder = flags.directory;
  const targets = files.map((file) => ({ ...file, path: join(folder, file.name) }));
  const taken = targets.find(({ path }) => existsSync(path));
  if (taken !== undefined && !flags.force) throw fileExists(taken.path);
  await mkdir(folder, { recursive: true });
  for (const { path, text } of targets) await writeFile(path, text);
  process.stderr.write(`Wrote ${targets.map(({ path }) => path).join(', ')}. Next: pgspan plan -f ${folder}\n`);
}

interface Rendered {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** What the plan says beside: warnings, and what is not built. */
  readonly notes: readonly string[];
}

/** Accepted by the plan, or refused as any manifest is. Throws ManifestError MANIFEST_INVALID. */
export async function renderTopology(topology: Topology, isLocal: boolean): Promise<Rendered> {
  const { topologyManifests } = await import('../core/topology/topology-manifests.ts');
  const { parsePostgresGroup } = await import('../api/parse-manifest.ts');
  const { validateGroups } = await import('../core/topology/validate.ts');
  const { planGlobalCluster } = await import('../core/topology/plan.ts');
  const { stringify } = await import('yaml');
  const manifests = topologyManifests(topology);
  const parsed = manifests.map((manifest) => parsePostgresGroup(manifest));
  const problems = parsed.flatMap((one) => (one.kind === 'refused' ? one.problems : []));
  if (problems.length > 0) throw new ManifestError('write the manifests', problems);
  const groups = parsed.flatMap((one) => (one.kind === 'accepted' ? [one.group] : []));
  validateGroups(groups, { source: 'this topology' });
  const plan = planGlobalCluster(groups);
  const actor = isLocal ? 'kubernetes' : 'local';
  return {
    files: manifests.map((manifest) => ({
      name: `${manifest.metadata.name}.yaml`,
      text: `${headerOf(manifest.metadata.name, topology, isLocal)}${stringify(manifest, { lineWidth: 0 })}`,
    })),
    notes: [
      ...plan.replication.survives.text.map((text) => `# ${text}`),
      ...plan.warnings.map(({ group, path, message }) => `warning: ${group} ${path}: ${message}`),
      ...plan.notBuilt
        .filter((note) => note.actor !== actor)
        .map(({ group, path, message }) => `warning: ${group} ${path}: ${message}`),
    ],
  };
}

function headerOf(name: string, { globalCluster, groups, witness, joinBy }: Topology, isLocal: boolean): string {
  const count = groups.length + (witness === null ? 0 : 1);
  if (count === 1 || isLocal) return `# Group ${name} of the database "${globalCluster}".\n`;
  const next =
    joinBy === 'manifests'
      ? 'The CAs of the others belong into `peers[].caBundle`: docs/several-clusters.md'
      : 'Then `pgspan invite` in the first cluster, and `pgspan join TOKEN` here: docs/joining.md';
  return `# Group ${name} of the database "${globalCluster}", for a Kubernetes cluster of its own.\n# ${next}\n`;
}

function fileExists(path: string): UserError {
  return new UserError({
    code: 'INIT_FILE_EXISTS',
    kind: 'usage',
    message: `Cannot write "${path}": it exists`,
    todo: 'Name another folder, or replace it with --force.',
  });
}
