/**
 * Name resolution of a pod that has its own resolver: what Kubernetes writes into its /etc/resolv.conf (`dnsPolicy: None`).
 *
 * The resolver beside comes first, the cluster's own after it: while the resolver restarts, its port refuses and the C library
 * asks the next server at once. Names then lead through the load balancers for a moment, and none is lost. Search domains and
 * options are those of `dnsPolicy: ClusterFirst`, so that every name that resolved in the pod before still does.
 */
import type { ResolvConf } from './resolv-conf.ts';

/** What a program in a pod of `ClusterFirst` reads of its Kubernetes cluster in its own /etc/resolv.conf. */
export interface ClusterDns {
  readonly nameservers: readonly string[];
  /** `cluster.local` */
  readonly clusterDomain: string;
  /** Search domains of the machine, which Kubernetes puts behind its own. */
  readonly machineSearch: readonly string[];
  /** As in the file: `ndots:5`. */
  readonly options: readonly string[];
}

/** Fields of a pod's `dnsConfig`. */
export interface PodDnsConfig {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly { readonly name: string; readonly value?: string }[];
}

/** Kubernetes takes no more of each. */
const NAMESERVERS_MAX = 3;
const SEARCHES_MAX = 32;

/** What Kubernetes writes for `ClusterFirst`; without it `leo-1.shop` would not be looked for inside of the cluster first. */
const OPTIONS_DEFAULT = ['ndots:5'];

/** @param domainDefault where the file has no search domain `svc.<domain>`, as of a program outside of the cluster. */
export function clusterDnsOf({ nameservers, search, options }: ResolvConf, domainDefault: string): ClusterDns {
  const services = search.find((domain) => domain.startsWith('svc.'));
  if (services === undefined)
    return { nameservers, clusterDomain: domainDefault, machineSearch: [], options: OPTIONS_DEFAULT };
  const clusterDomain = services.slice('svc.'.length).replace(/\.$/, '');
  const isOfCluster = (domain: string): boolean =>
    domain === services || domain === clusterDomain || domain.endsWith(`.${services}`);
  return {
    nameservers,
    clusterDomain,
    machineSearch: search.filter((domain) => !isOfCluster(domain)),
    options: options.length === 0 ? OPTIONS_DEFAULT : options,
  };
}

/** @param resolver address of the resolver beside the pod's containers. @throws RangeError without a server of the cluster. */
export function podDnsConfig(
  { nameservers, clusterDomain, machineSearch, options }: ClusterDns,
  { namespace, resolver }: { readonly namespace: string; readonly resolver: string },
): PodDnsConfig {
  const others = nameservers.filter((address) => address !== resolver);
  if (others.length === 0)
    throw new RangeError("Cannot give pods a resolver: no name server of the cluster in the operator's resolv.conf");
  const services = `svc.${clusterDomain}`;
  return {
    nameservers: [resolver, ...others].slice(0, NAMESERVERS_MAX),
    searches: [`${namespace}.${services}`, services, clusterDomain, ...machineSearch].slice(0, SEARCHES_MAX),
    options: options.map((option) => {
      const [name = '', value] = option.split(':', 2);
      return value === undefined ? { name } : { name, value };
    }),
  };
}
