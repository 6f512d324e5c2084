/** What the groups of one global cluster must agree on, and what only all of them together show. */
import type { ManifestProblem } from '../../api/manifest-error.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { nearest } from '../../base/nearest.ts';
import { imageMajor } from './image.ts';
import { nodeName } from './names.ts';
import { votingNodes } from './replication-plan.ts';
import { groupsByBootstrap, resolveShared, SHARED_FIELDS } from './shared-settings.ts';

/** Most nodes with data: the record and each agent's file hold them all. */
export const NODES_MAX = 32;

export function sharedProblems(groups: readonly PostgresGroup[]): ManifestProblem[] {
  return [
    ...disagreements(groups),
    ...primaryGroupProblems(groups),
    ...preferredLeaderProblems(groups),
    ...countProblems(groups),
    ...relayProblems(groups),
    ...timingProblems(groups),
    ...majorProblems(groups),
  ];
}

/** True if these are all groups: nobody else is to be joined or found. */
export function isWholeCluster(groups: readonly PostgresGroup[]): boolean {
  const names = new Set(groups.map(({ metadata }) => metadata.name));
  return groups.every(
    ({ spec: { globalCluster } }) =>
      globalCluster.peers.every(({ group }) => names.has(group)) &&
      globalCluster.discovery.length === 0 &&
      globalCluster.join === undefined,
  );
}

function disagreements(groups: readonly PostgresGroup[]): ManifestProblem[] {
  return SHARED_FIELDS.flatMap(({ path, of }) => {
    const [first, ...others] = groups.filter((group) => of(group.spec) !== undefined);
    if (first === undefined) return [];
    return others
      .filter((group) => of(group.spec) !== of(first.spec))
      .map((group) => ({
        group: group.metadata.name,
        path: `spec.${path}`,
        found: `found ${JSON.stringify(of(group.spec))}, and group "${first.metadata.name}" has ${JSON.stringify(of(first.spec))}`,
        accepted: 'it holds for the whole global cluster: say the same in all groups, or say it in one only',
      }));
  });
}

function primaryGroupProblems(groups: readonly PostgresGroup[]): ManifestProblem[] {
  const holder = groups.find((group) => group.spec.globalCluster.primaryGroup !== undefined);
  const declared = holder?.spec.globalCluster.primaryGroup;
  if (holder === undefined || declared === undefined) return nobodyLeads(groups);
  const refuse = (found: string, accepted: string): ManifestProblem[] => [
    { group: holder.metadata.name, path: 'spec.globalCluster.primaryGroup', found, accepted },
  ];
  const group = groups.find((one) => one.metadata.name === declared);
  if (group === undefined) {
    const names = groups.map((one) => one.metadata.name);
    const isElsewhere = !isWholeCluster(groups);
    if (isElsewhere) return [];
    const meant = nearest(declared, names);
    return refuse(
      `found "${declared}", and there is no such group`,
      meant === undefined ? `accepted: ${names.join(', ')}` : `did you mean "${meant}"?`,
    );
  }
  const why = whyNotLeading(group);
  return why === null ? [] : refuse(`found "${declared}", ${why}`, 'name a group whose nodes may lead');
}

function preferredLeaderProblems(groups: readonly PostgresGroup[]): ManifestProblem[] {
  const holder = groups.find(({ spec }) => spec.globalCluster.preferredLeader !== undefined);
  const name = holder?.spec.globalCluster.preferredLeader?.name;
  if (holder === undefined || name === undefined) return [];
  const refuse = (found: string, accepted: string): ManifestProblem[] => [
    { group: holder.metadata.name, path: 'spec.globalCluster.preferredLeader.name', found, accepted },
  ];
  const group = groups.find(({ metadata }) => metadata.name === name) ?? groups.find((one) => isNodeOf(one, name));
  if (group !== undefined) {
    const why = whyNotLeading(group);
    const of = group.metadata.name === name ? '' : `a node of group "${group.metadata.name}", `;
    return why === null ? [] : refuse(`found "${name}", ${of}${why}`, 'name a node or a group that may lead');
  }
  const beyond = groups.find(({ metadata }) => ordinalIn(metadata.name, name) !== null);
  if (beyond === undefined && !isWholeCluster(groups)) return [];
  if (beyond !== undefined)
    return refuse(
      `found "${name}", and group "${beyond.metadata.name}" has ${beyond.spec.instances} node${beyond.spec.instances === 1 ? '' : 's'}`,
      whyNotLeading(beyond) === null
        ? `accepted: "${nodeName(beyond.metadata.name, 1)}" to "${nodeName(beyond.metadata.name, beyond.spec.instances)}", or the group`
        : 'name a node or a group that may lead',
    );
  const names = groups
    .filter((one) => whyNotLeading(one) === null)
    .flatMap(({ metadata, spec }) => [
      metadata.name,
      ...Array.from({ length: spec.instances }, (_, index) => nodeName(metadata.name, index + 1)),
    ]);
  const meant = nearest(name, names);
  return refuse(
    `found "${name}", and there is no such node or group`,
    meant === undefined ? `accepted: ${names.join(', ')}` : `did you mean "${meant}"?`,
  );
}

