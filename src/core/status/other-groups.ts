/** `.status.groups`: the other groups of the global cluster, as far as the operator here knows and reaches them. Pure. */
import type { GroupCard } from '../../api/group-card.ts';
import type { OtherGroupStatus } from '../../api/postgres-group-status.ts';
import type { ClusterStatus } from './cluster-status.ts';

export interface OtherGroupsInput {
  /** Names of all other groups that count. */
  readonly counted: readonly string[];
  readonly cards: readonly GroupCard[];
  readonly cluster: Pick<ClusterStatus, 'nodes' | 'leader'>;
  /** Why a group does not tell, by group: sentences. */
  readonly silence: Readonly<Record<string, string>>;
}

export function otherGroups({ counted, cards, cluster, silence }: OtherGroupsInput): OtherGroupStatus[] {
  return counted.map((name) => {
    const card = cards.find(({ group }) => group === name);
    const nodes = cluster.nodes.filter(({ group }) => group === name);
    const why = silence[name] ?? nodes.find(({ reachable }) => !reachable)?.reason.message;
    return {
      name,
      known: card !== undefined,
      leads: nodes.some((node) => node.name === cluster.leader),
      nodes: nodes.map((node) => ({
        name: node.name,
        role: node.role,
        reachable: node.reachable,
        member: node.isMember,
      })),
      ...(card === undefined ? {} : { generation: card.generation }),
      ...(card?.endpoint == null ? {} : { endpoint: `${card.endpoint.host}:${card.endpoint.port}` }),
      ...(why === undefined ? {} : { message: why.slice(0, 1024) }),
    };
  });
}
