/** `pgspan install`: prints what a Kubernetes cluster needs before the first group; nothing is changed by it. */
import { Command } from 'commander';

const CRD_EXAMPLES = `
Examples:
  pgspan install crd | kubectl apply --server-side -f -`;

export function installCommand(): Command {
  return new Command('install')
    .description('Print what a Kubernetes cluster needs before the first group. Nothing is changed by it.')
    .addCommand(crdCommand());
}

function crdCommand(): Command {
  return new Command('crd')
    .description('Print the CustomResourceDefinition of PostgresGroup alone.')
    .addHelpText('after', CRD_EXAMPLES)
    .action(async () => {
      const { postgresGroupCrd } = await import('../platform/kubernetes/install/crd.ts');
      await printManifests([postgresGroupCrd()]);
    });
}

async function printManifests(manifests: readonly object[]): Promise<void> {
  const { stringify } = await import('yaml');
  const documents = manifests.map((one) => stringify(one, { lineWidth: 0, aliasDuplicateObjects: false }));
  process.stdout.write(documents.join('---\n'));
}