function isNodeOf({ metadata, spec }: PostgresGroup, name: string): boolean {
  const ordinal = ordinalIn(metadata.name, name);
  return ordinal !== null && ordinal <= spec.instances;
}

/** n of `<group>-<n>`; null: it is not called so. */
function ordinalIn(group: string, name: string): number | null {
  const ordinal = name.startsWith(`${group}-`) ? name.slice(group.length + 1) : '';
  return /^[1-9][0-9]{0,3}$/.test(ordinal) ? Number(ordinal) : null;
}

function nobodyLeads(groups: readonly PostgresGroup[]): ManifestProblem[] {
  const first = groups[0] as PostgresGroup;
  if (!isWholeCluster(groups) || groupsByBootstrap(groups).length > 0) return [];
  const why = groups
    .map((group) => `group "${group.metadata.name}" ${whyNotLeading(group)?.replace(/^which /, '')}`)
    .join(', ');
  return [
    {
      group: first.metadata.name,
      path: 'spec.instances',
      found: `no node may lead: ${why}`,
      accepted: 'one group at least needs nodes (instances), role readWrite, and a priority above 0',
    },
  ];
}

function whyNotLeading({ spec }: PostgresGroup): string | null {
  if (spec.instances === 0) return 'which has no nodes';
  if (spec.role === 'readOnly') return 'which is read-only';
  return spec.coordination.priority === 0 ? 'which has priority 0' : null;
}

function countProblems(groups: readonly PostgresGroup[]): ManifestProblem[] {
  const first = groups[0] as PostgresGroup;
  const nodes = groups.reduce((sum, group) => sum + group.spec.instances, 0);
  const problems: ManifestProblem[] = [];
  if (nodes > NODES_MAX) {
    problems.push({
      group: first.metadata.name,
      path: 'spec.instances',
      found: `all groups together have ${nodes} nodes`,
      accepted: `accepted: at most ${NODES_MAX}`,
    });
  }
  const { minCopies, scope } = resolveShared(groups).replication;
  const voting = groups.filter((group) => group.spec.role === 'readWrite' && group.spec.instances > 0);
  const counts = voting.map(votingNodes);
  const available = scope === 'group' ? Math.min(...counts) : counts.reduce((sum, count) => sum + count, 0);
  if (minCopies !== undefined && voting.length > 0 && isWholeCluster(groups) && minCopies > available) {
    const holder = groups.find((group) => group.spec.replication.minCopies !== undefined) ?? first;
    const where = scope === 'group' ? 'the smallest group has' : 'the global cluster has';
    problems.push({
      group: holder.metadata.name,
      path: 'spec.replication.minCopies',
      found: `found ${minCopies}, and ${where} ${available} voting node${available === 1 ? '' : 's'}`,
      accepted: `accepted: at most ${available}; with more no write would ever be acknowledged`,
    });
  }
  return problems;
}

/** With `scope: group` nobody outside of the leader's group votes, and any node there may have to take over by what it holds. */
function relayProblems(groups: readonly PostgresGroup[]): ManifestProblem[] {
  if (resolveShared(groups).replication.scope !== 'group') return [];
  return groups
    .filter(({ spec }) => spec.replication.relay === true)
    .map(({ metadata }) => ({
      group: metadata.name,
      path: 'spec.replication.relay',
      found: 'found true, and spec.replication.scope is "group"',
      accepted: 'accepted: with scope "global"; leave out the one or the other',
    }));
}

function timingProblems(groups: readonly PostgresGroup[]): ManifestProblem[] {
  const { timing } = resolveShared(groups);
  if (timing.fenceMs > timing.detectionMs) return [];
  const holder =
    groups.find(
      ({ spec: { coordination } }) => coordination.fenceMs !== undefined || coordination.detectionMs !== undefined,
    ) ?? (groups[0] as PostgresGroup);
  return [
    {
      group: holder.metadata.name,
      path: 'spec.coordination.fenceMs',
      found: `the fence is ${timing.fenceMs} ms and the detection ${timing.detectionMs} ms`,
      accepted:
        'accepted: a fence longer than the detection (three times as long is usual); else a leader stops before anybody may replace it',
    },
  ];
}

/** Physical replication works within one major version only. */
function majorProblems(groups: readonly PostgresGroup[]): ManifestProblem[] {
  const known = groups.filter((group) => group.spec.instances > 0 && imageMajor(group.spec.imageName) !== undefined);
  const [first, ...others] = known;
  if (first === undefined) return [];
  const major = imageMajor(first.spec.imageName);
  return others
    .filter((group) => imageMajor(group.spec.imageName) !== major)
    .map((group) => ({
      group: group.metadata.name,
      path: 'spec.imageName',
      found: `found PostgreSQL ${imageMajor(group.spec.imageName)} ("${group.spec.imageName}"), and group "${first.metadata.name}" has ${major}`,
      accepted: 'streaming replication needs the same major version everywhere',
    }));
}
