/**
 * The resolver of SplitDNS in the pods of nodes and proxies: a container that starts before the others and runs as long as the pod
 * does (an init container with `restartPolicy: Always`), and the pod's name resolution, which asks it first.
 *
 * It listens on port 53 without any privilege: the pod's network namespace lets every user bind ports from 53 on, by a sysctl
 * that Kubernetes counts among the safe ones.
 */
import { podDnsConfig } from '../../core/dns/pod-dns.ts';
import { nodeRules } from '../../core/dns/node-rules.ts';
import { dnsConfigSchema } from '../../api/dns-config.ts';
import type { ConfigMap, Container, PodSpec, Resources, Volume } from '../../platform/kubernetes/object-types.ts';
import { ownedMetadata } from './metadata.ts';
import { nextConfig } from './next-config.ts';
import { dnsConfigMap, nodePod } from './object-names.ts';
import { CONTAINER_SECURITY, probe } from './pod-parts.ts';
import {
  DNS_CONFIG_FOLDER,
  DNS_CONFIG_KEY,
  DNS_HEALTH_PORT,
  DNS_PORT,
  DNS_RESOLVER_ADDRESS,
  PGSPAN_PROGRAM,
  TLS_FOLDER,
} from './pod-places.ts';
import type { RenderInput } from './render-input.ts';

export const DNS_CONTAINER = 'dns';

/** What it needs with a cluster's few hundred questions a second. Memory is bounded by its cache's limits. */
const REQUESTS = { cpu: '10m', memory: '72Mi' } as const;
/** For pods that are Guaranteed, which must have limits everywhere: several times of what it was seen to need. */
const GUARANTEED = { cpu: '250m', memory: '192Mi' } as const;

/** A pod that comes back has another address, and its peers want it at once; the cluster's own resolver may keep it for longer. */
const RULE_TTL_SECONDS = 1;

/** Nothing but a process that cannot start is worth more than a second of a pod's start. */
const STARTUP_FAILURES_MAX = 60;

export function usesResolver({ groupPlan }: RenderInput): boolean {
  return groupPlan.internodeTrafficStrategy === 'SplitDNS' && groupPlan.nodes.length > 0;
}

export function renderDnsConfigMaps(input: RenderInput): ConfigMap[] {
  if (!usesResolver(input)) return [];
  const { groupPlan, group, facts } = input;
  const name = dnsConfigMap(groupPlan.name);
  const rules = nodeRules(groupPlan, {
    clusterDomain: facts.clusterDns.clusterDomain,
    podOf: nodePod,
    extraRules: group.spec.connectivity.splitDNS.extraRules,
  });
  const text = nextConfig(facts.storedConfigs[name], (generation) => {
    const {
      listen,
      tls,
      rules: own,
    } = dnsConfigSchema.parse({
      generation,
      listen: {
        dns: { address: DNS_RESOLVER_ADDRESS, port: DNS_PORT },
        health: { address: null, port: DNS_HEALTH_PORT },
      },
      tls: { certFile: `${TLS_FOLDER}/tls.crt`, keyFile: `${TLS_FOLDER}/tls.key`, caFile: `${TLS_FOLDER}/ca.crt` },
      rules,
    });
    // The other limits stay the program's own: they come with its version.
    return { generation, listen, tls, rules: own, limits: { ruleTtlSeconds: RULE_TTL_SECONDS } };
  });
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: ownedMetadata(input, name, { workload: 'postgres' }),
      data: { [DNS_CONFIG_KEY]: text },
    },
  ];
}

/** What a pod has beside what it has anyway; nothing without SplitDNS. */
export interface ResolverParts {
  readonly initContainers: readonly Container[];
  readonly volumes: readonly Volume[];
  readonly sysctls: Pick<PodSpec['securityContext'], 'sysctls'>;
  readonly dns: Pick<PodSpec, 'dnsPolicy' | 'dnsConfig'>;
}

const NOTHING: ResolverParts = { initContainers: [], volumes: [], sysctls: {}, dns: {} };

export function resolverParts(input: RenderInput, workload: 'postgres' | 'proxy'): ResolverParts {
  if (!usesResolver(input)) return NOTHING;
  const { groupPlan, facts } = input;
  return {
    initContainers: [dnsContainer(input, workload)],
    volumes: [{ name: 'dns', configMap: { name: dnsConfigMap(groupPlan.name) } }],
    sysctls: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: String(DNS_PORT) }] },
    dns: {
      dnsPolicy: 'None',
      dnsConfig: podDnsConfig(facts.clusterDns, { namespace: groupPlan.namespace, resolver: DNS_RESOLVER_ADDRESS }),
    },
  };
}

function dnsContainer(input: RenderInput, workload: 'postgres' | 'proxy'): Container {
  const { programImage, imagePullPolicy } = input.facts;
  return {
    name: DNS_CONTAINER,
    image: programImage,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    restartPolicy: 'Always',
    command: [PGSPAN_PROGRAM, 'dns', 'serve', '--config', `${DNS_CONFIG_FOLDER}/${DNS_CONFIG_KEY}`],
    ports: [{ name: 'dns-health', containerPort: DNS_HEALTH_PORT, protocol: 'TCP' }],
    startupProbe: probe('/livez', 'dns-health', {
      periodSeconds: 1,
      timeoutSeconds: 5,
      failureThreshold: STARTUP_FAILURES_MAX,
    }),
    livenessProbe: probe('/livez', 'dns-health', { periodSeconds: 20, timeoutSeconds: 5, failureThreshold: 3 }),
    resources: workload === 'proxy' ? { requests: REQUESTS } : resourcesOf(input),
    securityContext: CONTAINER_SECURITY,
    volumeMounts: [
      { name: 'dns', mountPath: DNS_CONFIG_FOLDER, readOnly: true },
      { name: 'tls', mountPath: TLS_FOLDER, readOnly: true },
    ],
  };
}

/** A pod is Guaranteed, and the last to be killed for memory, only if all of its containers ask for exactly their limits. */
function resourcesOf({ group }: RenderInput): Resources {
  const { requests, limits } = group.spec.resources;
  const isFixed = (['cpu', 'memory'] as const).every(
    (what) => limits[what] !== undefined && (requests[what] ?? limits[what]) === limits[what],
  );
  return isFixed ? { requests: GUARANTEED, limits: GUARANTEED } : { requests: REQUESTS };
}
