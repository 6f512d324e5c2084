/**
 * Rules of the resolvers beside the servers of one group: each name outside of a node leads to its pod, under the name that the
 * headless Service gives it. Kubernetes keeps that name's address, so nothing is written when a pod gets another one. Servers dial the
 * group's member of etcd as well: its name leads to its Service.
 */
import { headlessService } from '../topology/names.ts';
import type { GroupPlan } from '../topology/plan-types.ts';
import type { SplitRule } from './split-rules.ts';

export interface NodeRulesInput {
  readonly clusterDomain: string;
  /** Name of a node's pod. */
  readonly podOf: (node: string) => string;
  /** `.spec.connectivity.splitDNS.extraRules`: tried after pgspan's own. */
  readonly extraRules: readonly SplitRule[];
}

export function nodeRules(group: GroupPlan, { clusterDomain, podOf, extraRules }: NodeRulesInput): SplitRule[] {
  const inside = `${headlessService(group.name)}.${group.namespace}.svc.${clusterDomain}`;
  const ofNodes = group.services
    .filter(({ kind }) => kind === 'node')
    .flatMap(({ name, fqdns }) =>
      fqdns.map((host): SplitRule => ({ host, result: `${podOf(name)}.${inside}`, regex: false })),
    );
  const ofMembers = group.services
    .filter(({ kind }) => kind === 'etcd')
    .flatMap(({ name, fqdns }) =>
      fqdns.map(
        (host): SplitRule => ({ host, result: `${name}.${group.namespace}.svc.${clusterDomain}`, regex: false }),
      ),
    );
  return [...ofNodes, ...ofMembers, ...extraRules.map(({ host, result, regex }) => ({ host, result, regex }))];
}
