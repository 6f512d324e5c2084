/** What a group tells of itself. Pure. */
import type { GroupCard } from '../../api/group-card.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { AGENT_PORT, discoveryService, fqdn, nodeName } from '../topology/names.ts';

export interface OwnCardInput {
  readonly globalCluster: string;
  /** With what its references hold merged in. */
  readonly group: PostgresGroup;
  readonly primaryGroup: string;
  /** Ordinals of the nodes that exist. */
  readonly existing: readonly number[];
  readonly retiring: readonly string[];
  readonly clusterDomain: string;
  /** What load balancers gave, by Service. */
  readonly published: Readonly<Record<string, readonly string[]>>;
  /** Addresses of the pods, by node. */
  readonly podAddresses: Readonly<Record<string, string>>;
  readonly caBundle: string;
  readonly etcd: GroupCard['etcd'];
  readonly credentialsGeneration: number;
  readonly admits: readonly string[];
  readonly left: boolean;
}

export function ownCard(input: OwnCardInput): Omit<GroupCard, 'generation'> {
  const { group, published } = input;
  const { name, namespace } = group.metadata;
  const instances = Math.max(group.spec.instances, ...input.existing);
  const nodes = Array.from({ length: instances }, (_, index) => nodeName(name, index + 1));
  // A pod's address changes with the pod: it is told only where nothing better is known.
  const unpublished = nodes.filter((node) => published[node] === undefined);
  const podAddresses = Object.fromEntries(
    unpublished.flatMap((node) => {
      const address = input.podAddresses[node];
      return address === undefined ? [] : [[node, address] as const];
    }),
  );
  return {
    version: 1,
    globalCluster: input.globalCluster,
    group: name,
    manifest: { metadata: { name, namespace }, spec: toldSpec(group, instances, input.primaryGroup) },
    retiring: [...input.retiring].toSorted(),
    clusterDomain: input.clusterDomain,
    published: Object.fromEntries(
      Object.entries(published)
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([service, names]) => [service, [...names].slice(0, 16)]),
    ),
    endpoint: endpointOf(group, published, Object.values(podAddresses)),
    caBundle: input.caBundle,
    etcd: input.etcd,
    podAddresses,
    credentialsGeneration: input.credentialsGeneration,
    admits: [...input.admits].toSorted(),
    left: input.left,
  };
}

/** The bundles of the peers are of no use to others, who have their own knowledge of them, and would fill the card. */
function toldSpec({ spec }: PostgresGroup, instances: number, primaryGroup: string): GroupCard['manifest']['spec'] {
  const peers = spec.globalCluster.peers.map(({ caBundle: _bundle, ...peer }) => peer);
  return { ...spec, instances, globalCluster: { ...spec.globalCluster, primaryGroup, peers } };
}

function endpointOf(
  { metadata, spec }: PostgresGroup,
  published: OwnCardInput['published'],
  podAddresses: readonly string[],
): GroupCard['endpoint'] {
  const service = discoveryService(metadata.name);
  const { internodeTrafficStrategy, dns } = spec.connectivity;
  const host =
    published[service]?.[0] ??
    (internodeTrafficStrategy === 'ServiceName' ? podAddresses[0] : fqdn(service, dns)) ??
    null;
  return host === null ? null : { host, port: AGENT_PORT };
}
