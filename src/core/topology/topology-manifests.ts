/**
 * The manifests of a topology that is described in a few words: what `pgspan init` writes. One group for each Kubernetes cluster;
 * what is said is written, what has a good default is left out.
 */
import type { PostgresGroupManifest } from '../../api/postgres-group.ts';
import type { ClientTrafficStrategy, TrafficStrategy } from '../../api/postgres-group.ts';
import { discoveryService } from './names.ts';

export interface Topology {
  /** Name of the global cluster. */
  readonly globalCluster: string;
  /** One for each Kubernetes cluster; the first makes the database. */
  readonly groups: readonly TopologyGroup[];
  /** Group that holds a member of the record's store and no data; null: none. */
  readonly witness: TopologyGroup | null;
  readonly internode: TrafficStrategy;
  readonly clients: ClientTrafficStrategy;
  readonly loadBalancers: 'none' | 'group' | 'node';
  /** Load balancers are annotated with the names that external-dns is to publish. */
  readonly externalDns: boolean;
  /** `lease`: a Lease of the one Kubernetes cluster; `etcd`: members of pgspan's own, or those of `etcdEndpoints`. */
  readonly store: 'lease' | 'etcd';
  readonly etcdEndpoints: readonly string[];
  readonly preset: 'lan' | 'wan';
  /** `manifests`: every group names the others; `invitation`: they are joined by `pgspan invite` and `pgspan join`. */
  readonly joinBy: 'manifests' | 'invitation';
  readonly storage: string;
  readonly cpu: string | null;
  readonly memory: string | null;
  readonly reads: boolean;
  readonly imageName: string | null;
  readonly namespace: string | null;
}

export interface TopologyGroup {
  readonly name: string;
  readonly instances: number;
  readonly domain: string;
}

export function topologyManifests(topology: Topology): PostgresGroupManifest[] {
  const groups = [...topology.groups, ...(topology.witness === null ? [] : [topology.witness])];
  return groups.map((group) => manifestOf(topology, groups, group));
}

function manifestOf(topology: Topology, all: readonly TopologyGroup[], group: TopologyGroup): PostgresGroupManifest {
  const { imageName, namespace, cpu, memory } = topology;
  const isWitness = group.instances === 0;
  const amounts = { ...(cpu === null ? {} : { cpu }), ...(memory === null ? {} : { memory }) };
  const hasAmounts = Object.keys(amounts).length > 0 && !isWitness;
  return {
    apiVersion: 'pgspan.io/v1alpha1',
    kind: 'PostgresGroup',
    metadata: { name: group.name, ...(namespace === null ? {} : { namespace }) },
    spec: {
      instances: group.instances,
      ...(imageName === null || isWitness ? {} : { imageName }),
      ...(hasAmounts ? { resources: { requests: amounts, limits: memory === null ? {} : { memory } } } : {}),
      ...(isWitness ? {} : { storage: { size: topology.storage } }),
      globalCluster: globalClusterOf(topology, all, group),
      ...coordinationOf(topology),
      connectivity: connectivityOf(topology, group),
      ...(isWitness ? {} : { proxySettings: { instances: 2, enableReadNodeRouting: topology.reads } }),
    },
  };
}

function globalClusterOf(
  { globalCluster, joinBy }: Topology,
  all: readonly TopologyGroup[],
  group: TopologyGroup,
): NonNullable<PostgresGroupManifest['spec']['globalCluster']> {
  const [primary] = all;
  if (all.length === 1 || primary === undefined) return { name: globalCluster };
  const peers = all
    .filter(({ name }) => name !== group.name)
    .map(({ name, domain }) => ({ group: name, endpoint: `${discoveryService(name)}.${domain}` }));
  return { name: globalCluster, primaryGroup: primary.name, ...(joinBy === 'manifests' ? { peers } : {}) };
}

function coordinationOf({
  store,
  etcdEndpoints,
  preset,
}: Topology): Pick<PostgresGroupManifest['spec'], 'coordination'> {
  const coordination = {
    ...(store === 'etcd' ? { store: 'etcd' as const } : {}),
    ...(store === 'etcd' && etcdEndpoints.length > 0 ? { etcd: { endpoints: [...etcdEndpoints] } } : {}),
    ...(preset === 'wan' ? { preset } : {}),
  };
  return Object.keys(coordination).length === 0 ? {} : { coordination };
}

function connectivityOf(topology: Topology, { domain }: TopologyGroup): PostgresGroupManifest['spec']['connectivity'] {
  const { internode, clients, loadBalancers, externalDns } = topology;
  const published = { metadata: { annotations: { 'external-dns.alpha.kubernetes.io/hostname': '{fqdn}' } } };
  return {
    dns: { domain },
    ...(internode === 'ServiceName' ? {} : { internodeTrafficStrategy: internode }),
    ...(clients === 'FQDN' ? {} : { clientTrafficStrategy: clients }),
    ...(loadBalancers === 'none' ? {} : { loadBalancer: { enabled: true, scope: loadBalancers } }),
    ...(externalDns && loadBalancers !== 'none'
      ? {
          ...(loadBalancers === 'node' ? { nodeServiceTemplate: published, groupServiceTemplate: published } : {}),
          proxyServiceTemplate: published,
          ...(topology.reads ? { proxyReadServiceTemplate: published } : {}),
        }
      : {}),
  };
}
