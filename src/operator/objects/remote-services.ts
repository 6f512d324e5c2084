/** Services, and the endpoints of those without a pod of ours behind them, for the servers of the other groups (requirement C4). */
import { isIPv6 } from 'node:net';
import { objectLabels } from '../../api/labels.ts';
import type { RemoteService } from '../../core/topology/remote-services.ts';
import { ownedMetadata } from './metadata.ts';
import type { RenderInput } from './render-input.ts';

/** Tells people and tools that nothing of this group is behind a Service. */
export const REMOTE_GROUP_LABEL = 'pgspan.io/remote-group';

export interface RemoteObject {
  readonly apiVersion: string;
  readonly kind: 'Service' | 'EndpointSlice';
  readonly metadata: ReturnType<typeof ownedMetadata>;
  readonly [field: string]: unknown;
}

export function renderRemoteServices(input: RenderInput, services: readonly RemoteService[]): RemoteObject[] {
  return services.flatMap((service) => [renderService(input, service), ...renderSlices(input, service)]);
}

function metadataOf(input: RenderInput, service: RemoteService, name: string, labels: Record<string, string> = {}) {
  const { plan, groupPlan } = input;
  const own = objectLabels({ globalCluster: plan.globalCluster, group: groupPlan.name, workload: 'postgres' });
  return {
    ...ownedMetadata(input, name),
    labels: { ...own, [REMOTE_GROUP_LABEL]: service.group, ...labels },
  };
}

function renderService(input: RenderInput, service: RemoteService): RemoteObject {
  const { target, ports } = service;
  const spec =
    target.kind === 'name'
      ? { type: 'ExternalName', externalName: target.host }
      : {
          type: 'ClusterIP',
          clusterIP: 'None',
          ports: ports.map(({ name, port }) => ({ name, port, targetPort: port, protocol: 'TCP' })),
        };
  return { apiVersion: 'v1', kind: 'Service', metadata: metadataOf(input, service, service.name), spec };
}

/** One a family of addresses: a slice holds one. */
function renderSlices(input: RenderInput, service: RemoteService): RemoteObject[] {
  const { target, ports, name } = service;
  if (target.kind === 'name') return [];
  return (['IPv4', 'IPv6'] as const).flatMap((addressType): RemoteObject[] => {
    const addresses = target.addresses.filter((address) => isIPv6(address) === (addressType === 'IPv6'));
    if (addresses.length === 0) return [];
    return [
      {
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: metadataOf(input, service, `${name}-${addressType.toLowerCase()}`, {
          'kubernetes.io/service-name': name,
          'endpointslice.kubernetes.io/managed-by': 'pgspan',
        }),
        addressType,
        endpoints: addresses.map((address) => ({ addresses: [address], conditions: { ready: true } })),
        ports: ports.map((port) => ({ name: port.name, port: port.port, protocol: 'TCP' })),
      },
    ];
  });
}
