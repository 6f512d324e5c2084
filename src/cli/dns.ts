/** `pgspan dns`: rules for CoreDNS and records for the zone outside, ready to paste. The resolver itself is a program (programs.ts). */
import { Command } from 'commander';
import { UserError } from '../base/user-error.ts';
import { corednsRules, formatCorednsRules } from '../core/dns/coredns-rules.ts';
import { formatZone, zoneRecords } from '../core/dns/zone-records.ts';
import { CLUSTER_DOMAIN_DEFAULT, planGlobalCluster } from '../core/topology/plan.ts';
import type { GlobalPlan } from '../core/topology/plan-types.ts';
import {
  type AccessFlags,
  addClusterOptions,
  outputOption,
  printValue,
  readNumber,
  withCluster,
} from './cluster-access.ts';

const COREDNS_EXAMPLES = `
Examples:
  pgspan dns coredns --context leo             for the cluster of this context: paste it into its Corefile
  pgspan dns coredns -f examples/three-clusters --group leo
  kubectl -n kube-system edit configmap coredns

Paste the rules into the server block ".:53" of the Corefile of the cluster in which the group runs, and of no other: there the
names must lead outside. CoreDNS takes them a moment later (plugin "reload"). Pods then reach the Services directly, under
the names that the certificates carry, without the way through a load balancer. docs/dns.md has the whole story.`;

const RECORDS_EXAMPLES = `
Examples:
  pgspan dns records --context leo             a zone file with the addresses that load balancers have now
  pgspan dns records -o json | jq ...          for a provider's own tool

The global names lead to the proxies of every group that this cluster knows. Where clusters cannot see each other, put the
records of each of them at the same names. With external-dns nothing of this is needed: annotate the Services by
.spec.connectivity.proxyServiceTemplate, with {fqdn} as the host name.`;

export function dnsCommand(): Command {
  return new Command('dns')
    .description('Print rules for CoreDNS, or records for the zone outside. Nothing is changed by it.')
    .addCommand(corednsCommand())
    .addCommand(recordsCommand())
    .addHelpText('after', '\n`pgspan dns serve --config FILE` is the resolver of SplitDNS itself (docs/dns.md).');
}

interface CorednsFlags extends AccessFlags {
  readonly file?: string;
  readonly group?: string;
  readonly clusterDomain: string;
  readonly output?: 'json' | 'yaml';
}

function corednsCommand(): Command {
  const command = new Command('coredns')
    .description("Print rewrite rules with which a cluster's own pods reach its groups by FQDN without a hairpin.")
    .option('-f, --file <path>', 'manifest, folder with manifests, or - for stdin (default: the groups that run)')
    .option('--group <name>', 'for the cluster of this group only')
    .option('--cluster-domain <domain>', "domain of the cluster's Services", CLUSTER_DOMAIN_DEFAULT)
    .addOption(outputOption(['json', 'yaml'], 'print the names and what they lead to in this form'))
    .addHelpText('after', COREDNS_EXAMPLES)
    .action(async (flags: CorednsFlags) => {
      const plan = await planOf(flags);
      const groups = plan.groups
        .filter(({ name }) => flags.group === undefined || name === flags.group)
        .map((group) => ({ group: group.name, rules: corednsRules(group, flags.clusterDomain) }));
      if (groups.length === 0) throw groupMissing(plan, flags.group ?? '');
      if (flags.output !== undefined) return await printValue(groups, flags.output);
      for (const { group, rules } of groups) {
        process.stdout.write(
          `# Group ${group}: for the Kubernetes cluster in which it runs.\n${formatCorednsRules(rules)}`,
        );
      }
    });
  return addClusterOptions(command);
}

async function planOf(flags: CorednsFlags): Promise<GlobalPlan> {
  if (flags.file === undefined) return await withCluster(flags, async ({ plan }) => plan);
  const { loadManifests } = await import('../platform/manifest-files.ts');
  return planGlobalCluster(await loadManifests(flags.file));
}

function groupMissing({ groups }: GlobalPlan, name: string): UserError {
  return new UserError({
    code: 'GROUP_NOT_FOUND',
    kind: 'not-found',
    message: `Cannot print rules for group "${name}": there is no such group`,
    todo: `Groups are ${groups.map((group) => group.name).join(', ')}.`,
  });
}

interface RecordsFlags extends AccessFlags {
  readonly ttl: string;
  readonly output?: 'json' | 'yaml';
}

function recordsCommand(): Command {
  const command = new Command('records')
    .description('Print the records of the names outside: addresses that the load balancers have now.')
    .option('--ttl <seconds>', 'how long resolvers may keep a record', '30')
    .addOption(outputOption(['json', 'yaml'], 'form (default: a zone file)'))
    .addHelpText('after', RECORDS_EXAMPLES)
    .action(async (flags: RecordsFlags) => {
      const ttl = Math.round(readNumber('--ttl', flags.ttl, { min: 1, max: 86_400 }));
      await withCluster(flags, async ({ plan, published }) => {
        const found = zoneRecords(plan, published, ttl);
        if (flags.output !== undefined) return await printValue(found, flags.output);
        process.stdout.write(formatZone(found));
      });
    });
  return addClusterOptions(command);
}
