/**
 * The groups of a global cluster that are in other Kubernetes clusters, as the operator here knows them (ConfigMap `<group>-peers`).
 * Their agents are reached from pods here, by the names that servers use; their API servers are not asked.
 */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { globalClusterName } from '../../api/postgres-group.ts';
import { decideGroups } from '../../core/cards/decide-groups.ts';
import { readCards } from '../../core/cards/stored-cards.ts';
import { peersConfigMap } from '../../core/topology/names.ts';
import { ApiError } from './api-error.ts';
import type { KubeClient } from './kube-client.ts';
import { KUBE_KINDS } from './kube-object.ts';

export interface WholeCluster {
  /** Those of this Kubernetes cluster and of the others, in the common order. */
  readonly groups: readonly PostgresGroup[];
  /** What the load balancers of the others gave, by Service. */
  readonly published: Readonly<Record<string, readonly string[]>>;
}

/** @param own the groups of one global cluster that are here. Throws ApiError. */
export async function findOtherGroups(client: KubeClient, own: readonly PostgresGroup[]): Promise<WholeCluster> {
  const alone = { groups: own, published: {} };
  const [group] = own;
  // Several groups in one namespace are refused by the operator; what is there is shown as it is.
  if (group === undefined || own.length > 1) return alone;
  const { name, namespace } = group.metadata;
  const ref = { kind: KUBE_KINDS.ConfigMap, namespace, name: peersConfigMap(name) };
  const found = await client.find(ref).catch((error: unknown) => {
    // Whoever may not read it sees the groups of this cluster.
    if (error instanceof ApiError && error.status === 403) return null;
    throw error;
  });
  const texts = (found?.data ?? {}) as Record<string, string>;
  const { own: ownCard, others } = readCards(texts, name, globalClusterName(group));
  const decision = decideGroups({ own: group, admits: ownCard?.admits ?? [], cards: others, configured: [] });
  if (decision.kind === 'wait') return alone;
  const published = decision.cards.flatMap((card) => Object.entries(card.published));
  return { groups: decision.groups, published: Object.fromEntries(published) };
}
