/**
 * Names that would mean two things (design.md section 4): every name of a group and of the global cluster is a Service in
 * every cluster under `ServiceName`, and a SAN everywhere, so all of them must differ, also after scaling up.
 */
import type { ManifestProblem } from '../../api/manifest-error.ts';
import { globalClusterName, type PostgresGroup } from '../../api/postgres-group.ts';
import { fqdn, nodeName, readService } from './names.ts';

/** What a group appends to its name, whatever its settings are today. `-proxy` stands for `-proxy-<n>`, `-1` for every `-<n>`. */
const GROUP_SUFFIXES: readonly { readonly pattern: RegExp; readonly what: string }[] = [
  { pattern: /^-r$/, what: 'the read service' },
  { pattern: /^-group$/, what: 'the discovery service' },
  { pattern: /^-pods$/, what: 'the headless service' },
  { pattern: /^-pooler$/, what: 'the pooler' },
  { pattern: /^-etcd(-[0-9]+)?$/, what: 'the etcd member' },
  { pattern: /^-proxy(-[0-9]+)?$/, what: 'the proxies' },
  { pattern: /^-[0-9]+$/, what: 'a node' },
];
const GLOBAL_SUFFIXES: typeof GROUP_SUFFIXES = [
  { pattern: /^-r$/, what: 'the global read service' },
  { pattern: /^-record$/, what: "the record's server" },
];

export function nameProblems(groups: readonly PostgresGroup[]): ManifestProblem[] {
  const globalCluster = globalClusterName(groups[0] as PostgresGroup);
  return groups.flatMap((group, index) => {
    const name = group.metadata.name;
    const problem = (path: string, found: string, accepted: string): ManifestProblem => ({
      group: name,
      path,
      found,
      accepted,
    });
    const problems: ManifestProblem[] = [];
    const earlier = groups.slice(0, index);
    if (earlier.some((other) => other.metadata.name === name)) {
      return [
        problem(
          'metadata.name',
          `two groups are called "${name}"`,
          'give each group of a global cluster a name of its own',
        ),
      ];
    }
    const ownGlobal = globalClusterName(group);
    if (ownGlobal !== globalCluster) {
      const first = groups[0]?.metadata.name;
      problems.push(
        problem(
          'spec.globalCluster.name',
          `found "${ownGlobal}", and group "${first}" has "${globalCluster}"`,
          'give all groups of one database the same name; groups of several databases belong into several files',
        ),
      );
    } else if (ownGlobal === name) {
      problems.push(
        problem(
          'spec.globalCluster.name',
          `found "${ownGlobal}", which is the name of this group`,
          'the global cluster needs a name of its own, for its services',
        ),
      );
    } else if (earlier.every((other) => other.metadata.name !== ownGlobal)) {
      problems.push(...meanings(group, ownGlobal));
    }
    for (const other of groups) {
      const meant = other === group ? undefined : suffixMeaning(name, other.metadata.name, GROUP_SUFFIXES);
      if (meant === undefined) continue;
      problems.push(
        problem(
          'metadata.name',
          `"${name}" is also ${meant} of group "${other.metadata.name}"`,
          'give one of them another name',
        ),
      );
    }
    return [...problems, ...fqdnProblems(group)];
  });
}

/** The global cluster's names against those of one group, both ways. */
function meanings(group: PostgresGroup, globalCluster: string): ManifestProblem[] {
  const name = group.metadata.name;
  const asGroup = suffixMeaning(globalCluster, name, GROUP_SUFFIXES);
  if (asGroup !== undefined) {
    return [
      {
        group: name,
        path: 'spec.globalCluster.name',
        found: `"${globalCluster}" is also ${asGroup} of group "${name}"`,
        accepted: 'give one of them another name',
      },
    ];
  }
  const asGlobal = suffixMeaning(name, globalCluster, GLOBAL_SUFFIXES);
  if (asGlobal === undefined) return [];
  return [
    {
      group: name,
      path: 'metadata.name',
      found: `"${name}" is also ${asGlobal} of the global cluster "${globalCluster}"`,
      accepted: 'give one of them another name',
    },
  ];
}

function suffixMeaning(name: string, owner: string, suffixes: typeof GROUP_SUFFIXES): string | undefined {
  if (!name.startsWith(owner)) return undefined;
  return suffixes.find(({ pattern }) => pattern.test(name.slice(owner.length)))?.what;
}

const FQDN_LENGTH_MAX = 253;
const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** A suffix may hold dots and dashes, so only the whole name shows whether it is one. */
function fqdnProblems(group: PostgresGroup): ManifestProblem[] {
  const { name } = group.metadata;
  const { dns } = group.spec.connectivity;
  const longest = [
    nodeName(name, Math.max(group.spec.instances, 1)),
    readService(globalClusterName(group)),
    `${name}-group`,
  ];
  return [dns, ...dns.additional].flatMap((entry, index) => {
    const path = index === 0 ? 'spec.connectivity.dns' : `spec.connectivity.dns.additional[${index - 1}]`;
    const broken = longest.map((service) => fqdn(service, entry)).find((one) => !isHostName(one));
    if (broken === undefined) return [];
    return [
      {
        group: name,
        path: `${path}.hostSuffix`,
        found: `the name "${broken}" is no host name`,
        accepted:
          'accepted: a suffix with which each part between dots has 1 to 63 letters, digits and "-", and the whole at most 253',
      },
    ];
  });
}

function isHostName(name: string): boolean {
  return name.length <= FQDN_LENGTH_MAX && name.split('.').every((label) => LABEL.test(label));
}
