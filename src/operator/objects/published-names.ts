/**
 * What load balancers have given to Services: addresses and host names, which become SANs (requirement B6). They appear some
 * time after the Service, and may change; certificates follow by reissue and reload.
 */
import { isIP } from 'node:net';

/** A stored Service, as far as it is read here. */
export interface ServiceWithStatus {
  readonly metadata: { readonly name: string };
  readonly status?: {
    readonly loadBalancer?: {
      readonly ingress?: readonly { readonly ip?: string; readonly hostname?: string }[] | null;
    };
  };
}

/** As RFC 1123 has host names; anything else in a status is no name for a certificate. */
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/;

/** For PlanOptions.published: by Service, sorted, without those that have nothing. */
export function publishedNames(services: readonly ServiceWithStatus[]): Record<string, readonly string[]> {
  const entries = services.map(({ metadata, status }): [string, string[]] => {
    const found = (status?.loadBalancer?.ingress ?? []).flatMap(({ ip, hostname }) => [
      ...(ip !== undefined && isIP(ip) !== 0 ? [ip] : []),
      ...(hostname === undefined ? [] : hostNames(hostname)),
    ]);
    return [metadata.name, [...new Set(found)].toSorted()];
  });
  return Object.fromEntries(entries.filter(([, names]) => names.length > 0));
}

/** Some clouds write upper case or a final dot. */
function hostNames(hostname: string): string[] {
  const plain = hostname.toLowerCase().replace(/\.$/, '');
  return HOST_NAME.test(plain) ? [plain] : [];
}
