/**
 * Rules for the CoreDNS of a Kubernetes cluster, so that its pods reach the FQDNs of this cluster's own groups without the way
 * out and back in through a load balancer (requirement C5). The question is rewritten to the Service's name inside, and the
 * answer back, since clients refuse an answer for another name. https://coredns.io/plugins/rewrite/
 */
import type { GroupPlan } from '../topology/plan-types.ts';

export interface RewriteRule {
  /** The name that clients ask for. */
  readonly name: string;
  /** The Service inside of the cluster. */
  readonly target: string;
}

/** One for each name outside of each Service of the group. */
export function corednsRules({ services, namespace }: GroupPlan, clusterDomain: string): RewriteRule[] {
  return services.flatMap(({ name, fqdns }) =>
    fqdns.map((fqdn) => ({ name: fqdn, target: `${name}.${namespace}.svc.${clusterDomain}` })),
  );
}

/** For a server block of the Corefile. Names are of letters, digits, "-" and ".", so only the dots need care in an expression. */
export function formatCorednsRules(rules: readonly RewriteRule[]): string {
  return rules
    .map(
      ({ name, target }) =>
        `rewrite stop {\n    name exact ${name} ${target}\n    answer name ^${escapeDots(target)}\\.$ ${name}\n}\n`,
    )
    .join('');
}

function escapeDots(name: string): string {
  return name.replaceAll('.', '\\.');
}
