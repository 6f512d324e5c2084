/** The same connections by the names that Services have inside of the Kubernetes cluster: they resolve in every pod, without any DNS of ours. */
import type { ConnectionPlan, GlobalPlan, GroupPlan } from '../topology/plan-types.ts';

/** `orders.example.com` → `orders.shop.svc`, where there is such a Service. Every certificate carries both. */
export function withInsideNames(plan: GlobalPlan): GlobalPlan {
  const rename = (connections: readonly ConnectionPlan[]): ConnectionPlan[] =>
    connections.map((one) => ({ ...one, hosts: one.hosts.map((host) => insideName(plan, host)) }));
  return {
    ...plan,
    connections: rename(plan.connections),
    groups: plan.groups.map((group) => ({
      ...group,
      connections: rename(group.connections),
      nodes: group.nodes.map((node) => {
        const name = serviceHost(group, node.name);
        return { ...node, addresses: { ServiceName: name, FQDN: name, SplitDNS: name } };
      }),
    })),
  };
}

function insideName({ groups }: GlobalPlan, host: string): string {
  for (const group of groups) {
    const service = group.services.find(({ name, fqdns }) => fqdns.includes(host) || serviceHost(group, name) === host);
    if (service !== undefined) return serviceHost(group, service.name);
  }
  return host;
}

const serviceHost = (group: GroupPlan, service: string): string => `${service}.${group.namespace}.svc`;
