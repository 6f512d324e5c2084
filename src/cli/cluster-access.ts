/**
 * Which running global cluster a verb means:
 *
 *   --context, --kubeconfig, -n or --cluster   Kubernetes
 *   --state, PGSPAN_STATE                      the local site in that folder
 *   nothing, and there is a local site         that site
 *   nothing else, and there is a kubeconfig    Kubernetes, its current context and namespace
 *
 * PGSPAN_PLATFORM=kubernetes (as `kubectl pgspan` sets it) leaves local sites out, PGSPAN_PLATFORM=local Kubernetes.
 */
import { type Command, Option } from 'commander';
import { UserError } from '../base/user-error.ts';
import { hasDefaultSite, stateFolder } from '../platform/local/state-folder.ts';
import type { ClusterAccess, ClusterSource } from '../platform/ports.ts';

export interface AccessFlags {
  readonly state?: string;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly cluster?: string;
  readonly allContexts?: boolean;
}

/** `--state DIR`, for every verb that means a local site. */
export function stateOption(): Option {
  return new Option('--state <dir>', "folder of the local site (default: $PGSPAN_STATE, else this user's)");
}

/** Adds the options that say which cluster is meant. */
export function addClusterOptions(command: Command): Command {
  return command
    .addOption(stateOption())
    .option('--kubeconfig <file>', 'Kubernetes: this kubeconfig (default: $KUBECONFIG, else ~/.kube/config)')
    .option('--context <name>', 'Kubernetes: this context of the kubeconfig (default: its current one)')
    .option('-n, --namespace <name>', "Kubernetes: the groups of this namespace (default: the context's)")
    .option('--cluster <name>', 'Kubernetes: this global cluster, where a namespace holds several');
}

/** As addClusterOptions, for verbs that may look at several Kubernetes clusters at once. */
export function addContextsOptions(command: Command): Command {
  const context = new Option(
    '--context <names>',
    'Kubernetes: this context of the kubeconfig, or several, separated by commas (default: its current one)',
  );
  return command
    .addOption(stateOption())
    .option('--kubeconfig <file>', 'Kubernetes: this kubeconfig (default: $KUBECONFIG, else ~/.kube/config)')
    .addOption(context.conflicts('allContexts'))
    .option('--all-contexts', 'Kubernetes: every context of the kubeconfig that holds groups of the database')
    .option('-n, --namespace <name>', "Kubernetes: the groups of this namespace (default: the context's)")
    .option('--cluster <name>', 'Kubernetes: this global cluster, where there are several');
}

/** Opens the cluster, does the work, and ends what was begun for it. Throws UserError NO_SITE and what the work throws. */
export async function withCluster<T>(flags: AccessFlags, work: (access: ClusterAccess) => Promise<T>): Promise<T> {
  return await withClusterSource(flags, async (source) => await work(await source.open()));
}

/** As withCluster, for work that looks again and again. */
export async function withClusterSource<T>(
  flags: AccessFlags,
  work: (source: ClusterSource) => Promise<T>,
): Promise<T> {
  const source = await openSource(flags);
  try {
    return await work(source);
  } finally {
    await source.close();
  }
}

async function openSource(flags: AccessFlags): Promise<ClusterSource> {
  if ((await chosenPlatform(flags)) === 'kubernetes') {
    const contexts = flags.context?.split(',').filter((name) => name !== '') ?? [];
    if (flags.allContexts || contexts.length > 1) {
      const { openContextsSource } = await import('../platform/kubernetes/several-contexts.ts');
      return tellingUnanswered(await openContextsSource(flags, flags.allContexts ? null : contexts));
    }
    const { openKubernetesSource } = await import('../platform/kubernetes/access.ts');
    return await openKubernetesSource(flags);
  }
  const { openLocalAccess } = await import('../platform/local/access.ts');
  return { open: async () => openLocalAccess(stateFolder(flags.state ?? null)), close: async () => {} };
}

/** A cluster that does not answer is said beside what the others say. */
function tellingUnanswered(source: ClusterSource): ClusterSource {
  let told = '';
  return {
    async open() {
      const access = await source.open();
      const text = access.unanswered.map(({ place, why }) => `${place} does not answer: ${why}\n`).join('');
      // Once for as long as it stays so.
      if (text !== told) process.stderr.write(text);
      told = text;
      return access;
    },
    close: () => source.close(),
  };
}

/** Throws UserError OPTION_INVALID when both are named. */
export async function chosenPlatform(
  { state, kubeconfig, context, namespace, cluster, allContexts }: AccessFlags,
  env: NodeJS.ProcessEnv = process.env,
): Promise<'local' | 'kubernetes'> {
  const kubernetes = { kubeconfig, context, namespace, cluster, 'all-contexts': allContexts };
  const named = Object.entries(kubernetes).find(([, value]) => value !== undefined);
  if (named !== undefined && state !== undefined) {
    throw new UserError({
      code: 'OPTION_INVALID',
      kind: 'usage',
      message: `Cannot use --state together with --${named[0]}: the one means a local site, the other Kubernetes`,
      todo: 'Leave one of them out.',
    });
  }
  if (named !== undefined) return 'kubernetes';
  if (state !== undefined) return 'local';
  if (env.PGSPAN_PLATFORM === 'kubernetes' || env.PGSPAN_PLATFORM === 'local') return env.PGSPAN_PLATFORM;
  if ((env.PGSPAN_STATE ?? '') !== '' || hasDefaultSite(env)) return 'local';
  const { hasKubeconfig } = await import('../platform/kubernetes/kubeconfig.ts');
  return hasKubeconfig(env) ? 'kubernetes' : 'local';
}

/** `-o json|yaml`, and whatever else the verb prints. */
export function outputOption(choices: readonly string[], description: string): Option {
  return new Option('-o, --output <form>', description).choices(choices);
}

/** Prints a value as JSON or YAML. */
export async function printValue(value: unknown, output: 'json' | 'yaml'): Promise<void> {
  if (output === 'json') {
    process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    return;
  }
  const { stringify } = await import('yaml');
  process.stdout.write(stringify(value, { lineWidth: 0, aliasDuplicateObjects: false }));
}

/** A whole number of an option. Throws UserError OPTION_INVALID. */
export function readNumber(name: string, text: string, range: { readonly min: number; readonly max?: number }): number {
  const value = Number(text);
  const { min, max = Number.MAX_SAFE_INTEGER } = range;
  if (Number.isFinite(value) && value >= min && value <= max && text.trim() !== '') return value;
  throw new UserError({
    code: 'OPTION_INVALID',
    kind: 'usage',
    message: `Cannot read ${name} "${text}": it is no number from ${min}${range.max === undefined ? ' upwards' : ` to ${max}`}`,
    todo: 'Give a number.',
  });
}
