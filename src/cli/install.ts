/** `pgspan install`: prints what a Kubernetes cluster needs before the first group; nothing is changed by it. */
import { Command, InvalidArgumentError, Option } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };

interface ManifestsFlags {
  readonly image: string;
  readonly imagePullPolicy?: 'IfNotPresent' | 'Always' | 'Never';
  readonly namespace?: string;
  readonly replicas?: number;
  readonly watchNamespace: readonly string[];
  readonly networkPolicy?: boolean;
}

const MANIFESTS_EXAMPLES = `
Examples:
  pgspan install manifests --image registry.example.com/pgspan:${packageJson.version} | kubectl apply --server-side -f -
  pgspan install manifests --watch-namespace shop,billing       rights in these two namespaces only
  pgspan install manifests --replicas 2 >install.yaml           a second operator that waits for the first to fail

Groups in all namespaces are looked after, unless --watch-namespace says otherwise. The operator gets rights to Secrets and
pods in a namespace with its first group, and nowhere else. docs/install.md has the whole story, and the Helm chart.`;

const CRD_EXAMPLES = `
Examples:
  pgspan install crd | kubectl apply --server-side -f -`;

export function installCommand(): Command {
  return new Command('install')
    .description('Print what a Kubernetes cluster needs before the first group. Nothing is changed by it.')
    .addCommand(manifestsCommand())
    .addCommand(crdCommand());
}

function manifestsCommand(): Command {
  return new Command('manifests')
    .description('Print the install file: namespace, CustomResourceDefinition, rights and the operator.')
    .addOption(
      new Option('--image <image>', "pgspan's own image, where your clusters can pull it")
        .default(`pgspan:${packageJson.version}`)
        .env('PGSPAN_IMAGE'),
    )
    .addOption(
      new Option('--image-pull-policy <policy>', "of pgspan's image (default: Kubernetes' own)").choices([
        'IfNotPresent',
        'Always',
        'Never',
      ]),
    )
    .option('--namespace <name>', 'namespace of the operator (default: pgspan-system)')
    .option('--replicas <count>', 'operators; one works, the others wait (default: 1)', parseReplicas)
    .option('--watch-namespace <name>', 'only groups in this namespace; repeatable, or with commas', addNames, [])
    .option('--network-policy', 'let nothing but health and metrics reach the operator')
    .addHelpText('after', MANIFESTS_EXAMPLES)
    .action(printInstallFile);
}

function crdCommand(): Command {
  return new Command('crd')
    .description('Print the CustomResourceDefinition of PostgresGroup alone.')
    .addHelpText('after', CRD_EXAMPLES)
    .action(async () => {
      const { crdManifest } = await import('../platform/kubernetes/install/install-manifests.ts');
      await printManifests([crdManifest()]);
    });
}

async function printInstallFile(flags: ManifestsFlags): Promise<void> {
  const { INSTALL_DEFAULTS, installManifests } = await import('../platform/kubernetes/install/install-manifests.ts');
  const { namespaceSchema } = await import('../api/postgres-group-values.ts');
  const namespaces = [flags.namespace ?? INSTALL_DEFAULTS.namespace, ...flags.watchNamespace];
  const wrong = namespaces.find((name) => !namespaceSchema.safeParse(name).success);
  if (wrong !== undefined) throw await namespaceInvalid(wrong);
  await printManifests(
    installManifests({
      ...INSTALL_DEFAULTS,
      image: flags.image,
      ...(flags.imagePullPolicy === undefined ? {} : { imagePullPolicy: flags.imagePullPolicy }),
      ...(flags.namespace === undefined ? {} : { namespace: flags.namespace }),
      ...(flags.replicas === undefined ? {} : { replicas: flags.replicas }),
      watchNamespaces: [...new Set(flags.watchNamespace)],
      networkPolicy: flags.networkPolicy ?? false,
    }),
  );
}

async function namespaceInvalid(name: string): Promise<Error> {
  const { UserError } = await import('../base/user-error.ts');
  return new UserError({
    code: 'OPTION_INVALID',
    kind: 'usage',
    message: `Cannot print the install file: "${name}" is no namespace`,
    todo: 'Name one of at most 63 lower-case letters, digits and "-"',
  });
}

async function printManifests(manifests: readonly object[]): Promise<void> {
  const { stringify } = await import('yaml');
  const documents = manifests.map((one) => stringify(one, { lineWidth: 0, aliasDuplicateObjects: false }));
  process.stdout.write(documents.join('---\n'));
}

function parseReplicas(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > 5) throw new InvalidArgumentError('Accepted: 1 to 5.');
  return count;
}

function addNames(text: string, before: readonly string[]): string[] {
  return [...before, ...text.split(',').map((name) => name.trim())];
}
