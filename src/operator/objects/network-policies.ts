/**
 * On request: who may open connections to the pods of a group. Agents and health endpoints stay open to the Kubernetes
 * cluster, since operators, other groups and Prometheus come from anywhere in it, and both ask for certificates where it matters.
 */
import { LABEL, workloadLabels } from '../../api/labels.ts';
import type { NetworkPolicy } from '../../platform/kubernetes/object-types.ts';
import { ownedMetadata } from './metadata.ts';
import { usesResolver } from './dns-sidecar.ts';
import { proxyWorkload } from './object-names.ts';
import { DNS_HEALTH_PORT } from './pod-places.ts';
import type { RenderInput } from './render-input.ts';

type Peer = Readonly<Record<string, unknown>>;

const ANY_POD: Peer = { namespaceSelector: {} };

export function renderNetworkPolicies(input: RenderInput): NetworkPolicy[] {
  const { plan, groupPlan, group } = input;
  const { networkPolicy, loadBalancer } = group.spec.connectivity;
  if (!networkPolicy.enabled) return [];
  const ofGlobalCluster: Peer = {
    namespaceSelector: {},
    podSelector: { matchLabels: { [LABEL.globalCluster]: plan.globalCluster } },
  };
  // What the load balancers let in, they let in by address.
  const outside = loadBalancer.enabled ? addressBlocks(loadBalancer.allowedIPs) : [];
  const policies: NetworkPolicy[] = [];
  if (groupPlan.nodes.length > 0) {
    const nodesFrom = loadBalancer.scope === 'node' ? outside : [];
    policies.push(
      policy(input, groupPlan.name, 'postgres', [
        { from: [ofGlobalCluster, ...nodesFrom], ports: ['postgres'] },
        { from: [ANY_POD, ...nodesFrom], ports: ['agent'] },
        ...(usesResolver(input) ? [{ from: [ANY_POD], ports: [DNS_HEALTH_PORT] }] : []),
      ]),
    );
  }
  if (groupPlan.proxies.length > 0) {
    const reads = groupPlan.proxies.some(({ read }) => read);
    const clients = networkPolicy.clients.length === 0 ? null : [...(networkPolicy.clients as Peer[]), ...outside];
    policies.push(
      policy(input, proxyWorkload(groupPlan.name), 'proxy', [
        { from: clients, ports: reads ? ['write', 'read'] : ['write'] },
        { from: [ANY_POD], ports: usesResolver(input) ? ['health', DNS_HEALTH_PORT] : ['health'] },
      ]),
    );
  }
  return policies;
}

interface Rule {
  /** null: everybody. */
  readonly from: readonly Peer[] | null;
  /** Names of container ports, or numbers. */
  readonly ports: readonly (string | number)[];
}

function policy(
  input: RenderInput,
  name: string,
  workload: 'postgres' | 'proxy',
  rules: readonly Rule[],
): NetworkPolicy {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: ownedMetadata(input, name, { workload }),
    spec: {
      podSelector: { matchLabels: workloadLabels({ group: input.groupPlan.name, workload }) },
      policyTypes: ['Ingress'],
      ingress: rules.map(({ from, ports }) => ({
        ...(from === null ? {} : { from }),
        ports: ports.map((port) => ({ protocol: 'TCP', port })),
      })),
    },
  };
}

function addressBlocks(allowed: readonly string[]): Peer[] {
  const ranges = allowed.length === 0 ? ['0.0.0.0/0', '::/0'] : allowed.map(asRange);
  return ranges.map((cidr) => ({ ipBlock: { cidr } }));
}

/** NetworkPolicies take ranges only. */
function asRange(address: string): string {
  if (address.includes('/')) return address;
  return `${address}/${address.includes(':') ? 128 : 32}`;
}
