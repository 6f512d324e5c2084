/** The plan of all groups, as this operator knows them; every operator makes the same of the same cards. Pure. */
import type { GroupCard } from '../../api/group-card.ts';
import { type ManifestError, problemLine } from '../../api/manifest-error.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { instanceConfigSchema } from '../../api/agent-config.ts';
import { planInTransition } from '../../core/rolling/plan-in-transition.ts';
import type { GlobalPlan, GroupPlan } from '../../core/topology/plan-types.ts';

export interface PlannedGroups {
  readonly plan: GlobalPlan;
  /** The part of it that is carried out here. */
  readonly groupPlan: GroupPlan;
}

export interface OwnSight {
  readonly existing: readonly number[];
  readonly retiring: readonly string[];
  readonly published: Readonly<Record<string, readonly string[]>>;
}

/** @param groups all, in the common order. Throws ManifestError. */
export function planGroups(
  groups: readonly PostgresGroup[],
  own: string,
  sight: OwnSight,
  cards: readonly GroupCard[],
  clusterDomain: string,
): PlannedGroups {
  const { existing, retiring } = sight;
  const published = mergePublished([sight.published, ...cards.map((card) => card.published)]);
  const planned = planInTransition(groups, { group: own, existing, retiring }, { published, clusterDomain });
  // The groups themselves tell which of their nodes give up their vote.
  const leaving = new Set(cards.flatMap((card) => card.retiring));
  const plan = {
    ...planned,
    groups: planned.groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((node) =>
        group.name !== own && leaving.has(node.name) ? { ...node, votes: false, priority: 0 } : node,
      ),
    })),
  };
  const groupPlan = plan.groups.find(({ name }) => name === own);
  if (groupPlan === undefined) throw new RangeError(`Cannot find group "${own}" in its own plan`);
  return { plan, groupPlan };
}

/** The global names are published by every group. */
function mergePublished(all: readonly Readonly<Record<string, readonly string[]>>[]): Record<string, string[]> {
  const merged: Record<string, string[]> = {};
  for (const published of all)
    for (const [service, names] of Object.entries(published))
      merged[service] = [...new Set([...(merged[service] ?? []), ...names])].toSorted();
  return merged;
}

/** Groups that a stored configuration of a node names. */
export function groupsInConfig(text: string): string[] {
  try {
    const { peers } = instanceConfigSchema.pick({ peers: true }).parse(JSON.parse(text));
    return [...new Set(peers.map(({ group }) => group))];
  } catch {
    return [];
  }
}

export function contradictionText(error: ManifestError): string {
  return error.problems.map(problemLine).join('\n');
}

/** CAs of the other groups that count: what the manifest gives, and what they say themselves. */
export function otherAuthorities(
  own: PostgresGroup,
  counted: readonly string[],
  cards: ReadonlyMap<string, GroupCard>,
): string[] {
  return counted.flatMap((group) => {
    const given = own.spec.globalCluster.peers.find((peer) => peer.group === group)?.caBundle ?? '';
    const card = cards.get(group);
    const told = card === undefined || card.left ? '' : card.caBundle;
    return [given, told].flatMap(certificatesOf);
  });
}

function certificatesOf(bundle: string): string[] {
  return bundle.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
}
