/** `pgspan plan -f FILE`: what the manifests lead to, before anything starts; without a file, of the groups that run. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { PostgresGroup } from '../api/postgres-group.ts';
import type { GlobalPlan } from '../core/topology/plan-types.ts';
import { type AccessFlags, addClusterOptions, withCluster } from './cluster-access.ts';

interface PlanCommandOptions extends AccessFlags {
  readonly file?: string;
  readonly output?: 'json' | 'yaml';
  readonly group?: string;
  readonly details?: boolean;
  readonly postgresVersion?: number;
}

const EXAMPLES = `
Examples:
  pgspan plan -f examples/three-groups-local.yaml
  pgspan plan -f examples/three-groups-local.yaml --details        every setting, access rule and certificate name
  pgspan plan -f manifests/ --group leo -o yaml
  cat leo.yaml ait.yaml | pgspan plan -f -
  pgspan plan --context prod -n shop            of the groups that a Kubernetes cluster has`;

export function planCommand(): Command {
  const command = new Command('plan')
    .description(
      'Show what manifests lead to, before anything starts: nodes, names, certificates, settings and what the set-up survives.',
    )
    .option('-f, --file <path>', 'manifest, folder with manifests, or - for stdin (default: the groups that run)')
    .addOption(new Option('-o, --output <format>', 'print the whole plan in this form').choices(['json', 'yaml']))
    .option('--group <name>', 'show this group only')
    .option('--details', 'also settings that pgspan owns, access rules, certificate names and slots')
    .option(
      '--postgres-version <major>',
      'plan for this version of PostgreSQL (default: what imageName says)',
      parseMajor,
    )
    .addHelpText('after', EXAMPLES)
    .action(showPlan);
  return addClusterOptions(command);
}

async function showPlan(options: PlanCommandOptions): Promise<void> {
  const { planGlobalCluster } = await import('../core/topology/plan.ts');
  const groups = await groupsOf(options);
  const planOptions = options.postgresVersion === undefined ? {} : { postgresMajor: options.postgresVersion };
  const plan = planGlobalCluster(groups, planOptions);
  const shown = options.group === undefined ? plan : await onlyGroup(plan, options.group);
  process.stdout.write(await format(shown, options));
}

async function groupsOf(options: PlanCommandOptions): Promise<readonly PostgresGroup[]> {
  if (options.file === undefined) return await withCluster(options, async ({ groups }) => groups);
  const { loadManifests } = await import('../platform/manifest-files.ts');
  return await loadManifests(options.file);
}

async function format(plan: GlobalPlan, { output, details = false }: PlanCommandOptions): Promise<string> {
  if (output === 'json') return `${JSON.stringify(plan, null, 2)}\n`;
  if (output === 'yaml') {
    const { stringify } = await import('yaml');
    return stringify(plan, { lineWidth: 0, aliasDuplicateObjects: false });
  }
  const { formatPlan } = await import('./plan-text.ts');
  const { styleText } = await import('node:util');
  const width = process.stdout.columns ?? 120;
  // styleText looks at the stream and at NO_COLOR by itself.
  return formatPlan(plan, {
    details,
    width,
    style: (kind, text) => styleText(STYLES[kind], text, { stream: process.stdout }),
  });
}

const STYLES = { heading: 'bold', column: 'dim', warning: 'yellow', user: 'cyan' } as const;

async function onlyGroup(plan: GlobalPlan, name: string): Promise<GlobalPlan> {
  const groups = plan.groups.filter((group) => group.name === name);
  if (groups.length > 0) {
    const ofGroup = (note: { readonly group: string }) => note.group === name;
    return { ...plan, groups, warnings: plan.warnings.filter(ofGroup), notBuilt: plan.notBuilt.filter(ofGroup) };
  }
  const { UserError } = await import('../base/user-error.ts');
  const { nearest } = await import('../base/nearest.ts');
  const names = plan.groups.map((group) => group.name);
  const meant = nearest(name, names);
  throw new UserError({
    code: 'GROUP_NOT_FOUND',
    kind: 'not-found',
    message: `Cannot show group "${name}": the manifests hold ${names.map((one) => `"${one}"`).join(', ')}`,
    todo: meant === undefined ? 'Name one of them' : `Did you mean "${meant}"?`,
  });
}

function parseMajor(text: string): number {
  const major = Number(text);
  if (!Number.isInteger(major) || major < 15 || major > 19) throw new InvalidArgumentError('Accepted: 15 to 19.');
  return major;
}
