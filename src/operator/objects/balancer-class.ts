/**
 * The class of a load balancer cannot be changed, only given with the type: so a Service that gets another one is without a load
 * balancer for a moment, and gets a new one, with another address.
 * https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-class
 */
import type { NamedObject } from '../../platform/kubernetes/kube-client.ts';
import type { KubeObject } from '../../platform/kubernetes/kube-object.ts';

/** Fields of a Service that mean something with a load balancer only, and that the API server refuses without. */
const OF_BALANCERS = new Set([
  'loadBalancerClass',
  'loadBalancerIP',
  'loadBalancerSourceRanges',
  'allocateLoadBalancerNodePorts',
  'externalTrafficPolicy',
  'healthCheckNodePort',
]);

interface ServiceSpec {
  readonly type?: string;
  readonly loadBalancerClass?: string;
}

/**
 * What must be applied before `wanted`; null: nothing. A class that nobody asks for is left: admission of some clouds adds theirs
 * to every Service.
 */
export function withoutBalancer(live: KubeObject | null | undefined, wanted: NamedObject): NamedObject | null {
  if (wanted.kind !== 'Service' || live == null) return null;
  const { spec = {} } = wanted as { spec?: ServiceSpec };
  const before = (live.spec ?? {}) as ServiceSpec;
  if (before.type !== 'LoadBalancer' || spec.type !== 'LoadBalancer') return null;
  if (spec.loadBalancerClass === undefined || spec.loadBalancerClass === before.loadBalancerClass) return null;
  const rest = Object.fromEntries(Object.entries(spec).filter(([name]) => !OF_BALANCERS.has(name)));
  return { ...wanted, spec: { ...rest, type: 'ClusterIP' } } as NamedObject;
}
